import { expect, test } from 'vitest'
import { decodePacket } from '../../../broker/mqtt/decode.ts'
import { PROPERTIES, Scope } from '../../../broker/mqtt/property-table.ts'
import { decode, packet, refusal, VERSIONS } from './support.ts'

const ACKS = [
  ['40', 4],
  ['50', 5],
  ['62', 6],
  ['70', 7],
] as const

test('acknowledgements of every version are an id, and in 5.0 a code and properties', () => {
  for (const [header, type] of ACKS) {
    for (const version of VERSIONS) {
      const success = { type, packetId: 0x0102, code: 0, properties: undefined }
      expect(decode(version, packet(header, '01 02'))).toEqual(success)
    }
    const code = type < 6 ? 0x97 : 0x92
    const hex = code.toString(16)
    expect(decode(5, packet(header, '00 01', hex))).toEqual({
      type,
      packetId: 1,
      code,
      properties: undefined,
    })
    expect(decode(5, packet(header, '00 01', hex, '00'))).toEqual({
      type,
      packetId: 1,
      code,
      properties: undefined,
    })
    expect(decode(5, packet(header, '00 01', hex, '0a 1f 00 01 "r" 26 00 01 "k" 00 00'))).toEqual({
      type,
      packetId: 1,
      code,
      properties: { reasonString: 'r', userProperties: [['k', '']] },
    })
  }
})

test('SUBSCRIBE of 3.x and of 5.0', () => {
  for (const version of [3, 4] as const) {
    expect(decode(version, packet('82', '00 07 00 03 "a/b" 01 00 01 "#" 02'))).toEqual({
      type: 8,
      packetId: 7,
      subscriptions: [
        { filter: 'a/b', qos: 1, noLocal: false, retainAsPublished: false, retainHandling: 0 },
        { filter: '#', qos: 2, noLocal: false, retainAsPublished: false, retainHandling: 0 },
      ],
      properties: undefined,
    })
  }
  expect(decode(5, packet('82', '00 07 0c 0b ff ff ff 7f 26 00 01 "k" 00 01 "v" 00 01 "a" 2d'))).toEqual({
    type: 8,
    packetId: 7,
    subscriptions: [{ filter: 'a', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 }],
    properties: { subscriptionIdentifiers: [268_435_455], userProperties: [['k', 'v']] },
  })
})

test('filters that are not well-formed are left for the handler to answer', () => {
  expect(decode(5, packet('82', '00 01 00 00 03 "a#b" 00'))).toMatchObject({
    subscriptions: [{ filter: 'a#b' }],
  })
  expect(decode(4, packet('82', '00 01 00 00 00'))).toMatchObject({ subscriptions: [{ filter: '' }] })
  expect(decode(4, packet('a2', '00 01 00 00'))).toMatchObject({ filters: [''] })
})

test('UNSUBSCRIBE of 3.x and of 5.0', () => {
  const filters = ['a', 'b/#']
  for (const version of [3, 4] as const) {
    const unsubscribe = { type: 10, packetId: 9, filters, properties: undefined }
    expect(decode(version, packet('a2', '00 09 00 01 "a" 00 03 "b/#"'))).toEqual(unsubscribe)
  }
  expect(decode(5, packet('a2', '00 09 07 26 00 01 "k" 00 01 "v" 00 01 "a" 00 03 "b/#"'))).toEqual({
    type: 10,
    packetId: 9,
    filters,
    properties: { userProperties: [['k', 'v']] },
  })
})

test('PINGREQ, DISCONNECT and AUTH', () => {
  for (const version of VERSIONS) {
    expect(decode(version, packet('c0'))).toEqual({ type: 12 })
    expect(decode(version, packet('e0'))).toEqual({ type: 14, code: 0, properties: undefined })
  }
  expect(decode(5, packet('e0', '04'))).toEqual({ type: 14, code: 4, properties: undefined })
  expect(decode(5, packet('e0', '00 09 11 00 00 00 3c 1f 00 01 "r"'))).toEqual({
    type: 14,
    code: 0,
    properties: { sessionExpiryInterval: 60, reasonString: 'r' },
  })
  expect(decode(5, packet('f0', '18 08 15 00 01 "m" 16 00 01 ff'))).toEqual({
    type: 15,
    code: 0x18,
    properties: { authenticationMethod: 'm', authenticationData: new Uint8Array([255]) },
  })
})

