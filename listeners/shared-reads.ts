/**
 * Reads from all sockets into one buffer, and copies what has come into slabs, one chunk behind the other (`ReadSlabs`).
 * Node makes a buffer of 64 KB for every read, to be cut down, wrapped and collected, which costs as much as to handle
 * ten packets.
 *
 * This is what Node's own option `onread` does, which only outgoing sockets can be given. The fields it sets are looked
 * for on a socket made with it; where they are not found, sockets are read as usual.
 */
import { Socket } from 'node:net'
import type { FlushQueue } from './flush-queue.ts'
import { type ReadSlab, ReadSlabs } from './read-slabs.ts'

/** As much as Node reads at once. */
const READ_BYTES = 65_536

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

/** Handles `slab.bytes[start..end)`. @returns true if nothing refers to it after this turn: see `TransportHandler.leavesNothing` */
export type OnRead = (slab: ReadSlab, start: number, end: number) => boolean

/** One per process is enough. */
export class SharedReads {
  readonly slabs: ReadSlabs
  readonly #names = findNames()
  readonly #shared = Buffer.allocUnsafeSlow(READ_BYTES)

  /** @param queue - of the outboxes that what was read is passed on to */
  constructor(queue: FlushQueue) {
    this.slabs = new ReadSlabs(queue)
  }

  /**
   * Has `onRead` called with what the socket reads from now on, in place of its 'data' event: `pause`, `resume` and
   * 'end' stay as they are.
   * @returns false if that cannot be, and nothing was changed
   */
  attach(socket: Socket, onRead: OnRead): boolean {
    const inside = socket as unknown as Inside
    // What was read before must come first.
    if (this.#names === undefined || socket.readableLength > 0) return false
    if (typeof inside._handle?.useUserBuffer !== 'function') return false
    inside[this.#names.buffer] = this.#shared
    inside[this.#names.callback] = (bytes: number) => {
      const slab = this.slabs.put(this.#shared, bytes)
      const { used } = slab
      if (!onRead(slab, used - bytes, used)) slab.isKept = true
    }
    inside._handle.useUserBuffer(this.#shared)
    return true
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
