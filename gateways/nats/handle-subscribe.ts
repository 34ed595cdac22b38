/** SUB and UNSUB. Many subscriptions of a client may be one at the broker: `subscriptions.ts` knows which. */
import { andThen, type MaybePromise } from '../../model/async.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { Subscription } from '../../model/subscription.ts'
import type { Conversation, Peer } from './conversation.ts'
import type { NatsFrame } from './frame.ts'
import { INVALID_QUEUE, INVALID_SUBJECT, subscribeFailure, TOO_MANY_SUBSCRIPTIONS } from './replies.ts'
import { asRouted, type Subject } from './subject.ts'
import type { Feed, NatsSubscription } from './subscriptions.ts'

export function handleSubscribe(
  conversation: Conversation,
  { client, permissions }: Peer,
  frame: NatsFrame,
): MaybePromise<void> {
  const { subscriptions, replies, connection } = conversation
  const { options } = conversation.parts
  const { subject, text: group, sid } = frame
  if (!isSubscribable(subject)) return replies.error(INVALID_SUBJECT)
  if (/[/+#\0]/.test(group)) return replies.error(INVALID_QUEUE)
  // The reference server takes it for the same one.
  if (subscriptions.get(sid) !== undefined) return conversation.ok()
  if (subscriptions.size >= options.maxSubscriptions) {
    replies.error(TOO_MANY_SUBSCRIPTIONS)
    return connection.end('quota_exceeded')
  }
  if (permissions !== undefined && !permissions.maySubscribe(asRouted(subject.text), group))
    return replies.error(subscribeFailure(subject.text, group, ReasonCode.NotAuthorized))
  const added = subscriptions.add(sid, subject, group)
  const { feed } = added
  if (feed.members.length > 1) {
    if (group !== '' || !options.deliversRetained) return conversation.ok()
    // Once more at the broker, for its own retained messages.
    subscriptions.replayFor(added, client.waitingCount > 0)
  }
  return andThen(
    client.subscribe([wishOf(conversation, feed, feed.members.length > 1 ? 0 : 1)]),
    ([code = ReasonCode.UnspecifiedError]) => {
      if (code >= 0x80) refuse(conversation, [added], group, code)
      else conversation.ok()
    },
  )
}

export function handleUnsubscribe(conversation: Conversation, { sid, max }: NatsFrame): MaybePromise<void> {
  const { subscriptions, peer } = conversation
  const subscription = subscriptions.get(sid)
  if (subscription === undefined) return conversation.ok()
  if (max > subscription.delivered) {
    subscription.max = max
    return conversation.ok()
  }
  if (!subscriptions.remove(subscription) || peer === undefined) return conversation.ok()
  return andThen(peer.client.unsubscribe([subscription.feed.filter]), () => conversation.ok())
}

/** All there is at the broker once more, for a client that has another name or other wishes now. */
export function subscribeAgain(
  conversation: Conversation,
  { client }: Peer,
  retainHandling: 0 | 1 | 2,
): MaybePromise<void> {
  const { feeds } = conversation.subscriptions
  if (feeds.length === 0) return
  const wishes = feeds.map((feed) => wishOf(conversation, feed, retainHandling))
  return andThen(client.subscribe(wishes), (codes) => {
    for (const [i, code] of codes.entries()) {
      if (code >= 0x80) refuse(conversation, feeds[i]?.members ?? [], '', code)
    }
  })
}

function refuse(
  { subscriptions, replies }: Conversation,
  refused: readonly NatsSubscription[],
  group: string,
  code: ReasonCode,
): void {
  for (const subscription of refused) {
    subscriptions.remove(subscription)
    replies.error(subscribeFailure(subscription.subject, group, code))
  }
}

/** A client that wants to be told gets QoS 1, as far as that goes without an acknowledgement in NATS. */
function wishOf(
  { packet, parts }: Conversation,
  { filter, identifier }: Feed,
  retainHandling: 0 | 1 | 2,
): Subscription {
  return {
    filter,
    qos: packet.verbose ? 1 : 0,
    noLocal: !packet.echo,
    retainAsPublished: false,
    retainHandling: parts.options.deliversRetained ? retainHandling : 2,
    identifier,
  }
}

function isSubscribable(subject: Subject): subject is Subject & { filter: string } {
  return subject.filter !== undefined
}
