import { describe, expect, test } from 'vitest'
import { decodePublish, emptyPublish } from '../../../broker/mqtt/decode-publish.ts'
import { frameLength } from '../../../broker/mqtt/frame.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { RunOfPackets } from '../../../broker/mqtt/run-of-packets.ts'
import { TopicCache } from '../../../broker/mqtt/topic-cache.ts'
import { publishing, series } from './runs-support.ts'
import { frame, VERSIONS } from './support.ts'

interface Wish {
  version?: ProtocolVersion
  maxPacketBytes?: number
  /** Bytes at the end that have not come. */
  missing?: number
}

/** What is found behind the first packet: payload and, at QoS 1, packet id of each. */
function followers(
  packets: readonly Buffer[],
  { version = 5, maxPacketBytes = 1e6, missing = 0 }: Wish = {},
) {
  // Not at 0 of its memory, as chunks are not.
  const bytes = Buffer.concat([Buffer.from('???'), ...packets]).subarray(3)
  const limit = bytes.length - missing
  const first = emptyPublish()
  const topics = new TopicCache(16)
  decodePublish(version, bytes, 0, frameLength(bytes, 0, limit, 1e6), first, topics)
  const run = new RunOfPackets(first, version, 0, limit, maxPacketBytes, topics)
  const found: string[] = []
  for (let at = first.payloadEnd, end = run.endOf(at); end > 0; at = end, end = run.endOf(at)) {
    const id = first.qos === 0 ? '' : `#${run.idOf(at)} `
    found.push(id + bytes.toString('latin1', run.payloadOf(at), end))
  }
  return found
}

describe.each(VERSIONS)('version %i', (version) => {
  test('packets about the same topic at the same QoS go on with each other', () => {
    expect(followers(series(version, 'a/b', 0, 4), { version })).toEqual(['m1', 'm2', 'm3'])
    expect(followers(series(version, 'a/b', 1, 3, 700), { version })).toEqual(['#701 m1', '#702 m2'])
  })

  test('so do many, so that their topics are compared word by word', () => {
    for (const topic of ['t', 'a/b', 'four', 'twelve bytes', `long/${'x'.repeat(300)}`]) {
      expect(followers(series(version, topic, 1, 80), { version }), topic).toHaveLength(79)
      const changed = topic.slice(0, -1).concat('!')
      const packets = [...series(version, topic, 1, 60), publishing(version, changed, 'm', { qos: 1, id: 9 })]
      expect(followers(packets, { version }), changed).toHaveLength(59)
    }
  })

  test('payloads may be of any length up to a header of three bytes, that of the first of any', () => {
    const head = publishing(version, 'a/b', '').length - 2
    const lengths = [0, 1, 127, 128, 129, 16_382, 16_383].map((body) => Math.max(0, body - head))
    for (const first of [0, 128, 16_384, 20_000]) {
      const packets = [first, ...lengths].map((length) => publishing(version, 'a/b', 'x'.repeat(length)))
      expect(followers(packets, { version }).map((payload) => payload.length)).toEqual(lengths)
    }
    const large = publishing(version, 'a/b', 'x'.repeat(16_384 - head))
    expect(followers([publishing(version, 'a/b', ''), large], { version })).toEqual([])
  })

  test('what is not there as a whole is none of them', () => {
    const packets = series(version, 'a/b', 1, 2)
    const { length } = packets[1] as Buffer
    for (let missing = 1; missing <= length; missing++) {
      expect(followers(packets, { version, missing }), `${missing} bytes missing`).toEqual([])
    }
    const long = [publishing(version, 'a/b', 'x'), publishing(version, 'a/b', 'x'.repeat(200))]
    for (const missing of [1, 200, (long[1] as Buffer).length - 2])
      expect(followers(long, { version, missing })).toEqual([])
  })

  test('nor is one that says something else', () => {
    const [first, ...rest] = series(version, 'a/b', 1, 3) as [Buffer, Buffer, Buffer]
    const others = [
      publishing(version, 'a/b', 'm', { qos: 0 }),
      publishing(version, 'a/b', 'm', { qos: 2 }),
      publishing(version, 'a/b', 'm', { qos: 1, flags: 1 }),
      publishing(version, 'a/b', 'm', { qos: 1, flags: 8 }),
      publishing(version, 'a/c', 'm', { qos: 1 }),
      publishing(version, 'a/bb', 'm', { qos: 1 }),
      publishing(version, 'a/', 'm', { qos: 1 }),
      publishing(version, '', 'm', { qos: 1 }),
      publishing(version, 'a/+', 'm', { qos: 1 }),
      frame('c0 00'),
      frame('40 02 0001'),
    ]
    for (const other of others)
      expect(followers([first, other, ...rest], { version }), other.toString('hex')).toEqual([])
  })

  test('nor is one that is too large', () => {
    const packets = ['x', 'y'.repeat(50), 'z'].map((payload) => publishing(version, 'a/b', payload))
    const { length } = packets[1] as Buffer
    expect(followers(packets, { version, maxPacketBytes: length })).toHaveLength(2)
    expect(followers(packets, { version, maxPacketBytes: length - 1 })).toEqual([])
  })

  test('packet id 0 is told, as it is an error of the packet that has it', () => {
    const packets = [1, 0, 2].map((id) => publishing(version, 'a', 'm', { qos: 1, id }))
    expect(followers(packets, { version })).toEqual(['#0 m', '#2 m'])
  })

  test('bytes that only look like one are none', () => {
    const first = publishing(version, 'a/b', 'x', { qos: 1 })
    // Too short for its topic, a length that is not in its shortest form, one without an end.
    for (const bytes of [
      '32 02 0003',
      '32 05 0003 "a/b" 0001 00',
      '32 8a 00 0003 "a/b" 0001 00 "xx"',
      '32 ff ff ff ff ff',
      '32 80',
      '32',
    ])
      expect(followers([first, frame(bytes)], { version }), bytes).toEqual([])
  })
})

test('one with properties is none, even where they are empty in a longer form', () => {
  const first = publishing(5, 'a/b', 'x')
  for (const properties of ['02 01 01', '03 23 0001', '80 00'])
    expect(followers([first, publishing(5, 'a/b', 'y', { properties })])).toEqual([])
})

test('in MQTT 3 a payload that begins with 0 is a payload', () => {
  const packets = [
    publishing(4, 'a', 'x'),
    Buffer.from('30040001610a', 'hex'),
    Buffer.from('300400016100', 'hex'),
  ]
  expect(followers(packets, { version: 4 })).toEqual(['\n', '\0'])
})
