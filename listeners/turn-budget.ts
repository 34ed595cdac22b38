/** What was read too late in a turn of the event loop and is handled in the next one. */
export interface PutOff {
  /** Handles what it holds, charging the budget for it. Must not throw: others wait behind it. */
  goOn(): void
}

/** How long the peers of one turn may keep the event loop, in ms: everybody else, timers included, waits that long. */
const MAX_TURN_MS = 2
/** The clock is looked at once for so many bytes. */
const BYTES_PER_LOOK = 16_384

/**
 * Shares a turn of the event loop among all peers: whatever they send, timers and other peers have their turn
 * after a few milliseconds. What is read later in a turn waits for the next one, first come first served. One
 * per process is enough.
 */
export class TurnBudget {
  readonly #now: () => number
  #isOpen = false
  #isSpent = false
  #startedMs = 0
  #bytes = 0
  #waiting: PutOff[] = []
  readonly #next = (): void => this.#nextTurn()

  /** @param now - monotonic, in ms */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  /** Charges the turn for bytes that are about to be handled. @returns false if they have to wait: see `wait` */
  admits(bytes: number): boolean {
    if (!this.#isOpen) this.#open()
    if (this.#isSpent) return false
    this.#bytes += bytes
    if (this.#bytes < BYTES_PER_LOOK) return true
    this.#bytes = 0
    this.#isSpent = this.#now() - this.#startedMs > MAX_TURN_MS
    return !this.#isSpent
  }

  /** Has `putOff` go on in a later turn. Once for each time it has something to wait with. */
  wait(putOff: PutOff): void {
    this.#waiting.push(putOff)
  }

  #open(): void {
    this.#isOpen = true
    this.#startedMs = this.#now()
    setImmediate(this.#next)
  }

  #nextTurn(): void {
    this.#isOpen = this.#isSpent = false
    this.#bytes = 0
    if (this.#waiting.length === 0) return
    this.#open()
    const batch = this.#waiting
    this.#waiting = []
    let done = 0
    // The first one always goes on, or a slow machine would stand still.
    while (done < batch.length && (done === 0 || !this.#isSpent)) batch[done++]?.goOn()
    if (done < batch.length) this.#waiting = batch.slice(done).concat(this.#waiting)
  }
}
