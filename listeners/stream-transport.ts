import type { Socket } from 'node:net'
import { BaseTransport, type TransportContext, type TransportInfo } from './base-transport.ts'
import type { ReadSlab } from './read-slabs.ts'
import type { SharedReads } from './shared-reads.ts'
import type { PutOff, TurnBudget } from './turn-budget.ts'

/** Bytes whose turn has not come. */
interface Held {
  bytes: Buffer
  start: number
  end: number
  /** What they lie in, if that is to be used again. */
  slab: ReadSlab | undefined
}

/** A TCP or TLS peer. The socket must have been accepted with `allowHalfOpen`. */
export class StreamTransport extends BaseTransport implements PutOff {
  readonly #socket: Socket
  readonly #nolinger: boolean
  readonly #turns: TurnBudget
  readonly #reads: SharedReads | undefined
  #paused = false
  /** Read too late in a turn; the socket is paused meanwhile. */
  #held: Held[] = []

  constructor(socket: Socket, info: TransportInfo, context: TransportContext) {
    super(info, context)
    this.#socket = socket
    this.#nolinger = context.nolinger
    this.#turns = context.turns
    this.#reads = context.reads
    socket.on('error', (error) => this.destroyBecause({ kind: 'error', error }))
    socket.on('close', () => this.closed({ kind: 'peer_closed' }))
  }

  get pendingBytes(): number {
    return this.#socket.writableLength
  }

  send(piece: Uint8Array, written: (() => void) | undefined): void {
    if (written === undefined) this.#socket.write(piece)
    else this.#socket.write(piece, written)
  }

  sendAll(pieces: readonly Uint8Array[], written: (() => void) | undefined): void {
    this.#socket.cork()
    const last = pieces.length - 1
    for (let i = 0; i <= last; i++)
      this.#socket.write(pieces[i] as Uint8Array, i === last ? written : undefined)
    this.#socket.uncork()
  }

  pause(): void {
    this.#paused = true
    if (!this.ending) this.#socket.pause()
  }

  resume(): void {
    this.#paused = false
    // Else its turn comes, and the socket goes on then.
    if (!this.ending && this.#held.length === 0) this.#socket.resume()
  }

  /** Its turn has come to handle what was read too late. */
  goOn(): void {
    // Whoever has paused it meanwhile gets the rest after `resume`.
    if (this.#paused && !this.ending) return this.#turns.wait(this)
    const held = this.#held
    this.#held = []
    for (const { bytes, start, end, slab } of held) {
      this.#turns.admits(end - start)
      if (slab !== undefined) this.#reads?.slabs.handBack(slab)
      if (!this.receive(bytes, start, end) && slab !== undefined) slab.isKept = true
    }
    if (!this.#paused && !this.ending) this.#socket.resume()
  }

  protected startReading(): void {
    const socket = this.#socket
    const read = (slab: ReadSlab, start: number, end: number) => this.#read(slab.bytes, start, end, slab)
    // TLS and WebSocket have buffers of their own.
    if (this.kind !== 'tcp' || this.#reads?.attach(socket, read) !== true)
      socket.on('data', (chunk: Buffer) => this.#read(chunk, 0, chunk.length, undefined))
    // The peer sends no more, but may still read: answers to its last packets go out first.
    socket.on('end', () => this.endBecause({ kind: 'peer_closed' }))
    if (this.#paused) socket.pause()
    else socket.resume()
  }

  /** @returns true if nothing refers to these bytes after this turn, but what is held */
  #read(bytes: Buffer, start: number, end: number, slab: ReadSlab | undefined): boolean {
    if (this.#held.length === 0 && this.#turns.admits(end - start)) return this.receive(bytes, start, end)
    if (slab !== undefined) this.#reads?.slabs.hold(slab)
    this.#held.push({ bytes, start, end, slab })
    if (this.#held.length === 1) {
      this.#socket.pause()
      this.#turns.wait(this)
    }
    return true
  }

  protected closeSoftly(): void {
    this.#socket.end()
    // Unread bytes would turn our FIN into RST, and the peer would lose what we sent last.
    this.#socket.resume()
  }

  protected closeHard(): void {
    // TLS sockets cannot be reset in Node; theirs is closed with FIN.
    if (this.#nolinger && this.kind === 'tcp') this.#socket.resetAndDestroy()
    else this.#socket.destroy()
  }
}