test('in 3.1 what expects an answer may carry DUP', () => {
  expect(decode(3, packet('6a', '00 01'))).toMatchObject({ type: 6 })
  expect(decode(3, packet('8a', '00 01 00 01 "a" 00'))).toMatchObject({ type: 8 })
  expect(decode(3, packet('aa', '00 01 00 01 "a"'))).toMatchObject({ type: 10 })
  expect(refusal(() => decode(4, packet('6a', '00 01')))[1]).toBe(0x81)
  expect(refusal(() => decode(3, packet('48', '00 01')))[1]).toBe(0x81)
})

// [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
test('[MQTT-2.1.3-1] every other header flag is refused, in every version', () => {
  const bodies = {
    4: '0001',
    5: '0001',
    6: '0001',
    7: '0001',
    8: '0001 0001 61 00',
    10: '0001 0001 61',
    12: '',
    14: '',
    15: '',
  }
  for (const [type, body] of Object.entries(bodies)) {
    const right = ['6', '8', '10'].includes(type) ? 2 : 0
    for (let flags = 0; flags < 16; flags++) {
      if (flags === right) continue
      const header = (Number(type) * 16 + flags).toString(16)
      for (const version of [4, 5] as const) {
        const [code, reasonCode] = refusal(() => decode(version, packet(header, body)))
        expect([code, reasonCode], `${header} in version ${version}`).toEqual(['FRAME_MALFORMED', 0x81])
      }
    }
  }
})

const MALFORMED = ['FRAME_MALFORMED', 0x81]
const PROTOCOL = ['PROTOCOL_VIOLATED', 0x82]

