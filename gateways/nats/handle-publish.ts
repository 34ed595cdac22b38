/** PUB and HPUB: from a frame to the broker, and what a client that wants to know is told of it. */
import { isPromise, type MaybePromise } from '../../model/async.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { Conversation, Peer } from './conversation.ts'
import type { Deliveries } from './deliveries.ts'
import type { NatsFrame } from './frame.ts'
import { noRespondersMessage } from './message.ts'
import { messageOfPublish } from './publish.ts'
import { INVALID_PUBLISH_SUBJECT, publishFailure } from './replies.ts'
import { asRouted, type Subject, subjectMatches } from './subject.ts'

/** No closure in here: it is called for every message. */
export function handlePublish(conversation: Conversation, peer: Peer, frame: NatsFrame): MaybePromise<void> {
  const { client, deliveries, permissions } = peer
  const { verbose, pedantic } = conversation.packet
  const { subject, text: reply } = frame
  // As a warning: the reference server goes on with it.
  if (pedantic && !subject.isLiteral) conversation.replies.error(INVALID_PUBLISH_SUBJECT)
  const message = messageOfPublish(frame, verbose ? 1 : 0, client.info, conversation.parts.clock.now())
  if (message === undefined) return notPublished(conversation, subject)
  if (permissions !== undefined && !permissions.mayPublish(asRouted(message.topic)))
    return published(conversation, subject.text, '', ReasonCode.NotAuthorized)
  if (verbose) deliveries.hold()
  const code = client.publish(message)
  if (code === ReasonCode.Success && !verbose) return
  if (isPromise(code)) return publishedLater(conversation, deliveries, subject.text, reply, code)
  published(conversation, subject.text, reply, code)
  deliveries.release()
}

async function publishedLater(
  conversation: Conversation,
  deliveries: Deliveries,
  subject: string,
  reply: string,
  code: Promise<ReasonCode>,
): Promise<void> {
  published(conversation, subject, reply, await code)
  deliveries.release()
}

/** Lost in any case, so the client is told in any case. */
function notPublished(conversation: Conversation, subject: Subject): void {
  const { pedantic } = conversation.packet
  if (!pedantic || subject.isLiteral) conversation.replies.error(INVALID_PUBLISH_SUBJECT)
  if (pedantic) conversation.ok()
}

function published(conversation: Conversation, subject: string, reply: string, code: ReasonCode): void {
  const { replies, packet } = conversation
  if (code >= 0x80) return replies.error(publishFailure(subject, code))
  if (packet.verbose) replies.ok()
  if (code === ReasonCode.NoMatchingSubscribers && packet.noResponders && reply !== '')
    noResponders(conversation, reply)
}

/** The answer to a request that nobody got. */
function noResponders({ subscriptions, replies }: Conversation, reply: string): void {
  for (const { subject, sid } of subscriptions.all) {
    if (subjectMatches(subject, reply)) return replies.text(noRespondersMessage(reply, sid))
  }
}
