/**
 * What hangs on a session, as records of the table `sessions` under its key. Their ids begin with what they are:
 *
 *     0            the session itself, JSON
 *     d<sequence>  a delivery, written once; sequences ascend in the order in which deliveries were added
 *     i<packetId>  an inbound QoS 2 packet id
 *     p<sequence>  how far a delivery has come since it was written
 *     s<filter>    a subscription
 *
 * A delivery is one of u8 version, u8 flags (qos in 2 bits, retain 4, shared 8, extra 16, progress 32), then u16 packet
 * id and u8 state if progress, u32 length and JSON if extra, and the message; if shared, the id of a record of
 * the table `messages` instead.
 */
import type { Message } from '../../model/message.ts'
import type { Subscription } from '../../model/subscription.ts'
import type { DeliveryState, SessionDelivery } from '../delivery.ts'
import { type MessageDecoder, type MessageEncoder, qosOf } from './message-record.ts'
import { expectVersion, RecordReader } from './record-reader.ts'
import type { SessionRecord, StoredDelivery } from './storage.ts'

export const SESSION_ID = '0'
export const DELIVERY = 'd'
export const INCOMING = 'i'
export const PROGRESS = 'p'
export const SUBSCRIPTION = 's'

const VERSION = 1
const RETAIN = 4
const SHARED = 8
const EXTRA = 16
const PROGRESSED = 32
const STATES: readonly DeliveryState[] = ['queued', 'sent', 'released']

export interface Progress {
  readonly packetId: number
  readonly state: DeliveryState
}

/** A delivery whose message may be elsewhere. */
export type DeliveryParts = Omit<StoredDelivery, 'message' | 'kept'> & {
  readonly message: Message | undefined
  /** Where `message` is if it is not here. */
  readonly messageId: string
}

/** Rare things of a delivery. */
interface Extra {
  ids?: readonly number[]
  group?: { name: string; filter: string }
}

export function encodeSession(record: SessionRecord): Buffer {
  const { expiryIntervalMs } = record
  // JSON has no Infinity.
  const expiry = expiryIntervalMs === Number.POSITIVE_INFINITY ? 'never' : expiryIntervalMs
  return encodeJson({ ...record, expiryIntervalMs: expiry })
}

export function decodeSession(bytes: Buffer): SessionRecord {
  const record = decodeJson(bytes) as Omit<SessionRecord, 'expiryIntervalMs'> & {
    expiryIntervalMs: number | 'never'
  }
  const { client, expiryIntervalMs, disconnectedAtMs } = record
  if (typeof client?.key !== 'string') throw new SyntaxError('session without a client')
  const expiry = expiryIntervalMs === 'never' ? Number.POSITIVE_INFINITY : expiryIntervalMs
  return {
    client: { ...client, username: client.username, gateway: client.gateway },
    expiryIntervalMs: expiry,
    disconnectedAtMs,
  }
}

export function encodeSubscription(subscription: Subscription): Buffer {
  const { qos, noLocal, retainAsPublished, retainHandling, identifier } = subscription
  const bytes = Buffer.allocUnsafe(6)
  bytes.writeUInt8(VERSION, 0)
  bytes.writeUInt8(qos | (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0) | (retainHandling << 4), 1)
  bytes.writeUInt32BE(identifier, 2)
  return bytes
}

export function decodeSubscription(filter: string, bytes: Buffer): Subscription {
  const reader = readerOf(bytes)
  const flags = reader.u8()
  const retainHandling = flags >> 4
  if (retainHandling > 2) throw new RangeError('subscription with an unknown retain handling')
  return {
    filter,
    qos: qosOf(flags),
    noLocal: (flags & 4) !== 0,
    retainAsPublished: (flags & 8) !== 0,
    retainHandling: retainHandling as Subscription['retainHandling'],
    identifier: reader.u32(),
  }
}

export function encodeIncoming(sinceMs: number): Buffer {
  const bytes = Buffer.allocUnsafe(9)
  bytes.writeUInt8(VERSION, 0)
  bytes.writeDoubleBE(sinceMs, 1)
  return bytes
}

export function decodeIncoming(bytes: Buffer): number {
  return readerOf(bytes).f64()
}

export function encodeProgress({ packetId, state }: Progress): Buffer {
  const bytes = Buffer.allocUnsafe(4)
  bytes.writeUInt8(VERSION, 0)
  writeProgress(bytes, packetId, state, 1)
  return bytes
}

