/** What the codec's tests share: frames from hex, an outbox to look into, reproducible randomness. */
import { expect } from 'vitest'
import type { Delivery } from '../../../broker/broker.ts'
import { decodePacket } from '../../../broker/mqtt/decode.ts'
import { decodeConnect } from '../../../broker/mqtt/decode-connect.ts'
import { decodePublish, emptyPublish } from '../../../broker/mqtt/decode-publish.ts'
import { frameLength } from '../../../broker/mqtt/frame.ts'
import { MqttError } from '../../../broker/mqtt/mqtt-error.ts'
import {
  type ClientPacket,
  type ConnectPacket,
  PacketType,
  type ProtocolVersion,
  type PublishPacket,
} from '../../../broker/mqtt/packets.ts'
import { TopicCache } from '../../../broker/mqtt/topic-cache.ts'
import type { Outbox } from '../../../listeners/transport.ts'
import type { ErrorCode } from '../../../model/errors.ts'
import { Message, type MessageProperties, type QoS } from '../../../model/message.ts'

export const VERSIONS: readonly ProtocolVersion[] = [3, 4, 5]

/** `'10 02 "ab"'` is 10 02 61 62. */
export function frame(text: string): Buffer {
  const parts = text.match(/"[^"]*"|[0-9a-f]{2}/gi) ?? []
  return Buffer.concat(
    parts.map((part) => (part.startsWith('"') ? Buffer.from(part.slice(1, -1)) : Buffer.from(part, 'hex'))),
  )
}

/** A packet with its remaining length filled in. */
export function packet(header: string, ...body: string[]): Buffer {
  const bytes = frame(body.join(' '))
  const length: number[] = []
  let rest = bytes.length
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    rest >>>= 7
  } while (rest > 0)
  return Buffer.concat([frame(header), Buffer.from(length), bytes])
}

/** A PUBLISH with its payload cut out, so that it can be compared. */
type DecodedPublish = Omit<PublishPacket, 'known' | 'bytes' | 'payloadStart' | 'payloadEnd'> & {
  payload: Buffer
}

/** Cuts and decodes the one packet in `buf`, as a connection would. */
export function decode(
  version: ProtocolVersion,
  buf: Buffer,
  topics = new TopicCache(16),
): Exclude<ClientPacket, PublishPacket> | DecodedPublish {
  expect(frameLength(buf, 0, buf.length, buf.length)).toBe(buf.length)
  if ((buf[0] as number) >> 4 !== PacketType.PUBLISH) return decodePacket(version, buf, 0, buf.length)
  const into = emptyPublish()
  decodePublish(version, buf, 0, buf.length, into, topics)
  const { known, bytes, payloadStart, payloadEnd, ...rest } = into
  expect(known.name).toBe(rest.topic)
  return { ...rest, payload: bytes.subarray(payloadStart, payloadEnd) }
}

export function connect(buf: Buffer): ConnectPacket {
  expect(frameLength(buf, 0, buf.length, buf.length)).toBe(buf.length)
  return decodeConnect(buf, 0, buf.length)
}

/** What was thrown, as codes a connection acts on. */
export function refusal(action: () => unknown): [ErrorCode, number, string] {
  try {
    action()
  } catch (error) {
    if (!(error instanceof MqttError)) throw error
    expect(error.fault).toBe('peer')
    return [error.code, error.reasonCode, error.message]
  }
  throw new Error('nothing was refused')
}

export class TestOutbox implements Outbox {
  congested = false
  unsentBytes = 0
  room = 1_000_000
  buffer = Buffer.alloc(0)
  readonly appended: Uint8Array[] = []
  #pieces: Uint8Array[] = []

  reserve(size: number): number {
    // Not at 0 and with rubbish around, as in a real one.
    this.buffer = Buffer.alloc(size + 7, 0xee)
    this.#pieces.push(this.buffer.subarray(3, 3 + size))
    this.unsentBytes += size
    return 3
  }

  append(bytes: Uint8Array): void {
    this.appended.push(bytes)
    this.#pieces.push(bytes)
    this.unsentBytes += bytes.length
  }

  relay(bytes: Uint8Array, start: number, end: number, idAt: number, id: number): void {
    const offset = this.reserve(end - start)
    this.buffer.set(bytes.subarray(start, end), offset)
    if (id !== 0) this.buffer.writeUInt16BE(id, offset + idAt - start)
  }

  take(): Buffer {
    const all = Buffer.concat(this.#pieces)
    this.#pieces = []
    this.unsentBytes = 0
    return all
  }
}

export function message(
  topic: string,
  payload: Uint8Array | string,
  properties?: MessageProperties,
): Message {
  return Message.of(topic, Buffer.from(payload), 2, false, properties, undefined, 0)
}

export function delivery(of: Message, more: Partial<Delivery> & { qos?: QoS } = {}): Delivery {
  const qos = more.qos ?? 0
  return {
    message: of,
    qos,
    retain: false,
    dup: false,
    packetId: qos === 0 ? 0 : 0x1234,
    subscriptionIds: undefined,
    ...more,
  }
}

/** Reproducible randomness (mulberry32). */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed
  }

  /** 0 to `below` - 1 */
  int(below: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0
    let t = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * below)
  }

  pick<T>(from: readonly T[]): T {
    return from[this.int(from.length)] as T
  }

  maybe<T>(value: () => T): T | undefined {
    return this.int(2) === 0 ? undefined : value()
  }

  bytes(maxLength: number): Buffer {
    return Buffer.from(Array.from({ length: this.int(maxLength + 1) }, () => this.int(256)))
  }

  /** Text of all lengths of UTF-8 sequences, at least one character. */
  text(maxLength = 20): string {
    const alphabet = Array.from('abcxyz019 /-_äöüñλжש中文字🙂🚀\ufeff')
    return Array.from({ length: 1 + this.int(maxLength) }, () => this.pick(alphabet)).join('')
  }
}
