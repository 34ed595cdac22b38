import type { Moderation } from './moderation.ts'

/** What has bytes to send at the end of this turn of the event loop. */
export interface Flushable {
  /** Must not throw: others wait behind it. */
  flush(): void
}

/**
 * Collects the outboxes that were written to in this turn and flushes all of them with
 * one `setImmediate`, so that a thousand small packets for one peer cost one system call.
 * One per process is enough: listeners share it where the composition root gives them the same.
 */
export class FlushQueue {
  /** Buffers for the batches of a turn, given back when sent: an idle connection holds none. */
  readonly pool = new BufferPool()
  /** Bytes that outboxes have handed over in this turn. They count them here. */
  handedOver = 0
  readonly #moderation: Moderation | undefined
  #waiting: Flushable[] = []
  #flushing: Flushable[] = []
  #scheduled = false
  #after: (() => void)[] = []
  /** What several outboxes send of what was read: one view for all of them. */
  #slice: Uint8Array | undefined
  #sliced: Uint8Array | undefined
  #sliceStart = 0
  readonly #run = (): void => this.#flushAll()

  /** @param moderation - told of each turn in which something was sent */
  constructor(moderation?: Moderation) {
    this.#moderation = moderation
  }

  /** `bytes[start..end)`, the same object as the last time if it is the same piece. Only while flushing. */
  slice(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const last = this.#slice
    if (
      last !== undefined &&
      bytes === this.#sliced &&
      start === this.#sliceStart &&
      last.length === end - start
    )
      return last
    this.#sliced = bytes
    this.#sliceStart = start
    this.#slice = bytes.subarray(start, end)
    return this.#slice
  }

  /** Flushes `outbox` at the end of this turn. Call it once per batch. */
  add(outbox: Flushable): void {
    this.#waiting.push(outbox)
    if (!this.#scheduled) this.#schedule()
  }

  /** Calls `done` once, behind all that is flushed at the end of this turn. It must not throw. */
  afterFlush(done: () => void): void {
    this.#after.push(done)
    if (!this.#scheduled) this.#schedule()
  }

  #schedule(): void {
    this.#scheduled = true
    setImmediate(this.#run)
  }

  #flushAll(): void {
    const batch = this.#waiting
    // What is written while flushing (a handler's onDrain) belongs to the next turn.
    this.#waiting = this.#flushing
    this.#flushing = batch
    this.#scheduled = false
    for (let i = 0; i < batch.length; i++) batch[i]?.flush()
    batch.length = 0
    this.#slice = this.#sliced = undefined // or it would keep them alive
    const after = this.#after
    for (let i = 0; i < after.length; i++) after[i]?.()
    after.length = 0
    const { handedOver } = this
    this.handedOver = 0
    this.#moderation?.turnEnded(handedOver)
  }
}

/** Sizes of pooled buffers and how many free ones are kept of each: 5 MB altogether. */
const CLASSES = [
  { bytes: 1024, maxFree: 1024 },
  { bytes: 4096, maxFree: 256 },
  { bytes: 16_384, maxFree: 64 },
  { bytes: 65_536, maxFree: 32 },
] as const

/** The largest buffer that is pooled. */
export const MAX_POOLED_BYTES = 65_536

/** Free buffers by size. Bounded: what does not fit is left to the garbage collector. */
export class BufferPool {
  readonly #free: Buffer[][] = CLASSES.map(() => [])

  /** A buffer of at least `size` bytes, with any content. */
  take(size: number): Buffer {
    for (let i = 0; i < CLASSES.length; i++) {
      const bytes = CLASSES[i]?.bytes ?? 0
      if (size <= bytes) return this.#free[i]?.pop() ?? Buffer.allocUnsafe(bytes)
    }
    return Buffer.allocUnsafeSlow(size)
  }

  /** Takes back what `take` gave. Nothing may read or write it any more. */
  give(buffer: Buffer): void {
    for (let i = 0; i < CLASSES.length; i++) {
      const { bytes, maxFree } = CLASSES[i] as (typeof CLASSES)[number]
      if (buffer.length !== bytes) continue
      const free = this.#free[i]
      if (free !== undefined && free.length < maxFree) free.push(buffer)
      return
    }
  }
}
