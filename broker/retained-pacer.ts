import type { Rate } from '../model/schema.ts'
import { Deadline } from '../model/timers.ts'
import { TokenBucket } from '../model/token-bucket.ts'

/** How long retained messages may be handed over in one turn of the event loop, to all clients together. */
const TURN_MS = 5
/** Messages between two looks at the clock. */
const UNCHECKED = 15
/** Of those who wait, so many go on in one turn whatever else has happened in it. */
const RELEASED = 32
/** A rate is kept over this time: what one burst may be. */
const BURST_MS = 50

interface Waiter {
  readonly takes: boolean
  readonly goOn: () => void
}

/**
 * How fast retained messages are looked for and handed over: all new subscriptions together get a share of
 * each turn of the event loop, so that a match of any size keeps nobody waiting, and no more messages than
 * the rate says.
 */
export class RetainedPacer {
  #bucket: TokenBucket | undefined
  #waiting: Waiter[] = []
  #isTurn = false
  #turnEndsAtMs = 0
  #unchecked = 0
  #timer: Deadline | undefined
  #isClosed = false

  /** @param rate - of all clients together; count Infinity = no limit */
  constructor(rate: Rate) {
    this.#bucket = bucketOf(rate)
  }

  update(rate: Rate): void {
    this.#bucket = bucketOf(rate)
    this.#timer?.clear()
    this.#timer = undefined
    if (this.#waiting.length > 0) this.#beginTurn()
  }

  /** Lets all go on who wait: their clients are gone. */
  close(): void {
    this.#isClosed = true
    this.#bucket = undefined
    this.#timer?.clear()
    for (const { goOn } of this.#waiting.splice(0)) goOn()
  }

  /** Asked before each message. @returns undefined: go ahead; else wait for it */
  take(): Promise<void> | undefined {
    if (this.#bucket === undefined) return this.#hasTime() ? undefined : this.#wait(true)
    if (this.#waiting.length > 0 || !this.#hasTime() || !takeToken(this.#bucket)) return this.#wait(true)
    return undefined
  }

  /** A search that has taken its time goes on in another turn. */
  pause(): Promise<void> {
    return this.#wait(false)
  }

  #hasTime(): boolean {
    if (this.#unchecked > 0) {
      this.#unchecked--
      return true
    }
    if (!this.#isTurn) this.#beginTurn()
    if (performance.now() >= this.#turnEndsAtMs) return this.#isClosed
    this.#unchecked = UNCHECKED
    return true
  }

  #wait(takes: boolean): Promise<void> {
    if (this.#isClosed) return Promise.resolve()
    if (!this.#isTurn) this.#beginTurn()
    return new Promise((goOn) => {
      this.#waiting.push({ takes, goOn })
    })
  }

  #beginTurn(): void {
    if (this.#isTurn) return
    this.#isTurn = true
    this.#turnEndsAtMs = performance.now() + TURN_MS
    setImmediate(() => this.#endTurn())
  }

  #endTurn(): void {
    this.#isTurn = false
    this.#unchecked = 0
    if (this.#waiting.length === 0 || this.#timer !== undefined) return
    const released = this.#releasable()
    for (const { goOn } of this.#waiting.splice(0, released)) goOn()
    if (this.#waiting.length === 0) return
    if (released < RELEASED && this.#bucket !== undefined) this.#sleep(this.#bucket)
    else this.#beginTurn()
  }

  /** How many of those who wait may go on, the first ones first. */
  #releasable(): number {
    const most = Math.min(RELEASED, this.#waiting.length)
    for (let i = 0; i < most; i++) {
      if (this.#waiting[i]?.takes && this.#bucket !== undefined && !takeToken(this.#bucket)) return i
    }
    return most
  }

  #sleep(bucket: TokenBucket): void {
    this.#timer = new Deadline(Math.ceil(bucket.waitMs(1, performance.now())), () => {
      this.#timer = undefined
      this.#beginTurn()
    })
  }
}

function takeToken(bucket: TokenBucket): boolean {
  const nowMs = performance.now()
  if (!bucket.has(nowMs)) return false
  bucket.take(1, nowMs)
  return true
}

/** The same rate in smaller portions: it is to hold for every short time, not with all of a second's messages at once. */
function bucketOf({ count, perMs }: Rate): TokenBucket | undefined {
  if (count === Number.POSITIVE_INFINITY) return undefined
  const portion = Math.max(1, (count / perMs) * BURST_MS)
  return new TokenBucket({ count: portion, perMs: (portion * perMs) / count }, undefined, performance.now())
}
