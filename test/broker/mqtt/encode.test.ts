import { expect, test } from 'vitest'
import { encodePacket, PINGRESP, writeAck } from '../../../broker/mqtt/encode.ts'
import type { Properties, ServerPacket } from '../../../broker/mqtt/packets.ts'
import { PROPERTIES, Scope } from '../../../broker/mqtt/property-table.ts'
import { v3ConnackCode, v3SubackCode } from '../../../broker/mqtt/v3-codes.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { frame, packet, TestOutbox, VERSIONS } from './support.ts'

const { NotAuthorized, Success } = ReasonCode

// [MQTT-2.2.1-5] [MQTT-2.2.1-6] [MQTT-2.2.2-1] [MQTT-3.2.2-1] [MQTT-3.2.2-6] [MQTT-3.9.3-2 (3.1.1)]
test.each<[string, 3 | 4 | 5, ServerPacket, string]>([
  ['CONNACK 3.1', 3, { type: 2, sessionPresent: true, code: 0 }, '20 02 00 00'],
  ['CONNACK 3.1.1', 4, { type: 2, sessionPresent: true, code: 0 }, '20 02 01 00'],
  ['CONNACK 5.0', 5, { type: 2, sessionPresent: true, code: 0 }, '20 03 01 00 00'],
  ['CONNACK refused 3.1.1', 4, { type: 2, sessionPresent: true, code: NotAuthorized }, '20 02 00 05'],
  ['CONNACK refused 5.0', 5, { type: 2, sessionPresent: true, code: NotAuthorized }, '20 03 00 87 00'],
  ['PUBACK', 4, { type: 4, packetId: 0x1234, code: 0 }, '40 02 12 34'],
  ['PUBACK with a code for 3.1.1', 4, { type: 4, packetId: 1, code: NotAuthorized }, '40 02 00 01'],
  ['PUBACK with a code', 5, { type: 4, packetId: 1, code: NotAuthorized }, '40 03 00 01 87'],
  ['PUBACK 5.0', 5, { type: 4, packetId: 1, code: 0, properties: {} }, '40 02 00 01'],
  ['PUBREC', 5, { type: 5, packetId: 1, code: 0x10 }, '50 03 00 01 10'],
  ['PUBREL', 5, { type: 6, packetId: 1, code: 0 }, '62 02 00 01'],
  ['PUBREL not found', 5, { type: 6, packetId: 1, code: 0x92 }, '62 03 00 01 92'],
  ['PUBCOMP', 4, { type: 7, packetId: 0xffff, code: 0 }, '70 02 ff ff'],
  [
    'PUBACK with a reason',
    5,
    { type: 4, packetId: 1, code: 0x97, properties: { reasonString: 'no' } },
    '40 09 00 01 97 05 1f 00 02 "no"',
  ],
  ['SUBACK 3.1.1', 4, { type: 9, packetId: 7, codes: [0, 1, 2, 0x8f] }, '90 06 00 07 00 01 02 80'],
  ['SUBACK 5.0', 5, { type: 9, packetId: 7, codes: [0, 1, 2, 0x8f] }, '90 07 00 07 00 00 01 02 8f'],
  ['UNSUBACK 3.1.1', 4, { type: 11, packetId: 7, codes: [0, 0x11] }, 'b0 02 00 07'],
  ['UNSUBACK 5.0', 5, { type: 11, packetId: 7, codes: [0, 0x11] }, 'b0 05 00 07 00 00 11'],
  ['PINGRESP', 4, { type: 13 }, 'd0 00'],
  ['DISCONNECT', 5, { type: 14, code: 0 }, 'e0 00'],
  ['DISCONNECT with a code', 5, { type: 14, code: 0x8e }, 'e0 01 8e'],
  [
    'DISCONNECT to another server',
    5,
    { type: 14, code: 0x9c, properties: { serverReference: 'b' } },
    'e0 06 9c 04 1c 00 01 "b"',
  ],
  ['DISCONNECT for 3.1.1 is nothing', 4, { type: 14, code: 0x8e }, ''],
  [
    'AUTH',
    5,
    { type: 15, code: 0x18, properties: { authenticationMethod: 'm' } },
    'f0 06 18 04 15 00 01 "m"',
  ],
  ['AUTH without properties', 5, { type: 15, code: 0x18 }, 'f0 02 18 00'],
  ['AUTH success', 5, { type: 15, code: 0 }, 'f0 00'],
  ['AUTH for 3.1 is nothing', 3, { type: 15, code: 0 }, ''],
])('%s', (_, version, given, hex) => {
  expect(encodePacket(version, given)).toEqual(frame(hex))
})

