import { Message, type MessageProperties } from '../../model/message.ts'
import { MessageHead } from '../../model/message-head.ts'
import type { HubClient } from '../client.ts'
import type { MqttConnection } from './connection.ts'

/** The message in `connection.publishPacket`. */
export function toMessage(connection: MqttConnection, client: HubClient): Message {
  const { bytes, payloadStart, payloadEnd } = connection.publishPacket
  return new Message(headOf(connection, client), bytes, payloadStart, payloadEnd)
}

/** The head of that message. */
export function headOf({ publishPacket, nowMs }: MqttConnection, { info }: HubClient): MessageHead {
  const { topic, known, qos, retain } = publishPacket
  const properties = publishPacket.properties as MessageProperties | undefined
  return new MessageHead(topic, qos, retain, properties, info, nowMs, known)
}
