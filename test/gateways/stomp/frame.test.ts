import { expect, test } from 'vitest'
import { encodeFrame, type FrameLimits, StompDecoder } from '../../../gateways/stomp/frame.ts'
import { escapeHeader, type StompVersion } from '../../../gateways/stomp/headers.ts'
import { BrokerError } from '../../../model/errors.ts'
import { NO_LIMITS, type Seen, seenOf } from '../support/stomp-peer.ts'

const LIMITS: FrameLimits = { maxHeaders: 10, maxHeaderBytes: 100, maxBodyBytes: 1024 }

/** All frames of `bytes`, given to the decoder `size` bytes at a time. */
function feed(
  bytes: Buffer,
  size: number,
  version: StompVersion | undefined = '1.2',
  limits = NO_LIMITS,
): Seen[] {
  const decoder = new StompDecoder(limits)
  decoder.version = version
  const seen: Seen[] = []
  let rest = Buffer.alloc(0)
  for (let from = 0; from < bytes.length; from += size) {
    rest = Buffer.concat([rest, bytes.subarray(from, from + size)])
    let at = 0
    while (at < rest.length) {
      const frame = decoder.decode(rest, at)
      at = decoder.position
      if (frame === undefined) break
      seen.push(seenOf(frame))
    }
    rest = rest.subarray(at)
  }
  return seen
}

function one(text: string, version?: StompVersion, limits?: FrameLimits): Seen | undefined {
  return feed(Buffer.from(text), text.length * 4 + 1, version, limits)[0]
}

function fault(text: string, version: StompVersion = '1.2', limits: FrameLimits = LIMITS): string {
  try {
    one(text, version, limits)
  } catch (error) {
    if (error instanceof BrokerError && error.fault === 'peer') return error.message
    throw error
  }
  return 'none'
}

const STREAM = Buffer.from(
  [
    '\n\r\n\nCONNECT\naccept-version:1.2\nhost:h\n\n\0\n\n',
    'SEND\r\ndestination:/queue/ä\r\ncontent-length:5\r\n\r\na\0\nb\0\0\r\n',
    'SEND\ndestination:a\\cb\\nc\\\\d\\re\nx:1\nx:2\n\nhello\0',
    'SUBSCRIBE\nid:0\ndestination:/queue/foo\nack:auto\nempty:\n\n\0\n',
    'SEND\ndestination:€\n\n\0DISCONNECT\nreceipt:1\n\n\0',
  ].join(''),
)

test('a frame is command, headers and body', () => {
  expect(one('SEND\ndestination:/queue/foo\nuser-defined:emq\n\nhello\0')).toEqual({
    command: 'SEND',
    headers: { destination: '/queue/foo', 'user-defined': 'emq' },
    body: 'hello',
  })
})

test('the same frames come out however the bytes are split', () => {
  const whole = feed(STREAM, STREAM.length)
  expect(whole.map((frame) => frame.command)).toEqual([
    'CONNECT',
    'SEND',
    'SEND',
    'SUBSCRIBE',
    'SEND',
    'DISCONNECT',
  ])
  expect(whole[1]).toMatchObject({ headers: { destination: '/queue/ä' }, body: 'a\0\nb\0' })
  expect(whole[2]).toMatchObject({ headers: { destination: 'a:b\nc\\d\re', x: '1' }, body: 'hello' })
  for (let size = 1; size < STREAM.length; size++) {
    expect(feed(STREAM, size), `${size} bytes at a time`).toEqual(whole)
  }
})

test('a head that comes again means the same, however the bytes are split', () => {
  const heads = ['SEND\ndestination:a\nx:\\c', 'SEND\ndestination:a', 'SEND\ndestination:ab', 'BEGIN\na:b']
  const texts = Array.from({ length: 40 }, (_, i) => {
    const body = 'x'.repeat(i % 5)
    const length = i % 2 === 0 ? `\ncontent-length:${body.length}` : ''
    return `${heads[Math.floor(i / 4) % heads.length]}${length}\n\n${body}\0${i % 3 === 0 ? '\n' : ''}`
  })
  const stream = Buffer.from(texts.join(''))
  const whole = texts.map((text) => one(text, '1.2'))
  for (let size = 1; size < 100; size++) expect(feed(stream, size), `${size} bytes at a time`).toEqual(whole)
})

