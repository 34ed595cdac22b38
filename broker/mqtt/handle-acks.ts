/** PUBACK, PUBREC, PUBREL and PUBCOMP from a client (MQTT 5.0 §4.3). */
import { ReasonCode } from '../../model/reason-codes.ts'
import type { HubClient } from '../client.ts'
import type { MqttConnection } from './connection.ts'
import { writeAck } from './encode.ts'
import { type AckPacket, PacketType } from './packets.ts'

const { Success, PacketIdentifierNotFound } = ReasonCode

export function handleAck(
  connection: MqttConnection,
  client: HubClient,
  { type, packetId, code }: AckPacket,
): void {
  switch (type) {
    case PacketType.PUBACK:
      client.acked(packetId)
      return
    case PacketType.PUBREC:
      // [MQTT-4.4.0-2] refused counts as acknowledged, and no PUBREL follows
      if (code >= 0x80) client.acked(packetId)
      else reply(connection, PacketType.PUBREL, packetId, client.received(packetId)) // [MQTT-4.3.3-4]
      return
    case PacketType.PUBREL:
      // [MQTT-4.3.3-11], [MQTT-4.3.3-13] expired or not; [MQTT-4.3.3-12] the id is free
      reply(connection, PacketType.PUBCOMP, packetId, client.session.awaitingRelease.delete(packetId))
      return
    case PacketType.PUBCOMP:
      client.completed(packetId)
  }
}

/**
 * The same for the four-byte form that nearly every acknowledgement has, without making a packet of it.
 * @returns false if it is something else
 */
export function handleShortAck(
  connection: MqttConnection,
  client: HubClient,
  first: number,
  bytes: Buffer,
  start: number,
): boolean {
  const packetId = ((bytes[start + 2] as number) << 8) | (bytes[start + 3] as number)
  if (packetId === 0) return false // decodePacket says what is wrong with it
  if (first === 0x40) client.acked(packetId)
  else if (first === 0x50) reply(connection, PacketType.PUBREL, packetId, client.received(packetId))
  else if (first === 0x62) {
    reply(connection, PacketType.PUBCOMP, packetId, client.session.awaitingRelease.delete(packetId))
  } else if (first === 0x70) client.completed(packetId)
  else return false
  return true
}

function reply(connection: MqttConnection, type: 6 | 7, packetId: number, isKnown: boolean): void {
  const code = isKnown ? Success : PacketIdentifierNotFound // [MQTT-3.6.2-1] [MQTT-3.7.2-1]
  writeAck(connection.transport.outbox, connection.version, type, packetId, code)
}
