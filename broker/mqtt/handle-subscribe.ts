/** SUBSCRIBE and UNSUBSCRIBE. */
import { andThen, type MaybePromise } from '../../model/async.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { Subscription } from '../../model/subscription.ts'
import { isShared, isValidFilter } from '../../model/topic.ts'
import type { HubClient } from '../client.ts'
import type { MqttConnection } from './connection.ts'
import { mqttError, protocolError } from './mqtt-error.ts'
import { PacketType, type SubscribePacket, type SubscribeRequest, type UnsubscribePacket } from './packets.ts'

export function handleSubscribe(
  connection: MqttConnection,
  client: HubClient,
  packet: SubscribePacket,
): MaybePromise<void> {
  connection.context.hub.metrics.packetsSubscribeReceived++
  const identifier = packet.properties?.subscriptionIdentifiers?.[0] ?? 0
  const subscriptions = packet.subscriptions.map((request) =>
    toSubscription(connection, client, request, identifier),
  )
  return andThen(client.subscribe(subscriptions), (codes) => {
    // [MQTT-3.8.4-1], [MQTT-3.8.4-6] one code per filter, in order
    if (connection.isOpen) connection.send({ type: PacketType.SUBACK, packetId: packet.packetId, codes })
  })
}

export function handleUnsubscribe(
  connection: MqttConnection,
  client: HubClient,
  packet: UnsubscribePacket,
): MaybePromise<void> {
  connection.context.hub.metrics.packetsUnsubscribeReceived++
  for (const filter of packet.filters) checkFilter(filter)
  return andThen(client.unsubscribe(packet.filters), (codes) => {
    // [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.11.3-2] also when nothing matched
    if (connection.isOpen) connection.send({ type: PacketType.UNSUBACK, packetId: packet.packetId, codes })
  })
}

function toSubscription(
  connection: MqttConnection,
  client: HubClient,
  request: SubscribeRequest,
  identifier: number,
): Subscription {
  checkFilter(request.filter)
  if (connection.version === 5) {
    if (request.noLocal && isShared(request.filter)) throw protocolError('No Local on a shared subscription') // [MQTT-3.8.3-4]
    return { ...request, identifier }
  }
  // MQTT 3 cannot ask for these: a bridge keeps RETAIN, or it could not pass retained messages on.
  const noLocal = connection.options.ignoreLoopDeliver && !isShared(request.filter)
  return { ...request, noLocal, retainAsPublished: client.info.isBridge, retainHandling: 0, identifier: 0 }
}

function checkFilter(filter: string): void {
  if (isValidFilter(filter)) return
  throw mqttError('PROTOCOL_VIOLATED', ReasonCode.TopicFilterInvalid, 'not a topic filter')
}
