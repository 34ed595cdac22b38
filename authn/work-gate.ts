import { BrokerError } from '../model/errors.ts'

interface Waiting {
  start: () => void
  fail: (error: Error) => void
}

/**
 * Lets a few pieces of slow work run at a time and the others wait in order. Password
 * hashes run on the threads that also write to disk: without a gate, a storm of logins
 * would hold up every acknowledgement that waits for an fsync.
 */
export class WorkGate {
  readonly #maxRunning: number
  readonly #maxWaiting: number
  readonly #waiting = new Set<Waiting>()
  #running = 0

  /** @param options.maxRunning - default: one less than the process's worker threads */
  constructor(options: { maxRunning?: number; maxWaiting?: number } = {}) {
    this.#maxRunning = options.maxRunning ?? Math.max(1, workerThreads() - 1)
    this.#maxWaiting = options.maxWaiting ?? 10_000
  }

  /**
   * @param signal - while waiting: gives up the place. Work that has begun is its own business.
   * @throws BrokerError BACKEND_FAILED when too many wait already, or when `signal` aborted
   */
  async run<T>(work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    if (signal?.aborted === true) throw gaveUp()
    if (this.#running < this.#maxRunning) this.#running++
    else await this.#turn(signal)
    try {
      return await work()
    } finally {
      this.#passOn()
    }
  }

  /** Resolves when a place was handed over. */
  #turn(signal: AbortSignal | undefined): Promise<void> {
    if (this.#waiting.size >= this.#maxWaiting) {
      return Promise.reject(new BrokerError('BACKEND_FAILED', 'too many logins wait for a password check'))
    }
    return new Promise((resolve, reject) => {
      const entry: Waiting = { start: resolve, fail: reject }
      this.#waiting.add(entry)
      const leave = (): void => {
        if (this.#waiting.delete(entry)) entry.fail(gaveUp())
      }
      signal?.addEventListener('abort', leave, { once: true })
      entry.start = () => {
        signal?.removeEventListener('abort', leave)
        resolve()
      }
    })
  }

  #passOn(): void {
    for (const next of this.#waiting) {
      this.#waiting.delete(next)
      next.start()
      return
    }
    this.#running--
  }
}

function gaveUp(): BrokerError {
  return new BrokerError('BACKEND_FAILED', 'the login was given up before its password was checked')
}

function workerThreads(): number {
  const configured = Number(process.env.UV_THREADPOOL_SIZE)
  return Number.isInteger(configured) && configured > 0 ? configured : 4
}
