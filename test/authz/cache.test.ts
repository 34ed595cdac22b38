import { expect, test } from 'vitest'
import { AuthzCache, type CacheOptions } from '../../authz/cache.ts'
import type { QoS } from '../../model/message.ts'
import { clientOf } from '../authn/fixtures.ts'

function cacheOf(options: Partial<CacheOptions> = {}) {
  const clock = { ms: 1_000_000 }
  const cache = new AuthzCache({ maxTopics: 3, ttlMs: 60_000, excludes: [], ...options }, () => clock.ms)
  return { cache, clock }
}
const publish = (qos: QoS = 0, retain = false) => ({ kind: 'publish', qos, retain }) as const

test('keeps the six ways to publish to a topic apart', () => {
  const { cache } = cacheOf()
  const client = clientOf()
  const answers = ['allow', 'deny', 'nomatch', 'deny', 'allow', 'nomatch'] as const
  const ways = ([0, 1, 2] as const).flatMap((qos) => [publish(qos, false), publish(qos, true)])
  for (const [n, way] of ways.entries()) {
    expect(cache.get(client, way, 't')).toBeUndefined()
    cache.set(client, way, 't', answers[n] ?? 'allow')
  }
  expect(ways.map((way) => cache.get(client, way, 't'))).toEqual(answers)
  expect(cache.list(client).map(({ qos, retain, result }) => [qos, retain, result])).toEqual(
    ways.map(({ qos, retain }, n) => [qos, retain, answers[n]]),
  )
  cache.set(client, publish(1, true), 't', 'allow')
  expect(cache.get(client, publish(1, true), 't')).toBe('allow')
})

test('clients do not see each other’s answers', () => {
  const { cache } = cacheOf()
  const [one, two] = [clientOf(), clientOf()]
  cache.set(one, publish(), 't', 'allow')
  expect(cache.get(two, publish(), 't')).toBeUndefined()
  cache.set(two, publish(), 't', 'deny')
  cache.forget(one)
  expect(cache.get(one, publish(), 't')).toBeUndefined()
  expect(cache.get(two, publish(), 't')).toBe('deny')
  cache.clear()
  expect(cache.get(two, publish(), 't')).toBeUndefined()
})

test('an answer lives no longer than its time, also when others of its topic come later', () => {
  const { cache, clock } = cacheOf()
  const client = clientOf()
  cache.set(client, publish(0), 't', 'allow')
  clock.ms += 59_999
  cache.set(client, publish(1), 't', 'allow')
  expect(cache.get(client, publish(0), 't')).toBe('allow')
  clock.ms += 1
  expect(cache.get(client, publish(0), 't')).toBeUndefined()
  expect(cache.list(client)).toEqual([])
  cache.set(client, publish(1), 't', 'deny')
  expect(cache.get(client, publish(1), 't')).toBe('deny')
  expect(cache.get(client, publish(0), 't')).toBeUndefined()
})

test('when full, the oldest topic that was not used goes', () => {
  const { cache } = cacheOf()
  const client = clientOf()
  for (const topic of ['a', 'b', 'c']) cache.set(client, publish(), topic, 'allow')
  cache.get(client, publish(), 'a')
  cache.set(client, publish(), 'd', 'allow')
  expect(
    cache
      .list(client)
      .map(({ topic }) => topic)
      .sort(),
  ).toEqual(['a', 'c', 'd'])
  for (const topic of ['a', 'c', 'd']) cache.get(client, publish(), topic)
  cache.set(client, publish(), 'e', 'allow')
  expect(cache.list(client)).toHaveLength(3)
  expect(cache.get(client, publish(), 'e')).toBe('allow')
})

test('room for one topic is room for one', () => {
  const { cache } = cacheOf({ maxTopics: 1 })
  const client = clientOf()
  for (let n = 0; n < 100; n++) {
    cache.set(client, publish(), `t${n}`, 'allow')
    expect(cache.get(client, publish(), `t${n}`)).toBe('allow')
    expect(cache.list(client)).toHaveLength(1)
  }
})

test('excluded topics are never kept, whatever stands before them', () => {
  const { cache } = cacheOf({ excludes: ['live/#', 'x'] })
  const client = clientOf()
  for (const topic of ['live/1', 'live', 'x', '$delayed/5/live/2']) {
    cache.set(client, publish(), topic, 'allow')
    expect(cache.get(client, publish(), topic)).toBeUndefined()
  }
  cache.set(client, publish(), 'y', 'allow')
  expect(cache.get(client, publish(), 'y')).toBe('allow')
})
