import { expect, test } from 'vitest'
import { decodePublish, emptyPublish } from '../../../broker/mqtt/decode-publish.ts'
import { TopicCache } from '../../../broker/mqtt/topic-cache.ts'
import { decode, packet, refusal, VERSIONS } from './support.ts'

// [MQTT-2.2.1-2] [MQTT-3.3.2-1]
test('QoS 0, 1 and 2 in every version', () => {
  for (const version of VERSIONS) {
    const none = version === 5 ? '00' : ''
    const same = {
      type: 3,
      topic: 'a/b',
      payload: Buffer.from('hi'),
      dup: false,
      retain: false,
      properties: undefined,
    }
    expect(decode(version, packet('30', '00 03 "a/b"', none, '"hi"'))).toEqual({
      ...same,
      qos: 0,
      packetId: 0,
    })
    expect(decode(version, packet('3b', '00 03 "a/b" 12 34', none, '"hi"'))).toEqual({
      ...same,
      qos: 1,
      packetId: 0x1234,
      dup: true,
      retain: true,
    })
    expect(decode(version, packet('34', '00 03 "a/b" ff ff', none, '"hi"'))).toEqual({
      ...same,
      qos: 2,
      packetId: 0xffff,
    })
  }
})

test('a payload may be empty', () => {
  expect(decode(4, packet('31', '00 01 "a"'))).toMatchObject({
    topic: 'a',
    payload: Buffer.alloc(0),
    retain: true,
  })
  expect(decode(5, packet('31', '00 01 "a" 00'))).toMatchObject({ topic: 'a', payload: Buffer.alloc(0) })
})

test('every property of PUBLISH', () => {
  const properties = [
    '01 01',
    '02 00 00 00 0a',
    '23 00 07',
    '08 00 01 "r"',
    '09 00 02 00 ff',
    '26 00 01 "k" 00 01 "1"',
    '03 00 04 "text"',
    '26 00 01 "k" 00 01 "2"',
  ].join(' ')
  expect(decode(5, packet('30', '00 01 "t"', packet('', properties).toString('hex'), '"p"'))).toMatchObject({
    payload: Buffer.from('p'),
    properties: {
      payloadFormatIndicator: 1,
      messageExpiryInterval: 10,
      topicAlias: 7,
      responseTopic: 'r',
      correlationData: new Uint8Array([0, 255]),
      contentType: 'text',
      userProperties: [
        ['k', '1'],
        ['k', '2'],
      ],
    },
  })
})

test('an empty topic stands for a topic alias', () => {
  expect(decode(5, packet('30', '00 00 03 23 00 01'))).toMatchObject({
    topic: '',
    properties: { topicAlias: 1 },
  })
})

test('the same object is filled again, and nothing stays from before', () => {
  const into = emptyPublish()
  const topics = new TopicCache(4)
  const first = packet('3d', '00 01 "a" 00 07 02 01 01 "x"')
  const second = packet('30', '00 01 "b" 00')
  decodePublish(5, first, 0, first.length, into, topics)
  decodePublish(5, second, 0, second.length, into, topics)
  const known = topics.get(second, 4, 5)
  const expected = {
    topic: 'b',
    known,
    bytes: second,
    payloadStart: second.length,
    payloadEnd: second.length,
  }
  expect(into).toEqual({ ...emptyPublish(), ...expected })
})

test('the payload is a slice, the correlation data a copy', () => {
  const buf = packet('30', '00 01 "t" 04 09 00 01 aa "p"')
  const decoded = decode(5, buf)
  buf.fill(0x2e)
  expect(decoded).toMatchObject({
    payload: Buffer.from('.'),
    properties: { correlationData: new Uint8Array([0xaa]) },
  })
})

const MALFORMED = ['FRAME_MALFORMED', 0x81]
const PROTOCOL = ['PROTOCOL_VIOLATED', 0x82]
const TOPIC = ['TOPIC_INVALID', 0x90]
const v5 = (properties: string) => packet('30', '00 01 "t"', packet('', properties).toString('hex'))

