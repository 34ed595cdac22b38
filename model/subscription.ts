import type { QoS } from './message.ts'

/** One wish of a client, as it asked for it (MQTT 5.0 §3.8.3.1; other protocols fill in what they lack). */
export interface Subscription {
  /** As asked: without mountpoint, with `$share/<group>/` if shared. */
  readonly filter: string
  readonly qos: QoS
  /** Do not send back what this client published. */
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  /** 0 = send retained messages, 1 = only if the subscription is new, 2 = never. */
  readonly retainHandling: 0 | 1 | 2
  /**
   * MQTT 5 Subscription Identifier, 0 = none. Deliveries carry those of all
   * subscriptions that matched; a gateway numbers its own subscriptions with it.
   */
  readonly identifier: number
}
