import { isUtf8 } from 'node:buffer'
import type { Duplex } from 'node:stream'
import type { WebSocket } from 'ws'
import { BrokerError } from '../model/errors.ts'
import { BaseTransport, type TransportContext, type TransportInfo } from './base-transport.ts'

/** What of a WebSocket is taken and sent. */
export type WebSocketFrames = 'binary' | 'text' | 'any'

export interface WebSocketSettings {
  /** `binary` refuses text frames; `text` and `any` take both: `text` answers in text where the bytes are UTF-8. */
  frames: WebSocketFrames
  /** A peer from which nothing came for so long is closed. `Infinity` = never. */
  idleTimeoutMs: number
}

const UNSUPPORTED_DATA = 1003
const MESSAGE_TOO_BIG = 1009
/** Of one chunk, compressed: 64 KB of it may unfold to a thousand times as much. */
const MAX_HELD_BYTES = 16 * 1024 * 1024
const BINARY = { binary: true, fin: true }
const TEXT = { binary: false, fin: true }

/**
 * A WebSocket peer, seen as a stream of bytes [MQTT-4.2.0-1]: what gathers in a turn leaves as one message.
 * Only a batch with large pieces leaves as several, as frame boundaries mean nothing there [MQTT-6.0.0-2].
 * Hand over the WebSocket paused; it is read once there is a handler.
 */
export class WsTransport extends BaseTransport {
  /** What the handshake agreed on, '' = none. */
  readonly subprotocol: string
  /** Path and query of the request. */
  readonly url: string
  readonly #ws: WebSocket
  readonly #socket: Duplex
  readonly #settings: WebSocketSettings
  readonly #idleTimer: NodeJS.Timeout | undefined
  /** ws reads all messages of a chunk at once: those that come while paused wait here. */
  #held: Buffer[] = []
  #heldBytes = 0
  #paused = false

  constructor(
    ws: WebSocket,
    socket: Duplex,
    url: string,
    settings: WebSocketSettings,
    info: TransportInfo,
    context: TransportContext,
  ) {
    super(info, context)
    this.#ws = ws
    this.#socket = socket
    this.#settings = settings
    this.subprotocol = ws.protocol
    this.url = url
    this.#idleTimer = this.#watchIdle(settings.idleTimeoutMs)
    ws.on('error', (error) => this.#broken(error))
    ws.on('close', () => this.#gone())
  }

  get pendingBytes(): number {
    return this.#ws.bufferedAmount
  }

  send(piece: Uint8Array, written: (() => void) | undefined): void {
    const options = this.#settings.frames === 'text' && isUtf8(piece) ? TEXT : BINARY
    this.#ws.send(piece, options, written)
  }

  sendAll(pieces: readonly Uint8Array[], written: (() => void) | undefined): void {
    // Text is read message by message, so it must not be cut.
    if (this.#settings.frames === 'text') return this.send(Buffer.concat(pieces), written)
    this.#socket.cork()
    const last = pieces.length - 1
    for (let i = 0; i <= last; i++)
      this.#ws.send(pieces[i] as Uint8Array, BINARY, i === last ? written : undefined)
    this.#socket.uncork()
  }

  pause(): void {
    if (this.ending) return
    this.#paused = true
    this.#ws.pause()
  }

  resume(): void {
    if (this.ending || !this.#paused) return
    this.#paused = false
    if (this.#held.length === 0) this.#ws.resume()
    else process.nextTick(() => this.#deliverHeld())
  }

  protected startReading(): void {
    const alive = (): void => void this.#idleTimer?.refresh()
    this.#ws.on('message', (data, isBinary) => this.#onMessage(data as Buffer, isBinary))
    this.#ws.on('ping', alive)
    this.#ws.on('pong', alive)
    if (!this.#paused) this.#ws.resume()
  }

  protected closeSoftly(): void {
    this.#held = []
    this.#ws.close(1000)
    this.#ws.resume() // the peer's close frame is to be read
  }

  protected closeHard(): void {
    this.#ws.terminate()
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (this.ending) return
    this.#idleTimer?.refresh()
    if (!isBinary && this.#settings.frames === 'binary') {
      // [MQTT-6.0.0-1] MQTT travels in binary frames; anything else closes the connection.
      const error = new BrokerError('PROTOCOL_VIOLATED', 'a text frame on a listener for binary frames')
      return this.#refuse(UNSUPPORTED_DATA, error)
    }
    if (this.#paused || this.#held.length > 0) this.#hold(data)
    else this.receive(data)
  }

  #hold(data: Buffer): void {
    this.#held.push(data)
    this.#heldBytes += data.length
    if (this.#heldBytes <= MAX_HELD_BYTES) return
    this.#held = []
    const text = 'too many bytes sent while earlier ones were being handled'
    this.#refuse(MESSAGE_TOO_BIG, new BrokerError('LIMIT_EXCEEDED', text))
  }

  #deliverHeld(): void {
    const held = this.#held
    let next = 0
    while (!this.#paused && !this.ending && next < held.length) {
      const data = held[next++] as Buffer
      this.#heldBytes -= data.length
      this.receive(data)
    }
    held.splice(0, next)
    if (!this.#paused && !this.ending) this.#ws.resume()
  }

  #watchIdle(timeoutMs: number): NodeJS.Timeout | undefined {
    if (timeoutMs === Number.POSITIVE_INFINITY) return undefined
    const text = `nothing came for idle_timeout (${timeoutMs} ms)`
    return setTimeout(() => {
      // While we do not read, the peer's silence means nothing.
      if (this.#paused) return void this.#idleTimer?.refresh()
      this.endBecause({ kind: 'error', error: new BrokerError('LIMIT_EXCEEDED', text) })
    }, timeoutMs)
  }

  /** ws sends the close frame for what it finds wrong itself: bad frames, too large ones. */
  #broken(error: Error): void {
    this.endBecause({ kind: 'error', error })
  }

  #refuse(code: number, error: Error): void {
    this.#ws.close(code)
    this.endBecause({ kind: 'error', error })
  }

  #gone(): void {
    clearTimeout(this.#idleTimer)
    this.closed({ kind: 'peer_closed' })
  }
}
