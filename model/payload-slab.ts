import { RunCopier } from './run-copier.ts'

/** Size of a slab: what one long-lived small payload can pin at the most. */
const SLAB_BYTES = 8192
/** Larger payloads get a buffer of their own. */
const MAX_SHARED_BYTES = 2048
/**
 * Puts small payloads that have to be kept one behind the other into common buffers. A
 * buffer object for each would cost the garbage collector more than the copy does.
 */
export class PayloadSlab {
  /** Holds what `copy` was called for last, from the offset it returned on. */
  buffer = Buffer.alloc(0)
  #used = 0
  readonly #copier = new RunCopier()

  /** Copies `bytes[start..end)` into `buffer`. @returns where it is in there */
  copy(bytes: Uint8Array, start: number, end: number): number {
    const length = end - start
    if (length > MAX_SHARED_BYTES) {
      this.buffer = Buffer.allocUnsafeSlow(length)
      this.#used = length
      this.buffer.set(bytes.subarray(start, end))
      return 0
    }
    if (this.#used + length > this.buffer.length) {
      this.buffer = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.#used = 0
    }
    const at = this.#used
    this.#copier.copy(this.buffer, at, bytes, start, end)
    this.#used += length
    return at
  }
}
