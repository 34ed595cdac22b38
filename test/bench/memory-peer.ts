/**
 * MQTT clients in memory, on the broker's own outbox and flush queue: everything from a chunk that came to the bytes
 * that go to the socket, without the socket. What they do themselves allocates next to nothing.
 */
import { BaseTransport } from '../../listeners/base-transport.ts'
import type { FlushQueue } from '../../listeners/flush-queue.ts'
import { TurnBudget } from '../../listeners/turn-budget.ts'
import { silentLogger } from '../../model/log.ts'

const [PUBLISH, PUBREC, PUBREL] = [3, 5, 6]
const MAX_ANSWER_BYTES = 65_536
const ADDRESS = { host: '127.0.0.1', port: 50_000 }
const INFO = {
  kind: 'tcp',
  listenerId: 'tcp:default',
  peer: ADDRESS,
  local: ADDRESS,
  certificate: undefined,
} as const
const LIMITS = { highWatermarkBytes: 16 * 1024 * 1024, sendTimeoutMs: Number.POSITIVE_INFINITY }

/** Counts what is delivered to it, and keeps the acknowledgements until they are asked for. */
export class MemoryPeer extends BaseTransport {
  delivered = 0
  readonly pendingBytes = 0
  readonly #answers = Buffer.alloc(MAX_ANSWER_BYTES)
  #answersEnd = 0

  constructor(flushQueue: FlushQueue) {
    super(INFO, {
      flushQueue,
      turns: new TurnBudget(),
      log: silentLogger,
      limits: LIMITS,
      nolinger: false,
      traffic: { bytesReceived: 0, bytesSent: 0 },
    })
  }

  /** Bytes from the client. The broker is through with them when the turn ends. */
  arrive(bytes: Buffer): void {
    this.receive(bytes)
  }

  /** Sends the acknowledgements of what has come. @returns whether there were any */
  acknowledge(): boolean {
    const end = this.#answersEnd
    if (end === 0) return false
    this.#answersEnd = 0
    this.receive(this.#answers.subarray(0, end))
    return true
  }

  send(piece: Buffer, written: (() => void) | undefined): void {
    this.#take(piece)
    written?.()
  }

  sendAll(pieces: readonly Uint8Array[], written: (() => void) | undefined): void {
    for (const piece of pieces) this.#take(piece)
    written?.()
  }

  pause(): void {}
  resume(): void {}
  protected startReading(): void {}

  protected closeSoftly(): void {
    this.closed({ kind: 'local' })
  }

  protected closeHard(): void {
    this.closed({ kind: 'local' })
  }

  /** Whole packets with a length of one byte: all that these tests make. */
  #take(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += 2 + (bytes[at + 1] ?? 0)) {
      const first = bytes[at] ?? 0
      switch (first >> 4) {
        case PUBLISH: {
          this.delivered++
          const qos = (first >> 1) & 3
          const id = at + 4 + (bytes[at + 3] ?? 0)
          if (qos > 0) this.#answer(qos === 1 ? 0x40 : 0x50, bytes, id)
          break
        }
        case PUBREC:
          this.#answer(0x62, bytes, at + 2)
          break
        case PUBREL:
          this.#answer(0x70, bytes, at + 2)
      }
    }
  }

  #answer(first: number, bytes: Uint8Array, id: number): void {
    const answers = this.#answers
    let at = this.#answersEnd
    answers[at++] = first
    answers[at++] = 2
    answers[at++] = bytes[id] ?? 0
    answers[at++] = bytes[id + 1] ?? 0
    this.#answersEnd = at
  }
}
