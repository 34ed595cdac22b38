import { randomBytes } from 'node:crypto'
import type { Socket } from 'node:net'
import {
  createServer,
  type DetailedPeerCertificate,
  type TlsOptions as NodeTlsOptions,
  type Server,
  type TLSSocket,
} from 'node:tls'
import { LRUCache } from 'lru-cache'
import type { PeerCertificate } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import { readSecureOptions, resumes, type TlsOptions } from './tls-options.ts'

const MAX_TIMER_MS = 2 ** 31 - 1

/** The key of a PSK identity; undefined = unknown, which fails the handshake. */
export type PskLookup = (identity: string) => Uint8Array | undefined

/** What survives a reload, so that sessions can still be resumed after it. */
export interface TlsMemory {
  ticketKeys: Buffer
  sessions: LRUCache<string, Buffer>
}

export function createTlsMemory(): TlsMemory {
  return { ticketKeys: randomBytes(48), sessions: new LRUCache({ max: 10_000, ttl: 300_000 }) }
}

export type Secured =
  | { kind: 'secured'; socket: TLSSocket; certificate: PeerCertificate | undefined }
  | { kind: 'failed'; error: Error }

/**
 * The TLS handshake on sockets that somebody else accepted. A reload makes a new one:
 * whoever came in through the old one stays.
 */
export class TlsStep {
  readonly #options: TlsOptions
  readonly #server: Server
  /** node:tls does not say which socket a handshake was for: found again by its two addresses. */
  readonly #waiting = new Map<string, (outcome: Secured) => void>()
  /** What clients that are checked have shown, each with its issuers; undefined until the handshake is over. */
  readonly #chains = new WeakMap<TLSSocket, DetailedPeerCertificate | undefined>()

  /** @throws BrokerError CONFIG_INVALID */
  constructor(options: TlsOptions, memory: TlsMemory, psk: PskLookup | undefined) {
    this.#options = options
    this.#server = createServer(nodeOptions(options, memory, psk))
    this.#server.on('secureConnection', (socket) => this.#onSecure(socket))
    this.#server.on('tlsClientError', (error, socket) => this.#onFailure(error, socket))
    if (options.verifyPeer) this.#server.on('keylog', (_secret, socket) => this.#awaitChain(socket))
    if (resumes(options).sessionIds) rememberSessions(this.#server, memory.sessions)
  }

  /**
   * Takes over a fresh socket. `done` is called once; after `failed` the socket is destroyed. Not called
   * if the socket is closed from outside.
   */
  secure(socket: Socket, done: (outcome: Secured) => void): void {
    const key = keyOf(socket)
    this.#waiting.set(key, done)
    socket.once('close', () => {
      if (this.#waiting.get(key) === done) this.#waiting.delete(key)
    })
    this.#server.emit('connection', socket)
  }

  /**
   * Node 24.21 and 26.8 forget a client's issuers as soon as they have looked at its certificate themselves, so that
   * `depth` would not hold (nodejs/node#65579). This event is the first that comes with the socket.
   */
  #awaitChain(socket: TLSSocket): void {
    if (this.#chains.has(socket)) return
    this.#chains.set(socket, undefined)
    socket.prependOnceListener('secure', () => this.#chains.set(socket, socket.getPeerCertificate(true)))
  }

  #onSecure(socket: TLSSocket): void {
    socket.on('error', () => {}) // 'close' follows; the transport adds a listener that keeps the reason
    const done = this.#take(socket)
    const error = done === undefined ? new Error('the peer has gone') : this.#refusal(socket)
    if (error === undefined) return done?.({ kind: 'secured', socket, certificate: certificateOf(socket) })
    socket.destroy()
    done?.({ kind: 'failed', error })
  }

  #onFailure(error: Error, socket: TLSSocket): void {
    const done = this.#take(socket)
    socket.destroy()
    done?.({ kind: 'failed', error })
  }

  #take(socket: Socket): ((outcome: Secured) => void) | undefined {
    const key = keyOf(socket)
    const done = this.#waiting.get(key)
    this.#waiting.delete(key)
    return done
  }

  /** Why this client is not let in. OpenSSL verified the chain; what its answer means is decided here. */
  #refusal(socket: TLSSocket): Error | undefined {
    if (!this.#options.verifyPeer) return undefined
    const leaf = this.#chains.get(socket) ?? socket.getPeerCertificate(true)
    if (leaf.raw === undefined) {
      if (!this.#options.failIfNoPeerCert) return undefined
      return new BrokerError('PROTOCOL_VIOLATED', 'no client certificate')
    }
    if (!socket.authorized) {
      return new BrokerError('PROTOCOL_VIOLATED', `client certificate: ${String(socket.authorizationError)}`)
    }
    const between = intermediatesOf(leaf)
    if (between === undefined)
      return new BrokerError('PROTOCOL_VIOLATED', 'client certificate: no issuer is known')
    if (between <= this.#options.depth) return undefined
    const text = `client certificate: ${between} certificates between it and the CA, depth is ${this.#options.depth}`
    return new BrokerError('PROTOCOL_VIOLATED', text)
  }
}

function nodeOptions(options: TlsOptions, memory: TlsMemory, psk: PskLookup | undefined): NodeTlsOptions {
  return {
    ...readSecureOptions(options),
    allowHalfOpen: true,
    requestCert: options.verifyPeer,
    rejectUnauthorized: false, // see #refusal
    handshakeTimeout: Math.min(options.handshakeTimeoutMs, MAX_TIMER_MS),
    ticketKeys: memory.ticketKeys,
    ...(psk === undefined ? {} : { pskCallback: (_: TLSSocket, identity: string) => psk(identity) ?? null }),
  }
}

function rememberSessions(server: Server, sessions: LRUCache<string, Buffer>): void {
  server.on('newSession', (id: Buffer, session: Buffer, done: () => void) => {
    sessions.set(id.toString('hex'), session)
    done()
  })
  server.on('resumeSession', (id: Buffer, done: (error: Error | null, session: Buffer | null) => void) => {
    done(null, sessions.get(id.toString('hex')) ?? null)
  })
}

function keyOf(socket: Socket): string {
  return `${socket.remoteAddress} ${socket.remotePort} ${socket.localAddress} ${socket.localPort}`
}

/** Certificates between the leaf and the one that signs itself; undefined if that one cannot be found. */
function intermediatesOf(leaf: DetailedPeerCertificate): number | undefined {
  let count = -1
  let at = leaf
  const seen = new Set<string>()
  while (!seen.has(at.fingerprint256)) {
    if (at.issuerCertificate === undefined) return undefined
    if (at.issuerCertificate.fingerprint256 === at.fingerprint256) return Math.max(count, 0)
    seen.add(at.fingerprint256)
    at = at.issuerCertificate
    count++
  }
  return undefined
}

function certificateOf(socket: TLSSocket): PeerCertificate | undefined {
  const certificate = socket.getPeerX509Certificate()
  if (certificate === undefined) return undefined
  const name: unknown = certificate.toLegacyObject().subject.CN
  const commonName: unknown = Array.isArray(name) ? name[0] : name
  return {
    // One attribute a line, with RFC 2253 escapes, in the order of the certificate.
    subject: (certificate.subject ?? '').split('\n').join(','),
    commonName: typeof commonName === 'string' ? commonName : '',
    raw: certificate.raw,
  }
}
