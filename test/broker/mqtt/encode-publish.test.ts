import { expect, test } from 'vitest'
import type { Delivery } from '../../../broker/broker.ts'
import { writePublish } from '../../../broker/mqtt/encode-publish.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { TopicBytes } from '../../../broker/mqtt/topic-bytes.ts'
import { Message, type MessageProperties, type QoS } from '../../../model/message.ts'
import { delivery, frame, message, packet, TestOutbox, VERSIONS } from './support.ts'

const NO_LIMIT = Number.POSITIVE_INFINITY

/** Writes one delivery alone. */
function write(
  version: ProtocolVersion,
  of: Delivery,
  more: { topic?: string; alias?: number; max?: number; nowMs?: number; topics?: TopicBytes } = {},
): Buffer | undefined {
  const outbox = new TestOutbox()
  const { topic = of.message.topic, alias = 0, max = NO_LIMIT, nowMs = 0, topics } = more
  const written = writePublish(outbox, version, of, topic, alias, max, nowMs, topics)
  expect(outbox.unsentBytes > 0).toBe(written)
  return written ? outbox.take() : undefined
}

// [MQTT-2.2.1-2] [MQTT-3.3.1-1] [MQTT-3.3.1-3] [MQTT-4.3.1-1]
test('QoS 0, 1 and 2, RETAIN and DUP, in every version', () => {
  for (const version of VERSIONS) {
    const none = version === 5 ? '00' : ''
    const of = message('a/b', 'hi')
    expect(write(version, delivery(of))).toEqual(packet('30', '0003 "a/b"', none, '"hi"'))
    expect(write(version, delivery(of, { retain: true }))).toEqual(packet('31', '0003 "a/b"', none, '"hi"'))
    expect(write(version, delivery(of, { qos: 1 }))).toEqual(packet('32', '0003 "a/b" 1234', none, '"hi"'))
    const again = delivery(of, { qos: 2, dup: true, retain: true, packetId: 0xffff })
    expect(write(version, again)).toEqual(packet('3d', '0003 "a/b" ffff', none, '"hi"'))
  }
})

test('[MQTT-3.3.1-2] DUP is never set at QoS 0', () => {
  for (let i = 0; i < 6; i++)
    expect(write(4, delivery(message('a', ''), { dup: true }))).toEqual(frame('30 03 0001 "a"'))
})

test('topics of any script and length', () => {
  const topics = ['a', 'ä/🙂', 'x'.repeat(33), `ä${'x'.repeat(60)}`, 'x'.repeat(300), 'ä'.repeat(32_767)]
  for (const topic of topics) {
    const length = Buffer.byteLength(topic).toString(16).padStart(4, '0')
    const expected = packet('30', length, Buffer.from(topic).toString('hex'), '"p"')
    expect(write(4, delivery(message(topic, 'p')))).toEqual(expected)
    const known = new TopicBytes()
    for (let i = 0; i < 3; i++)
      expect(write(4, delivery(message(topic, 'p')), { topics: known })).toEqual(expected)
  }
  expect(write(4, delivery(message('x'.repeat(65_536), 'p')))).toBeUndefined()
})

test('the topic may be another than the one that was published to', () => {
  expect(write(4, delivery(message('mount/a', 'p')), { topic: 'a' })).toEqual(packet('30', '0001 "a" "p"'))
})

const PROPERTIES: MessageProperties = {
  payloadFormatIndicator: 1,
  contentType: 'text',
  responseTopic: 'r',
  correlationData: new Uint8Array([0, 255]),
  userProperties: [
    ['k', '1'],
    ['k', '2'],
  ],
}

// [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
test('5.0 forwards what the publisher said, unaltered and in order; 3.x has no place for it', () => {
  const of = message('t', 'p', PROPERTIES)
  const forwarded = '01 01 03 0004 "text" 08 0001 "r" 09 0002 00ff 26 0001 "k" 0001 "1" 26 0001 "k" 0001 "2"'
  expect(write(5, delivery(of))).toEqual(
    packet('30', '0001 "t"', packet('', forwarded).toString('hex'), '"p"'),
  )
  expect(write(4, delivery(of))).toEqual(packet('30', '0001 "t" "p"'))
})

test("the publisher's topic alias and its announced expiry are not forwarded as they came", () => {
  const of = message('t', 'p', { topicAlias: 5, messageExpiryInterval: 10 } as MessageProperties)
  expect(write(5, delivery(of), { nowMs: 4000 })).toEqual(packet('30', '0001 "t" 05 02 00000006 "p"'))
})

test.each([
  [0, 10],
  [1, 10],
  [999, 10],
  [1000, 9],
  [1001, 9],
  [9000, 1],
  [9999, 1],
  [10_000, 1],
  [99_000, 1],
])('[MQTT-3.3.2-6] %i ms after publishing, %i of 10 seconds are left', (nowMs, seconds) => {
  const of = message('t', '', { messageExpiryInterval: 10 })
  expect(write(5, delivery(of), { nowMs })?.readUInt32BE(7)).toBe(seconds)
  expect(write(4, delivery(of), { nowMs })).toEqual(packet('30', '0001 "t"'))
})