test('the headers of a SEND that comes again are the same object, which is not kept where it is long', () => {
  const decoder = new StompDecoder(NO_LIMITS)
  decoder.version = '1.2'
  const decoded = (text: string) => decoder.decode(Buffer.from(text), 0)?.headers
  const first = decoded('SEND\ndestination:a\n\none\0')
  expect(decoded('SEND\ndestination:a\n\nanother\0')).toBe(first)
  expect(decoded('SEND\ndestination:b\n\none\0')?.get('destination')).toBe('b')
  const long = `SEND\ndestination:${'c'.repeat(600)}\n\none\0`
  expect(decoded(long)).not.toBe(decoded(long))
})

test('what was read before the version was agreed is read anew', () => {
  const decoder = new StompDecoder(NO_LIMITS)
  const bytes = Buffer.from('SEND\na:x\\cy\n\n\0')
  expect(decoder.decode(bytes, 0)?.headers.get('a')).toBe('x\\cy')
  decoder.version = '1.2'
  expect(decoder.decode(bytes, 0)?.headers.get('a')).toBe('x:y')
})

test('escapes are those of the version, and CONNECT has none', () => {
  expect(one('SEND\na:x\\cy\\nz\\\\\n\n\0', '1.1')?.headers.a).toBe('x:y\nz\\')
  expect(one('SEND\na:x\\cy\\nz\n\n\0', '1.0')?.headers.a).toBe('x\\cy\\nz')
  expect(one('SEND\na\\cb:c\n\n\0', '1.2')?.headers).toEqual({ 'a:b': 'c' })
  expect(one('CONNECT\npasscode:a\\tb\n\n\0', undefined)?.headers.passcode).toBe('a\\tb')
  expect(fault('SEND\na:\\r\n\n\0', '1.1')).toContain('bad_escape')
  expect(fault('SEND\na:\\t\n\n\0', '1.2')).toContain('bad_escape')
  expect(fault('SEND\na:b\\\n\n\0', '1.2')).toContain('bad_escape')
})

test('CR LF ends a line in 1.2 and before the login only; a colon may stand in a value', () => {
  expect(one('SEND\r\na:b:c\r\n\r\n\0', '1.2')).toMatchObject({ command: 'SEND', headers: { a: 'b:c' } })
  expect(one('CONNECT\r\nhost:h\r\n\r\n\0', undefined)).toMatchObject({
    command: 'CONNECT',
    headers: { host: 'h' },
  })
  expect(one('SEND\na:b\r\n\n\0', '1.1')?.headers.a).toBe('b\r')
})

test('one space after the colon is padding in 1.0 and data later', () => {
  expect(one('SEND\na:  b\n\n\0', '1.0')?.headers.a).toBe(' b')
  expect(one('SEND\na: b\n\n\0', '1.1')?.headers.a).toBe(' b')
  expect(one('SEND\na: b\n\n\0', '1.2')?.headers.a).toBe(' b')
})

test('limits are tested in the order headers, header, body, as soon as they can be', () => {
  const eleven = Array.from({ length: 11 }, (_, i) => `h${i}:v\n`).join('')
  expect(fault(`SEND\n${eleven}\n\0`)).toBe(
    '{too_many_headers,#{max_header_num => 10,received_headers_num => 11}}',
  )
  expect(fault(`SEND\n${eleven}`)).toContain('too_many_headers')
  expect(fault(`SEND\nname:${'x'.repeat(96)}\n\n\0`)).toBe('none')
  expect(fault(`SEND\nname:${'x'.repeat(96)}\r\n\r\n\0`)).toBe('none')
  expect(fault(`SEND\nname:${'x'.repeat(97)}\n\n\0`)).toBe(
    '{too_long_header,#{max_header_length => 100,found_header_length => 101}}',
  )
  expect(fault(`SEND\n${'x'.repeat(200)}`)).toContain('too_long_header')
  expect(fault('SEND\ncontent-length:1026\n\n')).toBe(
    '{too_long_body,#{max_body_length => 1024,received_body_length => 1026}}',
  )
  expect(fault(`SEND\n\n${'x'.repeat(1024)}\0`)).toBe('none')
  expect(fault(`SEND\n\n${'x'.repeat(1025)}`)).toContain('too_long_body')
})