export function decodeProgress(bytes: Buffer): Progress {
  return readProgress(readerOf(bytes))
}

/** @param messageId - of the record that holds the message; undefined = it is to be in here */
export function encodeDelivery(
  delivery: SessionDelivery,
  encoder: MessageEncoder,
  messageId: string | undefined,
): Buffer {
  const { message, packetId, state, subscriptionIds, group } = delivery
  const extra = subscriptionIds === undefined && group === undefined ? undefined : encodeExtra(delivery)
  const hasProgress = packetId !== 0 || state !== 'queued'
  const headBytes = 2 + (hasProgress ? 3 : 0) + (extra === undefined ? 0 : 4 + extra.length)
  const bytes =
    messageId === undefined
      ? encoder.encode(message, headBytes, true)
      : Buffer.allocUnsafe(headBytes + messageId.length)
  bytes.writeUInt8(VERSION, 0)
  bytes.writeUInt8(
    delivery.qos |
      (delivery.retain ? RETAIN : 0) |
      (messageId === undefined ? 0 : SHARED) |
      (extra === undefined ? 0 : EXTRA) |
      (hasProgress ? PROGRESSED : 0),
    1,
  )
  let at = hasProgress ? writeProgress(bytes, packetId, state, 2) : 2
  if (extra !== undefined) {
    at = bytes.writeUInt32BE(extra.length, at)
    bytes.set(extra, at)
  }
  if (messageId !== undefined) bytes.write(messageId, headBytes, 'latin1')
  return bytes
}

export function decodeDelivery(bytes: Buffer, decoder: MessageDecoder): DeliveryParts {
  const reader = readerOf(bytes)
  const flags = reader.u8()
  const { packetId, state }: Progress =
    (flags & PROGRESSED) === 0 ? { packetId: 0, state: 'queued' } : readProgress(reader)
  const extra = (flags & EXTRA) === 0 ? {} : (JSON.parse(reader.text(reader.u32())) as Extra)
  const isShared = (flags & SHARED) !== 0
  return {
    qos: qosOf(flags),
    retain: (flags & RETAIN) !== 0,
    subscriptionIds: extra.ids,
    group: extra.group,
    packetId,
    state,
    message: isShared ? undefined : decoder.decode(reader, ''),
    messageId: isShared ? reader.latin1(reader.bytes.length - reader.at) : '',
  }
}

export function encodeMessage(message: Message, encoder: MessageEncoder): Buffer {
  const bytes = encoder.encode(message, 1, true)
  bytes.writeUInt8(VERSION, 0)
  return bytes
}

export function decodeMessage(bytes: Buffer, decoder: MessageDecoder): Message {
  return decoder.decode(readerOf(bytes), '')
}

/** A record that is JSON: rare ones. */
export function encodeJson(value: unknown): Buffer {
  const json = JSON.stringify(value)
  const bytes = Buffer.allocUnsafe(1 + Buffer.byteLength(json))
  bytes.writeUInt8(VERSION, 0)
  bytes.write(json, 1)
  return bytes
}

export function decodeJson(bytes: Buffer): unknown {
  const reader = readerOf(bytes)
  const value: unknown = JSON.parse(reader.text(bytes.length - reader.at))
  if (typeof value !== 'object' || value === null) throw new SyntaxError('record is not an object')
  return value
}

function readerOf(bytes: Buffer): RecordReader {
  const reader = new RecordReader(bytes)
  expectVersion(reader, VERSION)
  return reader
}

function encodeExtra({ subscriptionIds, group }: SessionDelivery): Buffer {
  const extra: Extra = {}
  if (subscriptionIds !== undefined) extra.ids = subscriptionIds
  if (group !== undefined) extra.group = { name: group.name, filter: group.filter }
  return Buffer.from(JSON.stringify(extra))
}

function writeProgress(bytes: Buffer, packetId: number, state: DeliveryState, at: number): number {
  bytes.writeUInt16BE(packetId, at)
  return bytes.writeUInt8(STATES.indexOf(state), at + 2)
}

function readProgress(reader: RecordReader): Progress {
  const packetId = reader.u16()
  const state = STATES[reader.u8()]
  if (state === undefined) throw new RangeError('delivery in an unknown state')
  return { packetId, state }
}
