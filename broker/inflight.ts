import type { SessionDelivery } from './delivery.ts'

const MAX_PACKET_ID = 65_535
const FIRST_CAPACITY = 8

/**
 * Deliveries in flight by packet id. Ids are given out in turn, so a small ring of slots
 * holds them: id modulo capacity. Nothing is allocated as messages pass.
 */
export class Inflight {
  #slots: (SessionDelivery | undefined)[] = emptySlots(FIRST_CAPACITY)
  #size = 0
  #lastId = 0

  get size(): number {
    return this.#size
  }

  /** Gives a delivery the next free packet id, 1 to 65535 [MQTT-2.2.1-4]. There must be fewer than 65535 in flight. */
  add(delivery: SessionDelivery): void {
    if (this.#size * 2 >= this.#slots.length) this.#grow()
    const mask = this.#slots.length - 1
    let id = this.#lastId
    do id = id === MAX_PACKET_ID ? 1 : id + 1
    while (this.#slots[id & mask] !== undefined)
    this.#lastId = id
    delivery.packetId = id
    this.#slots[id & mask] = delivery
    this.#size++
  }

  /** Takes one that has its packet id from before a restart. The last one is taken for the youngest. */
  restore(delivery: SessionDelivery): void {
    const { packetId } = delivery
    while (
      this.#size * 2 >= this.#slots.length ||
      this.#slots[packetId & (this.#slots.length - 1)] !== undefined
    )
      this.#grow()
    this.#slots[packetId & (this.#slots.length - 1)] = delivery
    this.#lastId = packetId
    this.#size++
  }

  get(id: number): SessionDelivery | undefined {
    const delivery = this.#slots[id & (this.#slots.length - 1)]
    return delivery !== undefined && delivery.packetId === id ? delivery : undefined
  }

  delete(id: number): void {
    this.take(id)
  }

  /** Takes out the one with that packet id. */
  take(id: number): SessionDelivery | undefined {
    const slots = this.#slots
    const at = id & (slots.length - 1)
    const delivery = slots[at]
    if (delivery === undefined || delivery.packetId !== id) return undefined
    slots[at] = undefined
    this.#size--
    return delivery
  }

  clear(): void {
    this.#slots = emptySlots(FIRST_CAPACITY)
    this.#size = 0
  }

  /** In the order in which their ids were given out. */
  inOrder(): SessionDelivery[] {
    const age = ({ packetId }: SessionDelivery) =>
      (packetId - this.#lastId - 1 + MAX_PACKET_ID) % MAX_PACKET_ID
    return this.#slots.filter((delivery) => delivery !== undefined).sort((a, b) => age(a) - age(b))
  }

  /** Doubles until no two ids want the same slot: at half full that is soon. */
  #grow(): void {
    const all = this.#slots.filter((delivery) => delivery !== undefined)
    let capacity = this.#slots.length
    let slots: (SessionDelivery | undefined)[]
    do {
      capacity *= 2
      slots = emptySlots(capacity)
      for (const delivery of all) slots[delivery.packetId & (capacity - 1)] = delivery
    } while (slots.filter((delivery) => delivery !== undefined).length < all.length)
    this.#slots = slots
  }
}

function emptySlots(capacity: number): (SessionDelivery | undefined)[] {
  return Array.from<undefined>({ length: capacity })
}
