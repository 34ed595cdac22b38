import { describe, expect, test } from 'vitest'
import { FilterTrie } from '../../../broker/routing/filter-trie.ts'
import { TopicTrie } from '../../../broker/routing/topic-trie.ts'
import { isValidFilter, topicMatches } from '../../../model/topic.ts'
import { Random } from '../../support/random.ts'

const LEVELS = ['a', 'b', 'c', '', '$SYS', '+', '#']

function randomFilters(random: Random, count: number): string[] {
  const filters = new Set<string>()
  while (filters.size < count) {
    const filter = Array.from({ length: 1 + random.int(4) }, () => random.pick(LEVELS)).join('/')
    if (isValidFilter(filter)) filters.add(filter)
  }
  return [...filters]
}

function randomTopics(random: Random, count: number): string[] {
  const words = LEVELS.filter((level) => level !== '+' && level !== '#')
  return Array.from({ length: count }, () =>
    Array.from({ length: 1 + random.int(4) }, () => random.pick(words)).join('/'),
  ).filter((topic) => topic !== '')
}

describe('filters by topic', () => {
  // [MQTT-3.3.2-3] [MQTT-4.7.2-1]
  test('a topic finds exactly the filters that match it', () => {
    const random = new Random(1)
    const trie = new FilterTrie<string>()
    const filters = randomFilters(random, 300)
    for (const filter of filters) trie.add(filter, filter)
    for (const topic of randomTopics(random, 500)) {
      const expected = filters.filter((filter) => topicMatches(filter, topic)).sort()
      expect(trie.match(topic).sort(), topic).toEqual(expected)
    }
  })

  test('what was removed is not found, and what is left still is', () => {
    const random = new Random(2)
    const trie = new FilterTrie<string>()
    const filters = randomFilters(random, 300)
    for (const filter of filters) trie.add(filter, filter)
    const kept = filters.filter((filter, i) => i % 3 === 0 || !trie.remove(filter, filter))
    for (const topic of randomTopics(random, 500)) {
      const expected = kept.filter((filter) => topicMatches(filter, topic)).sort()
      expect(trie.match(topic).sort(), topic).toEqual(expected)
    }
    for (const filter of kept) expect(trie.remove(filter, filter)).toBe(true)
    expect(randomTopics(random, 100).flatMap((topic) => trie.match(topic))).toEqual([])
  })

  test('one filter carries many values, each removed alone', () => {
    const trie = new FilterTrie<number>()
    for (const value of [1, 2, 3]) trie.add('a/+', value)
    expect(trie.remove('a/+', 2)).toBe(true)
    expect(trie.remove('a/+', 2)).toBe(false)
    expect(new Set(trie.match('a/x'))).toEqual(new Set([1, 3]))
  })
})

describe('topics by filter', () => {
  // [MQTT-4.7.2-1]
  test('a filter finds exactly the topics it matches', () => {
    const random = new Random(3)
    const trie = new TopicTrie<string>()
    const topics = [...new Set(randomTopics(random, 400))]
    for (const topic of topics) trie.set(topic, topic)
    expect(trie.size).toBe(topics.length)
    for (const filter of randomFilters(random, 300)) {
      const expected = topics.filter((topic) => topicMatches(filter, topic)).sort()
      expect([...trie.matching(filter)].sort(), filter).toEqual(expected)
    }
  })

  test('a deleted topic is gone, its neighbours stay', () => {
    const trie = new TopicTrie<string>()
    for (const topic of ['a', 'a/b', 'a/b/c']) trie.set(topic, topic)
    expect(trie.delete('a/b')).toBe(true)
    expect(trie.delete('a/b')).toBe(false)
    expect([...trie.matching('#')].sort()).toEqual(['a', 'a/b/c'])
    expect(trie.get('a/b')).toBeUndefined()
    expect(trie.size).toBe(2)
  })

  test('a topic of many levels is walked without recursion', () => {
    const trie = new TopicTrie<number>()
    const deep = 'x/'.repeat(30_000)
    trie.set(deep, 1)
    expect([...trie.matching('#')]).toEqual([1])
    expect([...trie.matching(deep)]).toEqual([1])
  })

  test('a walk that is stopped after some steps goes on where it was', () => {
    const random = new Random(4)
    const trie = new TopicTrie<string>()
    for (const topic of randomTopics(random, 400)) trie.set(topic, topic)
    for (const filter of [...randomFilters(random, 50), '#', '+/+/a']) {
      const walk = trie.matching(filter)
      const found: string[] = []
      let pauses = 0
      while (!walk.isDone) {
        const value = walk.advance(1)
        if (value === undefined) pauses++
        else found.push(value)
      }
      expect(found.sort(), filter).toEqual([...trie.matching(filter)].sort())
      if (filter === '+/+/a') expect(pauses).toBeGreaterThan(found.length)
    }
  })

  test('topics may come and go while they are walked through', () => {
    const trie = new TopicTrie<string>()
    const topics = Array.from({ length: 100 }, (_, i) => `a/${i}/x`)
    for (const topic of topics) trie.set(topic, topic)
    const walk = trie.matching('a/+/x')
    const found = new Set<string>()
    for (const value of walk) {
      found.add(value)
      trie.delete(value)
      trie.set(`b/${value}`, value)
    }
    expect(found).toEqual(new Set(topics))
    expect([...trie.matching('a/#')]).toEqual([])
  })
})
