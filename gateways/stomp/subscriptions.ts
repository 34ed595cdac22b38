/** The subscriptions of one connection. */

export type AckMode = 'auto' | 'client' | 'client-individual'

export interface StompSubscription {
  /** What the client calls it; undefined for a STOMP 1.0 subscription without id, which goes by its destination. */
  readonly id: string | undefined
  readonly destination: string
  readonly ack: AckMode
  /** Subscription identifier at the broker: tells which subscriptions a delivery is for. */
  readonly identifier: number
  /** How each MESSAGE to it begins: see `messageBeginning`. */
  readonly beginning: Uint8Array
}

export class Subscriptions {
  readonly #byKey = new Map<string, StompSubscription>()
  readonly #byDestination = new Map<string, StompSubscription>()
  readonly #byIdentifier = new Map<number, StompSubscription>()
  #lastIdentifier = 0
  readonly #beginningOf: (id: string | undefined) => Uint8Array

  /** @param beginningOf - what each MESSAGE to a subscription of that id begins with */
  constructor(beginningOf: (id: string | undefined) => Uint8Array) {
    this.#beginningOf = beginningOf
  }

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
    const identifier = ++this.#lastIdentifier
    const subscription = { id, destination, ack, identifier, beginning: this.#beginningOf(id) }
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
