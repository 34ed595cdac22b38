import type { Socket } from 'node:net'
import { BaseTransport, type TransportContext, type TransportInfo } from './base-transport.ts'
import type { SharedReads } from './shared-reads.ts'
import type { PutOff, TurnBudget } from './turn-budget.ts'

/** A TCP or TLS peer. The socket must have been accepted with `allowHalfOpen`. */
export class StreamTransport extends BaseTransport implements PutOff {
  readonly #socket: Socket
  readonly #nolinger: boolean
  readonly #turns: TurnBudget
  readonly #reads: SharedReads | undefined
  #paused = false
  /** Read too late in a turn; the socket is paused meanwhile. */
  #held: Buffer[] = []

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
    for (const chunk of held) {
      this.#turns.admits(chunk.length)
      this.receive(chunk)
    }
    if (!this.#paused && !this.ending) this.#socket.resume()
  }

  protected startReading(): void {
    const socket = this.#socket
    const read = (bytes: Buffer, start: number, end: number) => this.#read(bytes, start, end)
    // TLS and WebSocket have buffers of their own.
    if (this.kind !== 'tcp' || this.#reads?.attach(socket, read) !== true)
      socket.on('data', (chunk: Buffer) => this.#read(chunk, 0, chunk.length))
    // The peer sends no more, but may still read: answers to its last packets go out first.
    socket.on('end', () => this.endBecause({ kind: 'peer_closed' }))
    if (this.#paused) socket.pause()
    else socket.resume()
  }

  #read(bytes: Buffer, start: number, end: number): void {
    if (this.#held.length === 0 && this.#turns.admits(end - start)) return this.receive(bytes, start, end)
    this.#held.push(bytes.subarray(start, end))
    if (this.#held.length > 1) return
    this.#socket.pause()
    this.#turns.wait(this)
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
