/** SUBSCRIBE and UNSUBSCRIBE of any protocol: check, authorize, hooks, then the trie and the retained messages. */
import { all, andThen, type MaybePromise } from '../model/async.ts'
import type { QoS } from '../model/message.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import type { Subscription } from '../model/subscription.ts'
import { hasWildcard, isValidFilter, parseShared, topicLevels } from '../model/topic.ts'
import type { HubClient } from './client.ts'
import type { ClientLimits } from './client-limits.ts'
import type { Hub } from './hub.ts'
import { isEventFilter } from './reserved-topics.ts'
import { exclusiveTopic, isValidExclusive } from './routing/exclusive.ts'
import { SubscriptionEntry } from './routing/route.ts'

/** @returns per subscription, in order, the granted QoS or why not [MQTT-3.8.4-6]. */
export function subscribe(
  hub: Hub,
  client: HubClient,
  subscriptions: readonly Subscription[],
): MaybePromise<ReasonCode[]> {
  hub.metrics.clientSubscribe++
  const limits = hub.limitsOf(client.info)
  const refusal = client.session.mirror === undefined ? undefined : hub.kernel.storage.durable?.refusal
  if (refusal !== undefined) return subscriptions.map(() => ReasonCode.QuotaExceeded)
  const codes = subscriptions.map((subscription) => check(limits, subscription))
  const permissions = subscriptions.map((subscription, i) =>
    (codes[i] as ReasonCode) < 0x80 ? client.authorizeSubscribe(subscription) : false,
  )
  return andThen(all(permissions), (allowed) => {
    if (client.isClosed) return codes.map(() => ReasonCode.NotAuthorized)
    for (const [i, yes] of allowed.entries()) {
      if (!yes && (codes[i] as ReasonCode) < 0x80) codes[i] = ReasonCode.NotAuthorized
    }
    return andThen(addGranted(hub, client, subscriptions, codes), (granted) =>
      whenKept(hub, client, subscriptions, granted),
    )
  })
}

/** What the broker itself subscribes a client to: checked like any other, but nobody is asked and `client.subscribe` does not run. */
export function subscribeUnasked(
  hub: Hub,
  client: HubClient,
  subscriptions: readonly Subscription[],
): ReasonCode[] {
  const limits = hub.limitsOf(client.info)
  const codes = subscriptions.map((subscription) => check(limits, subscription))
  return addAll(hub, client, subscriptions, codes)
}

/** @returns per filter, in order, Success or NoSubscriptionExisted [MQTT-3.11.3-1]. */
export function unsubscribe(
  hub: Hub,
  client: HubClient,
  filters: readonly string[],
): MaybePromise<ReasonCode[]> {
  hub.metrics.clientUnsubscribe++
  // [MQTT-3.10.4-6] as if each had come alone
  if (!hub.hooks.has('client.unsubscribe')) {
    const codes = filters.map((filter) => remove(hub, client, filter))
    return andThen(client.session.mirror?.unsafe, () => codes)
  }
  return andThen(hub.hooks.fold('client.unsubscribe', filters, client.info), (changed) => {
    // It left while hooks were being asked: its session may belong to another connection by now.
    if (client.isClosed) return filters.map(() => ReasonCode.NotAuthorized)
    const codes = changed.map((filter) => remove(hub, client, filter))
    const answers = filters.map((_, i) => codes[i] ?? ReasonCode.Success)
    return andThen(client.session.mirror?.unsafe, () => answers)
  })
}

/** Takes one subscription out of the routing; its session forgets it. */
export function removeEntry(hub: Hub, entry: SubscriptionEntry): void {
  entry.session.subscriptions.delete(entry.subscription.filter)
  entry.session.mirror?.unsubscribed(entry.subscription.filter)
  // [MQTT-3.10.4-2] nothing new from here on; [MQTT-3.10.4-3] what is in flight stays there
  hub.kernel.router.remove(entry)
  if (exclusiveTopic(entry.subscription.filter) !== undefined) hub.exclusive.free(entry.filter, entry.session)
  if (hub.hooks.has('session.unsubscribed')) {
    hub.hooks.run('session.unsubscribed', entry.session.info, entry.subscription)
  }
}

/** What can be said without asking anybody: the code to refuse with [MQTT-3.9.3-2], or the QoS that may be granted. */
export function check(options: ClientLimits, subscription: Subscription): ReasonCode {
  if (!isValidFilter(subscription.filter)) return ReasonCode.TopicFilterInvalid
  const shared = parseShared(subscription.filter)
  const exclusive = exclusiveTopic(subscription.filter)
  if (exclusive !== undefined && !(options.exclusiveSubscription && isValidExclusive(exclusive)))
    return ReasonCode.TopicFilterInvalid
  const filter = exclusive ?? shared?.filter ?? subscription.filter
  if (topicLevels(filter) > options.maxTopicLevels || isEventFilter(filter))
    return ReasonCode.TopicFilterInvalid
  if (shared !== undefined && !options.sharedSubscription) return ReasonCode.SharedSubscriptionsNotSupported
  // [MQTT-3.8.3-2 (3.1.1)]
  if (!options.wildcardSubscription && hasWildcard(filter))
    return ReasonCode.WildcardSubscriptionsNotSupported
  return Math.min(subscription.qos, options.maxQos) as ReasonCode // [MQTT-3.2.2-10] [MQTT-3.8.4-7]
}

