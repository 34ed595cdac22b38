/**
 * What a client with `ack:client` or `ack:client-individual` has been sent and not answered.
 *
 * One delivery of the broker may become several MESSAGEs, one per subscription that matched;
 * the broker is told once all of them are answered. Only deliveries with a packet id (QoS 1) are kept, so
 * there are never more than the window (`max_unacked`) times the subscriptions that match.
 */
import type { StompSubscription } from './subscriptions.ts'

/** One delivery and how many of its MESSAGEs are still to be answered. */
export interface PendingDelivery {
  readonly packetId: number
  unanswered: number
}

interface Pending {
  readonly subscription: StompSubscription
  readonly delivery: PendingDelivery
}

export class Acks {
  /** By the number of the MESSAGE; in the order they were sent. */
  readonly #pending = new Map<number, Pending>()
  readonly #done: (packetId: number) => void

  /** @param done - told a packet id when its last MESSAGE was answered */
  constructor(done: (packetId: number) => void) {
    this.#done = done
  }

  get size(): number {
    return this.#pending.size
  }

  sent(message: number, subscription: StompSubscription, delivery: PendingDelivery): void {
    delivery.unanswered++
    this.#pending.set(message, { subscription, delivery })
  }

  /**
   * The client answered `message`; with `ack:client` that counts for all earlier ones of the subscription too.
   * @returns how many were answered by it, 0 if the number is unknown
   */
  answer(message: number): number {
    const found = this.#pending.get(message)
    if (found === undefined) return 0
    if (found.subscription.ack !== 'client') return this.#settle(message, found)
    return this.#settleAll(found.subscription, message)
  }

  /** The subscription is gone: what it has not answered is dropped. @returns how many that were */
  forget(subscription: StompSubscription): number {
    return this.#settleAll(subscription, Number.POSITIVE_INFINITY)
  }

  clear(): void {
    this.#pending.clear()
  }

  #settleAll(subscription: StompSubscription, upTo: number): number {
    // Listed first: `done` makes the broker send more, which adds to the map.
    const meant: [number, Pending][] = []
    for (const entry of this.#pending) {
      if (entry[0] > upTo) break
      if (entry[1].subscription === subscription) meant.push(entry)
    }
    for (const [message, pending] of meant) this.#settle(message, pending)
    return meant.length
  }

  #settle(message: number, { delivery }: Pending): 1 {
    this.#pending.delete(message)
    if (--delivery.unanswered === 0) this.#done(delivery.packetId)
    return 1
  }
}
