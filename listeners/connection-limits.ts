import type { Rate } from '../model/schema.ts'
import type { AccessRules } from './access-rules.ts'

export interface ConnectionLimits {
  rules: AccessRules
  /** Connections at a time, from accept on. `Infinity` = no limit. */
  maxConnections: number
  /** New connections per time; a burst of `count` is let through. */
  maxConnRate: Rate
}

/** Plain numbers, read by the API and the metrics. */
export interface ListenerCounters {
  current: number
  accepted: number
  refusedByRule: number
  refusedByLimit: number
  refusedByRate: number
  /** Closed before they became a transport: bad PROXY header, TLS or WebSocket handshake. */
  failedHandshakes: number
  /** Accepting itself failed, e.g. no file descriptors left. */
  acceptErrors: number
}

export type Admission = 'admitted' | 'rule' | 'limit' | 'rate'

/** Decides over new connections of one listener and counts them. */
export class ConnectionGate {
  readonly counters: ListenerCounters = {
    current: 0,
    accepted: 0,
    refusedByRule: 0,
    refusedByLimit: 0,
    refusedByRate: 0,
    failedHandshakes: 0,
    acceptErrors: 0,
  }
  readonly #now: () => number
  #limits: ConnectionLimits
  #tokens: number
  #refilledAtMs: number

  /** @param now - a clock that never goes back, in milliseconds */
  constructor(limits: ConnectionLimits, now: () => number = () => performance.now()) {
    this.#now = now
    this.#limits = limits
    this.#tokens = limits.maxConnRate.count
    this.#refilledAtMs = now()
  }

  update(limits: ConnectionLimits): void {
    this.#limits = limits
    this.#tokens = Math.min(this.#tokens, limits.maxConnRate.count)
  }

  /** Counts the peer as connected if it is admitted: call `left` once when it has gone. */
  admit(host: string): Admission {
    if (!this.#limits.rules.allows(host)) {
      this.counters.refusedByRule++
      return 'rule'
    }
    if (this.counters.current >= this.#limits.maxConnections) {
      this.counters.refusedByLimit++
      return 'limit'
    }
    if (!this.#takeToken()) {
      this.counters.refusedByRate++
      return 'rate'
    }
    this.counters.current++
    this.counters.accepted++
    return 'admitted'
  }

  left(): void {
    this.counters.current--
  }

  #takeToken(): boolean {
    const { count, perMs } = this.#limits.maxConnRate
    if (count === Number.POSITIVE_INFINITY) return true
    const now = this.#now()
    this.#tokens = Math.min(count, this.#tokens + ((now - this.#refilledAtMs) * count) / perMs)
    this.#refilledAtMs = now
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }
}
