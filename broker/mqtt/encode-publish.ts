/**
 * PUBLISH to a client (MQTT 5.0 §3.3), written straight into its outbox. Where a message goes to many, its
 * bytes are the same for all who want the same form of it (version, RETAIN, QoS), but for packet
 * id and DUP: once a form was wanted a few times, its bytes are kept in `message.wire` and copied.
 */
import type { Outbox } from '../../listeners/transport.ts'
import { copyBytes } from '../../model/copy-bytes.ts'
import type { Message, MessageProperties } from '../../model/message.ts'
import type { Delivery } from '../broker.ts'
import { bodyStart, MAX_PACKET_BYTES } from './frame.ts'
import type { ProtocolVersion } from './packets.ts'
import { binaryLength, putUserProperties, stringLength, userPropertiesLength } from './properties.ts'
import type { TopicBytes } from './topic-bytes.ts'
import { putBinary, putString, putU16, putU32, putVarint, utf8Length, varintLength } from './write.ts'

/** From here on a payload is handed to the outbox as it is: copying it would cost more than a second buffer in the write. */
export const MAX_COPIED_PAYLOAD_BYTES = 16_384

/** Deliveries of a form until its bytes are kept: for two or three subscribers keeping costs more than it saves. */
const MAX_UNSHARED = 3

const MAX_TOPIC_BYTES = 65_535
const MAX_U32 = 0xffff_ffff
const DUP = 8

/**
 * Writes one delivery.
 * @param topic - as the client is to see it; '' if `topicAlias` stands for it
 * @param topicAlias - 0 = none. Only for version 5.
 * @param maxPacketSize - the client's, in bytes of the whole packet; Infinity if it told none
 * @param nowMs - Unix time in milliseconds, to tell what is left of the message's expiry interval
 * @param topics - makes it quicker where the same topics come again and again
 * @returns false, with nothing written, if the packet would be larger than `maxPacketSize` [MQTT-3.1.2-24]
 *   or a string in it longer than MQTT can express
 */
export function writePublish(
  outbox: Outbox,
  version: ProtocolVersion,
  delivery: Delivery,
  topic: string,
  topicAlias: number,
  maxPacketSize: number,
  nowMs: number,
  topics?: TopicBytes,
): boolean {
  const { message } = delivery
  if (message.packetAt >= 0 && isAsItCame(delivery, version, topic, topicAlias)) {
    const start = message.packetAt >> 1
    if (message.end - start > maxPacketSize) return false
    const idAt = message.start - (version === 5 ? 3 : 2) // the properties, none, are one byte
    outbox.relay(message.bytes, start, message.end, idAt, delivery.packetId)
    return true
  }
  // What differs from one client or moment to the next cannot be shared.
  if (
    version === 5 &&
    (message.expiresAtMs !== 0 || topicAlias !== 0 || delivery.subscriptionIds !== undefined)
  ) {
    return writeDirectly(outbox, version, delivery, topic, topicAlias, maxPacketSize, nowMs, topics)
  }
  const form = formOf(message, version, delivery, topic)
  return form === undefined
    ? writeDirectly(outbox, version, delivery, topic, 0, maxPacketSize, nowMs, topics)
    : writeForm(outbox, form, delivery, maxPacketSize)
}

/**
 * Notes that plain subscribers of the same version and QoS get the very packet that the message came in, but for
 * its packet id: neither RETAIN nor DUP, no properties.
 * @param start - where it begins in `message.bytes`
 */
export function canBeRelayed(message: Message, start: number, version: ProtocolVersion): void {
  message.packetAt = start * 2 + (version === 5 ? 1 : 0)
}

function isAsItCame(
  delivery: Delivery,
  version: ProtocolVersion,
  topic: string,
  topicAlias: number,
): boolean {
  const { message } = delivery
  if (((message.packetAt & 1) === 1) !== (version === 5)) return false
  if (delivery.qos !== message.qos || delivery.retain || delivery.dup || topic !== message.topic) return false
  // Large payloads are not copied. An empty topic stands for an alias.
  if (topicAlias !== 0 || message.payloadLength >= MAX_COPIED_PAYLOAD_BYTES) return false
  return version !== 5 || (message.expiresAtMs === 0 && delivery.subscriptionIds === undefined)
}

/** The bytes of one form of a message, with some packet id and without DUP. */
interface Form {
  readonly key: number
  readonly topic: string
  readonly bytes: Buffer
  /** Where the packet id goes. */
  readonly idAt: number
  readonly next: Form | undefined
}

