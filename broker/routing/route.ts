import type { QoS } from '../../model/message.ts'
import type { Subscription } from '../../model/subscription.ts'
import type { Session } from '../session.ts'
import type { SharedGroup } from './shared-groups.ts'

/** How one session is to get a message: one subscription, or several that overlap taken together. */
export interface Target {
  readonly session: Session
  /** Highest granted QoS of the subscriptions that match [MQTT-3.3.4-2]. */
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  /** Of all subscriptions that match [MQTT-3.3.4-3]; undefined when none has one. */
  readonly identifiers: readonly number[] | undefined
  /** The group for which it was picked, if it is a shared subscription. */
  readonly group: SharedGroup | undefined
  /** The subscriptions taken together; undefined for a single one. */
  readonly parts: readonly SubscriptionEntry[] | undefined
}

/** A subscription of a session, as it hangs in the trie. */
export class SubscriptionEntry implements Target {
  readonly session: Session
  readonly subscription: Subscription
  /** With mountpoint, without `$share/<group>/`: what topics are matched with. */
  readonly filter: string
  readonly group: SharedGroup | undefined
  readonly qos: QoS
  readonly noLocal: boolean
  readonly retainAsPublished: boolean
  readonly identifiers: readonly number[] | undefined
  readonly parts = undefined
  #alone: readonly Target[] | undefined

  constructor(session: Session, subscription: Subscription, filter: string, group: SharedGroup | undefined) {
    this.session = session
    this.subscription = subscription
    this.filter = filter
    this.group = group
    this.qos = subscription.qos
    this.noLocal = subscription.noLocal
    this.retainAsPublished = subscription.retainAsPublished
    this.identifiers = subscription.identifier === 0 ? undefined : [subscription.identifier]
  }

  /** Targets of all topics that only this one matches. One list for thousands of topics stays in the processor's cache. */
  get alone(): readonly Target[] {
    this.#alone ??= [this]
    return this.#alone
  }
}

/** Where the messages of one topic go. Cached per topic, so nobody changes it. */
export interface Route {
  readonly targets: readonly Target[]
  /** Each gets one copy, for one of its members. */
  readonly groups: readonly SharedGroup[]
  /** Number of levels of the topic. */
  readonly levels: number
  /** Only the broker itself publishes to this topic. */
  readonly isReserved: boolean
}

/** Takes the subscriptions of one session that match the same topic together. */
export function mergeTargets(parts: readonly SubscriptionEntry[]): Target {
  const first = parts[0] as SubscriptionEntry
  if (parts.length === 1) return first
  const identifiers = parts.flatMap((part) => part.identifiers ?? [])
  return {
    session: first.session,
    qos: Math.max(...parts.map((part) => part.qos)) as QoS,
    noLocal: parts.some((part) => part.noLocal),
    retainAsPublished: parts.some((part) => part.retainAsPublished),
    identifiers: identifiers.length === 0 ? undefined : identifiers,
    group: undefined,
    parts,
  }
}
