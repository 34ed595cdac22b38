import { Message, type MessageProperties } from '../../model/message.ts'
import { MessageHead } from '../../model/message-head.ts'
import type { HubClient } from '../client.ts'
import type { MqttConnection } from './connection.ts'

/** The message in `connection.publishPacket`. */
export function toMessage(connection: MqttConnection, client: HubClient): Message {
  const { bytes, payloadStart, payloadEnd } = connection.publishPacket
  return new Message(headOf(connection, client), bytes, payloadStart, payloadEnd)
}

/** The head of that message: of one about the same topic, the one that the message before it has. */
export function headOf(connection: MqttConnection, { info }: HubClient): MessageHead {
  const { publishPacket, nowMs, lastHead } = connection
  const { topic, known, qos, retain } = publishPacket
  const properties = publishPacket.properties as MessageProperties | undefined
  const isSame =
    lastHead !== undefined &&
    lastHead.known === known &&
    lastHead.timestampMs === nowMs &&
    lastHead.qos === qos &&
    lastHead.retain === retain &&
    properties === undefined &&
    lastHead.publisher === info
  if (isSame) return lastHead
  const head = new MessageHead(topic, qos, retain, properties, info, nowMs, known)
  if (properties === undefined) connection.lastHead = head
  return head
}
