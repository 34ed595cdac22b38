/** Plain sums by name, one set per gateway, read by metrics and API. */
export class Counters {
  readonly #values = new Map<string, number>()

  /** @param name - one of few and fixed ones, never text from a peer */
  add(name: string, by = 1): void {
    this.#values.set(name, (this.#values.get(name) ?? 0) + by)
  }

  get(name: string): number {
    return this.#values.get(name) ?? 0
  }

  get values(): ReadonlyMap<string, number> {
    return this.#values
  }
}
