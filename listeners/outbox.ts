/**
 * An outbox gathers what is written to one peer during a turn of the event loop and hands
 * it to the socket as one write at its end.
 *
 * Small writes are copied one after another into a buffer from the pool; large ones are kept
 * as they are and go out beside it (`writev`). What is passed on as it came (`relay`) is copied
 * once for all that follows itself in what was read, or not at all: ten packets for the same
 * peer cost one copy at most. Node hands a write to the kernel at once when the kernel takes it:
 * then nothing is pending after the write and the buffer goes back to the pool. Else the socket
 * still reads from it, and the next batch gets another one.
 */
import { copyBytes } from '../model/copy-bytes.ts'
import { type BufferPool, type Flushable, type FlushQueue, MAX_POOLED_BYTES } from './flush-queue.ts'
import { keepLent } from './read-slabs.ts'
import type { Outbox } from './transport.ts'

/** What an outbox needs of the transport it belongs to. */
export interface Carrier {
  /** Bytes handed over and not taken by the kernel. At 0 no buffer handed over is in use any more. */
  readonly pendingBytes: number
  /** Sends one piece. Calls `written`, where given, once the kernel has it. */
  send(piece: Uint8Array, written: (() => void) | undefined): void
  /** Sends several pieces as one write where the transport can. */
  sendAll(pieces: readonly Uint8Array[], written: (() => void) | undefined): void
  /** The outbox was congested and is not any more. */
  drained(): void
  /** The peer took nothing for `sendTimeoutMs` while the outbox was congested. */
  stalled(): void
  /** Sending threw: a bug. */
  failed(error: unknown): void
}

export interface OutboxLimits {
  /** Unsent bytes from which the outbox is congested, until less than half of them are left. */
  highWatermarkBytes: number
  /** Longest time congested without progress. `Infinity` = for ever. */
  sendTimeoutMs: number
}

const EMPTY = Buffer.alloc(0)
/** Room for so many is kept from one turn to the next. */
const MAX_KEPT_PATCHES = 128
/** What is passed on and is all there is to send is copied up to this size: that costs next to nothing. */
const MIN_LONE_BYTES = 256
/** From this size on copying costs more than an element of `writev`. */
const LARGE_BYTES = 16_384

export class StreamOutbox implements Outbox, Flushable {
  buffer: Buffer = EMPTY
  /** A field, as it is looked at for each message. */
  congested = false
  /** Bytes handed to the socket so far. */
  handedOver = 0
  readonly #carrier: Carrier
  readonly #queue: FlushQueue
  readonly #pool: BufferPool
  readonly #limits: OutboxLimits
  readonly #traffic: { bytesSent: number }
  /** `buffer` from `#start` to `#used` is not in `#pieces` yet. */
  #start = 0
  #used = 0
  #pieces: Uint8Array[] = []
  /** Bytes of `#pieces`, `buffer` and `#run`. */
  #gathered = 0
  /** From so many of them on it has to be looked whether it is congested. */
  #mark: number
  /** Passed on and not copied yet: `#run` from `#runStart` to `#runEnd`, behind all that is in `buffer`. */
  #run: Uint8Array | undefined
  #runStart = 0
  #runEnd = 0
  /** Packet ids to be written over those in `#run`: where, which, where, which, ... */
  #patches: number[] = []
  #patchCount = 0
  /** Full buffers that `#pieces` point into. */
  #full: Buffer[] = []
  /** Size of the last batch: the next one starts with a buffer of that size. */
  #lastBatch = 0
  #queued = false
  #closed = false
  #timer: NodeJS.Timeout | undefined
  readonly #onWritten = (): void => this.#relax()

  /** @param traffic - where its bytes are counted too */
  constructor(
    carrier: Carrier,
    queue: FlushQueue,
    limits: OutboxLimits,
    traffic: { bytesSent: number } = { bytesSent: 0 },
  ) {
    this.#carrier = carrier
    this.#queue = queue
    this.#pool = queue.pool
    this.#limits = limits
    this.#mark = limits.highWatermarkBytes
    this.#traffic = traffic
  }

  get unsentBytes(): number {
    return this.#gathered + this.#carrier.pendingBytes
  }

