import { isPromise } from '../model/async.ts'
import type { Message } from '../model/message.ts'
import type { SubscriptionEntry } from './routing/route.ts'
import type { RetainedCursor } from './storage/storage.ts'

/** Retained messages that one client is handed per turn of the event loop at the most. */
export const REPLAY_BATCH = 100

/** A cursor that shares its broker's time with others. */
export interface PacedCursor extends RetainedCursor {
  /** Asked before each `next`. @returns undefined: go ahead; else wait for it */
  ready(): Promise<void> | undefined
}

interface Replay {
  readonly cursor: PacedCursor
  entry: SubscriptionEntry
  /** Read, but while it was waited for the client has stopped taking any. */
  held: Message | undefined
}

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
  #waiting: Replay[] = []
  #isScheduled = false

  constructor(session: Replaying) {
    this.#session = session
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0
  }

  add(cursor: PacedCursor, entry: SubscriptionEntry): void {
    this.#waiting.push({ cursor, entry, held: undefined })
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
      const ready = replay.held === undefined ? replay.cursor.ready() : undefined
      if (ready !== undefined) {
        await ready
        if (this.#waiting[0] !== replay || !this.#session.hasRoom()) continue
      }
      const next = replay.held ?? replay.cursor.next()
      const message = isPromise(next) ? await next : next
      if (this.#waiting[0] !== replay) continue // cleared meanwhile
      replay.held = undefined
      if (message === undefined) this.#waiting.shift()
      else if (this.#session.hasRoom()) this.#session.offer(message, replay.entry)
      else replay.held = message
    }
    this.#isScheduled = false
    if (this.#waiting.length > 0 && this.#session.hasRoom()) this.#schedule()
  }
}
