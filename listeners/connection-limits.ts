import type { Rate } from '../model/schema.ts'
import { TokenBucket } from '../model/token-bucket.ts'
import type { AccessRules } from './access-rules.ts'

export interface ConnectionLimits {
  rules: AccessRules
  /** Connections at a time, from accept on. `Infinity` = no limit. */
  maxConnections: number
  /** New connections per time; a burst of `count` is let through. */
  maxConnRate: Rate
  /** Let through beyond it. */
  maxConnBurst?: Rate | undefined
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
  /** How often a client was not read for a while because of `messages_rate` and the like. */
  ratePauses: number
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
    ratePauses: 0,
  }
  readonly #now: () => number
  #limits: ConnectionLimits
  /** undefined = no limit. */
  #bucket: TokenBucket | undefined

  /** @param now - a clock that never goes back, in milliseconds */
  constructor(limits: ConnectionLimits, now: () => number = () => performance.now()) {
    this.#now = now
    this.#limits = limits
    this.update(limits)
  }

  update(limits: ConnectionLimits): void {
    this.#limits = limits
    const { maxConnRate, maxConnBurst } = limits
    if (maxConnRate.count === Number.POSITIVE_INFINITY) this.#bucket = undefined
    else if (this.#bucket === undefined)
      this.#bucket = new TokenBucket(maxConnRate, maxConnBurst, this.#now())
    else this.#bucket.update(maxConnRate, maxConnBurst, this.#now())
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
    const now = this.#now()
    if (this.#bucket?.has(now) === false) return false
    this.#bucket?.take(1, now)
    return true
  }
}
