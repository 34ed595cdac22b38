/**
 * SUBSCRIBE (MQTT 5.0 §3.8) and UNSUBSCRIBE (§3.10). Of filters only UTF-8 and length are checked
 * here: one that is not well-formed is for the handler to answer, in MQTT 5 with 0x8F.
 *
 *     0x82 or 0xA2, remaining length
 *     packet id (2 bytes) | properties (5.0) | filter (string) [| options (byte)] | filter ...
 *
 *     options: retain handling 0x30 | retain as published 0x08 | no local 0x04 | QoS 0x03; in 3.x only QoS
 */
import type { QoS } from '../../model/message.ts'
import { isShared } from '../../model/topic.ts'
import { malformed, protocolError } from './mqtt-error.ts'
import {
  PacketType,
  type ProtocolVersion,
  type SubscribePacket,
  type SubscribeRequest,
  type UnsubscribePacket,
} from './packets.ts'
import { decodeProperties } from './properties.ts'
import { Scope } from './property-table.ts'
import type { Reader } from './read.ts'

/** @throws MqttError FRAME_MALFORMED, PROTOCOL_VIOLATED */
export function decodeSubscribe(version: ProtocolVersion, reader: Reader): SubscribePacket {
  const packetId = readPacketId(reader)
  const properties = version === 5 ? decodeProperties(reader, Scope.SUBSCRIBE) : undefined
  const subscriptions: SubscribeRequest[] = []
  while (reader.left > 0) {
    const filter = reader.string('topic filter') // [MQTT-3.8.3-1]
    subscriptions.push(subscribeRequest(version, filter, reader.u8('subscription option byte')))
  }
  if (subscriptions.length === 0) throw protocolError('SUBSCRIBE without a topic filter') // [MQTT-3.8.3-2]
  return { type: PacketType.SUBSCRIBE, packetId, subscriptions, properties }
}

/** @throws MqttError FRAME_MALFORMED, PROTOCOL_VIOLATED */
export function decodeUnsubscribe(version: ProtocolVersion, reader: Reader): UnsubscribePacket {
  const packetId = readPacketId(reader)
  const properties = version === 5 ? decodeProperties(reader, Scope.UNSUBSCRIBE) : undefined
  const filters: string[] = []
  while (reader.left > 0) filters.push(reader.string('topic filter')) // [MQTT-3.10.3-1]
  if (filters.length === 0) throw protocolError('UNSUBSCRIBE without a topic filter') // [MQTT-3.10.3-2]
  return { type: PacketType.UNSUBSCRIBE, packetId, filters, properties }
}

/** Never 0 [MQTT-2.2.1-3] [MQTT-2.3.1-1 (3.1.1)]. */
export function readPacketId(reader: Reader): number {
  const packetId = reader.u16('packet id')
  if (packetId === 0) throw protocolError('packet id is 0')
  return packetId
}

function subscribeRequest(version: ProtocolVersion, filter: string, options: number): SubscribeRequest {
  // [MQTT-3.8.3-5] [MQTT-3.8.3-4 (3.1.1)]
  if ((options & (version === 5 ? 0xc0 : 0xfc)) !== 0)
    throw malformed('reserved subscription options are set')
  const qos = options & 3
  if (qos === 3) throw version === 5 ? protocolError('QoS is 3') : malformed('QoS is 3') // §3.8.3.1
  const retainHandling = options >> 4
  if (retainHandling === 3) throw protocolError('retain handling is 3') // §3.8.3.1
  const noLocal = (options & 4) !== 0
  // [MQTT-3.8.3-4]
  if (noLocal && isShared(filter)) throw protocolError('no local on a shared subscription')
  return {
    filter,
    qos: qos as QoS,
    noLocal,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  }
}
