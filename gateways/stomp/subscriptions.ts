/** The subscriptions of one connection. */

export type AckMode = 'auto' | 'client' | 'client-individual'

export interface StompSubscription {
  /** What the client calls it; undefined for a STOMP 1.0 subscription without id, which goes by its destination. */
  readonly id: string | undefined
  readonly destination: string
  readonly ack: AckMode
  /** Subscription identifier at the broker: tells which subscriptions a delivery is for. */
  readonly identifier: number
}

export class Subscriptions {
  readonly #byKey = new Map<string, StompSubscription>()
  readonly #byDestination = new Map<string, StompSubscription>()
  readonly #byIdentifier = new Map<number, StompSubscription>()
  #lastIdentifier = 0

  get size(): number {
    return this.#byKey.size
  }

  hasId(id: string): boolean {
    return this.#byKey.has(keyOfId(id))
  }

  hasDestination(destination: string): boolean {
    return this.#byDestination.has(destination)
  }

  add(id: string | undefined, destination: string, ack: AckMode): StompSubscription {
    const subscription: StompSubscription = { id, destination, ack, identifier: ++this.#lastIdentifier }
    this.#byKey.set(keyOf(subscription), subscription)
    this.#byDestination.set(destination, subscription)
    this.#byIdentifier.set(subscription.identifier, subscription)
    return subscription
  }

  remove(subscription: StompSubscription): void {
    this.#byKey.delete(keyOf(subscription))
    this.#byDestination.delete(subscription.destination)
    this.#byIdentifier.delete(subscription.identifier)
  }

  /** By id; without one by destination (STOMP 1.0 §UNSUBSCRIBE). */
  find(id: string | undefined, destination: string | undefined): StompSubscription | undefined {
    if (id !== undefined) return this.#byKey.get(keyOfId(id))
    return destination === undefined ? undefined : this.#byDestination.get(destination)
  }

  get(identifier: number): StompSubscription | undefined {
    return this.#byIdentifier.get(identifier)
  }
}

function keyOf({ id, destination }: StompSubscription): string {
  return id === undefined ? `destination:${destination}` : keyOfId(id)
}

function keyOfId(id: string): string {
  return `id:${id}`
}
