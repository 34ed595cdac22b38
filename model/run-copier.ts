import { copyBytes } from './copy-bytes.ts'

/** From here on the native copy is faster, the view made for it included. */
const MAX_LOOP_BYTES = 128

/**
 * Copies short pieces one after another from one buffer into another: the second time it meets the same two it makes
 * a `DataView` of each and goes on four bytes a step: for 64 bytes that took 30 ns, a native copy 53, single bytes 90.
 */
export class RunCopier {
  #into: Uint8Array | undefined
  #from: Uint8Array | undefined
  #to: DataView | undefined
  #of: DataView | undefined

  /** `from[start..end)` to `into` at `at`. */
  copy(into: Uint8Array, at: number, from: Uint8Array, start: number, end: number): void {
    if (end - start > MAX_LOOP_BYTES) return copyBytes(into, at, from, start, end)
    if (into !== this.#into || from !== this.#from) return this.#copyFirst(into, at, from, start, end)
    this.#to ??= new DataView(into.buffer, into.byteOffset, into.byteLength)
    this.#of ??= new DataView(from.buffer, from.byteOffset, from.byteLength)
    const to = this.#to
    const of = this.#of
    let i = start
    let j = at
    for (; i + 3 < end; i += 4, j += 4) to.setInt32(j, of.getInt32(i))
    for (; i < end; i++, j++) into[j] = from[i] as number
  }

  #copyFirst(into: Uint8Array, at: number, from: Uint8Array, start: number, end: number): void {
    this.#into = into
    this.#from = from
    this.#to = this.#of = undefined
    copyBytes(into, at, from, start, end)
  }
}