test('every property of CONNACK', () => {
  const properties: Properties = {
    sessionExpiryInterval: 1,
    assignedClientIdentifier: 'id',
    serverKeepAlive: 2,
    authenticationMethod: 'm',
    authenticationData: new Uint8Array([3]),
    responseInformation: 'ri',
    serverReference: 'sr',
    reasonString: 'ä',
    receiveMaximum: 4,
    topicAliasMaximum: 5,
    maximumQoS: 1,
    retainAvailable: 0,
    userProperties: [
      ['k', '1'],
      ['k', '2'],
    ],
    maximumPacketSize: 0xffff_ffff,
    wildcardSubscriptionAvailable: 1,
    subscriptionIdentifierAvailable: 0,
    sharedSubscriptionAvailable: 1,
  }
  const body = [
    '11 00000001',
    '12 0002 "id"',
    '13 0002',
    '15 0001 "m"',
    '16 0001 03',
    '1a 0002 "ri"',
    '1c 0002 "sr"',
    '1f 0002 "ä"',
    '21 0004',
    '22 0005',
    '24 01',
    '25 00',
    '26 0001 "k" 0001 "1"',
    '26 0001 "k" 0001 "2"',
    '27 ffffffff',
    '28 01 29 00 2a 01',
  ].join(' ')
  const expected = packet('20', '00 00', packet('', body).toString('hex'))
  expect(encodePacket(5, { type: 2, sessionPresent: false, code: 0, properties })).toEqual(expected)
})

test('a property that does not belong to the packet is left out', () => {
  const all: Record<string, unknown> = {}
  for (const { name, kind } of PROPERTIES) {
    all[name] =
      kind === 'pair' ? [['k', 'v']] : kind === 'varint' ? [1] : kind === 'binary' ? new Uint8Array(1) : 1
    if (kind === 'string' || kind === 'topic') all[name] = 'text'
  }
  const properties = all as Properties
  const puback = encodePacket(5, { type: 4, packetId: 1, code: 0x87, properties })
  expect(puback).toEqual(packet('40', '0001 87 0e 1f 0004 "text" 26 0001 "k" 0001 "v"'))
  // [MQTT-3.14.2-2] no session expiry in DISCONNECT
  const disconnect = encodePacket(5, { type: 14, code: 0x87, properties: { sessionExpiryInterval: 1 } })
  expect(disconnect).toEqual(frame('e0 01 87'))
  expect(PROPERTIES.filter((p) => (p.fromServer & Scope.AUTH) !== 0).map((p) => p.name)).toEqual([
    'authenticationMethod',
    'authenticationData',
    'reasonString',
    'userProperties',
  ])
})

test('[MQTT-3.2.2-19] [MQTT-3.2.2-20] user properties go first, then the reason string, to keep the limit', () => {
  const properties: Properties = { reasonString: 'why', userProperties: [['k', 'v']], receiveMaximum: 9 }
  const full = encodePacket(5, { type: 2, sessionPresent: false, code: 0x97, properties })
  const encode = (maxBytes: number) =>
    encodePacket(5, { type: 2, sessionPresent: false, code: 0x97, properties }, maxBytes).toString('hex')
  const noUser = packet('20', '00 97 09 1f 0003 "why" 21 0009')
  const noReason = packet('20', '00 97 03 21 0009')
  expect(encode(full.length)).toBe(full.toString('hex'))
  expect(encode(full.length - 1)).toBe(noUser.toString('hex'))
  expect(encode(noUser.length)).toBe(noUser.toString('hex'))
  expect(encode(noUser.length - 1)).toBe(noReason.toString('hex'))
  expect(encode(noReason.length)).toBe(noReason.toString('hex'))
  expect(encode(noReason.length - 1)).toBe('')
})

