/**
 * PUBLISH packets that follow each other in what was read and are about one topic (`RunOfPackets`): their messages are
 * checked one by one and go through hooks one by one, but are decoded, authorized, routed and handed over together (`MessageRun`).
 * Where that cannot be done as it would be to each on its own, there is no run.
 */
import type { PublishDecision } from '../../hooks/hookpoints.ts'
import type { MaybePromise } from '../../model/async.ts'
import { Message } from '../../model/message.ts'
import type { MessageHead } from '../../model/message-head.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { HubClient } from '../client.ts'
import type { Batch } from '../message-run.ts'
import { answerPublish } from './answer-publish.ts'
import type { MqttConnection } from './connection.ts'
import { canBeRelayed, MAX_COPIED_PAYLOAD_BYTES } from './encode-publish.ts'
import { headOf } from './message-of.ts'
import type { MqttContext } from './options.ts'
import { RunOfPackets } from './run-of-packets.ts'

/** Messages at QoS 1 that are made before they are handed over: more of them would push each other out of the cache. */
const MAX_MESSAGES = 32

/**
 * Handles the packet that `connection.publishPacket` holds and those that go on with it. `connection.handledTo` tells
 * how far it came.
 * @param start - where the first one begins
 * @param limit - end of what may be handled now
 * @returns false if there is no such run: nothing was done
 */
export function handleRun(
  connection: MqttConnection,
  client: HubClient,
  start: number,
  limit: number,
): MaybePromise<void> | false {
  const { publishPacket, context, version, options } = connection
  if (!isFit(connection)) return false
  const packets = new RunOfPackets(
    publishPacket,
    version,
    start,
    limit,
    options.maxPacketBytes,
    context.topics,
  )
  const second = packets.endOf(publishPacket.payloadEnd)
  if (second === 0) return handleAlone(connection, client, start)
  const handled =
    publishPacket.qos === 0
      ? handlePackets(connection, client, packets, start, second)
      : handleMessages(connection, client, packets, start, second)
  if (handled === false) connection.singlyTo = limit
  return handled
}

/** The same for one packet with which no others go on: at QoS 0 no message has to be made of it either. */
export function handleAlone(connection: MqttConnection, client: HubClient, start: number): false | undefined {
  const { publishPacket: packet, context, version } = connection
  const { hub } = context
  const { run } = hub.kernel
  if (packet.qos !== 0 || hub.publishing.isUsedByAll || !isFit(connection)) return false
  if (!hub.beginPackets(client, packet, version === 5, start, packet.payloadEnd)) return false
  if (!run.extend(packet.payloadEnd)) return false
  connection.leftNothing(start)
  endRun(connection, client, 1)
  return undefined
}

/** A pace is charged for each packet, and what is large is not copied for each who is to have it. */
function isFit({ transport, publishPacket: { payloadStart, payloadEnd } }: MqttConnection): boolean {
  return transport.pace === undefined && payloadEnd - payloadStart < MAX_COPIED_PAYLOAD_BYTES
}

/** At QoS 0: nobody is answered, and messages are only made for hooks to see. */
function handlePackets(
  connection: MqttConnection,
  client: HubClient,
  packets: RunOfPackets,
  start: number,
  second: number,
): MaybePromise<void> | false {
  const { publishPacket: packet, context, version } = connection
  const { publishing, kernel } = context.hub
  const { run } = kernel
  let at = start
  let end = packet.payloadEnd
  let next = second
  if (!context.hub.beginPackets(client, packet, version === 5, start, end)) return false
  const head = headOf(connection, client)
  const isSeen = publishing.isUsedByAll
  let { keepsNothing } = publishing
  let spare = isSeen && keepsNothing ? takeSpare(context) : undefined
  for (let count = 1; ; count++) {
    connection.handledTo = end
    if (isSeen) {
      // A hook may attach another one.
      keepsNothing &&= publishing.keepsNothing
      if (!keepsNothing) spare = undefined
      const message = messageOf(connection, head, at, packets.payloadOf(at), end, spare)
      spare = message
      const decision = publishing.foldPlain(message)
      // What hooks change in place holds for this message alone.
      if (decision !== message || message.head !== head || !run.extend(end)) {
        endRun(connection, client, count)
        return goOnAlone(connection, client, message, 0, decision)
      }
    } else if (!run.extend(end)) {
      // Somebody has no more room at the moment: the packet goes its own way.
      connection.handledTo = at
      return endRun(connection, client, count - 1)
    }
    if (next === 0 || !connection.isOpen) {
      if (keepsNothing) connection.leftNothing(start)
      if (keepsNothing && isSeen) context.spare = spare
      return endRun(connection, client, count)
    }
    at = end
    end = next
    next = packets.endOf(end)
  }
}

