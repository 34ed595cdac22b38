/**
 * PUBLISH (MQTT 5.0 §3.3), the one packet whose decoding is measured in nanoseconds:
 *
 *     0x30 | dup << 3 | qos << 1 | retain, remaining length
 *     topic (string) | packet id (2 bytes, QoS > 0) | properties (5.0) | payload (the rest)
 */
import { KnownTopic } from '../../model/known-topic.ts'
import type { QoS } from '../../model/message.ts'
import { bodyStart } from './frame.ts'
import { cutShort, malformed, protocolError, topicInvalid } from './mqtt-error.ts'
import type { ProtocolVersion, PublishPacket } from './packets.ts'
import { decodeProperties } from './properties.ts'
import { Scope } from './property-table.ts'
import { Reader } from './read.ts'
import type { TopicCache } from './topic-cache.ts'

const NO_TOPIC = new KnownTopic('')

/** An object for `decodePublish` to fill. */
export function emptyPublish(): PublishPacket {
  return {
    type: 3,
    topic: '',
    known: NO_TOPIC,
    bytes: Buffer.alloc(0),
    payloadStart: 0,
    payloadEnd: 0,
    qos: 0,
    retain: false,
    dup: false,
    packetId: 0,
    properties: undefined,
  }
}

/**
 * Fills `into` from the whole packet `buf[start..end)`. The payload stays in `buf`. An empty topic
 * means a topic alias, which is then in the properties; whether it is known is the connection's business.
 * @throws MqttError FRAME_MALFORMED, PROTOCOL_VIOLATED, TOPIC_INVALID, TOPIC_ALIAS_INVALID. `into` is then half filled.
 */
export function decodePublish(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
  into: PublishPacket,
  topics: TopicCache,
): void {
  const first = buf[start] as number
  const qos = ((first >> 1) & 3) as QoS | 3
  if (qos === 3) throw malformed('QoS is 3') // [MQTT-3.3.1-4]
  const dup = (first & 8) !== 0
  if (dup && qos === 0) throw malformed('DUP is set at QoS 0') // [MQTT-3.3.1-2]
  let at = bodyStart(buf, start)
  if (at + 2 > end) throw cutShort('topic length')
  const topicEnd = at + 2 + (((buf[at] as number) << 8) | (buf[at + 1] as number))
  if (topicEnd > end) throw cutShort('topic')
  const known = topics.get(buf, at + 2, topicEnd) // [MQTT-3.3.2-1] the topic is the first field
  // To store what is there already costs a write barrier each time.
  if (into.known !== known) {
    into.known = known
    into.topic = known.name
  }
  at = topicEnd
  into.packetId = 0 // [MQTT-2.2.1-2] none at QoS 0
  if (qos !== 0) {
    if (at + 2 > end) throw cutShort('packet id')
    into.packetId = ((buf[at] as number) << 8) | (buf[at + 1] as number)
    // [MQTT-2.2.1-3] [MQTT-2.3.1-1 (3.1.1)]
    if (into.packetId === 0) throw protocolError('packet id is 0')
    at += 2
  }
  into.qos = qos
  into.dup = dup
  into.retain = (first & 1) !== 0
  into.properties = undefined
  if (version === 5) {
    if (buf[at] === 0 && at < end) at++
    else at = readProperties(buf, at, end, into)
  }
  if (into.topic === '') checkAlias(version, into)
  if (into.bytes !== buf) into.bytes = buf
  into.payloadStart = at
  into.payloadEnd = end
}

function readProperties(buf: Buffer, at: number, end: number, into: PublishPacket): number {
  const reader = new Reader(buf, at, end)
  into.properties = decodeProperties(reader, Scope.PUBLISH)
  return reader.at
}

function checkAlias(version: ProtocolVersion, packet: PublishPacket): void {
  if (version !== 5) throw topicInvalid('topic is empty') // [MQTT-4.7.3-1]
  // §3.3.2.1: nothing says where it should go
  if (packet.properties?.topicAlias === undefined) throw protocolError('topic is empty without a topic alias')
}
