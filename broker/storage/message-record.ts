/**
 * A message as bytes. It is part of a delivery, a retained message or a shared message:
 *
 *     u8   flags: qos (2 bits), retain 4, publisher 8, properties 16, expiry 32, topic 64
 *     f64  timestampMs
 *     f64  expiresAtMs                   if expiry
 *     u32  length, topic                 if topic: a retained message has it in its key
 *     u32  length, publisher as JSON     if publisher
 *     u32  length, properties as JSON    if properties, correlation data in base64
 *          payload
 */
import type { ClientInfo } from '../../model/client-info.ts'
import { Message, type MessageProperties, type QoS } from '../../model/message.ts'
import { PayloadSlab } from '../../model/payload-slab.ts'
import { decodePublisher, encodePublisher } from './client-record.ts'
import type { RecordReader } from './record-reader.ts'

const RETAIN = 4
const PUBLISHER = 8
const PROPERTIES = 16
const EXPIRY = 32
const TOPIC = 64

/** Encodes messages behind what their records begin with. */
export class MessageEncoder {
  /** Almost every message has a publisher, and publishers are few. */
  readonly #publishers = new WeakMap<ClientInfo, Buffer>()

  /**
   * @param headBytes - how many bytes to leave in front of the message
   * @param hasTopic - false where the reader has it from somewhere else
   */
  encode(message: Message, headBytes: number, hasTopic: boolean): Buffer {
    const { topic, publisher, properties, expiresAtMs, bytes, start, end } = message
    const from = publisher === undefined ? undefined : this.#publisher(publisher)
    const more = properties === undefined ? undefined : encodeProperties(properties)
    const topicBytes = hasTopic ? Buffer.byteLength(topic) : 0
    const size =
      headBytes +
      9 +
      (expiresAtMs === 0 ? 0 : 8) +
      (hasTopic ? 4 + topicBytes : 0) +
      (from === undefined ? 0 : 4 + from.length) +
      (more === undefined ? 0 : 4 + more.length) +
      (end - start)
    const record = Buffer.allocUnsafe(size)
    let at = record.writeUInt8(flagsOf(message, hasTopic), headBytes)
    at = record.writeDoubleBE(message.timestampMs, at)
    if (expiresAtMs !== 0) at = record.writeDoubleBE(expiresAtMs, at)
    if (hasTopic) {
      at = record.writeUInt32BE(topicBytes, at)
      at += record.write(topic, at)
    }
    if (from !== undefined) at = writeBlock(record, from, at)
    if (more !== undefined) at = writeBlock(record, more, at)
    record.set(start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end), at)
    return record
  }

  #publisher(publisher: ClientInfo): Buffer {
    let encoded = this.#publishers.get(publisher)
    if (encoded === undefined) {
      encoded = Buffer.from(encodePublisher(publisher))
      this.#publishers.set(publisher, encoded)
    }
    return encoded
  }
}

/** Decodes messages; what many of them have in common is made once. */
export class MessageDecoder {
  readonly #slab = new PayloadSlab()
  readonly #publishers = new Map<string, ClientInfo>()

  /**
   * Reads up to the end of the record.
   * @param topicOfKey - taken if the record has none of its own
   * @throws RangeError, SyntaxError
   */
  decode(reader: RecordReader, topicOfKey: string): Message {
    const flags = reader.u8()
    const timestampMs = reader.f64()
    const expiresAtMs = (flags & EXPIRY) === 0 ? 0 : reader.f64()
    const topic = (flags & TOPIC) === 0 ? topicOfKey : reader.text(reader.u32())
    const publisher = (flags & PUBLISHER) === 0 ? undefined : this.#publisher(reader)
    const properties = (flags & PROPERTIES) === 0 ? undefined : decodeProperties(reader.text(reader.u32()))
    if (reader.at > reader.bytes.length || topic === '') throw new RangeError('record is cut short')
    const message = Message.of(
      topic,
      reader.bytes,
      qosOf(flags),
      (flags & RETAIN) !== 0,
      properties,
      publisher,
      timestampMs,
      reader.at,
    )
    message.expiresAtMs = expiresAtMs
    message.own(this.#slab)
    return message
  }

  /** Everything has been read: publishers live as long as their messages do. */
  forget(): void {
    this.#publishers.clear()
  }

  #publisher(reader: RecordReader): ClientInfo {
    const length = reader.u32()
    const encoded = reader.latin1(length)
    let publisher = this.#publishers.get(encoded)
    if (publisher === undefined) {
      publisher = decodePublisher(Buffer.from(encoded, 'latin1').toString())
      this.#publishers.set(encoded, publisher)
    }
    return publisher
  }
}

/** @throws RangeError */
export function qosOf(flags: number): QoS {
  const qos = flags & 3
  if (qos === 3) throw new RangeError('record has QoS 3')
  return qos as QoS
}

export function encodeProperties(properties: MessageProperties): Buffer {
  const { correlationData } = properties
  if (correlationData === undefined) return Buffer.from(JSON.stringify(properties))
  return Buffer.from(JSON.stringify({ ...properties, correlationData: base64(correlationData) }))
}

export function decodeProperties(json: string): MessageProperties {
  const properties = JSON.parse(json) as MessageProperties & { correlationData?: string | Uint8Array }
  const { correlationData } = properties
  if (typeof correlationData === 'string') properties.correlationData = Buffer.from(correlationData, 'base64')
  return properties
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}

function flagsOf(message: Message, hasTopic: boolean): number {
  return (
    message.qos |
    (message.retain ? RETAIN : 0) |
    (message.publisher === undefined ? 0 : PUBLISHER) |
    (message.properties === undefined ? 0 : PROPERTIES) |
    (message.expiresAtMs === 0 ? 0 : EXPIRY) |
    (hasTopic ? TOPIC : 0)
  )
}

function writeBlock(record: Buffer, block: Buffer, at: number): number {
  const behind = record.writeUInt32BE(block.length, at)
  record.set(block, behind)
  return behind + block.length
}
