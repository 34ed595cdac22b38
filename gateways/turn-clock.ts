/** The time of day, asked for once for all messages that came in one piece: asking costs a tenth of what a message does. */
export class TurnClock {
  readonly #now: () => number
  readonly #forget = (): void => {
    this.#nowMs = 0
  }
  #nowMs = 0

  /** @param now - Unix time in milliseconds */
  constructor(now: () => number) {
    this.#now = now
  }

  /** Unix time in milliseconds at which this turn began. */
  now(): number {
    if (this.#nowMs === 0) {
      this.#nowMs = this.#now()
      queueMicrotask(this.#forget)
    }
    return this.#nowMs
  }
}
