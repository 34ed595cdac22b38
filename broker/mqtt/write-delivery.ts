import type { Delivery } from '../broker.ts'
import type { MqttConnection } from './connection.ts'
import { writePublish } from './encode-publish.ts'
import type { OutboundAliases } from './outbound-aliases.ts'

/**
 * Writes a delivery as PUBLISH, with a topic alias where the client takes them.
 * @param topic - as the client knows it
 * @returns false if it is larger than the client takes: nothing was written
 */
export function writeDelivery(connection: MqttConnection, delivery: Delivery, topic: string): boolean {
  const { outboundAliases } = connection
  // [MQTT-3.1.2-27] no aliases unless the client has told a maximum; what is sent again is sent in full
  return outboundAliases === undefined || delivery.dup
    ? write(connection, delivery, topic, 0)
    : writeAliased(connection, outboundAliases, delivery, topic)
}

function write(
  { transport, version, maxPacketBytes, context }: MqttConnection,
  delivery: Delivery,
  topic: string,
  topicAlias: number,
): boolean {
  const nowMs = delivery.message.expiresAtMs === 0 ? 0 : Date.now()
  const { outbox } = transport
  const { topicBytes } = context
  const isWritten = writePublish(
    outbox,
    version,
    delivery,
    topic,
    topicAlias,
    maxPacketBytes,
    nowMs,
    topicBytes,
  )
  if (isWritten) context.hub.metrics.packetsPublishSent++
  return isWritten
}

function writeAliased(
  connection: MqttConnection,
  aliases: OutboundAliases,
  delivery: Delivery,
  topic: string,
): boolean {
  const known = aliases.known(topic)
  if (known !== 0) return write(connection, delivery, '', known)
  const alias = aliases.candidate(topic)
  if (alias !== 0 && write(connection, delivery, topic, alias)) {
    aliases.introduced(topic, alias)
    return true
  }
  // No alias, or three bytes too many with one.
  return write(connection, delivery, topic, 0)
}
