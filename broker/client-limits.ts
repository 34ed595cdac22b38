import type { QoS } from '../model/message.ts'
import type { Priorities } from './priority-queue.ts'

export interface SessionLimits {
  /** Unacknowledged QoS 1 and 2 deliveries to one client, 1 to 65535; the peer may ask for fewer. */
  maxInflight: number
  /** Deliveries that wait for a window or for the client's return. */
  maxQueueLength: number
  /** Which of those go first, at most `maxQueueLength` for each priority; undefined = the oldest. */
  priorities: Priorities | undefined
  /** Keep QoS 0 messages for a client that is away. */
  queuesQos0: boolean
  /** Deliver with the higher one of published and granted QoS instead of the lower one. */
  upgradesQos: boolean
}

/** What a client may use up and do, whatever it speaks. Each zone may have its own. */
export interface ClientLimits {
  session: SessionLimits
  /** Levels of a topic or filter. */
  maxTopicLevels: number
  /** Highest QoS granted to subscribers and taken from publishers. */
  maxQos: QoS
  wildcardSubscription: boolean
  sharedSubscription: boolean
  /** Whether `$exclusive/<topic>` may be subscribed to. */
  exclusiveSubscription: boolean
  /** Of messages that bring no expiry of their own; Infinity = they do not expire. */
  messageExpiryMs: number
  /** Per client. */
  maxSubscriptions: number
}
