import { Deadline } from '../model/timers.ts'
import type { SessionDelivery } from './delivery.ts'
import type { Session } from './session.ts'

/**
 * Sends again what a connected peer has not acknowledged. Looks every interval, and what was on its way at
 * the last look already has waited for at least one: so nothing is noted as messages pass.
 */
export class Retries {
  readonly #session: Session
  readonly #intervalMs: number
  #seen: ReadonlySet<SessionDelivery> = new Set()
  #timer: Deadline | undefined

  constructor(session: Session, intervalMs: number) {
    this.#session = session
    this.#intervalMs = intervalMs
    this.#arm()
  }

  close(): void {
    this.#timer?.clear()
    this.#timer = undefined
  }

  #arm(): void {
    this.#timer = new Deadline(this.#intervalMs, () => {
      // Armed first: a peer that cannot be handed a message is ended while it is tried.
      this.#arm()
      this.#seen = this.#session.retry(this.#seen)
    })
  }
}
