/**
 * A `DataView` of the buffer that was met last, which reads and writes four bytes a step. It is made once the same buffer
 * has been met often enough to be worth it.
 */
export class LastView {
  readonly #after: number
  #bytes: Uint8Array | undefined
  #view: DataView | undefined
  #met = 0

  /** @param after - how often a buffer has to be met before; to make a view costs as much as some 15 single steps */
  constructor(after: number) {
    this.#after = after
  }

  /** @returns undefined while it is not worth it */
  of(bytes: Uint8Array): DataView | undefined {
    if (bytes === this.#bytes) return this.#view ?? this.#meet(bytes)
    this.#bytes = bytes
    this.#view = undefined
    this.#met = 0
    return undefined
  }

  #meet(bytes: Uint8Array): DataView | undefined {
    if (++this.#met < this.#after) return undefined
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
    return this.#view
  }
}