// [MQTT-3.1.0-2] [MQTT-2.3.1-1 (3.1.1)] [MQTT-3.4.2-1] [MQTT-3.7.2-1] [MQTT-3.8.3-1] [MQTT-3.8.3-2]
// [MQTT-3.8.3-4] [MQTT-3.8.3-5] [MQTT-3.8.3-4 (3.1.1)] [MQTT-3.10.3-2] [MQTT-3.14.2-1] [MQTT-3.15.2-1]
test.each([
  ['type 0', 5, packet('00'), MALFORMED, 'packet type is 0'],
  ['a second CONNECT', 4, packet('10', '00 04 "MQTT" 04 02 0000 0000'), PROTOCOL, 'second CONNECT'],
  ['CONNACK', 4, packet('20', '00 00'), PROTOCOL, 'packet type 2 is only sent by servers'],
  ['SUBACK', 5, packet('90', '00 01 00 00'), PROTOCOL, 'packet type 9 is only sent by servers'],
  ['UNSUBACK', 4, packet('b0', '00 01'), PROTOCOL, 'packet type 11 is only sent by servers'],
  ['PINGRESP', 5, packet('d0'), PROTOCOL, 'packet type 13 is only sent by servers'],
  ['AUTH in 3.1.1', 4, packet('f0'), MALFORMED, 'packet type 15 is reserved'],
  ['AUTH in 3.1', 3, packet('f0'), MALFORMED, 'packet type 15 is reserved'],
  ['PUBACK without id', 4, packet('40'), MALFORMED, 'packet id is cut short'],
  ['PUBACK with half an id', 4, packet('40', '00'), MALFORMED, 'packet id is cut short'],
  ['PUBACK with id 0', 5, packet('40', '00 00'), PROTOCOL, 'packet id is 0'],
  ['PUBREL with id 0', 4, packet('62', '00 00'), PROTOCOL, 'packet id is 0'],
  ['a code in 3.1.1', 4, packet('40', '00 01 00'), MALFORMED, 'acknowledgement has 1 bytes too many'],
  [
    'bytes behind the properties',
    5,
    packet('40', '00 01 00 00 00'),
    MALFORMED,
    'acknowledgement has 1 bytes too many',
  ],
  ['an unknown PUBACK code', 5, packet('40', '00 01 01'), PROTOCOL, 'reason code 0x1 is not for this packet'],
  [
    'an unknown PUBCOMP code',
    5,
    packet('70', '00 01 97'),
    PROTOCOL,
    'reason code 0x97 is not for this packet',
  ],
  [
    'a property not for PUBACK',
    5,
    packet('40', '00 01 00 02 01 00'),
    MALFORMED,
    'payloadFormatIndicator is not allowed',
  ],
  [
    'reason string twice',
    5,
    packet('40', '00 01 00 06 1f 0000 1f 0000'),
    PROTOCOL,
    'reasonString is given twice',
  ],
  ['SUBSCRIBE with id 0', 4, packet('82', '00 00 00 01 "a" 00'), PROTOCOL, 'packet id is 0'],
  ['SUBSCRIBE without filters', 4, packet('82', '00 01'), PROTOCOL, 'SUBSCRIBE without a topic filter'],
  [
    'SUBSCRIBE without filters in 5.0',
    5,
    packet('82', '00 01 00'),
    PROTOCOL,
    'SUBSCRIBE without a topic filter',
  ],
  ['SUBSCRIBE without properties', 5, packet('82', '00 01'), MALFORMED, 'property length is cut short'],
  ['a filter cut short', 4, packet('82', '00 01 00 02 "a"'), MALFORMED, 'topic filter is cut short'],
  [
    'a filter without options',
    4,
    packet('82', '00 01 00 01 "a"'),
    MALFORMED,
    'subscription option byte is cut short',
  ],
  [
    'bad UTF-8 in a filter',
    5,
    packet('82', '00 01 00 00 02 c3 28 00'),
    MALFORMED,
    'topic filter is not valid UTF-8',
  ],
  ['U+0000 in a filter', 4, packet('82', '00 01 00 01 00 00'), MALFORMED, 'topic filter contains U+0000'],
  ['requested QoS 3', 4, packet('82', '00 01 00 01 "a" 03'), MALFORMED, 'QoS is 3'],
  ['requested QoS 3 in 5.0', 5, packet('82', '00 01 00 00 01 "a" 03'), PROTOCOL, 'QoS is 3'],
  [
    'options of 5.0 in 3.1.1',
    4,
    packet('82', '00 01 00 01 "a" 04'),
    MALFORMED,
    'reserved subscription options are set',
  ],
  [
    'reserved options, bit 6',
    5,
    packet('82', '00 01 00 00 01 "a" 40'),
    MALFORMED,
    'reserved subscription options are set',
  ],
  [
    'reserved options, bit 7',
    5,
    packet('82', '00 01 00 00 01 "a" 80'),
    MALFORMED,
    'reserved subscription options are set',
  ],
  ['retain handling 3', 5, packet('82', '00 01 00 00 01 "a" 30'), PROTOCOL, 'retain handling is 3'],
  [
    'no local on a share',
    5,
    packet('82', '00 01 00 00 0a "$share/g/a" 04'),
    PROTOCOL,
    'no local on a shared subscription',
  ],
  [
    'subscription identifier 0',
    5,
    packet('82', '00 01 02 0b 00 00 01 "a" 00'),
    PROTOCOL,
    'subscriptionIdentifiers is 0',
  ],
  [
    'subscription identifier twice',
    5,
    packet('82', '00 01 04 0b 01 0b 02 00 01 "a" 00'),
    PROTOCOL,
    'given twice',
  ],
  [
    'an identifier not shortest',
    5,
    packet('82', '00 01 03 0b 81 00 00 01 "a" 00'),
    MALFORMED,
    'shortest form',
  ],
  [
    'an identifier of 5 bytes',
    5,
    packet('82', '00 01 06 0b 80 80 80 80 01 00 01 "a" 00'),
    MALFORMED,
    'longer than 4 bytes',
  ],
  [
    'a property not for SUBSCRIBE',
    5,
    packet('82', '00 01 03 1f 00 00 00 01 "a" 00'),
    MALFORMED,
    'reasonString is not allowed',
  ],
  ['UNSUBSCRIBE with id 0', 5, packet('a2', '00 00 00 00 01 "a"'), PROTOCOL, 'packet id is 0'],
  ['UNSUBSCRIBE without filters', 4, packet('a2', '00 01'), PROTOCOL, 'UNSUBSCRIBE without a topic filter'],
  [
    'UNSUBSCRIBE, a filter cut short',
    4,
    packet('a2', '00 01 00'),
    MALFORMED,
    'topic filter length is cut short',
  ],
  [
    'an identifier in UNSUBSCRIBE',
    5,
    packet('a2', '00 01 02 0b 01 00 01 "a"'),
    PROTOCOL,
    'subscription identifier is not',
  ],
  ['PINGREQ with a body', 4, packet('c0', '00'), MALFORMED, 'PINGREQ has 1 bytes too many'],
  ['DISCONNECT with a body in 3.1.1', 4, packet('e0', '00'), MALFORMED, 'DISCONNECT has 1 bytes too many'],
  ['bytes behind DISCONNECT', 5, packet('e0', '00 00 00'), MALFORMED, 'DISCONNECT has 1 bytes too many'],
  ['an unknown DISCONNECT code', 5, packet('e0', '01'), PROTOCOL, 'reason code 0x1 is not for this packet'],
  ["a server's DISCONNECT code", 5, packet('e0', '8e'), PROTOCOL, 'reason code 0x8e is not for this packet'],
  [
    "a server's DISCONNECT property",
    5,
    packet('e0', '00 03 1c 00 00'),
    MALFORMED,
    'serverReference is not allowed',
  ],
  ['expiry twice in DISCONNECT', 5, packet('e0', '00 0a 11 00000001 11 00000001'), PROTOCOL, 'given twice'],
  ['an empty AUTH', 5, packet('f0'), PROTOCOL, 'AUTH with Success from a client'],
  [
    'AUTH with Success',
    5,
    packet('f0', '00 04 15 00 01 "m"'),
    PROTOCOL,
    'reason code 0x0 is not for this packet',
  ],
  ['AUTH without properties', 5, packet('f0', '18'), MALFORMED, 'property length is cut short'],
  ['AUTH without method', 5, packet('f0', '18 00'), PROTOCOL, 'AUTH without authentication method'],
  ['AUTH with data alone', 5, packet('f0', '18 03 16 00 00'), PROTOCOL, 'AUTH without authentication method'],
  [
    'method twice',
    5,
    packet('f0', '18 08 15 0001 "m" 15 0001 "m"'),
    PROTOCOL,
    'authenticationMethod is given twice',
  ],
  ['bytes behind AUTH', 5, packet('f0', '18 04 15 00 01 "m" 00'), MALFORMED, 'AUTH has 1 bytes too many'],
] as const)('%s is refused', (_, version, buf, codes, message) => {
  const [code, reasonCode, text] = refusal(() => decode(version, buf))
  expect([code, reasonCode]).toEqual(codes)
  expect(text).toContain(message)
})

