import { Deadline } from '../model/timers.ts'
import type { Will } from './broker.ts'

/**
 * Wills that wait for their delay to pass (MQTT 5.0 §3.1.3.2.2). At most one per
 * client, void when it comes back in time [MQTT-3.1.3-9].
 */
export class DelayedWills {
  readonly #waiting = new Map<string, { deadline: Deadline; publish: () => void }>()

  schedule(key: string, delayMs: number, publish: () => void): void {
    this.cancel(key)
    const fire = () => {
      this.#waiting.delete(key)
      publish()
    }
    this.#waiting.set(key, { deadline: new Deadline(delayMs, fire), publish })
  }

  /** The client is back: its will is void. */
  cancel(key: string): void {
    this.#waiting.get(key)?.deadline.clear()
    this.#waiting.delete(key)
  }

  /** The session has ended before the delay has passed: it is published now [MQTT-3.1.2-8]. */
  publishNow(key: string): void {
    const will = this.#waiting.get(key)
    this.cancel(key)
    will?.publish()
  }

  /** The broker stops: no delay is waited for any more. */
  publishAll(): void {
    for (const key of this.#waiting.keys()) this.publishNow(key)
  }
}

/** How long a will waits after its connection is lost, in ms; 0 = it is published at once. */
export function willDelayMs(will: Will, expiryIntervalMs: number): number {
  return Math.min(will.delaySeconds * 1000, expiryIntervalMs)
}
