import { inspect } from 'node:util'
import { describe, expect, test } from 'vitest'
import { KnownTopic } from '../../model/known-topic.ts'
import { Message } from '../../model/message.ts'
import { MessageHead } from '../../model/message-head.ts'
import { PayloadSlab } from '../../model/payload-slab.ts'

const known = new KnownTopic('a')

function headOf(topic = 'a'): MessageHead {
  return new MessageHead(topic, 1, false, { contentType: 'text' }, undefined, 1000, known)
}

const text = (message: Message) => Buffer.from(message.payload).toString()

describe('messages that share a head', () => {
  test('have all of it in common, and each a payload of its own', () => {
    const [head, bytes] = [headOf(), Buffer.from('onetwo')]
    const [one, two] = [new Message(head, bytes, 0, 3), new Message(head, bytes, 3)]
    for (const message of [one, two])
      expect(message).toMatchObject({ topic: 'a', qos: 1, retain: false, timestampMs: 1000, known, head })
    expect([text(one), text(two)]).toEqual(['one', 'two'])
  })

  test('keep it when one of them is given another topic', () => {
    const head = headOf()
    const [one, two] = [new Message(head, Buffer.from('x')), new Message(head, Buffer.from('x'))]
    one.packetAt = 8
    one.expiresAtMs = 5000
    one.topic = 'b'
    // Neither what is known of the old topic nor the packet with it is of use any more.
    expect(one).toMatchObject({ topic: 'b', qos: 1, expiresAtMs: 5000, known: undefined, packetAt: -1 })
    expect(one.properties).toEqual({ contentType: 'text' })
    expect(two).toMatchObject({ topic: 'a', expiresAtMs: 0, known })
    expect(two.head).toBe(head)
  })

  test('keep it when one of them is to expire, which says nothing of its topic', () => {
    const head = headOf()
    const [one, two] = [new Message(head, Buffer.from('x')), new Message(head, Buffer.from('x'))]
    one.expiresAtMs = 5000
    expect(one).toMatchObject({ expiresAtMs: 5000, topic: 'a', known })
    expect(two.expiresAtMs).toBe(0)
  })
})

test('what is set to what it was is no change', () => {
  const message = new Message(headOf(), Buffer.from('x'))
  message.packetAt = 8
  const { head } = message
  message.topic = 'a'
  message.expiresAtMs = 0
  expect(message.head).toBe(head)
  expect(message.packetAt).toBe(8)
})

test('it can be looked at while a hook is written', () => {
  expect(inspect(new Message(headOf('rooms/7'), Buffer.from('x')))).toContain("topic: 'rooms/7'")
})

test('it expires so many seconds after it was taken as its publisher says', () => {
  const of = (properties: { messageExpiryInterval?: number }) =>
    Message.of('a', Buffer.from('x'), 0, false, properties, undefined, 1000).expiresAtMs
  expect([of({ messageExpiryInterval: 7 }), of({})]).toEqual([8000, 0])
})

test('a payload that is made safe is the same, with the packet it came in, and is copied once', () => {
  const bytes = Buffer.alloc(65_536)
  bytes.write('0...apayload', 100)
  const slab = new PayloadSlab()
  const message = new Message(headOf(), bytes, 105, 112)
  message.packetAt = 100 * 2 + 1
  message.own(slab)
  bytes.fill(0)
  expect(text(message)).toBe('payload')
  expect(message.packetAt & 1).toBe(1)
  const start = message.packetAt >> 1
  expect(Buffer.from(message.bytes.subarray(start, message.end)).toString()).toBe('0...apayload')
  const owned = message.bytes
  const { start: before } = message
  message.own(slab)
  expect([message.bytes === owned, message.start]).toEqual([true, before])
})

test('a message that becomes another one has nothing of the first', async () => {
  const message = new Message(headOf(), Buffer.from('first'))
  message.plain = 1
  message.wire = 2
  message.stored = Promise.resolve()
  message.own()
  expect(text(message)).toBe('first')
  const bytes = Buffer.alloc(65_536, 'y')
  message.become(headOf('b'), bytes, 10, 12)
  expect(message).toMatchObject({
    topic: 'b',
    plain: undefined,
    wire: undefined,
    stored: undefined,
    packetAt: -1,
  })
  expect(text(message)).toBe('yy')
  message.own()
  bytes.fill(0)
  expect(text(message)).toBe('yy')
})
