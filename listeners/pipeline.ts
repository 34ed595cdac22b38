import type { Socket } from 'node:net'
import type { PeerCertificate } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import { AccessRules, plainHost } from './access-rules.ts'
import type { TransportContext, TransportInfo } from './base-transport.ts'
import type { ListenerOptions } from './options.ts'
import { readProxyHeader } from './proxy-step.ts'
import type { SharedReads } from './shared-reads.ts'
import { StreamTransport } from './stream-transport.ts'
import { type PskLookup, type TlsMemory, TlsStep } from './tls-step.ts'
import type { Address } from './transport.ts'
import { WsStep } from './ws-step.ts'
import { WsTransport } from './ws-transport.ts'

/** What a peer is known by so far. */
export interface Arrival {
  peer: Address
  local: Address
  certificate: PeerCertificate | undefined
}

/** How it ends for a peer, unless it leaves by itself. */
export interface PipelineEnd {
  done(transport: StreamTransport | WsTransport): void
  /** The socket is closed, or will be once the peer has read why. */
  failed(arrival: Arrival, error: Error): void
}

export interface PipelineContext {
  flushQueue: TransportContext['flushQueue']
  turns: TransportContext['turns']
  reads: SharedReads
  log: TransportContext['log']
  traffic: TransportContext['traffic']
  pskLookup: PskLookup | undefined
  /** Made when first needed. */
  tlsMemory(): TlsMemory
}

/**
 * The way from an accepted socket to a transport, as the options say: PROXY header, TLS, WebSocket.
 * A reload makes a new one; peers that are on the old one finish there.
 */
export class Pipeline {
  readonly options: ListenerOptions
  readonly rules: AccessRules
  readonly #tls: TlsStep | undefined
  readonly #ws: WsStep | undefined
  readonly #transport: TransportContext

  /** @throws BrokerError CONFIG_INVALID */
  constructor(options: ListenerOptions, context: PipelineContext) {
    const { id, kind, tls, webSocket, tcp, accessRules } = options
    this.options = options
    this.rules = new AccessRules(accessRules)
    if (kind === 'tls' || kind === 'wss') {
      if (tls === undefined) throw new BrokerError('CONFIG_INVALID', `listener ${id}: no ssl_options`)
      this.#tls = ofListener(id, () => new TlsStep(tls, context.tlsMemory(), context.pskLookup))
    }
    if (kind === 'ws' || kind === 'wss') {
      if (webSocket === undefined)
        throw new BrokerError('CONFIG_INVALID', `listener ${id}: no websocket options`)
      this.#ws = new WsStep(webSocket)
    }
    this.#transport = {
      flushQueue: context.flushQueue,
      turns: context.turns,
      reads: context.reads,
      log: context.log,
      traffic: context.traffic,
      limits: tcp,
      nolinger: tcp.nolinger,
    }
  }

  /** Calls one of `end` once, unless the socket is closed before. */
  run(socket: Socket, arrival: Arrival, end: PipelineEnd): void {
    const { proxyProtocol } = this.options
    if (proxyProtocol === undefined) return this.#secure(socket, arrival, end)
    readProxyHeader(
      socket,
      proxyProtocol.timeoutMs,
      ({ source, commonName }) => {
        const peer = source === undefined ? arrival.peer : { ...source, host: plainHost(source.host) }
        const certificate = commonName === undefined ? undefined : named(commonName)
        this.#secure(socket, { ...arrival, peer, certificate }, end)
      },
      (error) => {
        socket.destroy()
        end.failed(arrival, error)
      },
    )
  }

  #secure(socket: Socket, arrival: Arrival, end: PipelineEnd): void {
    if (this.#tls === undefined) return this.#upgrade(socket, arrival, end)
    this.#tls.secure(socket, (outcome) => {
      if (outcome.kind === 'failed') return end.failed(arrival, outcome.error)
      const certificate = outcome.certificate ?? arrival.certificate
      this.#upgrade(outcome.socket, { ...arrival, certificate }, end)
    })
  }

  /** @param stream - the socket itself, or TLS on it */
  #upgrade(stream: Socket, arrival: Arrival, end: PipelineEnd): void {
    const { id, kind, frames, webSocket } = this.options
    const info: TransportInfo = { kind, listenerId: id, ...arrival }
    if (this.#ws === undefined) return end.done(new StreamTransport(stream, info, this.#transport))
    this.#ws.upgrade(stream, (outcome) => {
      if (outcome.kind === 'failed') return end.failed(arrival, outcome.error)
      const told = { ...info, peer: { ...info.peer, ...outcome.told } }
      const settings = { frames, idleTimeoutMs: webSocket?.idleTimeoutMs ?? Number.POSITIVE_INFINITY }
      end.done(new WsTransport(outcome.ws, stream, outcome.url, settings, told, this.#transport))
    })
  }
}

/** The load balancer knows the name only. */
function named(commonName: string): PeerCertificate {
  return { subject: `CN=${commonName}`, commonName, raw: new Uint8Array(0) }
}

/** Options of TLS do not know whose they are. */
function ofListener<T>(id: string, make: () => T): T {
  try {
    return make()
  } catch (error) {
    if (!(error instanceof BrokerError)) throw error
    throw new BrokerError(error.code, `listener ${id}: ${error.message}`, { cause: error })
  }
}
