import { expect, test } from 'vitest'
import { decodeProxyHeader } from '../../listeners/proxy-protocol.ts'
import { BrokerError } from '../../model/errors.ts'

const SIGNATURE = '0d0a0d0a000d0a515549540a'
const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')
const v1 = (text: string): Buffer => Buffer.from(text, 'latin1')
/** version and command, family and protocol, body */
const v2 = (command: string, family: string, body: string): Buffer => {
  const bytes = hex(body)
  const length = bytes.length.toString(16).padStart(4, '0')
  return Buffer.concat([hex(`${SIGNATURE}${command}${family}${length}`), bytes])
}
const tlv = (type: string, value: string): string => {
  const length = hex(value).length.toString(16).padStart(4, '0')
  return `${type}${length}${value.replaceAll(' ', '')}`
}

const IPV4 = 'c0000201 c6336401 dc04 01bb' // 192.0.2.1:56324 -> 198.51.100.1:443
const IPV6 = '20010db8000000000000000000000001 20010db8000000000000000000000002 dc04 01bb'
const SPARK = Buffer.from('meter-9').toString('hex')
const sslTlv = (client: string, verify: string): string =>
  tlv('20', client + verify + tlv('21', '544c53') + tlv('22', SPARK))

const client = { host: '192.0.2.1', port: 56_324 }
const HEADERS = [
  { name: 'v1 TCP4', bytes: v1('PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n'), source: client },
  {
    name: 'v1 TCP6',
    bytes: v1('PROXY TCP6 2001:db8::1 ::1 1 2\r\n'),
    source: { host: '2001:db8::1', port: 1 },
  },
  { name: 'v1 UNKNOWN', bytes: v1('PROXY UNKNOWN\r\n'), source: undefined },
  { name: 'v1 UNKNOWN with more', bytes: v1(`PROXY UNKNOWN ${'f'.repeat(80)}\r\n`), source: undefined },
  { name: 'v2 TCP4', bytes: v2('21', '11', IPV4), source: client },
  { name: 'v2 TCP6', bytes: v2('21', '21', IPV6), source: { host: '2001:db8::1', port: 56_324 } },
  { name: 'v2 LOCAL', bytes: v2('20', '00', ''), source: undefined },
  { name: 'v2 LOCAL with addresses', bytes: v2('20', '11', IPV4), source: undefined },
  { name: 'v2 unspecified', bytes: v2('21', '00', ''), source: undefined },
  { name: 'v2 unix', bytes: v2('21', '31', '61'.repeat(216)), source: undefined },
  { name: 'v2 with TLVs', bytes: v2('21', '11', IPV4 + tlv('02', '6c62') + tlv('04', '')), source: client },
  {
    name: 'v2 with a verified certificate',
    bytes: v2('21', '11', IPV4 + sslTlv('07', '00000000')),
    source: client,
    cn: 'meter-9',
  },
  {
    name: 'v2 with a certificate of the session',
    bytes: v2('21', '11', IPV4 + sslTlv('05', '00000000')),
    source: client,
    cn: 'meter-9',
  },
  {
    name: 'v2 with an unverified certificate',
    bytes: v2('21', '11', IPV4 + sslTlv('07', '00000001')),
    source: client,
  },
  {
    name: 'v2 with TLS and no certificate',
    bytes: v2('21', '11', IPV4 + sslTlv('01', '00000000')),
    source: client,
  },
]

test.each(HEADERS)('$name is read, and what follows is left alone', ({ bytes, source, cn }) => {
  const decoded = decodeProxyHeader(Buffer.concat([bytes, Buffer.from('rest')]))
  expect(decoded).toEqual({ kind: 'header', header: { source, commonName: cn }, used: bytes.length })
})

test.each(HEADERS)('$name cut anywhere asks for more', ({ bytes }) => {
  for (let length = 0; length < bytes.length; length++) {
    expect(decodeProxyHeader(bytes.subarray(0, length)), `${length} bytes`).toEqual({ kind: 'need' })
  }
})

test.each([
  { name: 'MQTT instead of a header', bytes: hex('100c00044d515454') },
  { name: 'TLS instead of a header', bytes: hex('160301') },
  { name: 'a line without end', bytes: v1(`PROXY ${'x'.repeat(101)}`) },
  { name: 'an unknown protocol', bytes: v1('PROXY UDP4 1.1.1.1 1.1.1.1 1 1\r\n') },
  { name: 'IPv6 as TCP4', bytes: v1('PROXY TCP4 ::1 ::1 1 1\r\n') },
  { name: 'a port of 65536', bytes: v1('PROXY TCP4 1.1.1.1 1.1.1.1 65536 1\r\n') },
  { name: 'a port of 01', bytes: v1('PROXY TCP4 1.1.1.1 1.1.1.1 01 1\r\n') },
  { name: 'too few words', bytes: v1('PROXY TCP4 1.1.1.1\r\n') },
  { name: 'too many words', bytes: v1('PROXY TCP4 1.1.1.1 1.1.1.1 1 1 1\r\n') },
  { name: 'version 3', bytes: v2('31', '11', IPV4) },
  { name: 'command 2', bytes: v2('22', '11', IPV4) },
  { name: 'an unknown family', bytes: v2('21', '41', IPV4) },
  { name: 'an unknown protocol byte', bytes: v2('21', '13', IPV4) },
  { name: 'short addresses', bytes: v2('21', '11', 'c0000201') },
  { name: 'a TLV beyond the end', bytes: v2('21', '11', `${IPV4} 02 0005 61`) },
  { name: 'half a TLV', bytes: v2('21', '11', `${IPV4} 02`) },
  { name: 'a short TLS part', bytes: v2('21', '11', IPV4 + tlv('20', '0700')) },
])('$name is refused as malformed', ({ bytes }) => {
  expect(() => decodeProxyHeader(bytes)).toThrow(expect.objectContaining({ code: 'FRAME_MALFORMED' }))
})

test('a huge announced length is refused before its bytes come', () => {
  expect(() => decodeProxyHeader(hex(`${SIGNATURE}2111ffff`))).toThrow(
    expect.objectContaining({ code: 'FRAME_TOO_LARGE' }),
  )
})

test('10,000 random streams yield a header, a need or a fault of the peer', () => {
  let seed = 42
  const random = (below: number): number => (seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31) % below
  const kinds = new Set<string>()
  for (let round = 0; round < 10_000; round++) {
    const start = HEADERS[random(HEADERS.length)]?.bytes ?? Buffer.alloc(0)
    const bytes = Buffer.concat([
      start.subarray(0, random(start.length + 1)),
      randomBytes(random(60), random),
    ])
    if (bytes.length > 0 && random(3) === 0) bytes[random(bytes.length)] = random(256)
    try {
      const decoded = decodeProxyHeader(bytes)
      kinds.add(decoded.kind)
      if (decoded.kind === 'header') expect(decoded.used).toBeLessThanOrEqual(bytes.length)
    } catch (error) {
      expect(error instanceof BrokerError && error.fault, bytes.toString('hex')).toBe('peer')
      kinds.add('fault')
    }
  }
  expect([...kinds].toSorted()).toEqual(['fault', 'header', 'need'])
})

function randomBytes(length: number, random: (below: number) => number): Buffer {
  return Buffer.from(Array.from({ length }, () => random(256)))
}
