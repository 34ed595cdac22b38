import type { HookBus } from '../hooks/bus.ts'
import { andThen, isPromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { Message } from '../model/message.ts'
import type { Receiver } from './broker.ts'
import type { SessionDelivery } from './delivery.ts'

/** QoS 0 deliveries that wait for `message.delivered` hooks; those of QoS 1 and 2 are limited by the window. */
const MAX_WAITING = 1000

/** What a session does with deliveries that come back from their hooks. */
export interface HookedTarget {
  info(): ClientInfo
  /** To the receiver it was meant for, if that is still there. */
  deliver(receiver: Receiver, delivery: SessionDelivery): void
  /** Too many wait. */
  overflow(delivery: SessionDelivery): void
  /** Nothing waits any more. */
  idle(): void
  /** The delivery stays for a while: its payload must not pin what it came in. */
  own(message: Message): void
}

/**
 * Takes deliveries through `message.delivered` hooks, which may change the message or take their time; deliveries
 * behind one that waits wait too.
 */
export class HookedDeliveries {
  readonly #hooks: HookBus
  readonly #target: HookedTarget
  #last: Promise<void> | undefined
  #count = 0

  constructor(hooks: HookBus, target: HookedTarget) {
    this.#hooks = hooks
    this.#target = target
  }

  get isBusy(): boolean {
    return this.#last !== undefined
  }

  get count(): number {
    return this.#count
  }

  hand(receiver: Receiver, delivery: SessionDelivery): void {
    const target = this.#target
    if (delivery.qos === 0 && this.#count >= MAX_WAITING) return target.overflow(delivery)
    const fold = () => this.#hooks.fold('message.delivered', delivery.message, target.info())
    const deliver = (message: Message) =>
      target.deliver(receiver, message === delivery.message ? delivery : delivery.with(message))
    const result = this.#last === undefined ? andThen(fold(), deliver) : this.#last.then(fold).then(deliver)
    if (!isPromise(result)) return
    target.own(delivery.message)
    this.#count++
    const pending = result.finally(() => {
      this.#count--
      if (this.#last !== pending) return
      this.#last = undefined
      target.idle()
    })
    this.#last = pending
  }
}
