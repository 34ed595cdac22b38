/** PUBACK, PUBREC, PUBREL and PUBCOMP from a client (MQTT 5.0 §4.3). */
import type { MaybePromise } from '../../model/async.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { HubClient } from '../client.ts'
import { answerWhenSafe } from './answers.ts'
import type { MqttConnection } from './connection.ts'
import { type AckPacket, PacketType } from './packets.ts'

const { Success, PacketIdentifierNotFound } = ReasonCode

export function handleAck(
  connection: MqttConnection,
  client: HubClient,
  { type, packetId, code }: AckPacket,
): MaybePromise<void> {
  switch (type) {
    case PacketType.PUBACK:
      return handlePuback(connection, client, packetId)
    case PacketType.PUBREC:
      return handlePubrec(connection, client, packetId, code)
    case PacketType.PUBREL:
      return handlePubrel(connection, client, packetId)
    case PacketType.PUBCOMP:
      handlePubcomp(connection, client, packetId)
  }
}

/**
 * The same for the four-byte form that nearly every acknowledgement has, without making a packet of it.
 * @returns false if it is something else, a promise if the client has to wait
 */
export function handleShortAck(
  connection: MqttConnection,
  client: HubClient,
  first: number,
  bytes: Buffer,
  start: number,
  limit: number,
): MaybePromise<void> | false {
  const packetId = ((bytes[start + 2] as number) << 8) | (bytes[start + 3] as number)
  if (packetId === 0) return false // decodePacket says what is wrong with it
  if (first === 0x50) return handlePubrec(connection, client, packetId, Success)
  if (first === 0x62) return handlePubrel(connection, client, packetId)
  if (first === 0x40) handlePubacks(connection, client, bytes, start, limit)
  else if (first === 0x70) handlePubcomp(connection, client, packetId)
  else return false
}

/**
 * PUBACKs of the short form that follow each other, as subscribers send them.
 * @param limit - end of what may be handled now
 */
function handlePubacks(
  connection: MqttConnection,
  client: HubClient,
  bytes: Buffer,
  start: number,
  limit: number,
): void {
  let at = start
  do {
    const packetId = ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number)
    if (packetId === 0) break // whoever decodes it says what is wrong with it
    handlePuback(connection, client, packetId)
    at += 4
  } while (at + 4 <= limit && bytes[at] === 0x40 && bytes[at + 1] === 2 && connection.isReading)
  connection.handledTo = at
}

function handlePuback({ context }: MqttConnection, client: HubClient, packetId: number): void {
  const { metrics } = context.hub
  metrics.packetsPubackReceived++
  if (!client.acked(packetId)) metrics.packetsPubackMissed++
}

function handlePubrec(
  connection: MqttConnection,
  client: HubClient,
  packetId: number,
  code: ReasonCode,
): MaybePromise<void> {
  const { metrics } = connection.context.hub
  metrics.packetsPubrecReceived++
  const isRefused = code >= 0x80
  // [MQTT-4.4.0-2] refused counts as acknowledged, and no PUBREL follows
  const isKnown = isRefused ? client.acked(packetId) : client.received(packetId)
  if (!isKnown) metrics.packetsPubrecMissed++
  if (!isRefused) return reply(connection, client, PacketType.PUBREL, packetId, isKnown) // [MQTT-4.3.3-4]
}

/** [MQTT-4.3.3-11], [MQTT-4.3.3-13] expired or not; [MQTT-4.3.3-12] the id is free */
function handlePubrel(connection: MqttConnection, client: HubClient, packetId: number): MaybePromise<void> {
  const { metrics } = connection.context.hub
  metrics.packetsPubrelReceived++
  const isKnown = client.session.incoming.delete(packetId)
  if (!isKnown) metrics.packetsPubrelMissed++
  return reply(connection, client, PacketType.PUBCOMP, packetId, isKnown)
}

function handlePubcomp({ context }: MqttConnection, client: HubClient, packetId: number): void {
  const { metrics } = context.hub
  metrics.packetsPubcompReceived++
  if (!client.completed(packetId)) metrics.packetsPubcompMissed++
}

/**
 * A kept session has to remember this step before the peer goes on, or a restart would take both back to the step
 * before: a released message would be sent again, a published one be taken for a copy.
 */
function reply(
  connection: MqttConnection,
  client: HubClient,
  type: 6 | 7,
  packetId: number,
  isKnown: boolean,
): MaybePromise<void> {
  const code = isKnown ? Success : PacketIdentifierNotFound // [MQTT-3.6.2-1] [MQTT-3.7.2-1]
  return answerWhenSafe(connection, type, packetId, code, client.session.mirror?.unsafe)
}
