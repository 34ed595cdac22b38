import { expect, test } from 'vitest'
import { MessageDecoder, MessageEncoder } from '../../../broker/storage/message-record.ts'
import {
  decodeDelivery,
  decodeIncoming,
  decodeProgress,
  decodeSession,
  decodeSubscription,
  encodeDelivery,
  encodeIncoming,
  encodeProgress,
  encodeSession,
  encodeSubscription,
} from '../../../broker/storage/session-records.ts'
import { Random } from '../../support/random.ts'
import { clientInfo, delivery, message, sessionRecord, subscription } from './support.ts'

const properties = { correlationData: Buffer.from('c'), userProperties: [['a', 'b']] as [string, string][] }
const full = delivery(message('t/x', 'payload', properties, clientInfo('p', { username: 'u' })), { ids: [1] })
full.packetId = 7
full.state = 'sent'

const decoder = new MessageDecoder()
const RECORDS: [name: string, whole: Buffer, decode: (bytes: Buffer) => unknown][] = [
  [
    'delivery',
    encodeDelivery(full, new MessageEncoder(), undefined),
    (bytes) => decodeDelivery(bytes, decoder),
  ],
  ['session', encodeSession(sessionRecord('c')), decodeSession],
  ['subscription', encodeSubscription(subscription('a')), (bytes) => decodeSubscription('a', bytes)],
  ['incoming', encodeIncoming(5), decodeIncoming],
  ['progress', encodeProgress({ packetId: 1, state: 'sent' }), decodeProgress],
]

test.each(RECORDS)(
  'a %s that is cut short or garbled is decoded or refused, never anything else',
  (_, whole, decode) => {
    const attempt = (bytes: Buffer) => {
      try {
        decode(bytes)
      } catch (error) {
        const isRefusal =
          error instanceof RangeError || error instanceof SyntaxError || error instanceof TypeError
        if (!isRefusal) throw error
      }
    }
    expect(() => decode(whole)).not.toThrow()
    for (let length = 0; length < whole.length; length++) attempt(Buffer.from(whole.subarray(0, length)))
    const random = new Random(7)
    for (let round = 0; round < 5000; round++) {
      const bytes = Buffer.from(whole)
      for (const byte of random.bytes(3)) bytes[random.int(bytes.length)] = byte
      attempt(bytes)
    }
  },
)
