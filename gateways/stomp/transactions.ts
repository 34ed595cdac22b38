import type { TransactionLimits } from './config.ts'
import type { StompFrame } from './frame.ts'

interface Transaction {
  readonly frames: StompFrame[]
  bytes: number
  readonly timer: NodeJS.Timeout
}

/** Open transactions of one connection: frames kept until COMMIT or ABORT, within limits. */
export class Transactions {
  readonly #open = new Map<string, Transaction>()
  readonly #limits: TransactionLimits
  #frames = 0
  #bytes = 0

  constructor(limits: TransactionLimits) {
    this.#limits = limits
  }

  get size(): number {
    return this.#open.size
  }

  begin(name: string): 'begun' | 'already_open' | 'too_many' {
    if (this.#open.has(name)) return 'already_open'
    if (this.#open.size >= this.#limits.maxTransactions) return 'too_many'
    const timer = setTimeout(() => this.take(name), this.#limits.timeoutMs).unref()
    this.#open.set(name, { frames: [], bytes: 0, timer })
    return 'begun'
  }

  add(name: string, frame: StompFrame): 'added' | 'not_found' | 'too_many' {
    const transaction = this.#open.get(name)
    if (transaction === undefined) return 'not_found'
    const size = frame.body.length
    if (this.#frames + 1 > this.#limits.maxFrames || this.#bytes + size > this.#limits.maxBytes)
      return 'too_many'
    // Copied: the body is a slice of the chunk it came in, and outlives this turn.
    transaction.frames.push({ ...frame, body: Buffer.from(frame.body) })
    transaction.bytes += size
    this.#frames++
    this.#bytes += size
    return 'added'
  }

  /** Ends a transaction and hands out its frames in order; undefined if there is none. */
  take(name: string): StompFrame[] | undefined {
    const transaction = this.#open.get(name)
    if (transaction === undefined) return undefined
    clearTimeout(transaction.timer)
    this.#open.delete(name)
    this.#frames -= transaction.frames.length
    this.#bytes -= transaction.bytes
    return transaction.frames
  }

  clear(): void {
    for (const name of this.#open.keys()) this.take(name)
  }
}
