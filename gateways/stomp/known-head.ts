import type { StompHeaders } from './headers.ts'

/** Longer heads are read anew each time: keeping them would cost more memory than it saves work. */
const MAX_KEPT_BYTES = 512

/** What was read in a head. */
export interface ReadHead {
  readonly command: string
  readonly headers: StompHeaders
  /** Length of the body as announced, -1 = up to the first NUL. */
  readonly bodyBytes: number
}

/**
 * The head that came last. Devices say the same again and again, and what that means is found by comparing bytes: the
 * headers come back as the same object.
 */
export class KnownHead {
  #bytes = new Uint8Array(0)
  #length = 0
  #read: ReadHead | undefined

  /** @returns what was read in it, if it is what is at `start` */
  find(bytes: Uint8Array, start: number): ReadHead | undefined {
    const length = this.#length
    const known = this.#bytes
    if (start + length > bytes.length) return undefined
    for (let i = 0; i < length; i++) if (known[i] !== bytes[start + i]) return undefined
    return this.#read
  }

  get length(): number {
    return this.#length
  }

  /** Remembers what was read in `bytes[start..end)`. */
  keep(bytes: Uint8Array, start: number, end: number, read: ReadHead): void {
    const length = end - start
    if (length > MAX_KEPT_BYTES) return
    if (this.#bytes.length < length) this.#bytes = new Uint8Array(length)
    this.#bytes.set(bytes.subarray(start, end))
    this.#length = length
    this.#read = read
  }
}
