import { describe, expect, test } from 'vitest'
import { type Route, SubscriptionEntry } from '../../../broker/routing/route.ts'
import { RouteCache } from '../../../broker/routing/route-cache.ts'
import { Router } from '../../../broker/routing/router.ts'
import type { Session } from '../../../broker/session.ts'
import { KnownTopic } from '../../../model/known-topic.ts'
import { Message } from '../../../model/message.ts'
import { MessageHead } from '../../../model/message-head.ts'
import { isValidFilter, topicMatches } from '../../../model/topic.ts'
import { Random } from '../../support/random.ts'
import { HUB_OPTIONS, subscription } from '../support.ts'

const LEVELS = ['a', 'b', 'c', '', '$SYS', '$exclusive']
const GROUPS = ['g', 'h']

interface Known {
  entry: SubscriptionEntry
  filter: string
  group: string | undefined
}

/** A router beside a plain list of what it was given. */
class Twin {
  readonly router: Router
  readonly known: Known[] = []
  readonly #random: Random
  readonly #topics = new Map<string, KnownTopic>()
  readonly #sessions = ['s0', 's1', 's2', 's3'].map((key) => ({ key }) as Session)

  constructor(random: Random, maxCachedRoutes: number) {
    this.#random = random
    this.router = new Router(HUB_OPTIONS.sharing, maxCachedRoutes)
  }

  subscribe(): void {
    const filter = randomLevels(this.#random, [...LEVELS, '+', '+', '#'])
    if (!isValidFilter(filter)) return
    const session = this.#random.pick(this.#sessions)
    const group = this.#random.int(3) === 0 ? this.#random.pick(GROUPS) : undefined
    if (
      this.known.some((one) => one.entry.session === session && one.filter === filter && one.group === group)
    )
      return
    const shared = group === undefined ? undefined : this.router.group(group, filter)
    const entry = new SubscriptionEntry(session, subscription(filter), filter, shared)
    this.router.add(entry)
    this.known.push({ entry, filter, group })
  }

  unsubscribe(): void {
    if (this.known.length === 0) return
    const [gone] = this.known.splice(this.#random.int(this.known.length), 1)
    if (gone !== undefined) this.router.remove(gone.entry)
  }

  /** Messages come with topics that are known, or not. */
  #route(topic: string): Route {
    if (this.#random.int(3) === 0) return this.router.route(topic)
    let known = this.#topics.get(topic)
    if (known === undefined) this.#topics.set(topic, (known = new KnownTopic(topic)))
    return this.router.routeOf({ topic, known })
  }

  /** Sessions with the filters by which they are reached, and groups, as text. */
  expected(topic: string): string[] {
    const matching = this.known.filter(({ filter }) => topicMatches(filter, topic))
    const single = matching.filter(({ group }) => group === undefined)
    const groups = new Set(
      matching.flatMap(({ group, filter }) => (group === undefined ? [] : [`${group}: ${filter}`])),
    )
    const sessions = this.#sessions.flatMap((session) => {
      const filters = single.filter(({ entry }) => entry.session === session).map(({ filter }) => filter)
      return filters.length === 0 ? [] : [`${session.key}: ${filters.sort().join(' ')}`]
    })
    return [...sessions, ...groups].sort()
  }

  found(topic: string): string[] {
    const { targets, groups } = this.#route(topic)
    const sessions = targets.map((target) => {
      const parts = target.parts ?? [target as SubscriptionEntry]
      return `${target.session.key}: ${parts
        .map(({ filter }) => filter)
        .sort()
        .join(' ')}`
    })
    return [...sessions, ...groups.map(({ name, filter }) => `${name}: ${filter}`)].sort()
  }
}

function randomLevels(random: Random, levels: readonly string[]): string {
  return Array.from({ length: 1 + random.int(4) }, () => random.pick(levels)).join('/')
}

