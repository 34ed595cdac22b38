import type { FlushQueue } from './flush-queue.ts'

/** What has come lies in slabs of this size. As much as Node reads at once fits into one. */
const SLAB_BYTES = 65_536
/** Free ones that are kept: 4 MB. */
const MAX_FREE = 64

/** Memory knows its slab: whoever has a piece of it finds that there. */
type SlabMemory = ArrayBufferLike & { slab?: ReadSlab }

/** Pieces of what was read, one behind the other. */
export class ReadSlab {
  readonly bytes = Buffer.allocUnsafeSlow(SLAB_BYTES)
  /** Where the next piece goes. */
  used = 0
  /** Pieces that nobody has handled yet. */
  held = 0
  /** Somebody may refer to a piece of it for as long as they like, so it is never written over. */
  isKept = false
  /** It is looked at when this turn of the event loop ends. */
  isDue = false

  constructor() {
    const memory: SlabMemory = this.bytes.buffer
    memory.slab = this
  }
}

/** `piece` will be read after this turn of the event loop, by the kernel or by anybody: if it was lent, it is left alone. */
export function keepLent(piece: Uint8Array): void {
  const { slab }: SlabMemory = piece.buffer
  if (slab !== undefined) slab.isKept = true
}

/**
 * Slabs, used again at the end of the turn in which nobody kept a piece of them. New ones all the time, 7,000 in a second
 * at full load, were what the garbage collector had most to do with.
 *
 * A piece is lent until all that was written meanwhile has been flushed. Whoever wants it for longer says so
 * (`isKept`, `keepLent`), and handlers are taken to want that unless they say they do not: then the slab is left to the
 * garbage collector once it is full.
 */
export class ReadSlabs {
  readonly #queue: FlushQueue
  readonly #settle = (): void => this.#settleDue()
  #current = new ReadSlab()
  #due: ReadSlab[] = []
  readonly #free: ReadSlab[] = []

  /** @param queue - knows when a turn ends */
  constructor(queue: FlushQueue) {
    this.#queue = queue
  }

  /** Copies `bytes[0..count)` into a slab, to end where its `used` is then. */
  put(bytes: Buffer, count: number): ReadSlab {
    let slab = this.#current
    // A piece of it was kept after it had been made empty.
    const isSpoilt = slab.used === 0 && slab.isKept
    if (slab.used + count > SLAB_BYTES || isSpoilt) slab = this.#next()
    this.#look(slab)
    bytes.copy(slab.bytes, slab.used, 0, count)
    slab.used += count
    return slab
  }

  /** A piece of it is to be handled later: `handBack` first. */
  hold(slab: ReadSlab): void {
    slab.held++
  }

  /** The piece is about to be handled. */
  handBack(slab: ReadSlab): void {
    slab.held--
    this.#look(slab)
  }

  #next(): ReadSlab {
    this.#look(this.#current)
    do this.#current = this.#free.pop() ?? new ReadSlab()
    while (this.#current.isKept)
    return this.#current
  }

  #look(slab: ReadSlab): void {
    if (slab.isDue) return
    slab.isDue = true
    if (this.#due.push(slab) === 1) this.#queue.afterFlush(this.#settle)
  }

  #settleDue(): void {
    const due = this.#due
    for (const slab of due) {
      slab.isDue = false
      // What is held comes back here; what is kept is not used again.
      if (slab.held > 0 || slab.isKept) continue
      slab.used = 0
      if (slab !== this.#current && this.#free.length < MAX_FREE) this.#free.push(slab)
    }
    due.length = 0
  }
}
