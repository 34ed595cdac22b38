import { describe, expect, test } from 'vitest'
import { NatsDecoder } from '../../../gateways/nats/frame.ts'
import { SubjectCache } from '../../../gateways/nats/subject-cache.ts'
import { type BrokerError, faultOf } from '../../../model/errors.ts'
import { Random } from '../../support/random.ts'

const LIMITS = { maxLineBytes: 256, maxPayloadBytes: 1024 }
const STREAM = Buffer.from(
  'CONNECT {"verbose":false}\r\nPING\r\npub a.b 5\r\nhello\r\nPUB a.b in.box 0\r\n\r\n' +
    'SUB a.* 1\nSUB\ta.>  g \t 2\r\nHPUB h r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n' +
    'UNSUB 1 5\r\nUNSUB 2\r\nPONG\r\nINFO {}\r\n+OK\r\nPUB a.b 2\r\n\r\n\r\n',
)

function feed(stream: Buffer, size: number): unknown[] {
  const decoder = new NatsDecoder(LIMITS, new SubjectCache(16))
  const seen: unknown[] = []
  let rest = Buffer.alloc(0)
  for (let at = 0; at < stream.length; at += size) {
    const bytes = Buffer.concat([rest, stream.subarray(at, at + size)])
    let from = 0
    while (from < bytes.length) {
      const frame = decoder.decode(bytes, from)
      from = decoder.position
      if (frame === undefined) break
      const { op, text, sid, max, start, payload, end } = frame
      const published = op === 'PUB' || op === 'HPUB'
      seen.push({
        op,
        ...(published || op === 'SUB' ? { subject: frame.subject.text, text } : {}),
        ...(op === 'SUB' || op === 'UNSUB' ? { sid } : {}),
        ...(op === 'UNSUB' ? { max } : {}),
        ...(published ? { headers: payload - start, body: frame.bytes.toString('utf8', payload, end) } : {}),
      })
    }
    rest = bytes.subarray(from)
  }
  return seen
}

/** What the decoder says about it; undefined if nothing is wrong. */
function problem(text: string, awaitsLogin = false): string | undefined {
  const decoder = new NatsDecoder(LIMITS, new SubjectCache(16))
  decoder.awaitsLogin = awaitsLogin
  const bytes = Buffer.from(text)
  try {
    for (let at = 0; at < bytes.length; at = decoder.position) {
      if (decoder.decode(bytes, at) === undefined) break
    }
  } catch (error) {
    expect(faultOf(error)).toBe('peer')
    return (error as BrokerError).message
  }
  return undefined
}

test('operations come in any case, with spaces and tabs, and a bare LF', () => {
  expect(feed(STREAM, STREAM.length)).toEqual([
    { op: 'CONNECT' },
    { op: 'PING' },
    { op: 'PUB', subject: 'a.b', text: '', headers: 0, body: 'hello' },
    { op: 'PUB', subject: 'a.b', text: 'in.box', headers: 0, body: '' },
    { op: 'SUB', subject: 'a.*', text: '', sid: '1' },
    { op: 'SUB', subject: 'a.>', text: 'g', sid: '2' },
    { op: 'HPUB', subject: 'h', text: 'r', headers: 12, body: 'hi' },
    { op: 'UNSUB', sid: '1', max: 5 },
    { op: 'UNSUB', sid: '2', max: 0 },
    { op: 'PONG' },
    { op: 'IGNORED' },
    { op: 'IGNORED' },
    { op: 'PUB', subject: 'a.b', text: '', headers: 0, body: '\r\n' },
  ])
})

test('the same operations come out however the bytes are split', () => {
  const whole = feed(STREAM, STREAM.length)
  for (let size = 1; size < STREAM.length; size++) {
    expect(feed(STREAM, size), `${size} bytes at a time`).toEqual(whole)
  }
})

test('an announced payload tells how much has to come', () => {
  const decoder = new NatsDecoder(LIMITS, new SubjectCache(16))
  const bytes = Buffer.from('PUB a 100\r\nxx')
  expect(decoder.decode(bytes, 0)).toBeUndefined()
  expect([decoder.position, decoder.wantedBytes]).toEqual([11, 102])
})

describe('what is refused', () => {
  test.each([
    ['INVALID\r\n', 'Unknown Protocol Operation'],
    ['GET / HTTP/1.1', 'Unknown Protocol Operation'],
    ['\r\n', 'Unknown Protocol Operation'],
    ['PUB a 2\r\nabcd\r\n', 'Unknown Protocol Operation'],
    ['PUB \r\n', 'Unknown Protocol Operation'],
    ['MSG a 1 1\r\n', 'Unknown Protocol Operation'],
    ['PUB a 1\r\nxy', 'Unknown Protocol Operation'],
    ['PUB a\r\n', 'Parser Error'],
    ['PUB a x\r\n', 'Parser Error'],
    ['PUB a -1\r\n', 'Parser Error'],
    ['PUB a b c 1\r\n', 'Parser Error'],
    ['PUB a 99999999999\r\n', 'Parser Error'],
    ['SUB a\r\n', 'Parser Error'],
    ['SUB a b c d\r\n', 'Parser Error'],
    ['UNSUB\r\n', 'Unknown Protocol Operation'],
    ['UNSUB 1 x\r\n', 'Parser Error'],
    ['HPUB a 20 12\r\n', 'Parser Error'],
    ['HPUB a 12 12\r\nNATS/2.0\r\n\r\n\r\n', 'Parser Error'],
    ['HPUB a 15 15\r\nNATS/1.0\r\nA:b\r\n\r', undefined],
    ['HPUB a 15 15\r\nNATS/1.0\r\nA:b\r\n\r\n', 'Parser Error'],
    ['PUB a 1025\r\n', 'Maximum Payload Violation'],
    ['HPUB a 1000 1025\r\n', 'Maximum Payload Violation'],
    [`PUB ${'a'.repeat(300)} 1\r\n`, 'maximum control line exceeded'],
    [`PUB ${'a'.repeat(300)}`, 'maximum control line exceeded'],
  ])('%j', (text, said) => {
    expect(problem(text)).toBe(said)
  })

  test('everything but CONNECT, PING and PONG, as long as a login is awaited', () => {
    for (const text of ['PUB a 5\r\n', 'SUB a 1\r\n', 'UNSUB 1\r\n', '+OK\r\n', 'NONSENSE\r\n']) {
      expect(problem(text, true)).toBe('Authorization Violation')
    }
    expect(problem('PING\r\nCONNECT {}\r\nPONG\r\n', true)).toBeUndefined()
  })
})

test('random bytes give a frame, a need for more, or a fault of the peer', () => {
  const random = new Random(8)
  const words = [
    'PUB ',
    'HPUB ',
    'SUB ',
    'UNSUB ',
    'CONNECT ',
    'PING',
    'a.b ',
    '> ',
    '5',
    '12',
    '\r\n',
    '\n',
    '\t',
  ]
  words.push('NATS/1.0', ':', '\0', 'é', '{}', '{"a":[', 'MSG ', '+OK', '-ERR ')
  for (let round = 0; round < 3000; round++) {
    const parts = Array.from({ length: 1 + random.int(12) }, () =>
      random.int(4) === 0 ? String.fromCharCode(random.int(256)) : random.pick(words),
    )
    const bytes = Buffer.from(parts.join(''), random.int(2) === 0 ? 'utf8' : 'latin1')
    try {
      feed(bytes, 1 + random.int(bytes.length + 1))
    } catch (error) {
      expect(faultOf(error), bytes.toString('hex')).toBe('peer')
    }
  }
})
