/**
 * One peer of a gateway whose protocol is a stream of frames (TCP, TLS, and
 * WebSocket where the messages are just chunks of such a stream).
 *
 *     transport -> StreamConnection (gathers, cuts, orders) -> channel (the conversation)
 *
 * It owns what every such protocol needs and none should write again: gathering
 * bytes, strict order, back pressure, the idle timeout, faults, and the one goodbye.
 */
import type { Client } from '../broker/broker.ts'
import type { Pace } from '../listeners/pace.ts'
import type { CloseReason, Transport, TransportHandler } from '../listeners/transport.ts'
import { MAX_TURN_BYTES, Unread } from '../listeners/unread.ts'
import { nextTurn } from '../model/async.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import { BrokerError, faultOf, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { Deadline } from '../model/timers.ts'
import type { Counters } from './counters.ts'
import type { FrameDecoder } from './frame-decoder.ts'

/** The conversation with one peer. Methods may throw: the connection ends this peer, and only it. */
export interface StreamChannel<Frame> {
  /** Handles one frame. The next one waits until a returned promise settles; a rejection counts as a throw. */
  handle(frame: Frame): unknown
  /**
   * Counts a handled frame against the rates of its peer: publishing, subscribing, or nothing. Without it every
   * frame counts as a message with all its bytes.
   */
  charge?(frame: Frame, pace: Pace): void
  /** The peer or we ourselves did wrong, and the connection ends after this: the chance to send an error frame. */
  failed(error: unknown): void
  /** The connection is over: stop timers, forget everything. Called once, last, after the client was closed. */
  closed(): void
}

/** What a channel may do with its connection. */
export interface Connection {
  readonly transport: Transport
  /** False from the moment the end was decided: whatever is still said is not sent. */
  readonly isOpen: boolean
  /** Reading is stopped as an earlier frame is still being handled, the peer does not read or sends too fast: its silence means nothing. */
  readonly isPaused: boolean
  /** Aborts when the connection ends: for `Login.signal`. */
  readonly signal: AbortSignal
  /**
   * The peer has logged in: the idle timeout is over and `client` is closed when the connection ends.
   * If that has happened already, it is closed at once and the answer is false.
   */
  login(client: Client): boolean
  /** Sends what was written so far, closes the client and the transport. Only the first call counts. */
  end(reason: DisconnectReason): void
}

export interface StreamOptions {
  /** A peer that has not logged in by then is closed. Infinity = never. */
  readonly idleTimeoutMs: number
  readonly log: Logger
  /** Counts `connections.paused` and `connections.closed.<reason>`. */
  readonly counters?: Counters
  /** Most bytes kept that arrive although reading was stopped (TLS and WebSocket may have some). Default 1 MiB. */
  readonly maxUnreadBytes?: number
}

const DEFAULT_MAX_UNREAD_BYTES = 1024 * 1024

/** Sets itself as `transport.handler`. `createChannel` gets the connection it is to talk through. */
export class StreamConnection<Frame> implements Connection, TransportHandler {
  readonly transport: Transport
  readonly #decoder: FrameDecoder<Frame>
  readonly #channel: StreamChannel<Frame>
  readonly #log: Logger
  readonly #counters: Counters | undefined
  readonly #maxUnreadBytes: number
  #unread = new Unread()
  readonly #idle: Deadline
  #abort: AbortController | undefined
  #client: Client | undefined
  #ended: DisconnectReason | undefined
  #waiting = false
  #congested = false
  #paced = false

  constructor(
    transport: Transport,
    decoder: FrameDecoder<Frame>,
    options: StreamOptions,
    createChannel: (connection: Connection) => StreamChannel<Frame>,
  ) {
    this.transport = transport
    this.#decoder = decoder
    this.#log = options.log
    this.#counters = options.counters
    this.#maxUnreadBytes = options.maxUnreadBytes ?? DEFAULT_MAX_UNREAD_BYTES
    this.#channel = createChannel(this)
    transport.handler = this
    this.#idle = new Deadline(options.idleTimeoutMs, () => this.end('idle_timeout'))
  }

  get isOpen(): boolean {
    return this.#ended === undefined
  }

  get isPaused(): boolean {
    return this.#waiting || this.#congested || this.#paced
  }

  get signal(): AbortSignal {
    this.#abort ??= new AbortController()
    if (!this.isOpen) this.#abort.abort()
    return this.#abort.signal
  }