test('the longest expiry interval fits', () => {
  const of = message('t', '', { messageExpiryInterval: 0xffff_ffff })
  expect(write(5, delivery(of), { nowMs: 0 })?.readUInt32BE(7)).toBe(0xffff_ffff)
  expect(write(5, delivery(of), { nowMs: -5000 })?.readUInt32BE(7)).toBe(0xffff_ffff)
})

// [MQTT-3.3.4-3] [MQTT-3.3.4-4]
test('subscription identifiers and a topic alias of the server', () => {
  const of = message('t', 'p')
  const subscriptionIds = [1, 268_435_455]
  expect(write(5, delivery(of, { subscriptionIds }))).toEqual(
    packet('30', '0001 "t" 07 0b 01 0b ffffff7f "p"'),
  )
  expect(write(5, delivery(of), { alias: 9 })).toEqual(packet('30', '0001 "t" 03 23 0009 "p"'))
  expect(write(5, delivery(of), { alias: 9, topic: '' })).toEqual(packet('30', '0000 03 23 0009 "p"'))
  expect(write(4, delivery(of, { subscriptionIds }))).toEqual(packet('30', '0001 "t" "p"'))
})

test('[MQTT-3.1.2-24] nothing is written of what is larger than the client takes', () => {
  const of = message('t', 'payload', { contentType: 'c' })
  for (const qos of [0, 1] as const) {
    const whole = write(5, delivery(of, { qos })) as Buffer
    for (let i = 0; i < 6; i++) {
      expect(write(5, delivery(of, { qos }), { max: whole.length - 1 })).toBeUndefined()
      expect(write(5, delivery(of, { qos }), { max: whole.length })).toEqual(whole)
    }
  }
})

test('a property too long to be written stops the delivery to 5.0 only', () => {
  const of = message('t', 'p', { userProperties: [['k', 'v'.repeat(65_536)]] })
  for (let i = 0; i < 6; i++) {
    expect(write(5, delivery(of))).toBeUndefined()
    expect(write(4, delivery(of))).toEqual(packet('30', '0001 "t" "p"'))
  }
})

test.each([0, 1, 8, 9, 100, 127, 128, 16_383])('a payload of %i bytes is copied', (bytes) => {
  const payload = Buffer.alloc(bytes, 'p')
  const outbox = new TestOutbox()
  writePublish(outbox, 4, delivery(message('t', payload)), 't', 0, NO_LIMIT, 0)
  expect(outbox.appended).toEqual([])
  expect(outbox.take()).toEqual(packet('30', '0001 "t"', payload.toString('hex')))
})

test('a payload from 16 KB on is handed over, and does not pin the chunk it came in', () => {
  const chunk = Buffer.alloc(65_536, 'p')
  const of = Message.of('t', chunk, 2, false, undefined, undefined, 0, 10, 10 + 16_384)
  for (let i = 0; i < 6; i++) {
    const outbox = new TestOutbox()
    writePublish(outbox, 5, delivery(of, { qos: 1, packetId: i + 1 }), 't', 0, NO_LIMIT, 0)
    expect(outbox.appended[0]?.buffer).not.toBe(chunk.buffer)
    const id = (i + 1).toString(16).padStart(4, '0')
    expect(outbox.take()).toEqual(packet('32', '0001 "t"', id, '00', '70'.repeat(16_384)))
  }
})

test('to many subscribers go the same bytes as to one, in every form', () => {
  const topics = new TopicBytes()
  const shared = [message('ä/topic', 'x'.repeat(200)), message('ä/topic', 'x'.repeat(200), PROPERTIES)]
  for (let round = 0; round < 8; round++) {
    for (const of of shared) {
      for (const version of VERSIONS) {
        for (const qos of [0, 1, 2] as QoS[]) {
          for (const retain of [false, true]) {
            const dup = qos !== 0 && round % 2 === 1
            const more = { qos, retain, dup, packetId: qos === 0 ? 0 : 100 + round }
            const alone = message(of.topic, of.payload, of.properties)
            expect(write(version, delivery(of, more), { topics })).toEqual(
              write(version, delivery(alone, more)),
            )
          }
        }
      }
    }
  }
})

test('a kept form is not given to who knows the topic by another name', () => {
  const of = message('mount/a', 'p')
  for (let i = 0; i < 6; i++) {
    expect(write(4, delivery(of))).toEqual(packet('30', '0007 "mount/a" "p"'))
    expect(write(4, delivery(of), { topic: 'a' })).toEqual(packet('30', '0001 "a" "p"'))
    expect(write(4, delivery(of, { qos: 1 }), { topic: `b${i}` })).toEqual(
      packet('32', `0002 "b${i}" 1234 "p"`),
    )
  }
})