  get room(): number {
    return this.#closed ? 0 : this.#mark - this.#gathered - 1
  }

  reserve(size: number): number {
    if (this.#run !== undefined) this.#settle()
    this.#gathered += size
    if (this.#gathered >= this.#mark) this.#look()
    return this.#take(size)
  }

  relay(bytes: Uint8Array, start: number, end: number, idAt: number, id: number): void {
    if (this.#run === bytes && this.#runEnd === start) this.#runEnd = end
    else {
      if (this.#run !== undefined) this.#settle()
      this.#run = bytes
      this.#runStart = start
      this.#runEnd = end
      this.#enqueue()
    }
    this.#gathered += end - start
    if (this.#gathered >= this.#mark) this.#look()
    if (id === 0) return
    this.#patches[this.#patchCount++] = idAt
    this.#patches[this.#patchCount++] = id
  }

  append(bytes: Uint8Array): void {
    if (bytes.length >= LARGE_BYTES) {
      if (this.#run !== undefined) this.#settle()
      this.#cut()
      this.#pieces.push(bytes)
      this.#enqueue()
      this.#gathered += bytes.length
      if (this.#gathered >= this.#mark) this.#look()
      return
    }
    const offset = this.reserve(bytes.length)
    this.buffer.set(bytes, offset)
  }

  /** Sends what has gathered. The queue calls it at the end of the turn; earlier is allowed. */
  flush(): void {
    this.#queued = false
    if (this.#closed || this.#gathered === 0) return this.#release(true)
    try {
      this.#hand(this.#gathered)
    } catch (error) {
      this.#keep() // the socket may hold a part of it
      this.#release(false)
      this.#carrier.failed(error)
    }
  }

  /** Drops what is unsent and everything written from now on. The transport is gone. */
  close(): void {
    this.#closed = true
    // Whoever looks first writes nothing more; what others write is gone with the next flush.
    this.congested = true
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#release(true)
  }

  #take(size: number): number {
    const offset = this.#used
    const end = offset + size
    if (end > this.buffer.length) return this.#makeRoom(size)
    this.#used = end
    return offset
  }

  #hand(bytes: number): void {
    const alone = this.#takeLoneRun(bytes)
    if (alone === undefined && this.#run !== undefined) this.#settle()
    const half = this.#limits.highWatermarkBytes / 2
    const written = bytes + this.#carrier.pendingBytes >= half ? this.#onWritten : undefined
    this.handedOver += bytes
    this.#queue.handedOver += bytes
    this.#traffic.bytesSent += bytes
    if (alone !== undefined) this.#carrier.send(alone, written)
    else if (this.#pieces.length === 0)
      this.#carrier.send(this.buffer.subarray(this.#start, this.#used), written)
    else {
      this.#cut()
      this.#carrier.sendAll(this.#pieces, written)
    }
    const pending = this.#carrier.pendingBytes
    this.#mark = this.#limits.highWatermarkBytes - pending
    if (pending > 0) this.#keep()
    this.#release(pending === 0)
    this.#lastBatch = bytes
    if (this.#mark <= 0) this.#congest()
    else this.#relax()
  }

  /** What was passed on, if that is all there is and may be sent as it is. */
  #takeLoneRun(bytes: number): Uint8Array | undefined {
    const run = this.#run
    if (run === undefined || bytes !== this.#runEnd - this.#runStart) return undefined
    return this.#sendsRun(MIN_LONE_BYTES) ? this.#queue.slice(run, this.#runStart, this.#runEnd) : undefined
  }

  /**
   * Whether what was passed on may be sent from where it was read. Only while the peer keeps up: a slow one would keep
   * alive much more than it waits for.
   */
  #sendsRun(leastBytes: number): boolean {
    const bytes = this.#runEnd - this.#runStart
    return this.#patchCount === 0 && bytes >= leastBytes && this.#carrier.pendingBytes === 0
  }

  /** Takes what was passed on to its place in the order, by a copy if it is small or to be changed. */
  #settle(): void {
    const run = this.#run as Uint8Array
    const start = this.#runStart
    const end = this.#runEnd
    const patches = this.#patches
    const count = this.#patchCount
    if (this.#sendsRun(LARGE_BYTES)) {
      this.#cut()
      this.#pieces.push(run.subarray(start, end))
      return this.#forgetRun()
    }
    this.#forgetRun()
    const at = this.#take(end - start)
    const { buffer } = this
    copyBytes(buffer, at, run, start, end)
    for (let i = 0; i < count; i += 2) {
      const idAt = at + (patches[i] as number) - start
      const id = patches[i + 1] as number
      buffer[idAt] = id >>> 8
      buffer[idAt + 1] = id & 0xff
    }
  }

  #forgetRun(): void {
    this.#run = undefined
    this.#runStart = this.#runEnd = 0
    this.#patchCount = 0
    if (this.#patches.length > MAX_KEPT_PATCHES) this.#patches = []
  }

  #makeRoom(size: number): number {
    this.#enqueue()
    const held = this.#used - this.#start
    if (held + size > MAX_POOLED_BYTES) this.#chain(size)
    else this.#grow(held, size)
    const offset = this.#used
    this.#used = offset + size
    return offset
  }

  /** The biggest buffer is full: it goes out as it is, and another follows it. */
  #chain(size: number): void {
    this.#cut()
    if (this.buffer !== EMPTY) this.#full.push(this.buffer)
    this.buffer = this.#pool.take(Math.max(size, MAX_POOLED_BYTES))
    this.#start = this.#used = 0
  }

  #grow(held: number, size: number): void {
    const old = this.buffer
    const wanted = old === EMPTY ? Math.max(size, this.#lastBatch) : held + Math.max(size, held)
    this.buffer = this.#pool.take(Math.min(wanted, MAX_POOLED_BYTES))
    if (held > 0) old.copy(this.buffer, 0, this.#start, this.#used)
    // Pieces may still point into the part of it before `#start`.
    if (this.#start > 0) this.#full.push(old)
    else this.#pool.give(old)
    this.#start = 0
    this.#used = held
  }

  /** The socket goes on reading from what it was given. */
  #keep(): void {
    if (this.#run !== undefined) keepLent(this.#run)
    for (const piece of this.#pieces) keepLent(piece)
  }

  /** Closes the current run of small writes, so that what follows comes after it. */
  #cut(): void {
    if (this.#used > this.#start) this.#pieces.push(this.buffer.subarray(this.#start, this.#used))
    this.#start = this.#used
  }

  #enqueue(): void {
    if (this.#queued) return
    this.#queued = true
    this.#queue.add(this)
  }

  /** Starts anew with no buffer. `reuse`: nothing reads from the old ones any more. */
  #release(reuse: boolean): void {
    if (reuse && this.buffer !== EMPTY) {
      this.#pool.give(this.buffer)
      for (const buffer of this.#full) this.#pool.give(buffer)
    }
    this.buffer = EMPTY
    this.#start = this.#used = this.#gathered = 0
    if (this.#run !== undefined) this.#forgetRun()
    if (this.#pieces.length > 0) this.#pieces = []
    if (this.#full.length > 0) this.#full = []
  }

  /** Whether it is congested, by what has left meanwhile: what is pending only shrinks between two flushes. */
  #look(): void {
    this.#mark = this.#limits.highWatermarkBytes - this.#carrier.pendingBytes
    if (this.#gathered >= this.#mark) this.#congest()
  }

  #congest(): void {
    if (this.congested || this.#closed) return
    this.congested = true
    this.#watch()
  }

  #relax(): void {
    if (!this.congested || this.#closed) return
    if (this.unsentBytes >= this.#limits.highWatermarkBytes / 2) return
    this.congested = false
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#carrier.drained()
  }

  /** A peer that reads slowly is not a dead one: the clock starts anew as long as something leaves. */
  #watch(): void {
    if (this.#limits.sendTimeoutMs === Number.POSITIVE_INFINITY) return
    const before = this.handedOver - this.#carrier.pendingBytes
    this.#timer = setTimeout(() => {
      if (this.handedOver - this.#carrier.pendingBytes > before) this.#watch()
      else this.#carrier.stalled()
    }, this.#limits.sendTimeoutMs)
  }
}
