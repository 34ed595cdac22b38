import { expect, test } from 'vitest'
import { connectVersion, decodeConnect } from '../../../broker/mqtt/decode-connect.ts'
import { connect, frame, packet, refusal } from './support.ts'

const V31 = '00 06 "MQIsdp" 03'
const V311 = '00 04 "MQTT" 04'
const V5 = '00 04 "MQTT" 05'
const KEEP_ALIVE = '00 3c'
const ID = '00 02 "id"'
const NO_PROPERTIES = '00'

// [MQTT-3.1.3-1]
test('a 3.1.1 CONNECT with everything in it', () => {
  const will = '00 04 "will" 00 03 "bye"'
  const buf = packet('10', V311, 'f6', KEEP_ALIVE, ID, will, '00 04 "user" 00 02 00 ff')
  expect(connect(buf)).toEqual({
    type: 1,
    version: 4,
    isBridge: false,
    cleanStart: true,
    keepAliveSeconds: 60,
    clientId: 'id',
    will: {
      topic: 'will',
      payload: new Uint8Array([98, 121, 101]),
      qos: 2,
      retain: true,
      properties: undefined,
    },
    username: 'user',
    password: new Uint8Array([0, 255]),
    properties: undefined,
  })
})

test('the smallest CONNECT of each version', () => {
  const nothing = {
    isBridge: false,
    will: undefined,
    username: undefined,
    password: undefined,
    properties: undefined,
  }
  const same = { type: 1, cleanStart: false, keepAliveSeconds: 0, clientId: '', ...nothing }
  expect(connect(packet('10', V31, '00 0000 0000'))).toEqual({ ...same, version: 3 })
  expect(connect(packet('10', V311, '00 0000 0000'))).toEqual({ ...same, version: 4 })
  expect(connect(packet('10', V5, '00 0000 00 0000'))).toEqual({ ...same, version: 5 })
})

test('bit 7 of the level marks a bridge in 3.1 and 3.1.1', () => {
  expect(connect(packet('10', '00 06 "MQIsdp" 83', '02 0000', ID))).toMatchObject({
    version: 3,
    isBridge: true,
  })
  expect(connect(packet('10', '00 04 "MQTT" 84', '02 0000', ID))).toMatchObject({
    version: 4,
    isBridge: true,
  })
})

// [MQTT-3.1.3-1]
test('every property of CONNECT and of its will', () => {
  const properties = [
    '11 ff ff ff ff', // session expiry interval
    '21 00 0a', // receive maximum
    '27 00 00 01 00', // maximum packet size
    '22 00 05', // topic alias maximum
    '19 01', // request response information
    '17 00', // request problem information
    '26 00 01 "a" 00 01 "1"',
    '15 00 03 "abc"', // authentication method
    '16 00 02 01 02', // authentication data
    '26 00 01 "a" 00 00',
  ].join(' ')
  const will = [
    '18 00 00 00 1e', // will delay interval
    '01 01', // payload format indicator
    '02 00 00 00 3c', // message expiry interval
    '03 00 04 "text"', // content type
    '08 00 05 "reply"', // response topic
    '09 00 01 ff', // correlation data
    '26 00 01 "k" 00 01 "v"',
  ].join(' ')
  const body = packet('', properties).toString('hex') + ID + packet('', will).toString('hex')
  const buf = packet('10', V5, '0e', KEEP_ALIVE, body, '00 01 "w" 00 00')
  expect(connect(buf)).toMatchObject({
    properties: {
      sessionExpiryInterval: 0xffff_ffff,
      receiveMaximum: 10,
      maximumPacketSize: 256,
      topicAliasMaximum: 5,
      requestResponseInformation: 1,
      requestProblemInformation: 0,
      userProperties: [
        ['a', '1'],
        ['a', ''],
      ],
      authenticationMethod: 'abc',
      authenticationData: new Uint8Array([1, 2]),
    },
    will: {
      topic: 'w',
      qos: 1,
      retain: false,
      payload: new Uint8Array(0),
      properties: {
        willDelayInterval: 30,
        payloadFormatIndicator: 1,
        messageExpiryInterval: 60,
        contentType: 'text',
        responseTopic: 'reply',
        correlationData: new Uint8Array([255]),
        userProperties: [['k', 'v']],
      },
    },
  })
})

// [MQTT-3.1.2-22 (3.1.1)]
test('a password without user name is for 5.0 only', () => {
  expect(connect(packet('10', V5, '42 0000', NO_PROPERTIES, ID, '00 01 "p"'))).toMatchObject({
    username: undefined,
  })
  expect(refusal(() => connect(packet('10', V311, '42 0000', ID, '00 01 "p"'))).slice(0, 2)).toEqual([
    'PROTOCOL_VIOLATED',
    0x82,
  ])
})

test('in 3.1 a user name that is announced but missing counts as none', () => {
  expect(connect(packet('10', V31, 'c2 0000', ID))).toMatchObject({
    username: undefined,
    password: undefined,
  })
  expect(connect(packet('10', V31, 'c2 0000', ID, '00 01 "u"'))).toMatchObject({
    username: 'u',
    password: undefined,
  })
})

