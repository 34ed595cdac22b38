/** How far it may be behind. */
const RESOLUTION_MS = 100

/** The time of day for what is asked on every message and does not matter to a tenth of a second. */
export class CoarseClock {
  #nowMs = Date.now()
  readonly #timer: NodeJS.Timeout

  constructor() {
    this.#timer = setInterval(() => {
      this.#nowMs = Date.now()
    }, RESOLUTION_MS)
    this.#timer.unref()
  }

  /** Unix time in milliseconds. */
  readonly now = (): number => this.#nowMs

  /** It stands still from now on. */
  stop(): void {
    clearInterval(this.#timer)
  }
}
