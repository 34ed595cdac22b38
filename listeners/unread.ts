/**
 * Frames of so many bytes are handled in a row, then others have their turn. More than a socket gives at a time,
 * so it only concerns WebSocket messages and what had to wait.
 */
export const MAX_TURN_BYTES = 131_072

/**
 * The beginning of a frame whose rest has not come, or frames that have to wait. Grows by doubling and moves
 * only when half of it is used up, so gathering and taking away cost in proportion to the bytes; and is never
 * written over: decoded frames hold slices of it.
 */
export class Unread {
  #buffer = EMPTY
  #start = 0
  #end = 0
  /** How many bytes the frame that it begins with has in all, 0 = unknown. */
  #wanted = 0

  get byteLength(): number {
    return this.#end - this.#start
  }

  get isEmpty(): boolean {
    return this.#end === this.#start
  }

  bytes(): Buffer {
    return this.#buffer.subarray(this.#start, this.#end)
  }

  /**
   * Adds to the beginning of a frame what is missing of it, or everything where that is not known: all that can be handled
   * where it is needs no copy.
   * @returns where the rest of `bytes[start..end)` begins
   */
  complete(bytes: Uint8Array, start: number, end: number): number {
    const missing = this.#wanted - this.byteLength
    const to = missing > 0 ? Math.min(end, start + missing) : end
    this.append(bytes.subarray(start, to))
    return to
  }

  append(chunk: Uint8Array): void {
    if (this.#end + chunk.length > this.#buffer.length) {
      const held = this.bytes()
      this.#replace(held, Math.max(held.length + chunk.length, 2 * held.length))
    }
    this.#buffer.set(chunk, this.#end)
    this.#end += chunk.length
  }

  /**
   * Keeps `bytes[from..end)`, and nothing else.
   * @param wanted - how much it will be in all as its header says, 0 = unknown. Room is made for it only in
   *   proportion to what has come: an announced length must not cost memory
   */
  keep(bytes: Buffer, from: number, end: number, wanted: number): void {
    const rest = end - from
    this.#wanted = rest === 0 ? 0 : wanted
    if (rest === 0) return this.#replace(EMPTY, 0)
    const isOurs = bytes.buffer === this.#buffer.buffer && bytes.length === this.byteLength
    if (isOurs && (from === 0 || 2 * rest > this.#buffer.length)) this.#start += from
    else this.#replace(bytes.subarray(from, end), Math.max(rest, Math.min(wanted, roomFor(rest))))
  }

  #replace(content: Uint8Array, size: number): void {
    const buffer = size === 0 ? EMPTY : Buffer.allocUnsafeSlow(size)
    buffer.set(content)
    this.#buffer = buffer
    this.#start = 0
    this.#end = content.length
  }
}

const EMPTY = Buffer.alloc(0)
const LEAST_ROOM_BYTES = 4096

function roomFor(bytes: number): number {
  return Math.max(LEAST_ROOM_BYTES, 2 * bytes)
}
