import type { Rate } from './schema.ts'

/** Fractions do not add up exactly. */
const WHOLE = 1 - 1e-6

/**
 * A token bucket: it holds `rate.count` tokens and is refilled evenly, so many per `rate.perMs`. A burst is a
 * second store beside it, of `burst.count` tokens with a refill of its own, from which is taken what the first
 * one lacks (EMQX 5.9+, "rate limits": `*_rate` and `*_burst`).
 *
 * More may be taken than there is: what comes next then waits for longer. So a message may be larger than the
 * bucket, and the rate holds over time.
 *
 * Time is an argument, in milliseconds of any clock. One that goes back costs the tokens of that time.
 */
export class TokenBucket {
  #rate: Rate
  #burst: Rate | undefined
  /** Below 0: in debt. */
  #tokens: number
  #extra: number
  #refilledAtMs: number

  /** Begins full. @param rate - finite, above 0; so is `burst` */
  constructor(rate: Rate, burst: Rate | undefined, nowMs: number) {
    this.#rate = rate
    this.#burst = burst
    this.#tokens = rate.count
    this.#extra = burst?.count ?? 0
    this.#refilledAtMs = nowMs
  }

  /** Other limits from now on. What has been taken stays taken. */
  update(rate: Rate, burst: Rate | undefined, nowMs: number): void {
    this.#refill(nowMs)
    this.#rate = rate
    this.#burst = burst
    this.#tokens = Math.min(this.#tokens, rate.count)
    this.#extra = Math.min(this.#extra, burst?.count ?? 0)
  }

  /** Takes `count` tokens, there or not. @returns whether a whole one is left */
  take(count: number, nowMs: number): boolean {
    this.#refill(nowMs)
    this.#tokens -= count
    this.#settle()
    return this.#tokens + this.#extra >= WHOLE
  }

  /** Whether a whole token is there. */
  has(nowMs: number): boolean {
    this.#refill(nowMs)
    return this.#tokens + this.#extra >= WHOLE
  }

  /** How long until `tokens` are there, as far as the bucket can hold so many. 0 = they are. */
  waitMs(tokens: number, nowMs: number): number {
    this.#refill(nowMs)
    const { count, perMs } = this.#rate
    const missing = Math.min(tokens, count) - this.#tokens - this.#extra
    return missing <= 0 ? 0 : missing / (count / perMs + perMsOf(this.#burst))
  }

  #refill(nowMs: number): void {
    const elapsedMs = Math.max(nowMs - this.#refilledAtMs, 0)
    this.#refilledAtMs = nowMs
    if (elapsedMs === 0) return
    const { count, perMs } = this.#rate
    if (this.#burst !== undefined)
      this.#extra = Math.min(this.#extra + elapsedMs * perMsOf(this.#burst), this.#burst.count)
    this.#tokens = Math.min(this.#tokens + (elapsedMs * count) / perMs, count)
    this.#settle()
  }

  /** Debts are paid from the burst first. */
  #settle(): void {
    if (this.#tokens >= 0 || this.#extra <= 0) return
    const paid = Math.min(-this.#tokens, this.#extra)
    this.#tokens += paid
    this.#extra -= paid
  }
}

function perMsOf(rate: Rate | undefined): number {
  return rate === undefined ? 0 : rate.count / rate.perMs
}
