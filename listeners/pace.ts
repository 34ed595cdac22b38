/**
 * How fast one client may send: its `messages_rate`, `bytes_rate` and `subscribes_rate`. The connection tells
 * it what has come; once too much has, it stops reading and waits here, so that nothing is lost and TCP slows
 * the client down (EMQX 5.8; later versions refuse or drop instead).
 */
import type { Rate } from '../model/schema.ts'
import { Deadline } from '../model/timers.ts'
import { TokenBucket } from '../model/token-bucket.ts'

/** A rate with the burst beside it. */
export interface RateLimit {
  rate: Rate
  burst: Rate | undefined
}

/** What each client of a listener may send; undefined = as much as it likes. */
export interface RateLimits {
  messages: RateLimit | undefined
  /** Of payload. */
  bytes: RateLimit | undefined
  /** SUBSCRIBE packets, whatever they hold. */
  subscribes: RateLimit | undefined
}

export function isLimited({ messages, bytes, subscribes }: RateLimits): boolean {
  return messages !== undefined || bytes !== undefined || subscribes !== undefined
}

/** A pause lasts this long or until the bucket is full, so that a fast client costs no timer per message. */
const MIN_PAUSE_MS = 50

export class Pace {
  /** Too much has come: stop reading and call `wait`. */
  isSpent = false
  readonly #now: () => number
  readonly #onPause: () => void
  #messages: TokenBucket | undefined
  #bytes: TokenBucket | undefined
  #subscribes: TokenBucket | undefined
  #timer: Deadline | undefined
  #resume: (() => void) | undefined

  /**
   * @param onPause - for counting
   * @param now - a clock that never goes back, in milliseconds
   */
  constructor(
    limits: RateLimits,
    onPause: () => void = () => {},
    now: () => number = () => performance.now(),
  ) {
    this.#onPause = onPause
    this.#now = now
    this.update(limits)
  }

  /** Other limits from now on; who waits for the old ones waits no longer than the new ones say. */
  update(limits: RateLimits): void {
    const nowMs = this.#now()
    this.#messages = updated(this.#messages, limits.messages, nowMs)
    this.#bytes = updated(this.#bytes, limits.bytes, nowMs)
    this.#subscribes = updated(this.#subscribes, limits.subscribes, nowMs)
    this.isSpent = !this.#hasAll(nowMs)
    if (this.#resume !== undefined) this.#sleep()
  }

  /** The client has published a message. */
  message(payloadBytes: number): void {
    const nowMs = this.#now()
    if (this.#messages?.take(1, nowMs) === false) this.isSpent = true
    if (this.#bytes?.take(payloadBytes, nowMs) === false) this.isSpent = true
  }

  /** The client has asked for subscriptions. */
  subscribe(): void {
    if (this.#subscribes?.take(1, this.#now()) === false) this.isSpent = true
  }

  /** Calls `resume` once when there are tokens again, not before this returns. One at a time. */
  wait(resume: () => void): void {
    this.#resume = resume
    this.#onPause()
    this.#sleep()
  }

  /** The client has gone: nobody is called any more. */
  close(): void {
    this.#timer?.clear()
    this.#timer = undefined
    this.#resume = undefined
  }

  #sleep(): void {
    this.#timer?.clear()
    this.#timer = new Deadline(this.isSpent ? this.#pauseMs() : 0, () => this.#wake())
  }

  #wake(): void {
    const resume = this.#resume
    this.isSpent = !this.#hasAll(this.#now())
    if (this.isSpent) return this.#sleep() // timers may be a bit early
    this.#timer = undefined
    this.#resume = undefined
    resume?.()
  }

  #hasAll(nowMs: number): boolean {
    return (
      this.#messages?.has(nowMs) !== false &&
      this.#bytes?.has(nowMs) !== false &&
      this.#subscribes?.has(nowMs) !== false
    )
  }

  #pauseMs(): number {
    const nowMs = this.#now()
    return Math.ceil(
      Math.max(pauseOf(this.#messages, nowMs), pauseOf(this.#bytes, nowMs), pauseOf(this.#subscribes, nowMs)),
    )
  }
}

function updated(
  bucket: TokenBucket | undefined,
  limit: RateLimit | undefined,
  nowMs: number,
): TokenBucket | undefined {
  if (limit === undefined) return undefined
  if (bucket === undefined) return new TokenBucket(limit.rate, limit.burst, nowMs)
  bucket.update(limit.rate, limit.burst, nowMs)
  return bucket
}

function pauseOf(bucket: TokenBucket | undefined, nowMs: number): number {
  if (bucket === undefined || bucket.has(nowMs)) return 0
  const fullMs = bucket.waitMs(Number.POSITIVE_INFINITY, nowMs)
  return Math.max(bucket.waitMs(1, nowMs), Math.min(MIN_PAUSE_MS, fullMs))
}
