import type { Message } from '../../model/message.ts'
import { hasWildcard, topicLevels } from '../../model/topic.ts'
import { isReserved } from '../reserved-topics.ts'
import { FilterTrie } from './filter-trie.ts'
import { mergeTargets, type Route, type SubscriptionEntry, type Target } from './route.ts'
import { type CachedRoute, NOT_CACHED, RouteCache } from './route-cache.ts'
import { SharedGroup, type Sharing, type SharingOptions } from './shared-groups.ts'

/** Aedes gives its `mq` such functions and waits for `done` (mqemitter's contract). */
export type PacketListener = (packet: { topic: string }, done: () => void) => void

/** Topics whose route is remembered. One costs about 200 bytes; beyond it those not asked for lately are forgotten. */
const MAX_CACHED_ROUTES = 50_000
/** So few targets are compared with each other; for more a map is made. */
const MAX_COMPARED = 8

const NO_TARGETS: readonly Target[] = []
const NO_GROUPS: readonly SharedGroup[] = []

/**
 * Who gets what. A message costs one look-up of its topic's cached route; a change
 * of subscriptions costs O(levels), however many routes are cached. It is also Aedes' `mq`,
 * for the packets that its kernel sends to itself and to other nodes.
 */
export class Router {
  readonly #subscriptions = new FilterTrie<SubscriptionEntry | SharedGroup>()
  readonly #groups = new Map<string, SharedGroup>()
  readonly #cache: RouteCache
  readonly #listeners = new FilterTrie<PacketListener>()
  /** Subscriptions of all sessions together, and those of them that are shared. */
  subscriptionCount = 0
  sharedCount = 0
  /** Sessions with at least one subscription. */
  subscriberCount = 0
  #sharing: SharingOptions

  constructor(sharing: SharingOptions, maxCachedRoutes = MAX_CACHED_ROUTES) {
    this.#sharing = sharing
    this.#cache = new RouteCache(maxCachedRoutes)
  }

  /** From now on, also for the groups that exist. */
  share(sharing: SharingOptions): void {
    this.#sharing = sharing
    for (const group of this.#groups.values()) group.sharing = this.#sharingOf(group.name)
  }

  route(topic: string): Route {
    return this.#cache.get(topic) ?? this.#findRoute(topic)
  }

  /** The same for a message's topic, quicker where that is known already. */
  routeOf({ topic, known }: Pick<Message, 'topic' | 'known'>): Route {
    if (known === undefined) return this.route(topic)
    const last = known.route as CachedRoute | undefined
    if (last !== undefined && this.#cache.isCurrent(last)) return last
    const route = this.route(topic)
    known.route = route
    return route
  }

  /** Whether a route that came from here is right still; false also where that would have to be looked up. */
  isCurrent(route: Route): boolean {
    return this.#cache.isCurrent(route as CachedRoute)
  }

  /** The group of that name and filter, made with its first member. */
  group(name: string, filter: string): SharedGroup {
    const key = `${name}/${filter}` // a group name holds no slash, so this is unique
    let group = this.#groups.get(key)
    if (group === undefined) {
      group = new SharedGroup(name, filter, this.#sharingOf(name))
      this.#groups.set(key, group)
    }
    return group
  }

  /** Filters that messages are routed by, each once, however many have subscribed to it. */
  get filterCount(): number {
    return this.#subscriptions.size
  }

  add(entry: SubscriptionEntry): void {
    const { group, filter } = entry
    this.#count(entry, 1)
    if (group === undefined) this.#subscriptions.add(filter, entry)
    else {
      const isFirst = group.isEmpty
      group.add(entry)
      if (!isFirst) return
      this.#subscriptions.add(filter, group)
    }
    this.#forget(filter)
  }

  remove(entry: SubscriptionEntry): void {
    const { group, filter } = entry
    this.#count(entry, -1)
    if (group === undefined) this.#subscriptions.remove(filter, entry)
    else {
      group.remove(entry)
      if (!group.isEmpty) return
      this.#subscriptions.remove(filter, group)
      this.#groups.delete(`${group.name}/${filter}`)
    }
    this.#forget(filter)
  }

  #count({ session, group }: SubscriptionEntry, change: 1 | -1): void {
    this.subscriptionCount += change
    if (group !== undefined) this.sharedCount += change
    session.routedCount += change
    if (session.routedCount === (change === 1 ? 1 : 0)) this.subscriberCount += change
  }

  #sharingOf(name: string): Sharing {
    return this.#sharing.groups.get(name) ?? this.#sharing
  }

  #findRoute(topic: string): Route {
    const entries: SubscriptionEntry[] = []
    const groups: SharedGroup[] = []
    for (const found of this.#subscriptions.match(topic)) {
      if (found instanceof SharedGroup) groups.push(found)
      else entries.push(found)
    }
    const route = {
      targets: targetsOf(entries),
      groups: groups.length === 0 ? NO_GROUPS : groups,
      levels: topicLevels(topic),
      isReserved: isReserved(topic),
      checkedAt: NOT_CACHED,
    }
    this.#cache.offer(topic, route)
    return route
  }

  #forget(filter: string): void {
    if (hasWildcard(filter)) this.#cache.forgetMatching(filter)
    else this.#cache.forgetTopic(filter)
  }

  // Aedes' mq -----------------------------------------------------------------

  on(topic: string, listener: PacketListener, done?: () => void): this {
    this.#listeners.add(topic, listener)
    if (done !== undefined) setImmediate(done)
    return this
  }

  removeListener(topic: string, listener: PacketListener, done?: () => void): void {
    this.#listeners.remove(topic, listener)
    if (done !== undefined) setImmediate(done)
  }

  /** Gives a packet to the kernel's own listeners. They are few and short, and answer at once. */
  emit(packet: { topic: string }, done?: (error?: Error) => void): void {
    for (const listener of this.#listeners.match(packet.topic)) listener(packet, noop)
    done?.()
  }

  close(done: () => void): void {
    done()
  }
}

/** One for each session, in no particular order. */
function targetsOf(entries: SubscriptionEntry[]): readonly Target[] {
  if (entries.length === 0) return NO_TARGETS
  const [first] = entries
  if (entries.length === 1 && first !== undefined) return first.alone
  if (areOfDifferentSessions(entries)) return entries
  const bySession = new Map<unknown, SubscriptionEntry[]>()
  for (const entry of entries) {
    const parts = bySession.get(entry.session)
    if (parts === undefined) bySession.set(entry.session, [entry])
    else parts.push(entry)
  }
  return Array.from(bySession.values(), mergeTargets)
}

/** False also if they are too many to be compared. */
function areOfDifferentSessions(entries: readonly SubscriptionEntry[]): boolean {
  if (entries.length > MAX_COMPARED) return false
  for (let i = 1; i < entries.length; i++) {
    for (let j = 0; j < i; j++) if (entries[i]?.session === entries[j]?.session) return false
  }
  return true
}

function noop(): void {}
