import type { SessionDelivery } from './delivery.ts'

const FIRST_CAPACITY = 8

/**
 * Deliveries that wait for a window, a drained outbox or the client's return:
 * first in, first out, at most `maxLength` of them. A full queue gives up its
 * oldest QoS 0 delivery, or its oldest one when it has none.
 *
 * A ring: nothing is allocated as messages pass, and an empty queue is small.
 */
export class MessageQueue {
  readonly #maxLength: number
  #ring: (SessionDelivery | undefined)[] = EMPTY
  #head = 0
  #length = 0
  #qos0 = 0

  constructor(maxLength: number) {
    this.#maxLength = maxLength
  }

  get length(): number {
    return this.#length
  }

  get qos0Count(): number {
    return this.#qos0
  }

  /** @returns the delivery that had to go, which may be the new one. */
  push(delivery: SessionDelivery): SessionDelivery | undefined {
    let dropped: SessionDelivery | undefined
    if (this.#length >= this.#maxLength) {
      if (this.#length === 0 || (delivery.qos === 0 && this.#qos0 === 0)) return delivery
      dropped = this.#qos0 > 0 ? this.#takeOldestQos0() : this.shift()
    }
    if (this.#length === this.#ring.length) this.#resize(Math.max(FIRST_CAPACITY, this.#length * 2))
    this.#ring[(this.#head + this.#length) & (this.#ring.length - 1)] = delivery
    this.#length++
    if (delivery.qos === 0) this.#qos0++
    return dropped
  }

  peek(): SessionDelivery | undefined {
    return this.#length === 0 ? undefined : this.#ring[this.#head]
  }

  shift(): SessionDelivery | undefined {
    if (this.#length === 0) return undefined
    const delivery = this.#ring[this.#head]
    this.#ring[this.#head] = undefined
    this.#head = (this.#head + 1) & (this.#ring.length - 1)
    this.#length--
    if (delivery?.qos === 0) this.#qos0--
    return delivery
  }

  /** From the oldest on. */
  *[Symbol.iterator](): Generator<SessionDelivery> {
    for (let i = 0; i < this.#length; i++) yield this.#at(i) as SessionDelivery
  }

  /** Drops everything and what memory it took. */
  clear(): void {
    this.#ring = EMPTY
    this.#head = this.#length = this.#qos0 = 0
  }

  #at(index: number): SessionDelivery | undefined {
    return this.#ring[(this.#head + index) & (this.#ring.length - 1)]
  }

  #takeOldestQos0(): SessionDelivery | undefined {
    let index = 0
    while (index < this.#length && this.#at(index)?.qos !== 0) index++
    const found = this.#at(index)
    // Those before it move up by one.
    for (let i = index; i > 0; i--) this.#ring[(this.#head + i) & (this.#ring.length - 1)] = this.#at(i - 1)
    this.#ring[this.#head] = found
    return this.shift()
  }

  #resize(capacity: number): void {
    const ring = emptyRing(capacity)
    for (let i = 0; i < this.#length; i++) ring[i] = this.#at(i)
    this.#ring = ring
    this.#head = 0
  }
}

function emptyRing(capacity: number): (SessionDelivery | undefined)[] {
  return Array.from<undefined>({ length: capacity })
}

/** Shared by all queues that have never held anything: never written to. */
const EMPTY: SessionDelivery[] = []