/**
 * The kept form, if this is a delivery that may use one. `message.wire` counts deliveries, two bits for each form key; when
 * one has been wanted often enough to pay for keeping it, it holds a list of forms.
 */
function formOf(
  message: Message,
  version: ProtocolVersion,
  delivery: Delivery,
  topic: string,
): Form | undefined {
  // Large payloads are not copied.
  if (message.payloadLength >= MAX_COPIED_PAYLOAD_BYTES) return undefined
  const key = delivery.qos + (delivery.retain ? 3 : 0) + (version === 5 ? 6 : 0) // 0 to 11
  const wire = message.wire as number | Form | undefined
  if (typeof wire === 'object')
    return findForm(wire, key, topic) ?? addForm(message, wire, key, version, delivery, topic)
  const counts = wire ?? 0
  const shift = key * 2
  if (((counts >> shift) & 3) === MAX_UNSHARED)
    return addForm(message, undefined, key, version, delivery, topic)
  message.wire = counts + (1 << shift)
  return undefined
}

function findForm(first: Form, key: number, topic: string): Form | undefined {
  for (let form: Form | undefined = first; form !== undefined; form = form.next) {
    if (form.key === key && form.topic === topic) return form
  }
  return undefined
}

function addForm(
  message: Message,
  next: Form | undefined,
  key: number,
  version: ProtocolVersion,
  delivery: Delivery,
  topic: string,
): Form | undefined {
  // Mountpoints give each client a topic of its own: those are not worth keeping.
  if (next !== undefined && topic !== next.topic) return undefined
  const scratch = new Scratch()
  if (!writeDirectly(scratch, version, delivery, topic, 0, MAX_PACKET_BYTES, 0, undefined)) return undefined
  const bytes = scratch.buffer
  bytes[0] = (bytes[0] as number) & ~DUP
  const form: Form = { key, topic, bytes, idAt: bodyStart(bytes, 0) + 2 + utf8Length(topic), next }
  message.wire = form
  return form
}

function writeForm(outbox: Outbox, form: Form, delivery: Delivery, maxPacketSize: number): boolean {
  const { bytes } = form
  if (bytes.length > maxPacketSize) return false
  const at = outbox.reserve(bytes.length)
  const { buffer } = outbox
  buffer.set(bytes, at)
  if (delivery.qos === 0) return true
  if (delivery.dup) buffer[at] = (bytes[0] as number) | DUP
  putU16(buffer, at + form.idAt, delivery.packetId)
  return true
}

function writeDirectly(
  outbox: Outbox,
  version: ProtocolVersion,
  delivery: Delivery,
  topic: string,
  topicAlias: number,
  maxPacketSize: number,
  nowMs: number,
  topics: TopicBytes | undefined,
): boolean {
  const { message, qos } = delivery
  const known = topics === undefined ? undefined : topics.get(topic)
  const topicBytes = known === undefined ? utf8Length(topic) : known.length - 2
  const payloadBytes = message.payloadLength
  let length = 2 + topicBytes + (qos === 0 ? 0 : 2) + payloadBytes
  let inner = 0
  if (version === 5) {
    if (hasProperties(delivery, topicAlias)) inner = innerLength(delivery, topicAlias)
    length += varintLength(inner) + inner
  }
  const size = 1 + varintLength(length) + length
  if (size > maxPacketSize || size > MAX_PACKET_BYTES || topicBytes > MAX_TOPIC_BYTES) return false

  const separate = payloadBytes >= MAX_COPIED_PAYLOAD_BYTES
  const start = outbox.reserve(separate ? size - payloadBytes : size)
  const { buffer } = outbox
  // [MQTT-3.3.1-1] [MQTT-3.3.1-3] DUP is of this delivery, not of the publisher's; [MQTT-3.3.1-2] none at QoS 0,
  // [MQTT-4.3.1-1]
  buffer[start] = 0x30 | (delivery.dup && qos !== 0 ? DUP : 0) | (qos << 1) | (delivery.retain ? 1 : 0)
  let at = putVarint(buffer, start + 1, length)
  at = known === undefined ? putString(buffer, at, topic, topicBytes) : putKnown(buffer, at, known)
  if (qos !== 0) at = putU16(buffer, at, delivery.packetId) // [MQTT-2.2.1-2] [MQTT-2.2.1-4]
  if (version === 5) {
    at = putVarint(buffer, at, inner)
    if (inner !== 0) at = putInner(buffer, at, delivery, topicAlias, nowMs)
  }
  if (separate) appendPayload(outbox, message)
  else copyBytes(buffer, at, message.bytes, message.start, message.end)
  return true
}

