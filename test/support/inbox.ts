/** Longer than anything takes that works, shorter than a test's own time. */
const PATIENCE_MS = 8_000

/** What has come and nobody has looked at yet, in order. */
export class Inbox<T> {
  readonly #name: string
  readonly #items: T[] = []
  readonly #waiting: { resolve(item: T): void; reject(error: Error): void }[] = []
  #failure: Error | undefined

  /** @param name - what comes here: for the error when it does not */
  constructor(name: string) {
    this.#name = name
  }

  get size(): number {
    return this.#items.length
  }

  put(item: T): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#items.push(item)
    else next.resolve(item)
  }

  /** Nothing more will come. */
  fail(error: Error): void {
    this.#failure = error
    for (const waiting of this.#waiting.splice(0)) waiting.reject(error)
  }

  /** The oldest item, which leaves the box; waits for one if it is empty. */
  async next(): Promise<T> {
    if (this.#items.length > 0) return this.#items.shift() as T
    if (this.#failure !== undefined) throw this.#failure
    return within(new Promise<T>((resolve, reject) => this.#waiting.push({ resolve, reject })), this.#name)
  }

  /** The next `count` items. */
  async take(count: number): Promise<T[]> {
    const items: T[] = []
    while (items.length < count) items.push(await this.next())
    return items
  }

  /** Everything that is there, without waiting. */
  drain(): T[] {
    return this.#items.splice(0)
  }
}

/** Waits for something that is to happen soon. @throws naming `what` when it does not */
export async function within<T>(promise: Promise<T>, what: string, patienceMs = PATIENCE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${patienceMs} ms in vain for ${what}`)), patienceMs)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