test('nothing of the packet is kept', () => {
  const buf = packet('10', V311, 'c6 0000', ID, '00 01 "w" 00 01 "x"', '00 01 "u" 00 01 "p"')
  const decoded = decodeConnect(buf, 0, buf.length)
  buf.fill(0)
  expect(decoded).toMatchObject({
    password: new Uint8Array([0x70]),
    will: { payload: new Uint8Array([0x78]) },
  })
})

const MALFORMED = ['FRAME_MALFORMED', 0x81]
const PROTOCOL = ['PROTOCOL_VIOLATED', 0x82]
const VERSION = ['PROTOCOL_VIOLATED', 0x84]
const TOPIC = ['TOPIC_INVALID', 0x90]
const head = (flags: string) => [V311, flags, KEEP_ALIVE] as const
const v5 = (properties: string) =>
  packet('10', V5, '02', KEEP_ALIVE, packet('', properties).toString('hex'), ID)
const v5Will = (properties: string) =>
  packet('10', V5, '06', KEEP_ALIVE, '00', ID, packet('', properties).toString('hex'), '00 01 "w" 00 00')

// [MQTT-2.1.3-1] [MQTT-3.1.0-1] [MQTT-3.1.2-1] [MQTT-3.1.2-2] [MQTT-3.1.2-3] [MQTT-3.1.2-9] [MQTT-3.1.2-11]
// [MQTT-3.1.2-12] [MQTT-3.1.2-13] [MQTT-3.1.2-16] [MQTT-3.1.2-17] [MQTT-3.1.2-18] [MQTT-3.1.2-19]
// [MQTT-3.1.3-3] [MQTT-3.1.3-4] [MQTT-3.1.3-11] [MQTT-3.1.3-12] [MQTT-3.1.4-1] [MQTT-1.5.4-1] [MQTT-1.5.4-2]
// [MQTT-3.3.2-14] [MQTT-3.1.2-1 (3.1.1)]
test.each([
  ['another first packet', packet('c0'), PROTOCOL, 'the first packet is not CONNECT'],
  ['reserved header flags', packet('11', ...head('02'), ID), MALFORMED, 'CONNECT has reserved flags set'],
  ['no body at all', packet('10'), MALFORMED, 'protocol name length is cut short'],
  ['a protocol name cut short', packet('10', '00 04 "MQT"'), MALFORMED, 'protocol name is cut short'],
  ['no level', packet('10', '00 04 "MQTT"'), MALFORMED, 'protocol level is cut short'],
  ['no flags', packet('10', V311), MALFORMED, 'connect flag byte is cut short'],
  ['no keep alive', packet('10', V311, '02'), MALFORMED, 'keep alive is cut short'],
  ['half a keep alive', packet('10', V311, '02 00'), MALFORMED, 'keep alive is cut short'],
  ['no client id', packet('10', ...head('02')), MALFORMED, 'client id length is cut short'],
  ['a client id cut short', packet('10', ...head('02'), '00 03 "id"'), MALFORMED, 'client id is cut short'],
  ['no properties in 5.0', packet('10', V5, '02', KEEP_ALIVE), MALFORMED, 'property length is cut short'],
  [
    'another protocol',
    packet('10', '00 04 "HTTP" 04 02', KEEP_ALIVE, ID),
    VERSION,
    'protocol name is neither MQTT nor MQIsdp',
  ],
  [
    'a name in small letters',
    packet('10', '00 04 "mqtt" 04 02', KEEP_ALIVE, ID),
    VERSION,
    'protocol name is neither',
  ],
  [
    'level 6',
    packet('10', '00 04 "MQTT" 06 02', KEEP_ALIVE, ID),
    VERSION,
    'protocol level 6 is not supported',
  ],
  [
    'level 3 with the new name',
    packet('10', '00 04 "MQTT" 03 02', KEEP_ALIVE, ID),
    VERSION,
    'protocol level 3 is not',
  ],
  ['level 4 with the old name', packet('10', '00 06 "MQIsdp" 04 02', KEEP_ALIVE, ID), VERSION, 'with MQIsdp'],
  ['a bridge of 5.0', packet('10', '00 04 "MQTT" 85 02', KEEP_ALIVE, ID), VERSION, 'protocol level 133'],
  ['the reserved connect flag', packet('10', ...head('03'), ID), MALFORMED, 'reserved connect flag is set'],
  ['will QoS 3', packet('10', ...head('1e'), ID, '00 01 "w" 00 00'), MALFORMED, 'will QoS is 3'],
  ['will QoS without a will', packet('10', ...head('0a'), ID), MALFORMED, 'will QoS is set without a will'],
  ['will QoS 3 without a will', packet('10', ...head('1a'), ID), MALFORMED, 'will QoS is 3'],
  [
    'will retain without a will',
    packet('10', ...head('22'), ID),
    MALFORMED,
    'will retain is set without a will',
  ],
  ['a will without topic', packet('10', ...head('06'), ID), MALFORMED, 'will topic length is cut short'],
  [
    'a will without payload',
    packet('10', ...head('06'), ID, '00 01 "w"'),
    MALFORMED,
    'will payload length is cut short',
  ],
  [
    'a will payload cut short',
    packet('10', ...head('06'), ID, '00 01 "w" 00 01'),
    MALFORMED,
    'will payload is cut short',
  ],
  [
    'an empty will topic',
    packet('10', ...head('06'), ID, '0000 0000'),
    TOPIC,
    'will topic is not a topic name',
  ],
  [
    'a will topic with +',
    packet('10', ...head('06'), ID, '00 01 "+" 0000'),
    TOPIC,
    'will topic is not a topic name',
  ],
  [
    'a will topic with #',
    packet('10', ...head('06'), ID, '00 03 "a/#" 0000'),
    TOPIC,
    'will topic is not a topic name',
  ],
  [
    'a will topic with U+0000',
    packet('10', ...head('06'), ID, '00 01 00 0000'),
    MALFORMED,
    'will topic contains U+0000',
  ],
  ['no user name', packet('10', ...head('82'), ID), MALFORMED, 'user name length is cut short'],
  ['no password', packet('10', ...head('c2'), ID, '00 01 "u"'), MALFORMED, 'password length is cut short'],
  [
    'a password cut short',
    packet('10', ...head('c2'), ID, '00 01 "u" 00 02 00'),
    MALFORMED,
    'password is cut short',
  ],
  [
    'a user name without its flag',
    packet('10', ...head('02'), ID, '00 01 "u"'),
    MALFORMED,
    'CONNECT has 3 bytes too many',
  ],
  [
    'a surrogate in the client id',
    packet('10', ...head('02'), '00 03 ed a0 80'),
    MALFORMED,
    'client id is not valid UTF-8',
  ],
  [
    'U+0000 in the user name',
    packet('10', ...head('82'), ID, '00 01 00'),
    MALFORMED,
    'user name contains U+0000',
  ],
  ['receive maximum 0', v5('21 00 00'), PROTOCOL, 'receiveMaximum is 0'],
  ['maximum packet size 0', v5('27 00 00 00 00'), PROTOCOL, 'maximumPacketSize is 0'],
  ['request problem information 2', v5('17 02'), PROTOCOL, 'requestProblemInformation is neither 0 nor 1'],
  ['request response information 2', v5('19 02'), PROTOCOL, 'requestResponseInformation is neither 0 nor 1'],
  [
    'authentication data alone',
    v5('16 00 00'),
    PROTOCOL,
    'authentication data without authentication method',
  ],
  ['a property twice', v5('22 00 01 22 00 01'), PROTOCOL, 'topicAliasMaximum is given twice'],
  ['a property of the server', v5('13 00 01'), MALFORMED, 'serverKeepAlive is not allowed in this packet'],
  [
    'a will property outside the will',
    v5('18 00 00 00 01'),
    MALFORMED,
    'willDelayInterval is not allowed in this packet',
  ],
  [
    'a connect property in the will',
    v5Will('21 00 01'),
    MALFORMED,
    'receiveMaximum is not allowed in this packet',
  ],
  ['will payload format 2', v5Will('01 02'), PROTOCOL, 'payloadFormatIndicator is neither 0 nor 1'],
  [
    'a wildcard in the will response topic',
    v5Will('08 00 01 "#"'),
    PROTOCOL,
    'responseTopic is not a topic name',
  ],
  ['will delay twice', v5Will('18 00000001 18 00000001'), PROTOCOL, 'willDelayInterval is given twice'],
])('%s is refused', (_, buf, codes, message) => {
  const [code, reasonCode, text] = refusal(() => connect(buf))
  expect([code, reasonCode]).toEqual(codes)
  expect(text).toContain(message)
})

test.each([
  ['3.1', packet('10', '00 06 "MQIsdp" 03'), 3],
  ['3.1 of a wrong level', packet('10', '00 06 "MQIsdp" 09'), 3],
  ['3.1.1', packet('10', '00 04 "MQTT" 04'), 4],
  ['level 0', packet('10', '00 04 "MQTT" 00'), 4],
  ['5.0', packet('10', '00 04 "MQTT" 05'), 5],
  ['a later version', packet('10', '00 04 "MQTT" 7f'), 5],
  ['a bridge', packet('10', '00 04 "MQTT" 84'), 4],
  ['another protocol', packet('10', '00 04 "HTTP" 04'), undefined],
  ['a name cut short', packet('10', '00 04 "MQT"'), undefined],
  ['no level', packet('10', '00 04 "MQTT"'), undefined],
  ['another packet', packet('20', '00 04 "MQTT" 05'), undefined],
  ['nothing', frame(''), undefined],
])('the version to answer in: %s', (_, buf, version) => {
  expect(connectVersion(buf, 0, buf.length)).toBe(version)
})
