import { BrokerError, messageOf } from '../model/errors.ts'
import type { ConnectorContext, ConnectorCounters, ConnectorStatus, Tuning } from './connector.ts'
import { Health } from './health.ts'
import { redact } from './redact.ts'

export interface CallsOptions {
  readonly id: string
  readonly context: ConnectorContext
  /** Calls worked on at the same time; others wait. */
  readonly maxInflight: number
  /** From asking to the answer, waiting included. */
  readonly timeoutMs: number
  readonly connectTimeoutMs: number
  readonly reconnects: boolean
  /** Never in an error's text. */
  readonly secrets: readonly (string | undefined)[]
  probe(signal: AbortSignal): Promise<void>
  /** What an error of the driver says; its message if left out. */
  explain?(error: unknown): string
  /** Whether it means that the backend itself may be gone, not that the question was wrong. */
  isLoss(error: unknown): boolean
}

const TUNING: Tuning = { firstRetryMs: 100, maxRetryMs: 5000, healthIntervalMs: 15_000, maxWaiting: 10_000 }
const LATENCY_WEIGHT = 0.1

/** One call on its way. */
interface Call {
  readonly controller: AbortController
  /** Gives it its turn. */
  start: () => void
}

/**
 * The way of every call to a backend, whichever it is: refused while the backend is away or too many wait, its turn,
 * its deadline, what is counted, and errors that give nothing away.
 */
export class Calls {
  readonly counters: ConnectorCounters = {
    total: 0,
    success: 0,
    failed: 0,
    timeouts: 0,
    dropped: 0,
    abandoned: 0,
    inflight: 0,
    waiting: 0,
    latencyMs: 0,
  }
  readonly #options: CallsOptions
  readonly #maxWaiting: number
  readonly #health: Health
  readonly #calls = new Set<Call>()
  /** In order of arrival. */
  readonly #waiting = new Set<Call>()
  #isClosed = false

  constructor(options: CallsOptions) {
    const { id, context, connectTimeoutMs, reconnects } = options
    const tuning = { ...TUNING, ...context.tuning }
    this.#options = options
    this.#maxWaiting = tuning.maxWaiting
    this.#health = new Health({
      id,
      log: context.log,
      probe: (signal) => options.probe(signal),
      explain: (error) => this.#explain(error, []),
      timeoutMs: connectTimeoutMs,
      reconnects,
      tuning,
    })
  }

  /** Looks whether the backend is there. Not before the connector can be used. */
  start(): void {
    this.#health.start()
  }

  get status(): ConnectorStatus {
    return this.#health.status
  }

  /**
   * Does `work` when it is its turn.
   * @param values - what it is about: kept out of the texts of errors
   * @param work - has to end soon when its signal aborts
   * @throws BrokerError BACKEND_TIMEOUT, BACKEND_FAILED
   */
  async run<T>(
    values: readonly string[],
    signal: AbortSignal | undefined,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { counters } = this
    counters.total++
    const startedAt = performance.now()
    try {
      const answer = await this.#inTime(signal, work)
      counters.success++
      counters.latencyMs += (performance.now() - startedAt - counters.latencyMs) * LATENCY_WEIGHT
      this.#health.answered()
      return answer
    } catch (error) {
      throw this.#failed(error, values, signal)
    }
  }

  /** Everything under way rejects. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#health.close()
    for (const call of this.#calls) call.controller.abort(this.#error('was closed'))
  }

  async #inTime<T>(signal: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#admit(signal)
    const controller = new AbortController()
    const call: Call = { controller, start: () => {} }
    const { id, timeoutMs } = this.#options
    const late = () =>
      controller.abort(new BrokerError('BACKEND_TIMEOUT', `${id} did not answer within ${timeoutMs} ms`))
    const leave = () => controller.abort(this.#error('is not asked any more'))
    const timer = setTimeout(late, timeoutMs)
    signal?.addEventListener('abort', leave, { once: true })
    this.#calls.add(call)
    try {
      await this.#turn(call)
      return await firstOf(this.#work(work, controller.signal), controller.signal)
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', leave)
      this.#calls.delete(call)
    }
  }

  #admit(signal: AbortSignal | undefined): void {
    if (this.#isClosed) throw this.#error('was closed')
    if (signal?.aborted) throw this.#error('is not asked any more')
    const { isDown, status } = this.#health
    if (isDown) throw this.#error(`is not connected: ${status.lastError ?? 'not yet'}`)
    if (this.#waiting.size < this.#maxWaiting || this.counters.inflight < this.#options.maxInflight) return
    this.counters.dropped++
    throw this.#error('has too many calls waiting')
  }

  /** Takes its place among those that are worked on, now or when one of them has ended. */
  async #turn(call: Call): Promise<void> {
    const { counters } = this
    if (counters.inflight < this.#options.maxInflight) {
      counters.inflight++
      return
    }
    this.#waiting.add(call)
    counters.waiting = this.#waiting.size
    const { signal } = call.controller
    const turn = new Promise<void>((resolve) => {
      call.start = resolve
    })
    try {
      await firstOf(turn, signal)
    } catch (error) {
      // The turn may have come in the same moment; then somebody else gets it.
      if (!this.#waiting.delete(call)) this.#ended()
      counters.waiting = this.#waiting.size
      throw error
    }
  }

  /** Ends when the work has really ended, so that what is given up still counts as worked on. */
  async #work<T>(work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
    try {
      signal.throwIfAborted()
      return await work(signal)
    } finally {
      this.#ended()
    }
  }

  #ended(): void {
    const next = this.#waiting.values().next().value
    if (next === undefined) {
      this.counters.inflight--
      return
    }
    this.#waiting.delete(next)
    this.counters.waiting = this.#waiting.size
    next.start()
  }

  #failed(error: unknown, values: readonly string[], signal: AbortSignal | undefined): BrokerError {
    const { counters } = this
    const isTimeout = error instanceof BrokerError && error.code === 'BACKEND_TIMEOUT'
    if (signal?.aborted && !isTimeout) counters.abandoned++
    else counters.failed++
    if (isTimeout) counters.timeouts++
    if (isTimeout) this.#health.suspect()
    if (error instanceof BrokerError) return error
    // Who says no to a question is there.
    if (this.#options.isLoss(error)) this.#health.suspect()
    else this.#health.answered()
    // Without the cause: errors of drivers carry statements and values.
    return this.#error(`failed: ${this.#explain(error, values)}`)
  }

  #error(what: string): BrokerError {
    return new BrokerError('BACKEND_FAILED', `${this.#options.id} ${what}`)
  }

  #explain(error: unknown, values: readonly string[]): string {
    const options = this.#options
    return redact(options.explain?.(error) ?? reasonOf(error), [...options.secrets, ...values])
  }
}

/** An error's message; that of one that was tried with several addresses is only in its parts. */
export function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.map(messageOf).join(', ')
  return (
    messageOf(error) || (error instanceof Error && 'code' in error ? String(error.code) : 'no reason given')
  )
}

/** What `work` says, or the reason of the signal if that is first; then nobody hears of `work` any more. */
function firstOf<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason as Error)
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
