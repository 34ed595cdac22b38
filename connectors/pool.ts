/** One connection of a driver. */
export interface Pooled {
  /** Nothing is known that speaks against using it again. */
  readonly isUsable: boolean
  /** Cuts it, whatever it is doing. Safe to call twice. */
  destroy(): void
}

/**
 * Connections that are used by one at a time and kept for the next one. How many are used at the same time is
 * the caller's business (`Calls`); how many are kept is bounded here.
 */
export class Pool<C extends Pooled> {
  readonly #open: (signal: AbortSignal) => Promise<C>
  readonly #maxIdle: number
  readonly #idle: C[] = []
  readonly #used = new Set<C>()
  #isClosed = false

  /** @param open - one more; what it has begun is undone when the signal aborts */
  constructor(maxIdle: number, open: (signal: AbortSignal) => Promise<C>) {
    this.#maxIdle = maxIdle
    this.#open = open
  }

  /** @param signal - when it aborts, the connection is cut: nobody knows what it is in the middle of */
  async use<T>(signal: AbortSignal, work: (connection: C) => Promise<T>): Promise<T> {
    const connection = this.#take() ?? (await this.#open(signal))
    const cut = () => connection.destroy()
    if (signal.aborted || this.#isClosed) cut()
    signal.throwIfAborted()
    signal.addEventListener('abort', cut, { once: true })
    this.#used.add(connection)
    try {
      return await work(connection)
    } finally {
      signal.removeEventListener('abort', cut)
      this.#used.delete(connection)
      this.#keep(connection)
    }
  }

  close(): void {
    this.#isClosed = true
    for (const connection of [...this.#idle.splice(0), ...this.#used]) connection.destroy()
  }

  /** The one that was used last, so that those that are not needed grow old and are closed by the server. */
  #take(): C | undefined {
    for (;;) {
      const connection = this.#idle.pop()
      if (connection === undefined || connection.isUsable) return connection
      connection.destroy()
    }
  }

  #keep(connection: C): void {
    if (connection.isUsable && !this.#isClosed && this.#idle.length < this.#maxIdle)
      this.#idle.push(connection)
    else connection.destroy()
  }
}
