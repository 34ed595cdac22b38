/** PUBLISH from a client, and its answer by QoS [MQTT-3.3.4-1]. */
import type { MessageDropReason } from '../../hooks/hookpoints.ts'
import { isPromise, type MaybePromise } from '../../model/async.ts'
import type { QoS } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { HubClient } from '../client.ts'
import { answerPublish } from './answer-publish.ts'
import { answerWhenSafe } from './answers.ts'
import type { MqttConnection } from './connection.ts'
import { decodePublish } from './decode-publish.ts'
import { canBeRelayed } from './encode-publish.ts'
import { handleAlone, handleRun } from './handle-run.ts'
import { toMessage } from './message-of.ts'
import { type MqttError, mqttError, protocolError } from './mqtt-error.ts'
import type { MqttOptions } from './options.ts'
import { PacketType, type PublishPacket } from './packets.ts'

export function handlePublish(
  connection: MqttConnection,
  client: HubClient,
  bytes: Buffer,
  start: number,
  end: number,
  limit: number,
): MaybePromise<void> {
  const packet = connection.publishPacket
  const { context, options } = connection
  context.hub.metrics.packetsPublishReceived++
  const { known } = packet
  decodePublish(connection.version, bytes, start, end, packet, context.topics)
  const isPlain = !packet.retain && !packet.dup && packet.properties === undefined
  if (packet.properties?.topicAlias !== undefined) resolveAlias(connection, packet)
  if (packet.qos > options.maxQos || (packet.retain && !options.retainAvailable))
    throw notOffered(packet.qos, options)
  if (isPlain && packet.qos < 2 && start >= connection.singlyTo) {
    // Where the topic was another one before, it will hardly be the same in the next packet.
    const handled =
      packet.known === known && end < limit
        ? handleRun(connection, client, start, limit)
        : handleAlone(connection, client, start)
    if (handled !== false) return handled
  }
  // [MQTT-4.3.2-5] no copies at QoS 1: an id that was answered is a new message
  if (packet.qos === 2) {
    const answered = answerCopy(connection, client, packet)
    if (answered !== false) return answered
  }

  const { qos, packetId } = packet
  const message = toMessage(connection, client)
  if (isPlain) canBeRelayed(message, start, connection.version)
  // [MQTT-4.3.2-4] [MQTT-4.3.3-8] answered when it is in all sessions it is for
  const code = client.accept(message)
  // Not before: had it thrown, the client's next attempt would be taken for a copy.
  if (qos === 2) client.session.incoming.add(packetId, connection.nowMs, !isPromise(code))
  return answerPublish(connection, client, message, packetId, code)
}

function notOffered(qos: QoS, { maxQos }: MqttOptions): MqttError {
  return qos > maxQos
    ? mqttError('PROTOCOL_VIOLATED', ReasonCode.QoSNotSupported, `QoS ${qos} is not offered`) // [MQTT-3.2.2-11]
    : // [MQTT-3.2.2-14]
      mqttError('PROTOCOL_VIOLATED', ReasonCode.RetainNotSupported, 'retained messages are not offered')
}

/** Aliases are per connection and direction [MQTT-3.3.2-7]. */
function resolveAlias(connection: MqttConnection, packet: PublishPacket): void {
  const { topicAlias = 0, ...others } = packet.properties ?? {}
  const { maxTopicAlias } = connection.options
  if (topicAlias === 0 || topicAlias > maxTopicAlias) {
    // [MQTT-3.3.2-8], [MQTT-3.3.2-9] [MQTT-3.2.2-17] [MQTT-3.2.2-18]
    throw mqttError(
      'TOPIC_ALIAS_INVALID',
      ReasonCode.TopicAliasInvalid,
      `topic alias ${topicAlias}, 1 to ${maxTopicAlias} are accepted`,
    )
  }
  packet.properties = Object.keys(others).length === 0 ? undefined : others
  connection.aliases ??= new Map()
  if (packet.topic !== '')
    connection.aliases.set(topicAlias, packet.known) // [MQTT-3.3.2-12]
  else {
    const known = connection.aliases.get(topicAlias)
    if (known === undefined) throw protocolError(`topic alias ${topicAlias} has no topic yet`)
    packet.known = known
    packet.topic = known.name
  }
}

/** MQTT 3 clients cannot be told a Receive Maximum, so theirs is this many times higher. */
const V3_ALLOWANCE = 10

/**
 * QoS 2: a copy of what still waits for its PUBREL is answered and not published again [MQTT-4.3.3-10].
 * @returns false if it is the first one
 */
function answerCopy(
  connection: MqttConnection,
  client: HubClient,
  packet: PublishPacket,
): MaybePromise<void> | false {
  const { maxAwaitingRelease, awaitReleaseTimeoutMs } = connection.options
  const most = connection.version === 5 ? maxAwaitingRelease : maxAwaitingRelease * V3_ALLOWANCE
  const { incoming } = client.session
  const { metrics } = connection.context.hub
  const forgetBefore = connection.nowMs - awaitReleaseTimeoutMs
  const since = incoming.since(packet.packetId)
  if (since !== undefined && since > forgetBefore) {
    const code = packet.dup ? ReasonCode.Success : ReasonCode.PacketIdentifierInUse
    if (!packet.dup) {
      metrics.packetsPublishInuse++
      dropped(connection, client, 'packet_identifier_in_use')
      // [MQTT-4.3.3-9] refused, so the next one with this id is a new one. MQTT 3 cannot be told.
      if (connection.version === 5) incoming.delete(packet.packetId)
    }
    return answerWhenSafe(connection, PacketType.PUBREC, packet.packetId, code, client.session.mirror?.unsafe)
  }
  if (incoming.size >= most) metrics.messagesDroppedAwaitPubrelTimeout += incoming.forget(forgetBefore)
  if (incoming.size >= most) {
    metrics.packetsPublishDropped++
    metrics.messagesDroppedReceiveMaximum++
    dropped(connection, client, 'receive_maximum_exceeded') // [MQTT-3.3.4-7]
    throw mqttError(
      'LIMIT_EXCEEDED',
      ReasonCode.ReceiveMaximumExceeded,
      `more than ${most} QoS 2 messages wait for PUBREL`,
    )
  }
  return false
}

/** Tells hooks of a message that is not published. */
function dropped(connection: MqttConnection, client: HubClient, reason: MessageDropReason): void {
  const { hooks } = connection.context.hub
  if (!hooks.has('message.dropped')) return
  const message = toMessage(connection, client)
  message.topic = client.info.mountpoint + message.topic
  hooks.run('message.dropped', message, reason)
}
