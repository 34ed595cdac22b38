/** From the broker's deliveries to MSG and HMSG. */
import type { Client, Delivery } from '../../broker/broker.ts'
import { isPromise } from '../../model/async.ts'
import type { Logger } from '../../model/log.ts'
import { topicMatches } from '../../model/topic.ts'
import type { Counter, Counters } from '../counters.ts'
import { type MessageSink, type MessageWriter, type Recipient, recipientOf } from './message.ts'
import { type Feed, type NatsSubscription, type Subscriptions, slashesIn } from './subscriptions.ts'

/** Sums of the whole gateway that grow with every message. */
export interface DeliveryCounters {
  readonly delivered: Counter
  readonly noSubject: Counter
  readonly noSubscription: Counter
}

export function deliveryCounters(counters: Counters): DeliveryCounters {
  return {
    delivered: counters.counter('messages.delivered'),
    noSubject: counters.counter('delivery.dropped.no_subject'),
    noSubscription: counters.counter('delivery.dropped.no_subid'),
  }
}

export interface DeliveryParts {
  readonly client: Client
  readonly subscriptions: Subscriptions
  readonly sink: MessageSink
  readonly writer: MessageWriter
  readonly counters: DeliveryCounters
  readonly log: Logger
}

export class Deliveries {
  readonly #parts: DeliveryParts
  #recipient: Recipient
  /** Packet ids to be acknowledged: not within a delivery, in which the broker is still busy with it. */
  #toAck: number[] = []
  /** Own messages that wait until their publishing has been answered; undefined = none has to. */
  #held: Delivery[] | undefined

  /** @param headers - the client understands HMSG */
  constructor(parts: DeliveryParts, headers: boolean) {
    this.#parts = parts
    this.#recipient = recipientOf(parts.client.info.mountpoint, headers)
  }

  set headers(headers: boolean) {
    this.#recipient = recipientOf(this.#recipient.mountpoint, headers)
  }

  /** What the client publishes now comes back to it only after `release`: its +OK goes first. */
  hold(): void {
    this.#held = []
  }

  release(): void {
    const held = this.#held
    if (held === undefined) return
    this.#held = undefined
    for (const delivery of held) this.#send(delivery)
  }

  /** One message per sid. @returns false if it cannot be said in NATS, or nobody wants it any more */
  send(delivery: Delivery): boolean {
    if (this.#held !== undefined && delivery.message.publisher === this.#parts.client.info) {
      // Publishing may take its time, and the payload lies in what was received.
      delivery.message.own()
      this.#held.push(delivery)
      return true
    }
    return this.#send(delivery)
  }

  #send(delivery: Delivery): boolean {
    const { client, writer, subscriptions, counters } = this.#parts
    const { message, subscriptionIds, packetId } = delivery
    const topic = client.unmounted(message.topic)
    const head = writer.head(topic)
    if (head === undefined) {
      counters.noSubject.value++
      return false
    }
    const { unnumbered } = subscriptions
    const isSent = delivery.retain
      ? this.#writeRetained(delivery, topic, head)
      : subscriptionIds === undefined
        ? unnumbered !== undefined && this.#writeToFeed(delivery, topic, head, unnumbered)
        : this.#writeToNumbered(delivery, topic, head, subscriptionIds)
    if (!isSent) counters.noSubscription.value++
    if (packetId !== 0) this.#ackLater(packetId)
    return true
  }

  #writeToNumbered(delivery: Delivery, topic: string, head: Uint8Array, ids: readonly number[]): boolean {
    const { subscriptions } = this.#parts
    const { unnumbered } = subscriptions
    let isSent = false
    // Those for a group are for the subscription they name and no other one.
    let isForAll = unnumbered?.identifier === 0
    for (const id of ids) {
      const feed = subscriptions.feed(id)
      if (feed === undefined) continue
      if (feed.isGroup) isForAll = false
      if (this.#writeToFeed(delivery, topic, head, feed)) isSent = true
    }
    if (isForAll && unnumbered !== undefined && topicMatches(unnumbered.filter, topic)) {
      if (this.#writeToFeed(delivery, topic, head, unnumbered)) isSent = true
    }
    return isSent
  }

  /** For the subscription of the broker that it names, and of its sids for those that have not had it. */
  #writeRetained(delivery: Delivery, topic: string, head: Uint8Array): boolean {
    const { subscriptions } = this.#parts
    const [identifier = 0] = delivery.subscriptionIds ?? []
    const feed = identifier === 0 ? subscriptions.unnumbered : subscriptions.feed(identifier)
    if (feed === undefined || feed.identifier !== identifier) return false
    if (feed.minSlashes > 0 && slashesIn(topic) < feed.minSlashes) return true
    const position = ++feed.replayed
    for (const member of feed.members) {
      if (position > member.skipsRetained) this.#write(delivery, head, member)
    }
    return true
  }

  #writeToFeed(delivery: Delivery, topic: string, head: Uint8Array, feed: Feed): boolean {
    const { members } = feed
    if (feed.minSlashes > 0 && slashesIn(topic) < feed.minSlashes) return false
    if (members.length === 1) {
      this.#write(delivery, head, members[0] as NatsSubscription)
      return true
    }
    if (feed.isGroup) {
      const member = members[feed.next++ % members.length]
      if (member !== undefined) this.#write(delivery, head, member)
    } else {
      for (const member of members) this.#write(delivery, head, member)
    }
    return true
  }

  #write(delivery: Delivery, head: Uint8Array, subscription: NatsSubscription): void {
    const { writer, sink, counters } = this.#parts
    writer.write(sink, delivery.message, head, subscription.sidBytes, this.#recipient)
    counters.delivered.value++
    subscription.delivered++
    if (subscription.max > 0 && subscription.delivered >= subscription.max) this.#finish(subscription)
  }

  /** It has had as many messages as it wanted. */
  #finish(subscription: NatsSubscription): void {
    const { subscriptions, client, log } = this.#parts
    if (!subscriptions.remove(subscription)) return
    const done = client.unsubscribe([subscription.feed.filter])
    if (isPromise(done))
      done.catch((error: unknown) => log.error({ client: client.info.key, error }, 'could not unsubscribe'))
  }

  #ackLater(packetId: number): void {
    if (this.#toAck.push(packetId) > 1) return
    queueMicrotask(() => {
      const ids = this.#toAck
      this.#toAck = []
      for (const id of ids) this.#parts.client.acked(id)
    })
  }
}