test('malformed frames are the fault of the peer', () => {
  expect(fault('SEND\nno colon\n\n\0')).toBe('unexpected_linefeed')
  expect(fault('SEND\n:nameless\n\n\0')).toBe('empty_header_name')
  expect(fault('SEND\na:b\0')).toBe('linefeed_expected')
  expect(fault('SEND\ncontent-length:x\n\n\0')).toBe('bad_content_length')
  expect(fault('SEND\ncontent-length:-1\n\n\0')).toBe('bad_content_length')
  expect(fault('SEND\ncontent-length:2\n\nabc\0')).toBe('nul_expected')
  expect(fault(`${'GET / HTTP/1.1'.repeat(10)}\n`)).toBe('command_too_long')
})

test('a head that is not UTF-8 is refused', () => {
  const decoder = new StompDecoder(LIMITS)
  expect(() => decoder.decode(Buffer.from('SEND\na:\xff\n\n\0', 'latin1'), 0)).toThrow('invalid_utf8')
})

test('an announced body tells how many bytes are wanted', () => {
  const decoder = new StompDecoder(NO_LIMITS)
  expect(decoder.decode(Buffer.from('SEND\ncontent-length:100000\n\nabc'), 0)).toBeUndefined()
  expect(decoder.wantedBytes).toBe(100_001)
})

test('content-length is written for bodies and never for empty ones', () => {
  expect(encodeFrame('RECEIPT', [['receipt-id', '1']]).toString()).toBe('RECEIPT\nreceipt-id:1\n\n\0')
  expect(encodeFrame('ERROR', [['a', 'b']], 'ä').toString()).toBe('ERROR\na:b\ncontent-length:2\n\nä\0')
})

test('no header text can end a line or a frame, whatever the version can say', () => {
  const evil = 'a\nb\r\0c:d\\'
  expect(escapeHeader(evil, '1.0')).toBe('a b  c:d\\')
  expect(escapeHeader(evil, '1.0', 'name')).toBe('a b  c d\\')
  expect(escapeHeader(evil, '1.1')).toBe('a\\nb\r c\\cd\\\\')
  expect(escapeHeader(evil, '1.2')).toBe('a\\nb\\r c\\cd\\\\')
})

test('random streams yield frames, a need for more, or a fault of the peer', () => {
  const random = generator(20_260)
  const pieces = [
    'SEND',
    'CONNECT',
    '\n',
    '\r\n',
    '\0',
    ':',
    'a',
    '\\c',
    '\\',
    'content-length:3\n',
    '\n\n',
    'ä',
    ' ',
  ]
  let frames = 0
  for (let round = 0; round < 10_000; round++) {
    let text = ''
    for (let i = random(40); i >= 0; i--) text += pieces[random(pieces.length)]
    const bytes = Buffer.from(text)
    for (let i = random(3); i > 0; i--) if (bytes.length > 0) bytes[random(bytes.length)] = random(256)
    const version = [undefined, '1.0', '1.1', '1.2'][random(4)] as StompVersion | undefined
    const whole = outcome(bytes, bytes.length, version)
    expect(outcome(bytes, 1 + random(5), version), JSON.stringify(text)).toEqual(whole)
    frames += whole.length
  }
  expect(frames).toBeGreaterThan(1000)
})

/** Frames before the fault, and that there was one: which limit it names may depend on what had come. */
function outcome(bytes: Buffer, size: number, version: StompVersion | undefined): unknown[] {
  const decoder = new StompDecoder({ maxHeaders: 5, maxHeaderBytes: 20, maxBodyBytes: 30 })
  decoder.version = version
  const seen: unknown[] = []
  let rest = Buffer.alloc(0)
  try {
    for (let from = 0; from < bytes.length; from += size) {
      rest = Buffer.concat([rest, bytes.subarray(from, from + size)])
      let frame = decoder.decode(rest, 0)
      for (; frame !== undefined; frame = decoder.decode(rest, decoder.position)) seen.push(seenOf(frame))
      rest = rest.subarray(decoder.position)
    }
  } catch (error) {
    if (!(error instanceof BrokerError) || error.fault !== 'peer') throw error
    seen.push('fault')
  }
  return seen
}

/** Small linear congruential generator: the same numbers in every run. */
function generator(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}
