/** What a queue orders: by time, and what is due at the same time by id. */
export interface Due {
  readonly id: number
  /** Unix time in milliseconds. */
  readonly dueAtMs: number
  /** Where it is in the queue. Owned by the queue. */
  place: number
}

/** A binary heap: the earliest is always at hand, adding and removing take logarithmic time. */
export class DueQueue<T extends Due> {
  readonly #heap: T[] = []

  get size(): number {
    return this.#heap.length
  }

  /** The earliest. */
  get first(): T | undefined {
    return this.#heap[0]
  }

  add(item: T): void {
    this.#heap.push(item)
    this.#rise(item, this.#heap.length - 1)
  }

  /** @param item - is in the queue */
  remove(item: T): void {
    const last = this.#heap.pop() as T
    if (last === item) return
    this.#rise(last, item.place)
    this.#sink(last, last.place)
  }

  clear(): void {
    this.#heap.length = 0
  }

  #rise(item: T, from: number): void {
    let place = from
    while (place > 0) {
      const above = (place - 1) >> 1
      const other = this.#heap[above] as T
      if (isBefore(other, item)) break
      this.#put(other, place)
      place = above
    }
    this.#put(item, place)
  }

  #sink(item: T, from: number): void {
    let place = from
    for (;;) {
      let below = place * 2 + 1
      let other = this.#heap[below]
      const right = this.#heap[below + 1]
      if (right !== undefined && isBefore(right, other as T)) {
        other = right
        below++
      }
      if (other === undefined || isBefore(item, other)) break
      this.#put(other, place)
      place = below
    }
    this.#put(item, place)
  }

  #put(item: T, place: number): void {
    this.#heap[place] = item
    item.place = place
  }
}

function isBefore(one: Due, other: Due): boolean {
  return one.dueAtMs === other.dueAtMs ? one.id < other.id : one.dueAtMs < other.dueAtMs
}
