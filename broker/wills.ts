import { isPromise, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { Deadline } from '../model/timers.ts'
import type { Will } from './broker.ts'
import { storedClient } from './session-mirror.ts'
import type { WillStore } from './storage/storage.ts'

/** Settles once it is in all sessions it is for, or given up. Never rejects. */
type Publish = () => MaybePromise<void>

/**
 * Wills that wait for their client to disappear, and then for their delay to pass (MQTT 5.0 §3.1.3.2.2). At most one
 * per client, void when it comes back in time [MQTT-3.1.3-9]. With a durable storage they outlive the process.
 */
export class Wills {
  readonly #store: WillStore | undefined
  /** Those that stay with a session until its client is back, by key. */
  readonly #kept = new Map<string, Will>()
  readonly #delayed = new Map<string, { deadline: Deadline; publish: Publish }>()
  /** The latest of each client that is on its way: its record is there until it has got where it had to. */
  readonly #leaving = new Map<string, Promise<void>>()

  constructor(store: WillStore | undefined) {
    this.#store = store
  }

  /** Whether those that wait for their delay survive a stop. */
  get areKept(): boolean {
    return this.#store !== undefined
  }

  /** A client has brought a will. */
  announce(info: ClientInfo, will: Will): void {
    this.#kept.delete(info.key)
    this.#save(info, will, undefined)
  }

  /** Its client has said goodbye: it is for the next connection, and not published until that is lost. */
  keep(info: ClientInfo, will: Will): void {
    this.#kept.set(info.key, will)
    this.#leaving.delete(info.key)
    this.#store?.save(storedClient(info), { will, dueAtMs: undefined, isKept: true })
  }

  /** Read back after a restart. */
  restoreKept(key: string, will: Will): void {
    this.#kept.set(key, will)
  }

  /** The one that the session has kept, which is the connection's now. */
  takeUp(info: ClientInfo): Will | undefined {
    const will = this.#kept.get(info.key)
    if (will !== undefined) this.announce(info, will)
    return will
  }

  /** The session has ended. */
  dropKept(key: string): void {
    if (this.#kept.delete(key)) this.forget(key)
  }

  /** Publishes it, then forgets it: a crash in between has it published again rather than never. */
  publish(key: string, publish: Publish): void {
    const published = publish()
    if (!isPromise(published)) return this.forget(key)
    this.#leaving.set(key, published)
    void published.then(() => {
      if (this.#leaving.get(key) !== published) return // the record is of a later will
      this.#leaving.delete(key)
      this.forget(key)
    })
  }

  /** It is void, or published: nothing waits any more. */
  forget(key: string): void {
    this.#store?.remove(key)
  }

  schedule(info: ClientInfo, will: Will, delayMs: number, publish: Publish): void {
    this.#clear(info.key)
    this.#save(info, will, Date.now() + delayMs)
    const fire = () => {
      this.#delayed.delete(info.key)
      this.publish(info.key, publish)
    }
    this.#delayed.set(info.key, { deadline: new Deadline(delayMs, fire), publish })
  }

  /** The client is back: the will it left is void. */
  cancel(key: string): void {
    if (this.#clear(key)) this.forget(key)
  }

  /** The session has ended before the delay has passed: it is published now [MQTT-3.1.2-8]. */
  publishNow(key: string): void {
    const will = this.#delayed.get(key)
    if (will === undefined) return
    this.#clear(key)
    this.publish(key, will.publish)
  }

  /** The broker stops. What is kept waits for its next start, no delay is waited for otherwise. */
  stop(): void {
    for (const key of this.#delayed.keys()) {
      if (this.areKept) this.#clear(key)
      else this.publishNow(key)
    }
  }

  #save(info: ClientInfo, will: Will, dueAtMs: number | undefined): void {
    this.#leaving.delete(info.key)
    this.#store?.save(storedClient(info), { will, dueAtMs })
  }

  #clear(key: string): boolean {
    this.#delayed.get(key)?.deadline.clear()
    return this.#delayed.delete(key)
  }
}

/** How long a will waits after its connection is lost, in ms; 0 = it is published at once. */
export function willDelayMs(will: Will, expiryIntervalMs: number): number {
  return Math.min(will.delaySeconds * 1000, expiryIntervalMs)
}
