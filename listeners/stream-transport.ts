import type { Socket } from 'node:net'
import { BaseTransport, type TransportContext, type TransportInfo } from './base-transport.ts'

/** A TCP or TLS peer. The socket must have been accepted with `allowHalfOpen`. */
export class StreamTransport extends BaseTransport {
  readonly #socket: Socket
  readonly #nolinger: boolean
  #paused = false

  constructor(socket: Socket, info: TransportInfo, context: TransportContext) {
    super(info, context)
    this.#socket = socket
    this.#nolinger = context.nolinger
    socket.on('error', (error) => this.destroyBecause({ kind: 'error', error }))
    socket.on('close', () => this.closed({ kind: 'peer_closed' }))
  }

  get pendingBytes(): number {
    return this.#socket.writableLength
  }

  send(piece: Buffer, written: (() => void) | undefined): void {
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
    if (!this.ending) this.#socket.resume()
  }

  protected startReading(): void {
    const socket = this.#socket
    socket.on('data', (chunk: Buffer) => this.receive(chunk))
    // The peer sends no more, but may still read: answers to its last packets go out first.
    socket.on('end', () => this.endBecause({ kind: 'peer_closed' }))
    if (!this.#paused) socket.resume()
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
