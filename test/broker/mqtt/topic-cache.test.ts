import { expect, test } from 'vitest'
import { TopicBytes } from '../../../broker/mqtt/topic-bytes.ts'
import { TopicCache } from '../../../broker/mqtt/topic-cache.ts'
import { frame, Random, refusal } from './support.ts'

function get(cache: TopicCache, topic: string): string {
  const bytes = Buffer.from(topic)
  return cache.get(bytes, 0, bytes.length).name
}

test('bytes become the topic they spell, whatever was there before', () => {
  const cache = new TopicCache(4)
  const random = new Random(1)
  const topics = Array.from({ length: 50 }, () => random.text(60))
  for (let i = 0; i < 2000; i++) {
    const topic = random.pick(topics)
    expect(get(cache, topic)).toBe(topic)
  }
})

test('topics that differ in one place only are not mixed up', () => {
  const cache = new TopicCache(2)
  for (const topic of ['a/b', 'a/c', 'b/b', 'a/b', 'a/bb', 'a', '']) expect(get(cache, topic)).toBe(topic)
})

test('nor are those of many packets in one chunk, wherever the difference is', () => {
  const cache = new TopicCache(2)
  const topics: string[] = []
  for (let length = 1; length < 12; length++)
    for (let at = 0; at < length; at++) topics.push(`${'x'.repeat(at)}y${'x'.repeat(length - at - 1)}`)
  const bytes = Buffer.from(`.${topics.join('')}`).subarray(1)
  let at = 0
  for (const topic of topics) {
    // Found where it was read, then compared with each of its neighbours.
    for (let i = 0; i < 2; i++) expect(cache.get(bytes, at, at + topic.length).name).toBe(topic)
    at += topic.length
  }
})

test('all topics find a place of their own as long as no more than a third of them are in use', () => {
  const cache = new TopicCache()
  const topics = Array.from({ length: 10_000 }, (_, k) => Buffer.from(`fleet/${k % 50}/${k}/v`))
  const round = () => topics.map((bytes) => cache.get(bytes, 0, bytes.length))
  for (let i = 0; i < 20; i++) round()
  const [before, after] = [round(), round()]
  expect(after.filter((topic, k) => topic !== before[k]).length).toBeLessThan(10)
})

test('the topic is where the offsets say', () => {
  const buf = frame('ff "xa/bx" ff')
  expect(new TopicCache().get(buf, 2, 5).name).toBe('a/b')
})

test('topics too long to be kept are read all the same', () => {
  const cache = new TopicCache(4)
  const long = 'ä'.repeat(30_000)
  expect(get(cache, long)).toBe(long)
  expect(get(cache, long)).toBe(long)
})

test('[MQTT-1.5.4-3] a byte order mark is part of the topic', () => {
  expect(new TopicCache().get(frame('ef bb bf "a"'), 0, 4).name).toBe('\ufeffa')
})

// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-3.3.2-2] [MQTT-4.7.0-1]
test.each([
  ['U+0000', '"a" 00', 'FRAME_MALFORMED', 0x81],
  ['U+0000 beside other scripts', 'c3 a4 00', 'FRAME_MALFORMED', 0x81],
  ['a surrogate', 'ed a0 80', 'FRAME_MALFORMED', 0x81],
  ['a pair of surrogates', 'ed a0 bd ed b8 80', 'FRAME_MALFORMED', 0x81],
  ['an overlong form', 'c0 af', 'FRAME_MALFORMED', 0x81],
  ['an overlong U+0000', 'c0 80', 'FRAME_MALFORMED', 0x81],
  ['a sequence cut short', '"a" e2 82', 'FRAME_MALFORMED', 0x81],
  ['a continuation byte alone', '80', 'FRAME_MALFORMED', 0x81],
  ['more than U+10FFFF', 'f4 90 80 80', 'FRAME_MALFORMED', 0x81],
  ['a byte that never occurs', 'ff', 'FRAME_MALFORMED', 0x81],
  ['+', '"a/+"', 'TOPIC_INVALID', 0x90],
  ['#', '"a/#"', 'TOPIC_INVALID', 0x90],
  ['a wildcard beside other scripts', 'c3 a4 "/#"', 'TOPIC_INVALID', 0x90],
])('%s is refused, and not remembered', (_, text, code, reasonCode) => {
  const cache = new TopicCache(2)
  const buf = frame(text)
  for (let i = 0; i < 2; i++) {
    expect(refusal(() => cache.get(buf, 0, buf.length)).slice(0, 2)).toEqual([code, reasonCode])
  }
})

test('topics become their bytes on the wire, length first', () => {
  const cache = new TopicBytes(8)
  for (let i = 0; i < 400; i++) {
    const topic = `t/ä/${i % 20}`
    const bytes = cache.get(topic)
    if (bytes !== undefined) expect(Buffer.from(bytes).subarray(2).toString()).toBe(topic)
    if (bytes !== undefined) expect((bytes[0] as number) * 256 + (bytes[1] as number)).toBe(bytes.length - 2)
  }
  expect(cache.get('x'.repeat(257))).toBeUndefined()
})

test('a full cache of topics that are gone starts anew', () => {
  const cache = new TopicBytes(2)
  for (const old of ['a', 'b']) expect(cache.get(old)).toBeDefined()
  const answers = Array.from({ length: 40 }, () => cache.get('new') !== undefined)
  expect(answers[0]).toBe(false)
  expect(answers.at(-1)).toBe(true)
})