describe('routes', () => {
  // Few topics, so that most are cached while the subscriptions change under them.
  for (const { seed, maxCachedRoutes } of [
    { seed: 11, maxCachedRoutes: 1000 },
    { seed: 12, maxCachedRoutes: 16 },
    { seed: 13, maxCachedRoutes: 2 },
  ]) {
    test(`are those a naive look at all subscriptions finds, with ${maxCachedRoutes} cached`, () => {
      const random = new Random(seed)
      const twin = new Twin(random, maxCachedRoutes)
      const topics = Array.from({ length: 60 }, () => randomLevels(random, LEVELS))
      for (let i = 0; i < 6000; i++) {
        const dice = random.int(10)
        if (dice === 0) twin.subscribe()
        else if (dice === 1 && twin.known.length > 20) twin.unsubscribe()
        else {
          const topic = random.pick(topics)
          expect(twin.found(topic), topic).toEqual(twin.expected(topic))
        }
      }
      while (twin.known.length > 0) twin.unsubscribe()
      for (const topic of topics) expect(twin.found(topic)).toEqual([])
    })
  }

  test('of a message whose topic was changed are those of its new topic', () => {
    const router = new Router(HUB_OPTIONS.sharing)
    const known = new KnownTopic('a')
    for (let i = 0; i < 3; i++) router.routeOf({ topic: 'a', known })
    router.add(new SubscriptionEntry({ key: 's' } as Session, subscription('b'), 'b', undefined))
    const message = new Message(
      new MessageHead('a', 0, false, undefined, undefined, 0, known),
      Buffer.alloc(0),
    )
    expect(router.routeOf(message).targets).toHaveLength(0)
    message.topic = 'b'
    expect(router.routeOf(message).targets).toHaveLength(1)
  })

  test('of a topic that comes again are the same object until a subscription that matches it changes', () => {
    const router = new Router(HUB_OPTIONS.sharing)
    const add = (filter: string) => {
      const entry = new SubscriptionEntry({ key: 's' } as Session, subscription(filter), filter, undefined)
      router.add(entry)
      return entry
    }
    for (let i = 0; i < 2; i++) router.route('a/b/c')
    const cached = router.route('a/b/c')
    for (const filter of ['x/+', 'a/c/#', 'a/b', 'a/b/c/d/#', '$SYS/#']) add(filter)
    expect(router.route('a/b/c')).toBe(cached)
    for (const filter of ['#', '+/b/c', 'a/b/c', 'a/+/c', 'a/b/c/#', 'a/#']) {
      const before = router.route('a/b/c').targets.length
      const entry = add(filter)
      expect(router.route('a/b/c').targets, filter).toHaveLength(before + 1)
      router.remove(entry)
      expect(router.route('a/b/c').targets, filter).toHaveLength(before)
    }
  })
})

describe('the cache of routes', () => {
  const route = () => ({ targets: [], groups: [], levels: 1, isReserved: false, checkedAt: 0 })

  test('does not keep a topic at first sight', () => {
    const cache = new RouteCache(100)
    for (let i = 0; i < 10_000; i++) cache.offer(`t/${i}`, route())
    expect(cache.size).toBeLessThan(100)
    expect(cache.get('t/9999')).toBeUndefined()
    cache.offer('t/9999', route())
    expect(cache.get('t/9999')).toBeDefined()
  })

  test('never holds more than it may, and keeps what is asked for', () => {
    const cache = new RouteCache(100)
    const see = (topic: string) => {
      if (cache.get(topic) === undefined) cache.offer(topic, route())
    }
    for (let i = 0; i < 5000; i++) {
      see(`t/${i}`)
      see(`t/${i}`)
      see('hot')
      expect(cache.size).toBeLessThanOrEqual(100)
    }
    expect(cache.get('hot')).toBeDefined()
    expect(cache.get('t/0')).toBeUndefined()
  })

  test('does not keep long topics, and goes on after very many that never come again', () => {
    const cache = new RouteCache(100)
    const long = 'x'.repeat(2000)
    for (let i = 0; i < 3; i++) cache.offer(long, route())
    expect(cache.get(long)).toBeUndefined()
    for (let i = 0; i < 300_000; i++) cache.offer(`once/${i}`, route())
    for (let i = 0; i < 2; i++) cache.offer('again', route())
    expect(cache.get('again')).toBeDefined()
  })
})