/** At QoS 1: answered when all of them are in all sessions they are for [MQTT-4.3.2-4]. */
function handleMessages(
  connection: MqttConnection,
  client: HubClient,
  packets: RunOfPackets,
  start: number,
  second: number,
): MaybePromise<void> | false {
  const { publishPacket: packet, context } = connection
  const { publishing, kernel } = context.hub
  const batch = new AnsweredBatch(connection, client)
  const { messages, ids } = batch
  let at = start
  let end = packet.payloadEnd
  let next = second
  if (!context.hub.beginMessages(client, packet, batch)) return false
  const head = headOf(connection, client)
  const isSeen = publishing.isUsedByAll
  for (;;) {
    const message = messageOf(connection, head, at, packets.payloadOf(at), end)
    connection.handledTo = end
    messages.push(message)
    ids.push(packets.idOf(at))
    const decision = isSeen ? publishing.foldPlain(message) : message
    if (decision !== message || message.head !== head || !kernel.run.add()) {
      endRun(connection, client, messages.length)
      return goOnAlone(connection, client, message, ids.at(-1) as number, decision) ?? batch.waits
    }
    // A packet id of 0 is an error of the packet that has it.
    const isLast = next === 0 || messages.length === MAX_MESSAGES || packets.idOf(end) === 0
    if (isLast || !connection.isOpen) break
    at = end
    end = next
    next = packets.endOf(end)
  }
  endRun(connection, client, messages.length)
  return batch.waits
}

/** Messages at QoS 1, each answered as soon as all are handed over: before whatever comes in between. */
class AnsweredBatch implements Batch {
  readonly messages: Message[] = []
  readonly ids: number[] = []
  /** A promise if too many answers wait for the storage. */
  waits: MaybePromise<void> = undefined
  readonly #connection: MqttConnection
  readonly #client: HubClient

  constructor(connection: MqttConnection, client: HubClient) {
    this.#connection = connection
    this.#client = client
  }

  handedOver(count: number): void {
    for (let i = 0; i < count; i++) {
      const message = this.messages[i] as Message
      const id = this.ids[i] as number
      this.waits = answerPublish(this.#connection, this.#client, message, id, ReasonCode.Success)
    }
  }
}

/** Whoever takes it has it alone: a hook may have another client send something. */
function takeSpare(context: MqttContext): Message | undefined {
  const { spare } = context
  context.spare = undefined
  return spare
}

/**
 * @param head - of all messages of the run
 * @param at - where its packet begins
 * @param spare - what it may be made of
 */
function messageOf(
  { publishPacket: { bytes }, version }: MqttConnection,
  head: MessageHead,
  at: number,
  start: number,
  end: number,
  spare?: Message,
): Message {
  let message = spare
  if (message === undefined) message = new Message(head, bytes, start, end)
  else message.become(head, bytes, start, end)
  canBeRelayed(message, at, version)
  return message
}

/** @param count - messages that were published; the first one's packet has been counted */
function endRun({ context, publishPacket }: MqttConnection, client: HubClient, count: number): void {
  const { metrics, kernel } = context.hub
  kernel.run.settle()
  client.published(publishPacket.topic, publishPacket.qos, count)
  metrics.packetsPublishReceived += count - 1
  metrics.messagesPublish += count
}

/** Hooks want something else for this message, or have changed what holds for the others. */
function goOnAlone(
  connection: MqttConnection,
  client: HubClient,
  message: Message,
  packetId: number,
  decision: MaybePromise<PublishDecision>,
): MaybePromise<void> {
  return answerPublish(
    connection,
    client,
    message,
    packetId,
    connection.context.hub.follow(decision, message),
  )
}
