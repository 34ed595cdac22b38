import { hasWildcard, topicLevels } from '../../model/topic.ts'
import { FilterTrie } from './filter-trie.ts'
import { mergeTargets, type Route, type SubscriptionEntry, type Target } from './route.ts'
import { SharedGroup, type Sharing, type SharingOptions } from './shared-groups.ts'
import { TopicTrie } from './topic-trie.ts'

/** Aedes gives its `mq` such functions and waits for `done` (mqemitter's contract). */
export type PacketListener = (packet: { topic: string }, done: () => void) => void

/** Topics whose route is remembered. One costs about 300 bytes; beyond it the oldest is forgotten. */
const MAX_CACHED_ROUTES = 50_000

/**
 * Who gets what. A message costs one look-up of its topic's cached route; a change
 * of subscriptions forgets exactly the routes it touches. It is also Aedes' `mq`,
 * for the packets that its kernel sends to itself and to other nodes.
 */
export class Router {
  readonly #subscriptions = new FilterTrie<SubscriptionEntry | SharedGroup>()
  readonly #groups = new Map<string, SharedGroup>()
  readonly #routes = new Map<string, Route>()
  readonly #cachedTopics = new TopicTrie<string>()
  readonly #listeners = new FilterTrie<PacketListener>()
  readonly #maxCachedRoutes: number
  #sharing: SharingOptions

  constructor(sharing: SharingOptions, maxCachedRoutes = MAX_CACHED_ROUTES) {
    this.#sharing = sharing
    this.#maxCachedRoutes = maxCachedRoutes
  }

  /** From now on, also for the groups that exist. */
  share(sharing: SharingOptions): void {
    this.#sharing = sharing
    for (const group of this.#groups.values()) group.sharing = this.#sharingOf(group.name)
  }

  route(topic: string): Route {
    return this.#routes.get(topic) ?? this.#findRoute(topic)
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

  add(entry: SubscriptionEntry): void {
    const { group, filter } = entry
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
    if (group === undefined) this.#subscriptions.remove(filter, entry)
    else {
      group.remove(entry)
      if (!group.isEmpty) return
      this.#subscriptions.remove(filter, group)
      this.#groups.delete(`${group.name}/${filter}`)
    }
    this.#forget(filter)
  }

  #sharingOf(name: string): Sharing {
    return this.#sharing.groups.get(name) ?? this.#sharing
  }

  #findRoute(topic: string): Route {
    const bySession = new Map<unknown, SubscriptionEntry[]>()
    const groups: SharedGroup[] = []
    for (const found of this.#subscriptions.match(topic)) {
      if (found instanceof SharedGroup) groups.push(found)
      else {
        const parts = bySession.get(found.session)
        if (parts === undefined) bySession.set(found.session, [found])
        else parts.push(found)
      }
    }
    const targets: Target[] = []
    for (const parts of bySession.values()) targets.push(mergeTargets(parts))
    const route = { targets, groups, levels: topicLevels(topic) }
    this.#remember(topic, route)
    return route
  }

  #remember(topic: string, route: Route): void {
    if (this.#routes.size >= this.#maxCachedRoutes) {
      for (const oldest of this.#routes.keys()) {
        this.#routes.delete(oldest)
        this.#cachedTopics.delete(oldest)
        break
      }
    }
    this.#routes.set(topic, route)
    this.#cachedTopics.set(topic, topic)
  }

  #forget(filter: string): void {
    if (hasWildcard(filter)) {
      const topics = [...this.#cachedTopics.matching(filter)] // not while walking what is taken away from
      for (const topic of topics) this.#forgetTopic(topic)
    } else this.#forgetTopic(filter)
  }

  #forgetTopic(topic: string): void {
    if (this.#routes.delete(topic)) this.#cachedTopics.delete(topic)
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

function noop(): void {}