// [MQTT-1.5.4-1] [MQTT-1.5.4-2] [MQTT-1.5.5-1] [MQTT-2.3.1-1 (3.1.1)] [MQTT-3.3.1-2] [MQTT-3.3.1-4]
// [MQTT-3.3.2-1] [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2]
test.each([
  ['QoS 3', 4, packet('36', '00 01 "t" 00 01'), MALFORMED, 'QoS is 3'],
  ['DUP at QoS 0', 4, packet('38', '00 01 "t"'), MALFORMED, 'DUP is set at QoS 0'],
  ['no body', 4, packet('30'), MALFORMED, 'topic length is cut short'],
  ['half a topic length', 4, packet('30', '00'), MALFORMED, 'topic length is cut short'],
  ['a topic cut short', 4, packet('30', '00 02 "t"'), MALFORMED, 'topic is cut short'],
  ['no packet id', 4, packet('32', '00 01 "t"'), MALFORMED, 'packet id is cut short'],
  ['half a packet id', 4, packet('32', '00 01 "t" 00'), MALFORMED, 'packet id is cut short'],
  ['packet id 0', 4, packet('32', '00 01 "t" 00 00'), PROTOCOL, 'packet id is 0'],
  ['an empty topic', 4, packet('30', '00 00 "p"'), TOPIC, 'topic is empty'],
  ['an empty topic in 3.1', 3, packet('30', '00 00 "p"'), TOPIC, 'topic is empty'],
  [
    'an empty topic without alias',
    5,
    packet('30', '00 00 00'),
    PROTOCOL,
    'topic is empty without a topic alias',
  ],
  ['an empty topic, other properties', 5, packet('30', '00 00 02 01 00'), PROTOCOL, 'topic is empty without'],
  ['+ in the topic', 4, packet('30', '00 03 "a/+"'), TOPIC, 'topic contains a wildcard'],
  ['# in the topic', 5, packet('30', '00 01 "#" 00'), TOPIC, 'topic contains a wildcard'],
  ['U+0000 in the topic', 4, packet('30', '00 02 "a" 00'), MALFORMED, 'topic contains U+0000'],
  ['bad UTF-8 in the topic', 3, packet('30', '00 01 ff'), MALFORMED, 'topic is not valid UTF-8'],
  ['no property length', 5, packet('30', '00 01 "t"'), MALFORMED, 'property length is cut short'],
  ['properties cut short', 5, packet('30', '00 01 "t" 03 01 01'), MALFORMED, 'property list is cut short'],
  [
    'a property length not shortest',
    5,
    packet('30', '00 01 "t" 80 00'),
    MALFORMED,
    'property length is not in its shortest form',
  ],
  [
    'a property length of 5 bytes',
    5,
    packet('30', '00 01 "t" 80 80 80 80 01'),
    MALFORMED,
    'property length is longer than 4 bytes',
  ],
  ['a property without value', 5, v5('01'), MALFORMED, 'payloadFormatIndicator is cut short'],
  ['half a number', 5, v5('02 00 00'), MALFORMED, 'messageExpiryInterval is cut short'],
  ['half a string length', 5, v5('03 00'), MALFORMED, 'contentType length is cut short'],
  [
    'a string that leaves the properties',
    5,
    packet('30', '00 01 "t" 04 03 00 02 "a" "b"'),
    MALFORMED,
    'contentType is cut short',
  ],
  ['binary data cut short', 5, v5('09 00 02 00'), MALFORMED, 'correlationData is cut short'],
  [
    'a user property without value',
    5,
    v5('26 00 01 "k"'),
    MALFORMED,
    'user property value length is cut short',
  ],
  [
    'U+0000 in a user property',
    5,
    v5('26 00 01 "k" 00 01 00'),
    MALFORMED,
    'user property value contains U+0000',
  ],
  [
    'bad UTF-8 in a user property name',
    5,
    v5('26 00 01 80 00 00'),
    MALFORMED,
    'user property name is not valid UTF-8',
  ],
  ['an unknown property', 5, v5('04 00'), MALFORMED, 'property 0x4 does not exist'],
  ['property 0', 5, v5('00'), MALFORMED, 'property 0x0 does not exist'],
  ['a property beyond the table', 5, v5('7f 00'), MALFORMED, 'property 0x7f does not exist'],
  ['a property of two bytes', 5, v5('80 01'), MALFORMED, 'property 0x80 does not exist'],
  [
    'a property id not shortest',
    5,
    v5('81 00 00'),
    MALFORMED,
    'property identifier is not in its shortest form',
  ],
  [
    'a property of another packet',
    5,
    v5('21 00 01'),
    MALFORMED,
    'receiveMaximum is not allowed in this packet',
  ],
  ['a subscription identifier', 5, v5('0b 01'), PROTOCOL, 'subscription identifier is not for clients'],
  ['payload format 2', 5, v5('01 02'), PROTOCOL, 'payloadFormatIndicator is neither 0 nor 1'],
  ['topic alias 0', 5, v5('23 00 00'), ['TOPIC_ALIAS_INVALID', 0x94], 'topic alias is 0'],
  [
    'a wildcard in the response topic',
    5,
    v5('08 00 03 "a/+"'),
    PROTOCOL,
    'responseTopic is not a topic name',
  ],
  ['an empty response topic', 5, v5('08 00 00'), PROTOCOL, 'responseTopic is not a topic name'],
  ['payload format twice', 5, v5('01 00 01 00'), PROTOCOL, 'payloadFormatIndicator is given twice'],
  ['expiry twice', 5, v5('02 00000001 02 00000001'), PROTOCOL, 'messageExpiryInterval is given twice'],
  ['content type twice', 5, v5('03 0000 03 0000'), PROTOCOL, 'contentType is given twice'],
  ['response topic twice', 5, v5('08 0001 "a" 08 0001 "a"'), PROTOCOL, 'responseTopic is given twice'],
  ['correlation data twice', 5, v5('09 0000 09 0000'), PROTOCOL, 'correlationData is given twice'],
  ['topic alias twice', 5, v5('23 0001 23 0001'), PROTOCOL, 'topicAlias is given twice'],
] as const)('%s is refused', (_, version, buf, codes, message) => {
  const [code, reasonCode, text] = refusal(() => decode(version, buf))
  expect([code, reasonCode]).toEqual(codes)
  expect(text).toContain(message)
})
