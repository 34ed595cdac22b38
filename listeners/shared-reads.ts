/**
 * Reads from all sockets into one buffer, and copies what has come one behind the other. Node makes a buffer of
 * 64 KB for every read, to be cut down, wrapped and collected, which costs as much as to handle ten packets.
 *
 * This is what Node's own option `onread` does, which only outgoing sockets can be given. The fields it sets are looked
 * for on a socket made with it; where they are not found, sockets are read as usual.
 */
import { Socket } from 'node:net'

/** As much as Node reads at once. */
const READ_BYTES = 65_536
/** What has come lies in slabs of this size, each of which lives as long as somebody holds a piece of it. */
const SLAB_BYTES = 65_536

/** Node's own names for what `onread` has set. */
interface Names {
  readonly buffer: symbol
  readonly callback: symbol
}

/** The inside of a socket. */
interface Inside {
  _handle?: { useUserBuffer?(buffer: Uint8Array): void } | null
  [name: symbol]: unknown
}

/** One per process is enough. */
export class SharedReads {
  readonly #names = findNames()
  readonly #shared = Buffer.allocUnsafeSlow(READ_BYTES)
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  #used = 0

  /**
   * Has `onBytes` called with what the socket reads from now on, in place of its 'data' event: `pause`, `resume` and
   * 'end' stay as they are. `bytes[start..end)` is never written to again.
   * @returns false if that cannot be, and nothing was changed
   */
  attach(socket: Socket, onBytes: (bytes: Buffer, start: number, end: number) => void): boolean {
    const inside = socket as unknown as Inside
    // What was read before must come first.
    if (this.#names === undefined || socket.readableLength > 0) return false
    if (typeof inside._handle?.useUserBuffer !== 'function') return false
    inside[this.#names.buffer] = this.#shared
    inside[this.#names.callback] = (bytes: number) => {
      this.#take(bytes)
      onBytes(this.#slab, this.#used - bytes, this.#used)
    }
    inside._handle.useUserBuffer(this.#shared)
    return true
  }

  #take(bytes: number): void {
    if (this.#used + bytes > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.#used = 0
    }
    this.#shared.copy(this.#slab, this.#used, 0, bytes)
    this.#used += bytes
  }
}

function findNames(): Names | undefined {
  const buffer = Buffer.alloc(1)
  const callback = () => true
  const probe = new Socket({ onread: { buffer, callback } } as object)
  const inside = probe as unknown as Inside
  const named = (value: unknown) =>
    Object.getOwnPropertySymbols(inside).find((name) => inside[name] === value)
  const names = { buffer: named(buffer), callback: named(callback) }
  probe.destroy()
  if (names.buffer === undefined || names.callback === undefined) return undefined
  return { buffer: names.buffer, callback: names.callback }
}
