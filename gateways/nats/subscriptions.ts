/**
 * The subscriptions of one connection. NATS lets a client subscribe to the same subject as often as it likes, the
 * broker knows each filter of a client once: a feed is such a filter with all the sids that hang on it.
 */
import type { Subject } from './subject.ts'

export interface NatsSubscription {
  readonly sid: string
  /** With a space behind it, as it is written. */
  readonly sidBytes: Uint8Array
  readonly subject: string
  readonly feed: Feed
  /** Messages after which it ends by itself, counted from SUB on; 0 = it does not. */
  max: number
  delivered: number
  /** Retained messages of its feed, in the order of one replay, that are not for it: it has had them, or all of them. */
  skipsRetained: number
}

export interface Feed {
  /** With `$share/<group>/` if it has a group. */
  readonly filter: string
  /**
   * Subscription identifier at the broker: deliveries say with it which feeds they are for. One feed goes without,
   * as deliveries without identifiers are shared by all clients that get a message, and most have a single feed.
   * Another one for each replay of retained messages.
   */
  identifier: number
  /** The one before: messages that have been under way meanwhile. */
  formerIdentifier: number
  /** Retained messages that have come with this identifier. */
  replayed: number
  /** Each message is for one of its sids instead of all. */
  readonly isGroup: boolean
  /**
   * Fewest slashes in a topic that fits: `foo.>` does not stand for `foo`, `foo/#` does. 0 = any.
   */
  readonly minSlashes: number
  /** Another list after each change: who goes through it may change the subscriptions. */
  members: readonly NatsSubscription[]
  next: number
}

export class Subscriptions {
  readonly #bySid = new Map<string, NatsSubscription>()
  readonly #byFilter = new Map<string, Feed>()
  readonly #byIdentifier = new Map<number, Feed>()
  #lastIdentifier = 0
  #unnumbered: Feed | undefined

  get size(): number {
    return this.#bySid.size
  }

  get(sid: string): NatsSubscription | undefined {
    return this.#bySid.get(sid)
  }

  feed(identifier: number): Feed | undefined {
    return this.#byIdentifier.get(identifier)
  }

  /** The feed whose identifier is 0, or was: deliveries without identifiers are for it. */
  get unnumbered(): Feed | undefined {
    return this.#unnumbered
  }

  get feeds(): Feed[] {
    return [...this.#byFilter.values()]
  }

  get all(): Iterable<NatsSubscription> {
    return this.#bySid.values()
  }

  /** @param group - queue group, '' for none */
  add(sid: string, subject: Subject & { filter: string }, group: string): NatsSubscription {
    const feed = this.#feedOf(subject.filter, group)
    const subscription: NatsSubscription = {
      sid,
      sidBytes: Buffer.from(`${sid} `),
      subject: subject.text,
      feed,
      max: 0,
      delivered: 0,
      skipsRetained: 0,
    }
    feed.members = [...feed.members, subscription]
    this.#bySid.set(sid, subscription)
    return subscription
  }

  /** @returns whether it was the last one of its feed, which is gone then too */
  remove(subscription: NatsSubscription): boolean {
    if (!this.#bySid.delete(subscription.sid)) return false
    const { feed } = subscription
    feed.members = feed.members.filter((member) => member !== subscription)
    if (feed.members.length > 0) return false
    this.#byFilter.delete(feed.filter)
    this.#byIdentifier.delete(feed.identifier)
    this.#byIdentifier.delete(feed.formerIdentifier)
    if (feed === this.#unnumbered) this.#unnumbered = undefined
    return true
  }

  /**
   * The broker replays the retained messages of a feed for `newest`, under another identifier.
   * @param isReplaying - the others may not have got all of theirs: a replay that another one follows ends early,
   *   so they go on in this one where they were
   */
  replayFor(newest: NatsSubscription, isReplaying: boolean): void {
    const { feed } = newest
    for (const member of feed.members) {
      if (member === newest) continue
      member.skipsRetained = isReplaying
        ? Math.max(member.skipsRetained, feed.replayed)
        : Number.POSITIVE_INFINITY
    }
    feed.replayed = 0
    this.#byIdentifier.delete(feed.formerIdentifier)
    feed.formerIdentifier = feed.identifier
    feed.identifier = ++this.#lastIdentifier
    this.#byIdentifier.set(feed.identifier, feed)
  }

  #feedOf(topicFilter: string, group: string): Feed {
    const filter = group === '' ? topicFilter : `$share/${group}/${topicFilter}`
    const known = this.#byFilter.get(filter)
    if (known !== undefined) return known
    const isUnnumbered = this.#unnumbered === undefined && group === ''
    const feed: Feed = {
      filter,
      identifier: isUnnumbered ? 0 : ++this.#lastIdentifier,
      formerIdentifier: 0,
      replayed: 0,
      isGroup: group !== '',
      minSlashes: topicFilter.endsWith('/#') ? slashesIn(topicFilter) : 0,
      members: [],
      next: 0,
    }
    this.#byFilter.set(filter, feed)
    if (isUnnumbered) this.#unnumbered = feed
    else this.#byIdentifier.set(feed.identifier, feed)
    return feed
  }
}

export function slashesIn(topic: string): number {
  let count = 0
  for (let i = 0; i < topic.length; i++) if (topic.charCodeAt(i) === 0x2f) count++
  return count
}