  login(client: Client): boolean {
    this.#idle.clear()
    if (this.#ended !== undefined) {
      client.close(this.#ended)
      return false
    }
    this.#client = client
    return true
  }

  end(reason: DisconnectReason): void {
    if (this.#ended !== undefined) return
    this.#finish(reason)
    this.transport.end()
  }

  onData(bytes: Buffer, start: number, end: number): void {
    if (this.#ended !== undefined) return
    let at = start
    while (!this.#unread.isEmpty && at < end && !this.isPaused) {
      at = this.#unread.complete(bytes, at, end)
      this.#cutUnread()
    }
    if (at === end || this.#ended !== undefined) return
    const chunk = bytes.subarray(at, end)
    if (this.isPaused) this.#keepUnread(chunk)
    else this.#unread.keep(chunk, this.#cut(chunk, 0), chunk.length, this.#decoder.wantedBytes)
  }

  onDrain(): void {
    if (this.#ended !== undefined) return
    this.#guard(() => this.#client?.drained())
    if (!this.#congested) return
    this.#congested = false
    this.#goOn()
  }

  onClose(reason: CloseReason): void {
    this.#finish(CLOSED[reason.kind])
  }

  /** Handles the frames in `bytes` from `from` on, as far as it may. Returns where it stopped. */
  #cut(bytes: Buffer, from: number): number {
    let at = from
    try {
      while (this.#ended === undefined && !this.isPaused && at < bytes.length) {
        const frame = this.#decoder.decode(bytes, at)
        const start = at
        at = this.#decoder.position
        if (frame === undefined) break
        const handled = this.#channel.handle(frame)
        if (this.transport.pace !== undefined) this.#keepPace(this.transport.pace, frame, at - start)
        if (handled instanceof Promise) this.#waitFor(handled)
        // What we answer must not pile up while the peer does not read: it is heard again when it has.
        else if (this.transport.outbox.congested) this.#stopReading('congested')
        else if (at - from >= MAX_TURN_BYTES && at < bytes.length) this.#waitFor(nextTurn())
      }
    } catch (error) {
      this.#fail(error)
    }
    return at
  }

  #cutUnread(): void {
    const bytes = this.#unread.bytes()
    this.#unread.keep(bytes, this.#cut(bytes, 0), bytes.length, this.#decoder.wantedBytes)
  }

  #waitFor(handled: Promise<unknown>): void {
    this.#stopReading('waiting')
    const settled = () => {
      this.#waiting = false
      if (this.#ended !== undefined) return
      if (this.transport.outbox.congested) this.#stopReading('congested')
      else this.#goOn()
    }
    handled.then(settled, (error: unknown) => {
      this.#fail(error)
      this.#waiting = false
    })
  }

  #keepPace(pace: Pace, frame: Frame, frameBytes: number): void {
    if (this.#channel.charge === undefined) pace.message(frameBytes)
    else this.#channel.charge(frame, pace)
    if (!pace.isSpent || this.#ended !== undefined) return
    this.#stopReading('paced')
    this.#counters?.add('connections.paused')
    pace.wait(() => {
      this.#paced = false
      if (this.#ended === undefined) this.#goOn()
    })
  }

  #stopReading(why: 'waiting' | 'congested' | 'paced'): void {
    if (!this.isPaused) this.transport.pause()
    if (why === 'waiting') this.#waiting = true
    else if (why === 'congested') this.#congested = true
    else this.#paced = true
  }

  #goOn(): void {
    if (this.isPaused) return
    if (!this.#unread.isEmpty) this.#cutUnread()
    if (!this.isPaused && this.#ended === undefined) this.transport.resume()
  }

  #keepUnread(chunk: Buffer): void {
    if (this.#unread.byteLength + chunk.length > this.#maxUnreadBytes) {
      this.#fail(
        new BrokerError('LIMIT_EXCEEDED', 'too many bytes sent while earlier frames were being handled'),
      )
      return
    }
    this.#unread.append(chunk)
  }

  /** A peer's fault is its own business; anything else is ours and leaves its stack in the log. */
  #fail(error: unknown): void {
    if (this.#ended !== undefined) return
    const fault = faultOf(error)
    const fields = { peer: this.transport.peer, listener: this.transport.listenerId }
    if (fault === 'peer')
      this.#log.debug({ ...fields, error: messageOf(error) }, 'connection closed: peer fault')
    else this.#log.error({ ...fields, error }, 'connection closed: error while serving it')
    this.#guard(() => this.#channel.failed(error))
    this.end(fault === 'peer' ? reasonOf(error) : 'internal_error')
  }

  #finish(reason: DisconnectReason): void {
    if (this.#ended !== undefined) return
    this.#ended = reason
    this.#counters?.add(`connections.closed.${reason}`)
    this.#idle.clear()
    this.#abort?.abort()
    this.#unread = new Unread()
    this.#guard(() => this.#client?.close(reason))
    this.#client = undefined
    this.#guard(() => this.#channel.closed())
  }

  /** For calls on the way out, where there is nothing left to end. */
  #guard(call: () => void): void {
    try {
      call()
    } catch (error) {
      this.#log.error({ peer: this.transport.peer, error }, 'error while serving a connection')
    }
  }
}

const CLOSED = {
  peer_closed: 'tcp_closed',
  local: 'normal',
  error: 'socket_error',
  send_timeout: 'send_timeout',
} as const satisfies Record<CloseReason['kind'], DisconnectReason>

function reasonOf(error: unknown): DisconnectReason {
  if (!(error instanceof BrokerError)) return 'internal_error'
  if (error.code === 'FRAME_MALFORMED') return 'malformed_packet'
  if (error.code === 'FRAME_TOO_LARGE') return 'frame_too_large'
  return 'protocol_error'
}
