import type { Pace } from '../../../listeners/pace.ts'
import type {
  CloseReason,
  Outbox,
  Transport,
  TransportHandler,
  TransportKind,
} from '../../../listeners/transport.ts'

/** An outbox that keeps everything; `congested` is set by the test. */
export class FakeOutbox implements Outbox {
  congested = false
  room = 1_000_000
  buffer = Buffer.alloc(256)
  #used = 0

  get unsentBytes(): number {
    return this.#used
  }

  get written(): Buffer {
    return this.buffer.subarray(0, this.#used)
  }

  reserve(size: number): number {
    const offset = this.#used
    if (offset + size > this.buffer.length) {
      const larger = Buffer.alloc(2 * (offset + size))
      larger.set(this.written)
      this.buffer = larger
    }
    this.#used += size
    return offset
  }

  append(bytes: Uint8Array): void {
    const offset = this.reserve(bytes.length)
    this.buffer.set(bytes, offset)
  }

  relay(bytes: Uint8Array, start: number, end: number, idAt: number, id: number): void {
    const offset = this.reserve(end - start)
    this.buffer.set(bytes.subarray(start, end), offset)
    if (id !== 0) this.buffer.writeUInt16BE(id, offset + idAt - start)
  }

  /** What was written since the last call. */
  take(): Buffer {
    const bytes = Buffer.from(this.written)
    this.#used = 0
    return bytes
  }
}

/** One peer in memory: `receive` is what it sends, `outbox` what it gets. */
export class FakeTransport implements Transport {
  readonly kind: TransportKind = 'tcp'
  readonly listenerId: string
  readonly peer = { host: '192.0.2.7', port: 50_123 }
  readonly local = { host: '127.0.0.1', port: 61_613 }
  readonly certificate = undefined
  readonly outbox = new FakeOutbox()
  pace: Pace | undefined
  bytesReceived = 0
  bytesSent = 0
  handler: TransportHandler = { onData() {}, onDrain() {}, onClose() {} }
  isPaused = false
  state: 'open' | 'ended' | 'destroyed' = 'open'
  #held: Buffer[] = []

  constructor(listenerId = 'stomp:tcp:default') {
    this.listenerId = listenerId
  }

  /** Bytes from the peer; held back while reading is paused, as a kernel does. */
  receive(bytes: Uint8Array | string): void {
    const chunk = Buffer.from(bytes as string)
    if (this.isPaused) {
      this.#held.push(chunk)
      return
    }
    this.bytesReceived += chunk.length
    this.handler.onData(chunk, 0, chunk.length)
    // This outbox copies what is passed on, so whoever still refers to these bytes has said the wrong thing.
    if (this.handler.leavesNothing === true) chunk.fill(0xfe)
  }

  pause(): void {
    this.isPaused = true
  }

  resume(): void {
    this.isPaused = false
    while (this.#held.length > 0 && !this.isPaused) this.receive(this.#held.shift() as Buffer)
  }

  end(): void {
    if (this.state !== 'open') return
    this.state = 'ended'
    this.pace?.close()
    this.handler.onClose({ kind: 'local' })
  }

  destroy(): void {
    if (this.state !== 'open') return
    this.state = 'destroyed'
    this.pace?.close()
    this.handler.onClose({ kind: 'local' })
  }

  /** The peer is gone. */
  close(reason: CloseReason = { kind: 'peer_closed' }): void {
    this.state = 'ended'
    this.pace?.close()
    this.handler.onClose(reason)
  }

  drain(): void {
    this.outbox.congested = false
    this.handler.onDrain()
  }
}