// [MQTT-3.4.2-2] [MQTT-3.4.2-3] [MQTT-3.5.2-2] [MQTT-3.5.2-3] [MQTT-3.6.2-2] [MQTT-3.6.2-3] [MQTT-3.7.2-2]
// [MQTT-3.7.2-3] [MQTT-3.9.2-1] [MQTT-3.9.2-2] [MQTT-3.11.2-1] [MQTT-3.11.2-2] [MQTT-3.14.2-3]
// [MQTT-3.14.2-4] [MQTT-3.15.2-2] [MQTT-3.15.2-3]
test('every packet with properties keeps the limit', () => {
  const properties: Properties = { reasonString: 'r'.repeat(50), userProperties: [['k'.repeat(50), 'v']] }
  const packets: ServerPacket[] = [
    { type: 2, sessionPresent: false, code: 0, properties },
    { type: 4, packetId: 1, code: 0x97, properties },
    { type: 6, packetId: 1, code: 0, properties },
    { type: 9, packetId: 1, codes: [0, 1], properties },
    { type: 11, packetId: 1, codes: [0], properties },
    { type: 14, code: 0x8b, properties },
    { type: 15, code: 0, properties },
  ]
  for (const given of packets) {
    const lengths = new Set<number>()
    for (let max = 0; max < 130; max++) {
      const { length } = encodePacket(5, given, max)
      expect(length).toBeLessThanOrEqual(max)
      lengths.add(length)
    }
    // nothing, without both, with the reason only, with both
    expect(lengths.size, `type ${given.type}`).toBe(4)
  }
})

test('a string longer than MQTT can express is dropped with its property, or with the packet', () => {
  const long = 'x'.repeat(65_536)
  const dropped = encodePacket(5, { type: 14, code: 0x87, properties: { reasonString: long } })
  expect(dropped).toEqual(frame('e0 01 87'))
  const assigned: Properties = { assignedClientIdentifier: long }
  expect(encodePacket(5, { type: 2, sessionPresent: false, code: 0, properties: assigned })).toHaveLength(0)
  const fits = encodePacket(5, { type: 14, code: 0x87, properties: { reasonString: long.slice(1) } })
  expect(fits).toHaveLength(1 + 3 + 1 + 3 + 1 + 2 + 65_535)
})

test('acknowledgements in the outbox are what encodePacket makes of them', () => {
  for (const version of VERSIONS) {
    for (const type of [4, 5, 6, 7] as const) {
      for (const code of [Success, ReasonCode.PacketIdentifierNotFound]) {
        const outbox = new TestOutbox()
        writeAck(outbox, version, type, 0xfffe, code)
        expect(outbox.take()).toEqual(encodePacket(version, { type, packetId: 0xfffe, code }))
      }
    }
  }
  expect(PINGRESP).toEqual(frame('d0 00'))
})

test('3.x return codes', () => {
  const table = { 0: 0, 128: 1, 132: 1, 133: 2, 134: 4, 135: 5, 136: 3, 137: 3, 138: 5, 139: 3, 140: 5 }
  for (const [code, expected] of Object.entries({
    ...table,
    144: 3,
    149: 3,
    151: 3,
    156: 3,
    157: 3,
    159: 3,
  })) {
    expect(v3ConnackCode(Number(code) as ReasonCode), code).toBe(expected)
  }
  expect([0, 1, 2, 0x80, 0x87, 0x97].map((code) => v3SubackCode(code as ReasonCode))).toEqual([
    0, 1, 2, 128, 128, 128,
  ])
})
