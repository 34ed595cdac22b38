/** Node's longest timer; a longer one would fire at once. */
const MAX_TIMER_MS = 2_147_483_647

/** A timer of any length that does not keep the process alive. `Infinity` never fires. */
export class Deadline {
  readonly #atMs: number
  readonly #callback: () => void
  #timer: NodeJS.Timeout | undefined

  constructor(delayMs: number, callback: () => void) {
    this.#atMs = Date.now() + delayMs
    this.#callback = callback
    if (delayMs !== Number.POSITIVE_INFINITY) this.#arm()
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  #arm(): void {
    const leftMs = Math.max(this.#atMs - Date.now(), 0)
    this.#timer = setTimeout(
      () => (leftMs > MAX_TIMER_MS ? this.#arm() : this.#callback()),
      Math.min(leftMs, MAX_TIMER_MS),
    )
    this.#timer.unref()
  }
}
