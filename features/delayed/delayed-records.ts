/**
 * Delayed messages in the storage, in the order of their ids:
 *
 *     key    id, sixteen digits
 *     value  f64  dueAtMs
 *            u16  length, the topic it is for
 *            the message as it came: see broker/storage/message-record.ts
 */
import { MessageDecoder, MessageEncoder } from '../../broker/storage/message-record.ts'
import { RecordReader } from '../../broker/storage/record-reader.ts'
import type { RecordTable } from '../../broker/storage/storage.ts'
import type { DelayedMessage } from './delayed.ts'

const KEY_DIGITS = 16

export class DelayedRecords {
  readonly #table: RecordTable
  readonly #encoder = new MessageEncoder()

  constructor(table: RecordTable) {
    this.#table = table
  }

  put({ id, topic, dueAtMs, message }: DelayedMessage): void {
    const topicBytes = Buffer.byteLength(topic)
    const record = this.#encoder.encode(message, 10 + topicBytes, true)
    record.writeDoubleBE(dueAtMs, 0)
    record.writeUInt16BE(topicBytes, 8)
    record.write(topic, 10)
    this.#table.put(keyOf(id), record)
  }

  delete(id: number): void {
    this.#table.delete(keyOf(id))
  }

  /** @yields undefined for what cannot be read: it is deleted */
  async *load(): AsyncGenerator<DelayedMessage | undefined> {
    const decoder = new MessageDecoder()
    const unreadable: string[] = []
    for await (const [key, value] of this.#table.load()) {
      const delayed = decode(key, value, decoder)
      if (delayed === undefined) unreadable.push(key)
      yield delayed
    }
    for (const key of unreadable) this.#table.delete(key)
  }
}

function keyOf(id: number): string {
  return String(id).padStart(KEY_DIGITS, '0')
}

function decode(key: string, value: Uint8Array, decoder: MessageDecoder): DelayedMessage | undefined {
  const reader = new RecordReader(Buffer.from(value.buffer, value.byteOffset, value.length))
  try {
    const dueAtMs = reader.f64()
    const topic = reader.text(reader.u16())
    return { id: Number(key), topic, dueAtMs, message: decoder.decode(reader, '') }
  } catch {
    return undefined
  }
}
