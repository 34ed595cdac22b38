import { expect, test } from 'vitest'
import {
  hasWildcard,
  isShared,
  isValidFilter,
  isValidTopicName,
  parseShared,
  topicLevels,
  topicMatches,
} from '../../model/topic.ts'

const LONG = 'x'.repeat(65_535)

// [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2] [MQTT-4.7.3-3]
test('a topic name has at least one character, no wildcard and no U+0000', () => {
  for (const topic of ['a', '/', '//', 'a/b', ' ', '$SYS/x', 'ä/🙂', '\ufeff', LONG, 'ä'.repeat(32_767)]) {
    expect(isValidTopicName(topic), topic.slice(0, 20)).toBe(true)
  }
  for (const topic of ['', '#', '+', 'a/#', 'a+b', 'a#', 'a\0b', `${LONG}x`, 'ä'.repeat(32_768)]) {
    expect(isValidTopicName(topic), topic.slice(0, 20)).toBe(false)
  }
})

// [MQTT-4.7.1-1] [MQTT-4.7.1-2]
test('in a filter # is alone in the last level and + alone in any', () => {
  for (const filter of [
    '#',
    '+',
    'a',
    '/',
    'a/#',
    '/#',
    '+/#',
    '+/+',
    'a/+/b',
    '/+',
    '+/',
    '//#',
    '$SYS/#',
    LONG,
  ]) {
    expect(isValidFilter(filter), filter.slice(0, 20)).toBe(true)
  }
  const bad = [
    '',
    'a#',
    '#/a',
    'a/#/b',
    '##',
    'a/b#',
    '+a',
    'a+',
    'a/+b/c',
    '++',
    '+#',
    '#+',
    'a\0',
    `${LONG}x`,
  ]
  for (const filter of bad) expect(isValidFilter(filter), filter.slice(0, 20)).toBe(false)
})

// [MQTT-4.8.2-1] [MQTT-4.8.2-2]
test('a shared filter needs a group without wildcards and a valid filter', () => {
  for (const filter of [
    '$share/g/a',
    '$share/g/#',
    '$share/g//',
    '$share/g/+/a',
    '$queue/a',
    '$queue/+/#',
    '$share',
    '$queue',
  ]) {
    expect(isValidFilter(filter), filter).toBe(true)
  }
  const bad = [
    '$share/',
    '$share//',
    '$share//a',
    '$share/g',
    '$share/g/',
    '$share/+/a',
    '$share/g#/a',
    '$share/g/a#',
    '$queue/',
  ]
  for (const filter of [...bad, '$share/g/$share/h/a', '$share/g/$queue/a', '$queue/$share/g/a']) {
    expect(isValidFilter(filter), filter).toBe(false)
  }
})

test('a shared filter comes apart into group and filter', () => {
  expect(parseShared('$share/g/a/b')).toEqual({ group: 'g', filter: 'a/b' })
  expect(parseShared('$share/g//')).toEqual({ group: 'g', filter: '/' })
  expect(parseShared('$queue/a/#')).toEqual({ group: '$queue', filter: 'a/#' })
  for (const filter of [
    'a',
    '$share',
    '$share/g',
    '$share/g/',
    '$share//a',
    '$share/+/a',
    '$queue/',
    '$SHARE/g/a',
  ]) {
    expect(parseShared(filter), filter).toBeUndefined()
  }
  expect([isShared('$share/'), isShared('$queue/a'), isShared('$share'), isShared('a/$share/g')]).toEqual([
    true,
    true,
    false,
    false,
  ])
})

// [MQTT-4.7.2-1] [MQTT-4.7.3-4]
test.each([
  ['a', 'a', true],
  ['a', 'b', false],
  ['a', 'A', false],
  ['a', 'ab', false],
  ['ab', 'a', false],
  ['a/b', 'a', false],
  ['a', 'a/b', false],
  ['a', '/a', false],
  ['a', 'a/', false],
  ['/', '/', true],
  ['#', 'a', true],
  ['#', '/', true],
  ['#', 'a/b/c', true],
  ['a/#', 'a', true],
  ['a/#', 'a/', true],
  ['a/#', 'a/b/c', true],
  ['a/#', 'ab', false],
  ['a/#', 'b', false],
  ['a/b/#', 'a', false],
  ['a/b/#', 'a/b', true],
  ['+', 'a', true],
  ['+', '/a', false],
  ['+', 'a/b', false],
  ['/+', '/a', true],
  ['+/+', '/a', true],
  ['+/+', 'a', false],
  ['a/+', 'a', false],
  ['a/+', 'a/', true],
  ['a/+', 'a/b', true],
  ['a/+', 'a/b/c', false],
  ['a/+/c', 'a/b/c', true],
  ['a/+/c', 'a//c', true],
  ['a/+/c', 'a/b/d', false],
  ['+/#', 'a', true],
  ['+/#', 'a/b', true],
  ['+/b/#', 'a/b', true],
  ['a/+/#', 'a', false],
  ['a/+/#', 'a/b', true],
  ['#', '$SYS/x', false],
  ['+/x', '$SYS/x', false],
  ['+', '$SYS', false],
  ['$SYS/#', '$SYS', true],
  ['$SYS/#', '$SYS/x', true],
  ['$SYS/+', '$SYS/x', true],
  ['a/+', 'a/$b', true],
  ['ä/+', 'ä/🙂', true],
])('filter %s against topic %s: %s', (filter, topic, matches) => {
  expect(topicMatches(filter, topic)).toBe(matches)
})

test('levels are counted by their separators', () => {
  expect(['a', '/', '/a', 'a/b/c', 'a//c'].map(topicLevels)).toEqual([1, 2, 2, 3, 3])
  expect(['a', 'a/+', '#'].map(hasWildcard)).toEqual([false, true, true])
})
