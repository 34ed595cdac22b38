/** The addon (addon/): DTLS without sockets. Datagrams go in, datagrams come out, and the clock is the caller's. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { packageRoot } from '../../model/packaged.ts'

/** Certificates, keys and ciphers, for many sessions. */
export interface NativeContext {
  readonly kind: 'context'
}

/** One peer. */
export interface NativeSession {
  readonly kind: 'session'
}

export interface ContextOptions {
  /** Default true. */
  server?: boolean
  /** PEM text: the certificate, followed by its intermediates. */
  cert?: string | undefined
  key?: string | undefined
  /** Of the key. */
  passphrase?: string | undefined
  /** PEM text of the certificates that peers are checked against. */
  ca?: string | undefined
  partialChain?: boolean
  /** request: a peer may come without a certificate, but not with a wrong one. Default none. */
  verify?: 'none' | 'request' | 'require'
  /** Most certificates between a peer's own and the CA. Default 10. */
  depth?: number
  /** As OpenSSL writes lists of them. */
  ciphers?: string
  sigalgs?: string
  honorCipherOrder?: boolean
  /** PEM text. */
  dhparam?: string | undefined
  /** 0xfeff = DTLS 1.0, 0xfefd = DTLS 1.2 (default). */
  minVersion?: number
  maxVersion?: number
  /** Largest datagram of a handshake. Default 1200. */
  mtu?: number
  /** 80 secret bytes: sessions can be resumed by tickets. */
  ticketKeys?: Buffer | undefined
  /** Most sessions that are remembered, to be resumed by their id. Default 0. */
  sessionCache?: number
  /** How long a session can be resumed. Default 300. */
  sessionSeconds?: number
  /** 32 secret bytes, of the cookies; random ones without it. */
  cookieSecret?: Buffer
  /** Server: the key of an identity. Called in the middle of `feed`: it must not destroy the session. */
  psk?: ((identity: string) => Uint8Array | undefined) | undefined
  /** Client: its identity and key. */
  identity?: string
  pskKey?: Buffer
}

export interface SessionInfo {
  protocol: string
  cipher: string
  pskIdentity?: string
  resumed: boolean
  /** DER, the peer's own first. */
  peerCertificates?: Buffer[]
}

/** What `feed` answers. */
export const HANDSHAKING = 0
export const OPEN = 1
export const CLOSED = 2
export const FAILED = 3
export type SessionState = typeof HANDSHAKING | typeof OPEN | typeof CLOSED | typeof FAILED

export interface Native {
  readonly opensslVersion: string
  /** @throws Error `option: why`, naming the option that is wrong */
  createContext(options: ContextOptions): NativeContext
  /** @param peer - its address, which the cookie proves */
  createSession(context: NativeContext, peer: string): NativeSession
  /** Frees the session now. Any later call with it throws. */
  destroy(session: NativeSession): void
  /**
   * Answers a ClientHello with a cookie, without remembering anything: one session serves any number of
   * peers. 1: the peer has returned its cookie, and the session is its own from now on: feed it null.
   */
  listen(session: NativeSession, datagram: Buffer, out: Buffer[], peer: string): 0 | 1
  /**
   * @param datagram - null to begin as a client, or to go on after `listen`
   * @param out - gets what is to be sent
   * @param data - gets what the peer said
   */
  feed(session: NativeSession, datagram: Buffer | null, out: Buffer[], data: Buffer[]): SessionState
  /** Returns the bytes taken, all of them, or a negative number. */
  write(session: NativeSession, data: Uint8Array, out: Buffer[]): number
  /** Says goodbye. */
  shutdown(session: NativeSession, out: Buffer[]): void
  /** Milliseconds until `retransmit` is due; -1 = nothing is waited for. */
  timeout(session: NativeSession): number
  /** 1: sent again, 0: not due, -1: given up. */
  retransmit(session: NativeSession, out: Buffer[]): number
  info(session: NativeSession): SessionInfo
  /** What went wrong in the `feed` that has just answered FAILED. */
  error(session: NativeSession): string
}

const PACKAGE = 'hubbub-dtls'

/**
 * Loads the addon: the installed package, or its folder in a checkout whose packages are not linked.
 * @throws Error saying why there is no DTLS here
 */
export function loadNative(): Native {
  const require = createRequire(import.meta.url)
  let path: string
  try {
    path = require.resolve(PACKAGE)
  } catch {
    path = join(packageRoot(import.meta.dirname), 'listeners', 'dtls', 'addon')
  }
  return require(path) as Native
}
