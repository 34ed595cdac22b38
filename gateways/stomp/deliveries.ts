/** From the broker's deliveries to MESSAGE frames, and back from ACK and NACK to the broker. */
import { randomBytes } from 'node:crypto'
import type { Client, Delivery } from '../../broker/broker.ts'
import type { Counter, Counters } from '../counters.ts'
import { Acks, type PendingDelivery } from './acks.ts'
import type { FrameSink } from './frame.ts'
import type { StompVersion } from './headers.ts'
import { type MessageWriter, messageBeginning } from './message-writer.ts'
import { type StompSubscription, Subscriptions } from './subscriptions.ts'

export class Deliveries {
  readonly subscriptions: Subscriptions
  readonly #client: Client
  readonly #version: StompVersion
  readonly #sink: FrameSink
  readonly #writer: MessageWriter
  readonly #counters: Counters
  readonly #sent: Counter
  readonly #acks: Acks
  /** Makes message ids unique among all connections. */
  readonly #idPrefix = `${randomBytes(6).toString('hex')}-`
  #lastMessage = 0

  constructor(
    client: Client,
    version: StompVersion,
    sink: FrameSink,
    writer: MessageWriter,
    counters: Counters,
  ) {
    this.#client = client
    this.#version = version
    this.#sink = sink
    this.#writer = writer
    this.#counters = counters
    this.#sent = counters.counter('packets.message.sent')
    this.subscriptions = new Subscriptions((id) => messageBeginning(id, this.#idPrefix, version))
    this.#acks = new Acks((packetId) => client.acked(packetId))
  }

  /** One MESSAGE per subscription that matched. @returns false if there was none any more */
  send(delivery: Delivery): boolean {
    const { packetId, subscriptionIds } = delivery
    let pending: PendingDelivery | undefined
    let isSent = false
    for (const identifier of subscriptionIds ?? []) {
      const subscription = this.subscriptions.get(identifier)
      if (subscription === undefined) continue
      isSent = true
      const number = ++this.#lastMessage
      if (subscription.ack !== 'auto' && packetId !== 0) {
        pending ??= { packetId, unanswered: 0 }
        this.#acks.sent(number, subscription, pending)
      }
      this.#write(delivery, subscription, number)
    }
    if (!isSent) this.#counters.add('delivery.dropped.no_subid')
    // QoS 1 to `ack:auto`, where the broker raises the QoS: nobody will answer. Not within this
    // call, in which the broker is still busy with it.
    else if (pending === undefined && packetId !== 0) queueMicrotask(() => this.#client.acked(packetId))
    return isSent
  }

  /**
   * ACK or NACK of `id`: the value of an `ack` or `message-id` header.
   * @returns how many messages that answered. Unknown ids are harmless: they may have been answered
   *   cumulatively, or the subscription is gone.
   */
  answer(id: string): number {
    const number = id.startsWith(this.#idPrefix) ? id.slice(this.#idPrefix.length) : id
    return /^\d{1,15}$/.test(number) ? this.#acks.answer(Number(number)) : 0
  }

  /** Forgets a subscription; what it has not answered counts as answered. */
  forget(subscription: StompSubscription): void {
    this.subscriptions.remove(subscription)
    this.#counters.add('messages.unanswered', this.#acks.forget(subscription))
  }

  #write(delivery: Delivery, subscription: StompSubscription, number: number): void {
    const destination = this.#client.unmounted(delivery.message.topic)
    this.#writer.prepare(delivery.message.head, destination, this.#version)
    this.#writer.write(this.#sink, delivery, subscription, number)
    this.#sent.value++
  }
}
