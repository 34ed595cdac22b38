import { withDeadline } from '../model/async.ts'
import type { Logger } from '../model/log.ts'
import type { ConnectorStatus, Tuning } from './connector.ts'

export interface HealthOptions {
  /** Named in the log. */
  readonly id: string
  readonly log: Logger
  /** Asks the backend something cheap; rejects when it is not there. */
  probe(signal: AbortSignal): Promise<void>
  /** Why a probe failed, without secrets. */
  explain(error: unknown): string
  /** How long a probe may take. */
  readonly timeoutMs: number
  /** Otherwise a lost backend is only tried again when somebody wants something of it. */
  readonly reconnects: boolean
  readonly tuning: Tuning
}

const RETRY_JITTER = 0.2 // brokers that lost the same database do not all come back in the same moment

/**
 * Knows whether the backend is there: asks it now and then, soon after a call has failed, and while it is
 * away again and again with growing pauses. Says once that it is lost, and once that it is back.
 */
export class Health {
  readonly #options: HealthOptions
  #state: ConnectorStatus['state'] = 'connecting'
  #lastError: string | undefined
  #failures = 0
  #timer: NodeJS.Timeout | undefined
  #probing: AbortController | undefined
  #isClosed = false
  #lastAnswerMs = 0

  constructor(options: HealthOptions) {
    this.#options = options
  }

  get status(): ConnectorStatus {
    return { state: this.#state, lastError: this.#lastError }
  }

  /** Calls are to be refused at once: somebody will say when it is back. */
  get isDown(): boolean {
    return this.#state === 'disconnected' && this.#options.reconnects
  }

  start(): void {
    void this.#probe()
  }

  /** A call has been answered. */
  answered(): void {
    this.#lastAnswerMs = performance.now()
    if (this.#state !== 'connected') this.#found()
  }

  /** A call has failed in a way that may mean that the backend is gone. */
  suspect(): void {
    if (this.#state !== 'disconnected') void this.#probe()
  }

  close(): void {
    this.#isClosed = true
    this.#state = 'disconnected'
    clearTimeout(this.#timer)
    this.#probing?.abort()
  }

  async #probe(): Promise<void> {
    if (this.#probing !== undefined || this.#isClosed) return
    clearTimeout(this.#timer)
    const attempt = new AbortController()
    this.#probing = attempt
    const options = this.#options
    try {
      await withDeadline(options.probe(attempt.signal), options.timeoutMs, options.id, () => attempt.abort())
      this.#probing = undefined
      this.answered()
      this.#next(options.tuning.healthIntervalMs)
    } catch (error) {
      this.#probing = undefined
      if (!this.#isClosed) this.#lost(options.explain(error))
    }
  }

  #found(): void {
    if (this.#isClosed) return
    const { id, log } = this.#options
    const wasLost = this.#state === 'disconnected'
    this.#state = 'connected'
    this.#lastError = undefined
    this.#failures = 0
    if (wasLost) log.info({ connector: id }, 'backend is there again')
    else log.debug({ connector: id }, 'connected to the backend')
  }

  #lost(reason: string): void {
    const { id, log, reconnects, tuning } = this.#options
    if (this.#state !== 'disconnected')
      log.warn({ connector: id }, `backend cannot be reached, what needs it fails: ${reason}`)
    this.#state = 'disconnected'
    this.#lastError = reason
    if (!reconnects) return
    const pause = Math.min(tuning.firstRetryMs * 2 ** Math.min(this.#failures++, 20), tuning.maxRetryMs)
    this.#next(pause * (1 + RETRY_JITTER * Math.random()))
  }

  #next(afterMs: number): void {
    if (this.#isClosed) return
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#due(afterMs), afterMs)
    // A broker that has nothing else to do may end.
    this.#timer.unref()
  }

  /** Calls that were answered meanwhile have shown that the backend is there. */
  #due(pauseMs: number): void {
    const quietMs = performance.now() - this.#lastAnswerMs
    if (this.#state === 'connected' && quietMs < pauseMs) this.#next(pauseMs - quietMs)
    else void this.#probe()
  }
}
