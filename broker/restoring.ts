/** Sessions that come back from the storage when the broker starts. */
import { parseShared } from '../model/topic.ts'
import { SessionDelivery } from './delivery.ts'
import { type ExclusiveTopics, exclusiveTopic } from './routing/exclusive.ts'
import { SubscriptionEntry } from './routing/route.ts'
import type { Router } from './routing/router.ts'
import { Session } from './session.ts'
import type { SessionContext } from './session-context.ts'
import { returnedClient, SessionMirror } from './session-mirror.ts'
import type { DurableStore, StoredDelivery, StoredSession } from './storage/storage.ts'

/** Makes a session out of what was kept of it; its subscriptions are routed to from now on. */
export function restoreSession(
  stored: StoredSession,
  context: SessionContext,
  durable: DurableStore,
  router: Router,
  exclusive: ExclusiveTopics,
): Session {
  const info = returnedClient(stored.record.client)
  const session = new Session(info, context, new SessionMirror(info.key, durable))
  session.expiryIntervalMs = stored.record.expiryIntervalMs
  for (const subscription of stored.subscriptions) {
    const shared = parseShared(subscription.filter)
    const owned = exclusiveTopic(subscription.filter)
    const filter = info.mountpoint + (owned ?? shared?.filter ?? subscription.filter)
    if (owned !== undefined && !exclusive.take(filter, session)) continue
    const group = shared === undefined ? undefined : router.group(shared.group, filter)
    const entry = new SubscriptionEntry(session, subscription, filter, group)
    session.subscriptions.set(subscription.filter, entry)
    router.add(entry)
  }
  session.incoming.restore(stored.incoming)
  session.restore(stored.deliveries.map((delivery) => restoreDelivery(delivery, router)))
  return session
}

function restoreDelivery(stored: StoredDelivery, router: Router): SessionDelivery {
  const { message, qos, retain, subscriptionIds, group } = stored
  const members = group === undefined ? undefined : router.group(group.name, group.filter)
  const delivery = new SessionDelivery(message, qos, retain, subscriptionIds, members)
  delivery.packetId = stored.packetId
  delivery.state = stored.state
  delivery.kept = stored.kept
  return delivery
}
