import { isPromise } from '../model/async.ts'
import type { Message } from '../model/message.ts'
import type { SubscriptionEntry } from './routing/route.ts'
import type { RetainedCursor } from './storage/storage.ts'

/** Retained messages handed over per turn of the event loop: others must not wait for a large match. */
export const REPLAY_BATCH = 100

/** The session whose subscriptions get retained messages. */
interface Replaying {
  /** Whether the client takes one now. When it does again, `goOn` is called. */
  hasRoom(): boolean
  offer(message: Message, entry: SubscriptionEntry): void
  failed(error: unknown): void
}

/**
 * The retained messages of new subscriptions, one subscription after the other: from the turn after
 * SUBACK on, and only as fast as the client takes them, so a match of any size loses nothing and delays nobody.
 */
export class RetainedReplays {
  readonly #session: Replaying
  #waiting: { cursor: RetainedCursor; entry: SubscriptionEntry }[] = []
  #isScheduled = false

  constructor(session: Replaying) {
    this.#session = session
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0
  }

  add(cursor: RetainedCursor, entry: SubscriptionEntry): void {
    this.#waiting.push({ cursor, entry })
    this.#schedule()
  }

  /** What is left of one subscription's messages goes by the one that has replaced it. */
  replace(replaced: SubscriptionEntry, entry: SubscriptionEntry): void {
    for (const replay of this.#waiting) if (replay.entry === replaced) replay.entry = entry
  }

  goOn(): void {
    if (this.#waiting.length > 0) this.#schedule()
  }

  clear(): void {
    this.#waiting = []
  }

  #schedule(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(() => {
      this.#batch().catch((error: unknown) => {
        this.#waiting = []
        this.#isScheduled = false
        this.#session.failed(error)
      })
    })
  }

  async #batch(): Promise<void> {
    for (let sent = 0; sent < REPLAY_BATCH; sent++) {
      const replay = this.#waiting[0]
      if (replay === undefined || !this.#session.hasRoom()) break
      const next = replay.cursor.next()
      const message = isPromise(next) ? await next : next
      if (message === undefined) this.#waiting.shift()
      else this.#session.offer(message, replay.entry)
    }
    this.#isScheduled = false
    if (this.#waiting.length > 0 && this.#session.hasRoom()) this.#schedule()
  }
}