test('every property is refused in every packet that may not carry it', () => {
  const carriers = {
    PUBACK: (p: string) => packet('40', '0001 00', p),
    PUBREC: (p: string) => packet('50', '0001 00', p),
    PUBREL: (p: string) => packet('62', '0001 00', p),
    PUBCOMP: (p: string) => packet('70', '0001 00', p),
    PUBLISH: (p: string) => packet('30', '0001 "t"', p),
    SUBSCRIBE: (p: string) => packet('82', '0001', p, '0001 "a" 00'),
    UNSUBSCRIBE: (p: string) => packet('a2', '0001', p, '0001 "a"'),
    DISCONNECT: (p: string) => packet('e0', '00', p),
    AUTH: (p: string) => packet('f0', '18', p),
  } as const
  // biome-ignore format: one line each
  const values = { flag: '01', u16: '0001', u32: '00000001', varint: '01', string: '0001 "s"', topic: '0001 "s"', binary: '0001 ff', pair: '0001 "k" 0001 "v"' }
  for (const [name, carry] of Object.entries(carriers)) {
    const scope = Scope[name as keyof typeof carriers]
    for (const { id, kind, name: property, fromClient } of PROPERTIES) {
      const method = name === 'AUTH' && property !== 'authenticationMethod' ? '15 0001 "m"' : ''
      const one = `${id.toString(16).padStart(2, '0')} ${values[kind]}`
      const buf = carry(packet('', method, one).toString('hex'))
      if ((fromClient & scope) !== 0) {
        expect(decode(5, buf), `${property} in ${name}`).toMatchObject({
          properties: { [property]: expect.anything() },
        })
        continue
      }
      const expected = kind === 'varint' ? 0x82 : 0x81
      expect(refusal(() => decode(5, buf))[1], `${property} in ${name}`).toBe(expected)
    }
  }
})

test('PUBLISH given to the wrong decoder is our own mistake', () => {
  expect(() => decodePacket(4, packet('30', '00 01 "t"'), 0, 5)).toThrow(
    expect.objectContaining({ code: 'INTERNAL', fault: 'bug' }),
  )
})
