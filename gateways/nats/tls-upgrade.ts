/**
 * From clear text to TLS on one connection: INFO is said in clear, then the client begins a handshake (its first
 * byte says so) or, where that is allowed, goes on in clear. There is no second INFO.
 *
 * TLS runs on top of the transport that said INFO, as its listener had to be a plain one. Listeners with
 * `tls_handshake_first` do TLS themselves, which is quicker.
 */
import type { Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { FlushQueue } from '../../listeners/flush-queue.ts'
import type { TcpOptions } from '../../listeners/options.ts'
import { StreamTransport } from '../../listeners/stream-transport.ts'
import type { TlsOptions } from '../../listeners/tls-options.ts'
import { createTlsMemory, TlsStep } from '../../listeners/tls-step.ts'
import type { CloseReason, Transport, TransportHandler } from '../../listeners/transport.ts'
import { TurnBudget } from '../../listeners/turn-budget.ts'
import { messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { Deadline } from '../../model/timers.ts'
import { errorLine, TLS_REQUIRED } from './replies.ts'

export interface UpgradeOptions {
  readonly tls: TlsOptions
  readonly tcp: TcpOptions
  /** Clients may go on without TLS. */
  readonly allowsPlain: boolean
  readonly greeting: string
  readonly log: Logger
}

/** First byte of a TLS record that begins a handshake. */
const HANDSHAKE = 0x16

/** Sets itself as handler of `transport`. `open` gets what the conversation goes on with, and sets its handler. */
export class TlsUpgrade implements TransportHandler {
  readonly #transport: Transport
  readonly #options: UpgradeOptions
  readonly #open: (transport: Transport) => void
  readonly #waiting: Deadline
  /** Who hears the transport once the client has decided. */
  #next: TransportHandler | undefined

  constructor(transport: Transport, options: UpgradeOptions, open: (transport: Transport) => void) {
    this.#transport = transport
    this.#options = options
    this.#open = open
    transport.handler = this
    transport.outbox.append(Buffer.from(options.greeting))
    this.#waiting = new Deadline(options.tls.handshakeTimeoutMs, () => transport.end())
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#next === undefined && start < end) this.#decide(bytes[start] as number)
    this.#next?.onData(bytes, start, end)
  }

  onDrain(): void {
    this.#next?.onDrain()
  }

  onClose(reason: CloseReason): void {
    this.#waiting.clear()
    this.#next?.onClose(reason)
  }

  #decide(first: number): void {
    this.#waiting.clear()
    if (first === HANDSHAKE) this.#next = this.#secure()
    else if (this.#options.allowsPlain)
      this.#open(new Continued(this.#transport, (next) => (this.#next = next)))
    else {
      this.#transport.outbox.append(Buffer.from(errorLine(TLS_REQUIRED)))
      this.#transport.end()
    }
  }

  #secure(): TransportHandler {
    const { tls, log } = this.#options
    const transport = this.#transport
    const bytes = new TransportStream(transport)
    bytes.on('error', () => {}) // 'close' follows
    // One for each client, as a step tells its clients apart by addresses, which a stream on a transport lacks.
    const step = new TlsStep(tls, createTlsMemory(), undefined)
    step.secure(bytes as unknown as Socket, (outcome) => {
      if (outcome.kind === 'failed') {
        log.debug({ peer: transport.peer, error: messageOf(outcome.error) }, 'TLS handshake failed')
        transport.destroy()
      } else {
        this.#open(this.#secured(outcome.socket, outcome.certificate))
      }
    })
    return bytes
  }

  #secured(socket: Socket, certificate: Transport['certificate']): Transport {
    const { listenerId, peer, local, pace } = this.#transport
    const info = {
      kind: 'tls' as const,
      listenerId,
      peer,
      local,
      certificate: certificate ?? this.#transport.certificate,
    }
    const { log, tcp } = this.#options
    // Its bytes are counted where they go over the wire.
    const traffic = { bytesReceived: 0, bytesSent: 0 }
    const context = {
      flushQueue: new FlushQueue(),
      turns: new TurnBudget(),
      log,
      limits: tcp,
      nolinger: false,
      traffic,
    }
    const secured = new StreamTransport(socket, info, context)
    secured.pace = pace
    return secured
  }
}

/** A transport whose handler has been set already: from now on it is heard through that one. */
class Continued implements Transport {
  readonly kind
  readonly listenerId
  readonly peer
  readonly local
  readonly certificate
  readonly outbox
  readonly #transport: Transport
  readonly #hear: (handler: TransportHandler) => void

  constructor(transport: Transport, hear: (handler: TransportHandler) => void) {
    this.kind = transport.kind
    this.listenerId = transport.listenerId
    this.peer = transport.peer
    this.local = transport.local
    this.certificate = transport.certificate
    this.outbox = transport.outbox
    this.#transport = transport
    this.#hear = hear
  }

  get pace(): Transport['pace'] {
    return this.#transport.pace
  }

  get bytesReceived(): number {
    return this.#transport.bytesReceived
  }

  get bytesSent(): number {
    return this.#transport.bytesSent
  }

  get handler(): TransportHandler {
    return this.#transport.handler
  }

  set handler(handler: TransportHandler) {
    this.#hear(handler)
  }

  pause(): void {
    this.#transport.pause()
  }

  resume(): void {
    this.#transport.resume()
  }

  end(): void {
    this.#transport.end()
  }

  destroy(): void {
    this.#transport.destroy()
  }
}

/** A transport as a stream, which is what TLS reads from and writes to. */
class TransportStream extends Duplex implements TransportHandler {
  readonly #transport: Transport
  #written: (() => void) | undefined

  constructor(transport: Transport) {
    super({ allowHalfOpen: true })
    this.#transport = transport
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (!this.push(bytes.subarray(start, end))) this.#transport.pause()
  }

  onDrain(): void {
    const written = this.#written
    this.#written = undefined
    written?.()
  }

  onClose(): void {
    this.push(null)
    this.destroy()
  }

  override _read(): void {
    this.#transport.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    const { outbox } = this.#transport
    outbox.append(chunk)
    if (outbox.congested) this.#written = done
    else done()
  }

  override _final(done: () => void): void {
    this.#transport.end()
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#transport.destroy()
    done(error)
  }
}
