import type { ClientInfo } from '../model/client-info.ts'
import { Deadline } from '../model/timers.ts'
import type { Will } from './broker.ts'
import { storedClient } from './session-mirror.ts'
import type { WillStore } from './storage/storage.ts'

/**
 * Wills that wait for their client to disappear, and then for their delay to pass (MQTT 5.0 §3.1.3.2.2). At most one
 * per client, void when it comes back in time [MQTT-3.1.3-9]. With a durable storage they outlive the process.
 */
export class Wills {
  readonly #store: WillStore | undefined
  readonly #delayed = new Map<string, { deadline: Deadline; publish: () => void }>()

  constructor(store: WillStore | undefined) {
    this.#store = store
  }

  /** Whether those that wait for their delay survive a stop. */
  get areKept(): boolean {
    return this.#store !== undefined
  }

  /** A client has brought a will. */
  announce(info: ClientInfo, will: Will): void {
    this.#store?.save(storedClient(info), { will, dueAtMs: undefined })
  }

  /** It is void, or published: nothing waits any more. */
  forget(key: string): void {
    this.#store?.remove(key)
  }

  schedule(info: ClientInfo, will: Will, delayMs: number, publish: () => void): void {
    this.#clear(info.key)
    this.#store?.save(storedClient(info), { will, dueAtMs: Date.now() + delayMs })
    const fire = () => {
      this.#delayed.delete(info.key)
      publish()
      this.forget(info.key)
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
    this.cancel(key)
    will.publish()
  }

  /** The broker stops. What is kept waits for its next start, no delay is waited for otherwise. */
  stop(): void {
    for (const key of this.#delayed.keys()) {
      if (this.areKept) this.#clear(key)
      else this.publishNow(key)
    }
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
