/** What a PUBLISH is answered, by its QoS [MQTT-3.3.4-1]. */
import { andThen, isPromise, type MaybePromise } from '../../model/async.ts'
import type { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { HubClient } from '../client.ts'
import { countRefused } from '../metrics.ts'
import { answerWhenSafe } from './answers.ts'
import type { MqttConnection } from './connection.ts'
import { mqttError } from './mqtt-error.ts'
import { PacketType } from './packets.ts'

/** @param packetId - 0 at QoS 0. @param code - what became of the message */
export function answerPublish(
  connection: MqttConnection,
  client: HubClient,
  message: Message,
  packetId: number,
  code: MaybePromise<ReasonCode>,
): MaybePromise<void> {
  if (isPromise(code)) return answerLater(connection, client, message, packetId, code)
  if (message.qos === 0 && code < 0x80) return
  return answer(connection, client, message, packetId, code)
}

async function answerLater(
  connection: MqttConnection,
  client: HubClient,
  message: Message,
  packetId: number,
  pending: Promise<ReasonCode>,
): Promise<void> {
  let code: ReasonCode
  try {
    code = await pending
    if (message.qos === 2) client.session.incoming.published(packetId)
  } catch (error) {
    if (message.qos === 2) client.session.incoming.delete(packetId)
    throw error
  }
  return answer(connection, client, message, packetId, code)
}

function answer(
  connection: MqttConnection,
  client: HubClient,
  message: Message,
  packetId: number,
  code: ReasonCode,
): MaybePromise<void> {
  const isUnsaid = code === ReasonCode.QuotaExceeded && connection.version !== 5
  // Refused: the id is free again [MQTT-4.3.3-9]. MQTT 3 cannot refuse [MQTT-3.3.5-2 (3.1.1)], so its PUBREL
  // will come, unless it gets no answer because there is no room for the message: then it comes again.
  if (code >= 0x80 && message.qos === 2 && (connection.version === 5 || isUnsaid))
    client.session.incoming.delete(packetId)
  if (code >= 0x80) countRefused(connection.context.hub.metrics, code)
  if (code === ReasonCode.TopicNameInvalid)
    throw mqttError('TOPIC_INVALID', code, 'topic has too many levels')
  if (!connection.isOpen || packetId === 0 || isUnsaid) return
  if (message.qos === 1) {
    const { hooks } = connection.context.hub
    if (!hooks.used['message.puback']) return puback(connection, message, packetId, code)
    return pubackAsHooksSay(
      connection,
      message,
      packetId,
      hooks.fold('message.puback', code, message, packetId),
    )
  }
  const { mirror } = client.session
  const safe = mirror === undefined ? message.stored : mirror.unsafe // its packet id is kept as well
  return answerWhenSafe(connection, PacketType.PUBREC, packetId, code, safe)
}

function pubackAsHooksSay(
  connection: MqttConnection,
  message: Message,
  packetId: number,
  code: MaybePromise<ReasonCode>,
): MaybePromise<void> {
  return andThen(code, (decided) => puback(connection, message, packetId, decided))
}

function puback(
  connection: MqttConnection,
  message: Message,
  packetId: number,
  code: ReasonCode,
): MaybePromise<void> {
  if (connection.isOpen) return answerWhenSafe(connection, PacketType.PUBACK, packetId, code, message.stored)
}