function addGranted(
  hub: Hub,
  client: HubClient,
  subscriptions: readonly Subscription[],
  codes: ReasonCode[],
): MaybePromise<ReasonCode[]> {
  const granted = subscriptions.filter((_, i) => (codes[i] as ReasonCode) < 0x80)
  if (granted.length === 0 || !hub.hooks.has('client.subscribe'))
    return addAll(hub, client, subscriptions, codes)
  return andThen(hub.hooks.fold('client.subscribe', granted, client.info), (kept) => {
    if (client.isClosed) return codes.map(() => ReasonCode.NotAuthorized)
    // As many as before: each may have been rewritten. Fewer: those that are gone are blocked.
    const rewritten = new Map<Subscription, Subscription | undefined>()
    for (const [i, subscription] of granted.entries()) {
      const same = kept.find((other) => other.filter === subscription.filter)
      rewritten.set(subscription, kept.length === granted.length ? kept[i] : same)
    }
    const changed = subscriptions.map((subscription, i) => {
      if (!rewritten.has(subscription)) return subscription
      const change = rewritten.get(subscription)
      if (change === undefined) codes[i] = ReasonCode.ImplementationSpecificError
      else if (change !== subscription) codes[i] = check(hub.limitsOf(client.info), change)
      return change ?? subscription
    })
    return addAll(hub, client, changed, codes)
  })
}

function addAll(
  hub: Hub,
  client: HubClient,
  subscriptions: readonly Subscription[],
  codes: ReasonCode[],
): ReasonCode[] {
  // [MQTT-3.8.4-5] as if each had come alone
  for (const [i, subscription] of subscriptions.entries()) {
    const code = codes[i] as ReasonCode
    if (code < 0x80) codes[i] = add(hub, client, subscription, code as QoS)
  }
  hub.stats.sample()
  return codes
}

function add(hub: Hub, client: HubClient, subscription: Subscription, qos: QoS): ReasonCode {
  const { session } = client
  const existing = session.subscriptions.get(subscription.filter)
  if (existing === undefined && session.subscriptions.size >= hub.limitsOf(client.info).maxSubscriptions) {
    return ReasonCode.QuotaExceeded
  }
  const { router, retainer } = hub.kernel
  const shared = parseShared(subscription.filter)
  const exclusive = exclusiveTopic(subscription.filter)
  const filter = client.info.mountpoint + (exclusive ?? shared?.filter ?? subscription.filter)
  if (exclusive !== undefined && !hub.exclusive.take(filter, session)) return ReasonCode.QuotaExceeded
  // [MQTT-3.8.4-3] a second one with the same filter replaces the first; [MQTT-3.8.4-4] nothing is routed in between
  if (existing !== undefined) router.remove(existing)
  // Its client has come back with another mountpoint.
  if (exclusive !== undefined && existing !== undefined && existing.filter !== filter)
    hub.exclusive.free(existing.filter, session)
  const group = shared === undefined ? undefined : router.group(shared.group, filter)
  const entry = new SubscriptionEntry(session, { ...subscription, qos }, filter, group)
  session.subscriptions.set(subscription.filter, entry)
  session.mirror?.subscribed(entry.subscription)
  router.add(entry)
  const isNew = existing === undefined
  if (hub.hooks.has('session.subscribed')) {
    hub.hooks.run('session.subscribed', client.info, entry.subscription, isNew)
  }
  const { retainHandling } = subscription // [MQTT-3.3.1-9], [MQTT-3.3.1-10], [MQTT-3.3.1-11]
  const wantsRetained = shared === undefined && (retainHandling === 0 || (retainHandling === 1 && isNew))
  if (!wantsRetained && existing !== undefined) session.continueReplay(existing, entry)
  const retained = wantsRetained ? retainer.matching(filter) : undefined
  if (retained !== undefined) session.replay(retained, entry)
  return qos
}

/** A subscription is granted when it will still be there after a restart; what cannot be kept is taken back. */
function whenKept(
  hub: Hub,
  client: HubClient,
  subscriptions: readonly Subscription[],
  codes: ReasonCode[],
): MaybePromise<ReasonCode[]> {
  const { unsafe } = client.session.mirror ?? {}
  if (unsafe === undefined) return codes
  const refused = () =>
    codes.map((code, i) => {
      if (code >= 0x80) return code
      if (!client.isClosed) remove(hub, client, (subscriptions[i] as Subscription).filter)
      return ReasonCode.QuotaExceeded
    })
  return unsafe.then(() => codes, refused)
}

function remove(hub: Hub, client: HubClient, filter: string): ReasonCode {
  const entry = client.session.subscriptions.get(filter) // [MQTT-3.10.4-1]
  if (entry === undefined) return ReasonCode.NoSubscriptionExisted
  removeEntry(hub, entry)
  return ReasonCode.Success
}
