import { expect, test } from 'vitest'
import { clientRandom, pskIdentity, renumber, sequenceOf } from '../../listeners/dtls/hello.ts'
import { Random } from '../support/random.ts'

/** type, epoch, sequence, content */
function record(type: number, epoch: number, sequence: number, content: Buffer): Buffer {
  const head = Buffer.from([type, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, sequence, 0, 0])
  head.writeUInt16BE(content.length, 11)
  return Buffer.concat([head, content])
}

function message(type: number, body: Buffer, offset = 0, length = body.length + offset): Buffer {
  const head = Buffer.alloc(12)
  head[0] = type
  head.writeUIntBE(length, 1, 3)
  head.writeUIntBE(offset, 6, 3)
  head.writeUIntBE(body.length, 9, 3)
  return Buffer.concat([head, body])
}

const RANDOM = Buffer.alloc(32, 'r')
const HELLO = record(
  22,
  0,
  5,
  message(1, Buffer.concat([Buffer.from([0xfe, 0xfd]), RANDOM, Buffer.alloc(10)])),
)
const keyExchange = (identity: Buffer) =>
  message(16, Buffer.concat([Buffer.from([identity.length >> 8, identity.length & 255]), identity]))

test('a hello is known by its random number', () => {
  expect(clientRandom(HELLO)).toBe(RANDOM.toString('latin1'))
  expect(clientRandom(HELLO.subarray(0, 58))).toBeUndefined()
  expect(clientRandom(record(22, 1, 0, HELLO.subarray(13)))).toBeUndefined()
  expect(clientRandom(record(23, 0, 0, HELLO.subarray(13)))).toBeUndefined()
  expect(clientRandom(record(22, 0, 0, message(2, Buffer.alloc(50))))).toBeUndefined()
})

test('an identity is found behind other records and other messages, but not in pieces', () => {
  const exchange = keyExchange(Buffer.from('zähler-7'))
  expect(pskIdentity(record(22, 0, 0, exchange))).toBe('zähler-7')
  const certificate = message(11, Buffer.alloc(3))
  expect(pskIdentity(Buffer.concat([record(22, 0, 0, certificate), record(22, 0, 1, exchange)]))).toBe(
    'zähler-7',
  )
  expect(pskIdentity(record(22, 0, 0, Buffer.concat([certificate, exchange])))).toBe('zähler-7')
  expect(pskIdentity(record(22, 0, 0, message(16, Buffer.from('rest'), 10)))).toBeUndefined()
  expect(pskIdentity(record(22, 1, 0, exchange))).toBeUndefined()
  expect(pskIdentity(record(22, 0, 0, keyExchange(Buffer.alloc(256))))).toBeUndefined()
  expect(pskIdentity(HELLO)).toBeUndefined()
})

test('numbers of records in the clear are shifted, others are not', () => {
  const flight = Buffer.concat([
    record(22, 0, 1, Buffer.alloc(5)),
    record(20, 0, 2, Buffer.alloc(1)),
    record(22, 1, 0, Buffer.alloc(9)),
  ])
  renumber(flight, 3)
  expect(sequenceOf(flight)).toBe(4)
  expect(sequenceOf(flight.subarray(18))).toBe(5)
  expect(sequenceOf(flight.subarray(18 + 14))).toBe(0)
  expect(sequenceOf(HELLO)).toBe(5)
  expect(sequenceOf(Buffer.alloc(3))).toBe(0)
})

test('nothing that is cut short or made up throws', () => {
  const random = new Random(5)
  const whole = Buffer.concat([HELLO, record(22, 0, 1, keyExchange(Buffer.from('meter-7')))])
  for (let i = 0; i < 5000; i++) {
    const datagram = Buffer.from(whole.subarray(0, random.int(whole.length + 1)))
    for (let k = random.int(4); k > 0 && datagram.length > 0; k--)
      datagram[random.int(datagram.length)] = random.int(256)
    const identity = pskIdentity(datagram)
    expect(identity === undefined || identity.length <= 255).toBe(true)
    clientRandom(datagram)
    sequenceOf(datagram)
  }
})
