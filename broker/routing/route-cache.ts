/**
 * The routes of topics that were published to more than once.
 *
 * A change of subscriptions must not cost a walk through the cached topics, so nothing is looked for when a
 * wildcard filter comes or goes: its literal prefix (`a/b` of `a/b/+/c`) is marked with the number of the
 * change. A route knows the change up to which it is right. While nothing has changed since, that is one
 * comparison; else the marks of its topic's own prefixes tell whether one of the changes was about it.
 *
 * The marks are in a table of fixed size, by hash: two prefixes that share a mark cost a match, not a mistake.
 */
import type { Route } from './route.ts'

/** A route as the cache keeps it. */
export interface CachedRoute extends Route {
  /** Number of the change up to which it is known to be right, or NOT_CACHED. The cache's. */
  checkedAt: number
}

/** The `checkedAt` of a route that the cache does not keep, so that nobody tells when it is no longer right. */
export const NOT_CACHED = -1

/** Places for marks, and bits for topics seen: powers of two. */
const MARKS = 16_384
const SIGHTS = 1 << 20
/** With an eighth of the bits set, one in eight new topics is taken for one seen before: time to begin anew. */
const MAX_SIGHTS = SIGHTS / 8
/** A longer topic is matched each time: it could be 64 KB, and there are many. */
const MAX_CACHED_TOPIC_LENGTH = 1024
const SLASH = 0x2f
const PLUS = 0x2b
const HASH = 0x23
const SEED = 0x811c9dc5 | 0

export class RouteCache {
  /** Number of the last change of wildcard filters. */
  #change = 0
  readonly #marks = new Float64Array(MARKS)
  /** A bit for each topic seen once: topics that never come again do not push out those that do. */
  readonly #sights = new Int32Array(SIGHTS / 32)
  #sightCount = 0
  /** When the young ones are half of what may be kept, the old ones go and they become the old ones. */
  #young = new Map<string, CachedRoute>()
  #old = new Map<string, CachedRoute>()
  readonly #maxYoung: number
  /** The one asked for last: messages of a topic often come in a run. */
  #lastTopic = ''
  #last: CachedRoute | undefined

  /** @param maxRoutes - most routes kept, from 2 on */
  constructor(maxRoutes: number) {
    this.#maxYoung = maxRoutes >> 1
  }

  get size(): number {
    return this.#young.size + this.#old.size
  }

  /** Whether a route that came from here is right still; false also where that would have to be looked up. */
  isCurrent(route: CachedRoute): boolean {
    return route.checkedAt === this.#change
  }

  get(topic: string): Route | undefined {
    const last = this.#last
    if (last !== undefined && topic === this.#lastTopic && last.checkedAt === this.#change) return last
    const route = this.#young.get(topic)
    if (route !== undefined && route.checkedAt === this.#change) {
      this.#lastTopic = topic
      this.#last = route
      return route
    }
    return this.#check(topic, route)
  }

  /** Keeps the route that was just found, if its topic was asked for before. */
  offer(topic: string, route: CachedRoute): void {
    if (topic.length > MAX_CACHED_TOPIC_LENGTH) return
    if (this.#isFirstSight(topic)) return
    route.checkedAt = this.#change
    this.#keep(topic, route)
  }

  /** A topic's own subscriptions have changed. */
  forgetTopic(topic: string): void {
    if (topic === this.#lastTopic) this.#last = undefined
    this.#drop(topic, this.#young)
    this.#drop(topic, this.#old)
  }

  #drop(topic: string, routes: Map<string, CachedRoute>): void {
    const route = routes.get(topic)
    if (route === undefined) return
    route.checkedAt = NOT_CACHED
    routes.delete(topic)
  }

  /** The subscriptions of a filter with wildcards have changed. */
  forgetMatching(filter: string): void {
    this.#change++
    this.#marks[markOf(prefixHash(filter))] = this.#change
  }

  #isFirstSight(topic: string): boolean {
    const hash = hashOf(topic)
    const bit = 1 << (hash & 31)
    const word = mix(hash >>> 5) & (SIGHTS / 32 - 1)
    const bits = this.#sights[word] as number
    if ((bits & bit) !== 0) return false
    if (++this.#sightCount > MAX_SIGHTS) {
      this.#sights.fill(0)
      this.#sightCount = 1
      this.#sights[word] = bit
    } else this.#sights[word] = bits | bit
    return true
  }

  #check(topic: string, young: CachedRoute | undefined): Route | undefined {
    const route = young ?? this.#old.get(topic)
    if (route === undefined || this.#hasChangedSince(topic, route.checkedAt)) return undefined
    route.checkedAt = this.#change
    if (young === undefined) this.#keep(topic, route)
    return route
  }

  #keep(topic: string, route: CachedRoute): void {
    if (this.#young.size >= this.#maxYoung) {
      this.#old = this.#young
      this.#young = new Map()
      // Those that go cannot be told when their own topic changes: all have to be looked up once more.
      this.#change++
    }
    this.#young.set(topic, route)
  }

  #hasChangedSince(topic: string, change: number): boolean {
    if (change === this.#change) return false
    const marks = this.#marks
    let hash = SEED
    if ((marks[markOf(hash)] as number) > change) return true
    for (let i = 0; i < topic.length; i++) {
      const c = topic.charCodeAt(i)
      if (c === SLASH && (marks[markOf(hash)] as number) > change) return true
      hash = Math.imul(hash ^ c, 0x01000193)
    }
    return (marks[markOf(hash)] as number) > change // `a/#` also matches `a`
  }
}

/** Of the levels before the first one with a wildcard. */
function prefixHash(filter: string): number {
  let hash = SEED
  let prefix = hash
  for (let i = 0; i < filter.length; i++) {
    const c = filter.charCodeAt(i)
    if (c === PLUS || c === HASH) break
    if (c === SLASH) prefix = hash
    hash = Math.imul(hash ^ c, 0x01000193)
  }
  return prefix
}

/** FNV-1a over UTF-16 units, so that the hash of each prefix comes by on the way. */
function hashOf(text: string): number {
  let hash = SEED
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193)
  return hash
}

function markOf(hash: number): number {
  return mix(hash) & (MARKS - 1)
}

function mix(hash: number): number {
  return hash ^ (hash >>> 15)
}
