import type { PeerCertificate } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import type { FlushQueue } from './flush-queue.ts'
import { type Carrier, type OutboxLimits, StreamOutbox } from './outbox.ts'
import { isLimited, Pace, type RateLimits } from './pace.ts'
import type { SharedReads } from './shared-reads.ts'
import type { Address, CloseReason, Transport, TransportHandler, TransportKind } from './transport.ts'
import type { TurnBudget } from './turn-budget.ts'

/** Who is at the other end of a transport. */
export interface TransportInfo {
  kind: TransportKind
  listenerId: string
  peer: Address
  local: Address
  certificate: PeerCertificate | undefined
}

/** Bytes of all transports together, counted by whoever hands this out. */
export interface Traffic {
  bytesReceived: number
  bytesSent: number
}

export interface TransportContext {
  flushQueue: FlushQueue
  turns: TurnBudget
  /** Left out: sockets are read as Node does. */
  reads?: SharedReads
  log: Logger
  limits: OutboxLimits
  /** Destroying sends RST instead of FIN, which leaves no TIME_WAIT behind. */
  nolinger: boolean
  /** Where this transport's bytes are counted too. */
  traffic: Traffic
}

/** How long the peer has to take the last bytes and say goodbye after `end()`. */
export const LINGER_MS = 5000

/** What all stream transports have in common: the handler, the outbox and one way to end. */
export abstract class BaseTransport implements Transport, Carrier {
  readonly kind: TransportKind
  readonly listenerId: string
  readonly peer: Address
  readonly local: Address
  readonly certificate: PeerCertificate | undefined
  readonly outbox: StreamOutbox
  pace: Pace | undefined
  bytesReceived = 0
  readonly #log: Logger
  readonly #traffic: Traffic
  #handler: TransportHandler | undefined
  #reason: CloseReason | undefined
  #linger: NodeJS.Timeout | undefined
  #closed = false

  constructor(info: TransportInfo, context: TransportContext) {
    this.kind = info.kind
    this.listenerId = info.listenerId
    this.peer = info.peer
    this.local = info.local
    this.certificate = info.certificate
    this.#log = context.log
    this.#traffic = context.traffic
    this.outbox = new StreamOutbox(this, context.flushQueue, context.limits, context.traffic)
  }

  get bytesSent(): number {
    return this.outbox.handedOver
  }

  get handler(): TransportHandler {
    if (this.#handler === undefined) throw new BrokerError('INTERNAL', 'this transport has no handler yet')
    return this.#handler
  }

  /** Reading starts here: what came before waits in the socket. */
  set handler(handler: TransportHandler) {
    if (this.#handler !== undefined) throw new BrokerError('INTERNAL', 'this transport has a handler already')
    this.#handler = handler
    if (this.#closed) this.#tellClosed()
    else this.startReading()
  }

  /** @param onPause - called whenever the peer has sent too much, for counting */
  limit(limits: RateLimits, onPause: () => void): void {
    if (this.pace !== undefined) this.pace.update(limits)
    else if (isLimited(limits)) this.pace = new Pace(limits, onPause)
  }

  abstract readonly pendingBytes: number
  abstract send(piece: Uint8Array, written: (() => void) | undefined): void
  abstract sendAll(pieces: readonly Uint8Array[], written: (() => void) | undefined): void
  abstract pause(): void
  abstract resume(): void

  end(): void {
    this.endBecause({ kind: 'local' })
  }

  destroy(): void {
    this.destroyBecause({ kind: 'local' })
  }

  drained(): void {
    try {
      this.#handler?.onDrain()
    } catch (error) {
      this.failed(error)
    }
  }

  stalled(): void {
    this.destroyBecause({ kind: 'send_timeout' })
  }

  /** Something that must not throw did: this peer pays, no other one. */
  failed(error: unknown): void {
    const { listenerId, peer } = this
    this.#log.error(
      { listener: listenerId, peer, err: error },
      'a bug met while serving a peer; it is closed',
    )
    this.destroyBecause({ kind: 'error', error: error instanceof Error ? error : new Error(String(error)) })
  }

  /** Ready to read: the handler is there. */
  protected abstract startReading(): void
  /** Says goodbye once all bytes are sent; what the peer still says is thrown away. */
  protected abstract closeSoftly(): void
  protected abstract closeHard(): void

  protected get ending(): boolean {
    return this.#reason !== undefined
  }

  /** @returns true if nothing refers to these bytes after this turn */
  protected receive(bytes: Buffer, start = 0, end = bytes.length): boolean {
    if (this.#reason !== undefined) return true
    const handler = this.#handler
    if (handler === undefined) return true
    const length = end - start
    this.bytesReceived += length
    this.#traffic.bytesReceived += length
    try {
      handler.onData(bytes, start, end)
      return handler.leavesNothing === true
    } catch (error) {
      this.failed(error)
      return false
    }
  }

  protected endBecause(reason: CloseReason): void {
    if (this.#reason !== undefined) return
    this.#reason = reason
    this.pace?.close()
    this.outbox.flush()
    if (this.#closed) return
    this.closeSoftly()
    this.#linger = setTimeout(() => this.closeHard(), LINGER_MS)
  }

  protected destroyBecause(reason: CloseReason): void {
    this.#reason ??= reason
    this.pace?.close()
    this.outbox.close()
    if (!this.#closed) this.closeHard()
  }

  /** The socket is closed. Call it once, with the reason if nobody gave one before. */
  protected closed(reason: CloseReason): void {
    if (this.#closed) return
    this.#closed = true
    this.#reason ??= reason
    clearTimeout(this.#linger)
    this.pace?.close()
    this.outbox.close()
    this.#tellClosed()
  }

  #tellClosed(): void {
    try {
      this.#handler?.onClose(this.#reason ?? { kind: 'peer_closed' })
    } catch (error) {
      this.#log.error({ listener: this.listenerId, err: error }, 'a bug met while closing a peer')
    }
  }
}
