import { Message, type MessageProperties } from '../../model/message.ts'
import { MessageHead } from '../../model/message-head.ts'
import type { HubClient } from '../client.ts'
import type { MqttConnection } from './connection.ts'

/** The message in `connection.publishPacket`. */
export function toMessage(connection: MqttConnection, client: HubClient): Message {
  const { bytes, payloadStart, payloadEnd } = connection.publishPacket
  return new Message(headOf(connection, client), bytes, payloadStart, payloadEnd)
}

/** The head of that message. The one before it may have had the same. */
export function headOf(connection: MqttConnection, client: HubClient): MessageHead {
  const { nowMs, lastHead } = connection
  const { topic, known, qos, retain, properties } = connection.publishPacket
  const isSame =
    lastHead !== undefined &&
    lastHead.known === known &&
    lastHead.topic === topic &&
    lastHead.timestampMs === nowMs &&
    lastHead.qos === qos &&
    lastHead.retain === retain &&
    lastHead.properties === properties &&
    lastHead.publisher === client.info
  if (isSame) return lastHead
  const { info } = client
  const head = new MessageHead(
    topic,
    qos,
    retain,
    properties as MessageProperties | undefined,
    info,
    nowMs,
    known,
  )
  connection.lastHead = head
  return head
}
