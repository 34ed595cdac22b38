/**
 * Reads from sockets into one buffer that all of them share, and copies what has come into slabs. Node makes a buffer of
 * 64 KB for every read, to be cut down, wrapped and collected, which costs more than to handle the packets in it.
 *
 * This is what Node's own option `onread` does, which only outgoing sockets can be given; the fields that it sets are
 * looked up on a socket made with it. Where they are not found, sockets are read as usual.
 */
import { Socket } from 'node:net'

/** What libuv asks for. */
const READ_BYTES = 65_536
/** Chunks are copied one behind the other into slabs of this size, which live as long as somebody holds one of them. */
const SLAB_BYTES = 65_536

type Fields = { [field: symbol]: unknown }
interface Handle {
  useUserBuffer(buffer: Uint8Array): void
}

/** Node's own fields for `onread`. */
interface OnReadFields {
  readonly buffer: symbol
  readonly callback: symbol
}

/** One per process is enough. */
export class SharedReads {
  readonly #fields = findFields()
  readonly #shared = Buffer.allocUnsafeSlow(READ_BYTES)
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  #used = 0

  /**
   * Has `onChunk` called with what the socket reads from now on, in place of its 'data' events. Chunks are never written to
   * again. To be called before the socket reads, which `resume` starts.
   * @returns false if this version of Node cannot, and nothing was changed
   */
  attach(socket: Socket, onChunk: (chunk: Buffer) => void): boolean {
    const { _handle: handle } = socket as unknown as { _handle?: Partial<Handle> | null }
    if (this.#fields === undefined || typeof handle?.useUserBuffer !== 'function') return false
    const fields = socket as unknown as Fields
    fields[this.#fields.buffer] = this.#shared
    fields[this.#fields.callback] = (bytes: number) => onChunk(this.#take(bytes))
    handle.useUserBuffer(this.#shared)
    return true
  }

  #take(bytes: number): Buffer {
    if (this.#used + bytes > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.#used = 0
    }
    const chunk = this.#slab.subarray(this.#used, this.#used + bytes)
    this.#used += bytes
    if (bytes === READ_BYTES) chunk.set(this.#shared)
    else this.#shared.copy(chunk, 0, 0, bytes)
    return chunk
  }
}

function findFields(): OnReadFields | undefined {
  const buffer = Buffer.alloc(1)
  const callback = () => true
  const probe = new Socket({ onread: { buffer, callback } } as object)
  const fields = probe as unknown as Fields
  const symbols = Object.getOwnPropertySymbols(probe)
  const bufferField = symbols.find((symbol) => fields[symbol] === buffer)
  const callbackField = symbols.find((symbol) => fields[symbol] === callback)
  probe.destroy()
  if (bufferField === undefined || callbackField === undefined) return undefined
  return { buffer: bufferField, callback: callbackField }
}
