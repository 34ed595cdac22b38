/**
 * The beginning of a frame whose rest has not come. Grows by doubling, so gathering costs in proportion to the
 * bytes, and is never written over: decoded frames hold slices of it.
 */
export class Unread {
  #buffer = EMPTY
  #end = 0

  get byteLength(): number {
    return this.#end
  }

  get isEmpty(): boolean {
    return this.#end === 0
  }

  bytes(): Buffer {
    return this.#buffer.subarray(0, this.#end)
  }

  append(chunk: Uint8Array): void {
    const needed = this.#end + chunk.length
    if (needed > this.#buffer.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(needed, 2 * this.#buffer.length))
      larger.set(this.bytes())
      this.#buffer = larger
    }
    this.#buffer.set(chunk, this.#end)
    this.#end = needed
  }

  /** Keeps what is behind `from` in `bytes`, and nothing else. `wanted` = how much it will be in all, 0 = unknown. */
  keep(bytes: Buffer, from: number, wanted: number): void {
    const isOurs = bytes.buffer === this.#buffer.buffer
    if (isOurs && from === 0 && bytes.length === this.#end) return
    const rest = bytes.length - from
    this.#end = 0
    this.#buffer = rest <= 0 ? EMPTY : Buffer.allocUnsafeSlow(Math.max(rest, wanted))
    if (rest > 0) this.append(bytes.subarray(from))
  }
}

const EMPTY = Buffer.alloc(0)
