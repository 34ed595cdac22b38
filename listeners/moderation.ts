/** What moderation looks at. All in ms, from any one moment on. */
export interface ModerationClock {
  now(): number
  /** How long the event loop has waited for something to happen. */
  idle(): number
  /** Does nothing at all, everybody waits. */
  pause(ms: number): void
}

/** What was seen in some turns of the event loop. */
interface Sight {
  /** Bytes sent in a ms. */
  rate: number
  /** Work in ms for a byte sent. */
  cost: number
}

/** Asked for; the system makes it some 0.1 ms. */
const PAUSE_MS = 0.05
/** So long is looked before something is decided, and so many turns. */
const SIGHT_MS = 25
const SIGHT_TURNS = 16
/** The loop is busy if it waits less than this share of the time. */
const MAX_IDLE = 0.1
/** A load that pauses did not help has ended if the loop waits more than this: in between it may be the same one. */
const MIN_IDLE_AT_END = 0.5
/** Longer turns have large reads by themselves. */
const MAX_TURN_MS = 1
/** With pauses, as much as this has to get through, for this much of the work. */
const LEAST_RATE = 0.9
const MOST_COST = 0.9
/** How long pauses go on until it is looked whether more would get through without them. */
const TRUST_MS = 1000
/** When they do not help, they are tried again after so long; each time twice as long. */
const FIRST_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 2000

/**
 * Pauses for a tenth of a millisecond after each turn of the event loop, under load and where that helps: meanwhile more
 * arrives, so that a read or a write is of twice as many packets, and to read and to write costs more than all else.
 * What network cards do with their interrupts.
 *
 * Whether it helps depends on the load: where peers wait for answers, nothing more comes. So it is tried, and kept up as
 * long as no less gets through and it takes less work.
 *
 *     watching -> trying -> pausing <-> checking
 */
export class Moderation {
  readonly #clock: ModerationClock
  #state: 'watching' | 'trying' | 'pausing' | 'checking' = 'watching'
  #turns = 0
  #bytes = 0
  #pausedMs = 0
  #sinceMs: number
  #idleBeforeMs: number
  #reference: Sight = { rate: 0, cost: 0 }
  /** In `watching`, not before this moment; in `pausing`, not longer. */
  #untilMs = 0
  #backoffMs = FIRST_BACKOFF_MS

  constructor(clock: ModerationClock = systemClock()) {
    this.#clock = clock
    this.#sinceMs = clock.now()
    this.#idleBeforeMs = clock.idle()
  }

  get isPausing(): boolean {
    return this.#state === 'trying' || this.#state === 'pausing'
  }

  /** A turn of the event loop has ended. One in which nothing was sent does not count: there is nothing to compare. */
  turnEnded(sentBytes: number): void {
    if (sentBytes === 0) return
    this.#bytes += sentBytes
    this.#turns++
    if (this.isPausing) this.#pause()
    if (this.#turns % SIGHT_TURNS === 0) this.#look()
  }

  #pause(): void {
    const beforeMs = this.#clock.now()
    this.#clock.pause(PAUSE_MS)
    this.#pausedMs += this.#clock.now() - beforeMs
  }

  #look(): void {
    const nowMs = this.#clock.now()
    const elapsedMs = nowMs - this.#sinceMs
    if (elapsedMs < SIGHT_MS) return
    const idleMs = this.#clock.idle()
    const waitedMs = idleMs - this.#idleBeforeMs
    const workMs = elapsedMs - waitedMs - this.#pausedMs
    const isBusy = waitedMs <= elapsedMs * MAX_IDLE && workMs <= this.#turns * MAX_TURN_MS
    // A loop that pauses much more than it works has no load any more.
    const isLoaded = isBusy && (this.#state !== 'pausing' || workMs >= this.#pausedMs / 2)
    if (isLoaded) this.#decide({ rate: this.#bytes / elapsedMs, cost: workMs / this.#bytes }, nowMs)
    else if (this.#state === 'trying') this.#giveUp(nowMs)
    else if (this.#state !== 'watching' || waitedMs > elapsedMs * MIN_IDLE_AT_END) this.#forget()
    this.#turns = this.#bytes = this.#pausedMs = 0
    this.#sinceMs = nowMs
    this.#idleBeforeMs = idleMs
  }

  #decide(sight: Sight, nowMs: number): void {
    const { rate, cost } = this.#reference
    switch (this.#state) {
      case 'watching':
        if (nowMs < this.#untilMs) return
        this.#state = 'trying'
        break
      case 'trying':
        if (sight.rate < rate * LEAST_RATE || sight.cost > cost * MOST_COST) return this.#giveUp(nowMs)
        this.#backoffMs = FIRST_BACKOFF_MS
        this.#state = 'pausing'
        this.#untilMs = nowMs + TRUST_MS
        break
      case 'pausing':
        if (nowMs >= this.#untilMs) this.#state = 'checking'
        break
      case 'checking':
        if (rate < sight.rate * LEAST_RATE) return this.#giveUp(nowMs)
        this.#state = 'pausing'
        this.#untilMs = nowMs + TRUST_MS
    }
    this.#reference = sight
  }

  /** They do not help this load. */
  #giveUp(nowMs: number): void {
    this.#state = 'watching'
    this.#untilMs = nowMs + this.#backoffMs
    this.#backoffMs = Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS)
  }

  /** What comes next may be another load. */
  #forget(): void {
    this.#state = 'watching'
    this.#untilMs = 0
    this.#backoffMs = FIRST_BACKOFF_MS
  }
}

function systemClock(): ModerationClock {
  const nothing = new Int32Array(new SharedArrayBuffer(4))
  return {
    now: () => performance.now(),
    idle: () => performance.eventLoopUtilization().idle,
    // Nobody ever wakes it.
    pause: (ms) => void Atomics.wait(nothing, 0, 0, ms),
  }
}
