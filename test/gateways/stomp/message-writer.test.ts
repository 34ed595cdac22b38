import { expect, test } from 'vitest'
import { SessionDelivery } from '../../../broker/delivery.ts'
import { MessageWriter, messageBeginning } from '../../../gateways/stomp/message-writer.ts'
import { Message, type MessageProperties } from '../../../model/message.ts'
import { FakeOutbox } from '../support/fake-transport.ts'

interface Wish {
  properties?: MessageProperties
  retain?: boolean
  ack?: 'auto' | 'client'
  id?: string
}

function written(writer: MessageWriter, body: Uint8Array, number: number, wish: Wish = {}): Buffer {
  const { properties, retain = false, ack = 'auto', id } = wish
  const message = Message.of('t:1', body, 0, retain, properties, undefined, 0)
  const subscription = {
    id,
    destination: '#',
    ack,
    identifier: 1,
    beginning: messageBeginning(id, 'abc-', '1.2'),
  }
  const outbox = new FakeOutbox()
  writer.prepare(message.head, message.topic, '1.2')
  writer.write(outbox, new SessionDelivery(message, 0, retain, [1]), subscription, number)
  return outbox.take()
}

test('small and large bodies are written byte exact', () => {
  const writer = new MessageWriter()
  for (const size of [1, 9, 10, 4095, 4096, 100_000]) {
    const body = Buffer.alloc(size, 7)
    const head = 'MESSAGE\nmessage-id:abc-1\ndestination:t\\c1\ncontent-type:text/plain\ncontent-length:'
    const frame = Buffer.concat([Buffer.from(`${head}${size}\n\n`), body, Buffer.from([0])])
    expect(written(writer, body, 1).equals(frame), `${size} bytes`).toBe(true)
  }
})

test('everything that a MESSAGE can say is said, and an empty body has no length', () => {
  const properties = {
    contentType: 'text/ä',
    userProperties: [
      ['a:b', 'c\nd'],
      ['message-id', 'forged'],
      ['', 'nameless'],
      ['a:b', '€'],
    ] as [string, string][],
  }
  const wish: Wish = { properties, retain: true, ack: 'client', id: 'the:first' }
  expect(written(new MessageWriter(), Buffer.alloc(0), 1_234_567_890, wish).toString()).toBe(
    [
      'MESSAGE',
      'subscription:the\\cfirst',
      'message-id:abc-1234567890',
      'destination:t\\c1',
      'content-type:text/ä',
      'ack:1234567890',
      'retain:true',
      'a\\cb:c\\nd',
      'a\\cb:€',
      '',
      '\0',
    ].join('\n'),
  )
})

test('what was remembered of a message is not said of the next one', () => {
  const writer = new MessageWriter()
  written(writer, Buffer.from('x'), 1, { properties: { userProperties: [['a', 'b']] }, id: 'one' })
  expect(written(writer, Buffer.from('y'), 2).toString()).toBe(
    'MESSAGE\nmessage-id:abc-2\ndestination:t\\c1\ncontent-type:text/plain\ncontent-length:1\n\ny\0',
  )
})