function putKnown(buffer: Buffer, at: number, topic: Uint8Array): number {
  buffer.set(topic, at)
  return at + topic.length
}

/** The outbox keeps it until it is sent: it must not be part of a chunk that pins more. */
function appendPayload(outbox: Outbox, message: Message): void {
  message.own()
  outbox.append(message.payload)
}

function hasProperties(delivery: Delivery, topicAlias: number): boolean {
  const { message } = delivery
  return (
    message.properties !== undefined ||
    message.expiresAtMs !== 0 ||
    topicAlias !== 0 ||
    delivery.subscriptionIds !== undefined
  )
}

/** Bytes of the properties; Infinity if one is too long to be written. */
function innerLength(delivery: Delivery, topicAlias: number): number {
  const { message, subscriptionIds } = delivery
  let length = (message.expiresAtMs === 0 ? 0 : 5) + (topicAlias === 0 ? 0 : 3)
  if (subscriptionIds !== undefined) for (const id of subscriptionIds) length += 1 + varintLength(id)
  return message.properties === undefined ? length : length + forwardedLength(message.properties)
}

function forwardedLength(properties: MessageProperties): number {
  let length = properties.payloadFormatIndicator === undefined ? 0 : 2
  if (properties.contentType !== undefined) length += 1 + stringLength(properties.contentType)
  if (properties.responseTopic !== undefined) length += 1 + stringLength(properties.responseTopic)
  if (properties.correlationData !== undefined) length += 1 + binaryLength(properties.correlationData)
  if (properties.userProperties !== undefined) length += userPropertiesLength(properties.userProperties)
  return length
}

function putInner(buffer: Buffer, at: number, delivery: Delivery, topicAlias: number, nowMs: number): number {
  const { message, subscriptionIds } = delivery
  let to = at
  if (message.expiresAtMs !== 0) {
    buffer[to] = 0x02
    to = putU32(buffer, to + 1, secondsLeft(message.expiresAtMs, nowMs))
  }
  if (topicAlias !== 0) {
    buffer[to] = 0x23
    to = putU16(buffer, to + 1, topicAlias) // [MQTT-3.3.2-8] never 0
  }
  if (subscriptionIds !== undefined) {
    // [MQTT-3.3.4-3] [MQTT-3.3.4-4] those of all subscriptions that matched
    for (const id of subscriptionIds) {
      buffer[to] = 0x0b
      to = putVarint(buffer, to + 1, id)
    }
  }
  return message.properties === undefined ? to : putForwarded(buffer, to, message.properties)
}

/** What the publisher said goes on unaltered. */
function putForwarded(buffer: Buffer, at: number, properties: MessageProperties): number {
  const { payloadFormatIndicator, contentType, responseTopic, correlationData, userProperties } = properties
  let to = at
  if (payloadFormatIndicator !== undefined) {
    buffer[to] = 0x01
    buffer[to + 1] = payloadFormatIndicator // [MQTT-3.3.2-4]
    to += 2
  }
  if (contentType !== undefined) {
    buffer[to] = 0x03
    to = putString(buffer, to + 1, contentType, utf8Length(contentType)) // [MQTT-3.3.2-20]
  }
  if (responseTopic !== undefined) {
    buffer[to] = 0x08
    to = putString(buffer, to + 1, responseTopic, utf8Length(responseTopic)) // [MQTT-3.3.2-15]
  }
  if (correlationData !== undefined) {
    buffer[to] = 0x09
    to = putBinary(buffer, to + 1, correlationData) // [MQTT-3.3.2-16]
  }
  // [MQTT-3.3.2-17] [MQTT-3.3.2-18] all of them, in their order
  return userProperties === undefined ? to : putUserProperties(buffer, to, userProperties)
}

/** [MQTT-3.3.2-6] what was announced less the time spent waiting; whether it is over was decided before. */
function secondsLeft(expiresAtMs: number, nowMs: number): number {
  return Math.min(MAX_U32, Math.max(1, Math.ceil((expiresAtMs - nowMs) / 1000)))
}

/** An outbox for one packet. */
class Scratch implements Outbox {
  readonly congested = false
  readonly unsentBytes = 0
  readonly room = 0
  buffer = Buffer.alloc(0)

  reserve(size: number): number {
    this.buffer = Buffer.allocUnsafe(size)
    return 0
  }

  /** Forms are only made of payloads small enough to be copied. */
  append(): void {}

  relay(): void {}
}
