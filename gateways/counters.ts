/** One sum. Whoever counts on every message keeps it and adds to `value`: no look-up by name. */
export interface Counter {
  value: number
}

/** Plain sums by name, one set per gateway, read by metrics and API. */
export class Counters {
  readonly #counters = new Map<string, Counter>()

  /** @param name - one of few and fixed ones, never text from a peer */
  add(name: string, by = 1): void {
    this.counter(name).value += by
  }

  /** The sum of that name, made at 0 when it is not there yet. */
  counter(name: string): Counter {
    let counter = this.#counters.get(name)
    if (counter === undefined) {
      counter = { value: 0 }
      this.#counters.set(name, counter)
    }
    return counter
  }

  get(name: string): number {
    return this.#counters.get(name)?.value ?? 0
  }

  /** As they are now. */
  get values(): ReadonlyMap<string, number> {
    return new Map(Array.from(this.#counters, ([name, { value }]) => [name, value]))
  }
}
