/** What a peer is told when it breaks the rules, by version: MQTT 5.0 and 3.1.1, spec sections as tagged in broker/mqtt. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import type { MqttOptions } from '../../../broker/mqtt/options.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { startHub } from '../support.ts'
import { connectBytes, mqttContext, PROTOCOL, RawPeer, text } from './raw-peer.ts'
import { frame, packet, Random } from './support.ts'

const PINGREQ = 'c0 00'

let hub: Hub
beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

function peer(version: ProtocolVersion = 5, options: Partial<MqttOptions> = {}): RawPeer {
  return new RawPeer(mqttContext(hub, options), version)
}

/** A peer that has been let in already. */
function connected(version: ProtocolVersion = 5, options: Partial<MqttOptions> = {}, rest?: string): RawPeer {
  const one = peer(version, options)
  one.send(connectBytes(version, 'c', rest))
  expect(one.said()).toEqual(['connack 0x00'])
  return one
}

describe('before CONNECT', () => {
  // [MQTT-3.1.0-1] [MQTT-3.1.2-1]
  test.each([
    ['PINGREQ', PINGREQ],
    ['the first byte of a PUBLISH', '30'],
    ['a PUBLISH larger than anything', '30 ff ff ff 7f'],
    ['packet type 0', '00 00'],
    ['an HTTP request', '"GET / HTTP/1.1" 0d 0a 0d 0a'],
    ['CONNECT flags other than 0', packet('11', PROTOCOL[5], '02 003c 00', text('c'))],
    ['a remaining length of five bytes', '10 ff ff ff ff 01'],
    ['a remaining length that is not in its shortest form', '10 80 00'],
    ['a protocol name that is not MQTT', packet('10', '0004 "mqtt" 05 02 003c 00', text('c'))],
    ['no protocol name', packet('10', '0000 05 02 003c 00', text('c'))],
    ['an empty CONNECT', '10 00'],
  ])('%s is closed without an answer', (_, bytes) => {
    const one = peer()
    one.send(bytes)
    expect(one.said()).toEqual(['closed'])
    expect(hub.sessionCount).toBe(0)
  })

  // [MQTT-3.1.2-2] [MQTT-3.1.2-2 (3.1.1)]
  test.each([
    [6, 5, 'connack 0x84'],
    [2, 4, 'connack 0x01'],
    [0x85, 5, 'connack 0x84'], // the bridge bit is for 3.x
  ] as const)('protocol level %i is not supported', (level, version, answer) => {
    const one = peer(version)
    one.send(packet('10', '0004 "MQTT"', level.toString(16).padStart(2, '0'), '02 003c 00', text('c')))
    expect(one.said()).toEqual([answer, 'closed'])
  })

  test('level 4 of MQIsdp is refused as 3.1 does', () => {
    const one = peer(3)
    one.send(packet('10', '0006 "MQIsdp" 04 02 003c', text('c')))
    expect(one.said()).toEqual(['connack 0x01', 'closed'])
  })

  test('a packet that is too large is refused by its header alone', () => {
    const one = peer()
    one.send('10 80 80 01')
    expect(one.said()).toEqual(['closed'])
    const shown = peer()
    shown.send('10 80 80 01', PROTOCOL[5])
    expect(shown.said()).toEqual(['connack 0x95', 'closed'])
    const old = peer(4)
    old.send('10 80 80 01', PROTOCOL[4])
    expect(old.said()).toEqual(['closed'])
  })

  test.each([
    ['reserved connect flag', '03 003c 00', text('c'), 'connack 0x81'],
    ['will QoS 3', '1e 003c 00', `${text('c')} 00 ${text('w')} 0000`, 'connack 0x81'],
    ['will QoS without a will', '0a 003c 00', text('c'), 'connack 0x81'],
    ['will retain without a will', '22 003c 00', text('c'), 'connack 0x81'],
    ['will flag without will fields', '06 003c 00', text('c'), 'connack 0x81'],
    ['a wildcard in the will topic', '06 003c 00', `${text('c')} 00 ${text('w/#')} 0000`, 'connack 0x90'],
    ['an empty will topic', '06 003c 00', `${text('c')} 00 0000 0000`, 'connack 0x90'],
    ['bytes at the end', '02 003c 00', `${text('c')} 00`, 'connack 0x81'],
    ['bad UTF-8 in the client id', '02 003c 00', '0001 ff', 'connack 0x81'],
    ['U+0000 in the client id', '02 003c 00', '0001 00', 'connack 0x81'],
    ['a user name that is missing', '82 003c 00', text('c'), 'connack 0x81'],
    ['receive maximum 0', '02 003c 03 21 0000', text('c'), 'connack 0x82'],
    ['maximum packet size 0', '02 003c 05 27 00000000', text('c'), 'connack 0x82'],
    ['request problem information 2', '02 003c 02 17 02', text('c'), 'connack 0x82'],
    ['a property twice', '02 003c 06 21 0001 21 0001', text('c'), 'connack 0x82'],
    ['a property of another packet', '02 003c 03 23 0001', text('c'), 'connack 0x81'],
    ['an unknown property', '02 003c 02 7f 00', text('c'), 'connack 0x81'],
    ['authentication data without a method', '02 003c 04 16 0001 01', text('c'), 'connack 0x82'],
    ['an authentication method nobody knows', '02 003c 08 15 0005 "SCRAM"', text('c'), 'connack 0x8c'],
    ['a client id that is too long', '02 003c 00', text('x'.repeat(24)), 'connack 0x85'],
  ])('5.0, %s', (_, rest, payload, answer) => {
    const one = peer()
    one.send(packet('10', PROTOCOL[5], rest, payload), PINGREQ)
    expect(one.said()).toEqual([answer, 'closed'])
    expect(hub.sessionCount).toBe(0)
  })

  test.each([
    ['3.1.1: no client id and no clean session', 4, '00 003c', '0000', ['connack 0x02', 'closed']],
    ['3.1.1: no client id', 4, '02 003c', '0000', ['connack 0x00', 'pingresp']],
    ['3.1: no client id', 3, '02 003c', '0000', ['connack 0x02', 'closed']],
    ['5.0: no client id', 5, '02 003c 00', '0000', ['connack 0x00', 'pingresp']],
    ['5.0: no client id and no clean start', 5, '00 003c 00', '0000', ['connack 0x00', 'pingresp']],
    ['3.1.1: a long client id', 4, '02 003c', text('x'.repeat(24)), ['connack 0x02', 'closed']],
    ['3.1.1: a password without a user name', 4, '42 003c', `${text('c')} 0001 00`, ['closed']],
    ['3.1.1: a reserved connect flag', 4, '03 003c', text('c'), ['closed']],
    [
      '5.0: a password without a user name',
      5,
      '42 003c 00',
      `${text('c')} 0001 00`,
      ['connack 0x00', 'pingresp'],
    ],
  ] as const)('%s', (_, version, rest, payload, answer) => {
    const one = peer(version)
    one.send(packet('10', PROTOCOL[version], rest, payload), PINGREQ)
    expect(one.said()).toEqual(answer)
  })

  // [MQTT-3.2.2-12] [MQTT-3.2.2-13]
  test.each([
    ['QoS', { maxQos: 0 }, '0e', 'w', 'connack 0x9b', 'connack 0x03'],
    ['RETAIN', { retainAvailable: false }, '26', 'w', 'connack 0x9a', 'connack 0x03'],
    ['number of levels', {}, '06', '/'.repeat(16), 'connack 0x90', 'connack 0x03'],
  ] as const)('a will with a %s that is not offered is refused', (_, options, flags, topic, v5, v3) => {
    const rest = `${text('c')} 00 ${text(topic)} 0000`
    const one = peer(5, options)
    one.send(packet('10', PROTOCOL[5], flags, '003c 00', rest))
    expect(one.said()).toEqual([v5, 'closed'])
    const old = peer(4, options)
    old.send(packet('10', PROTOCOL[4], flags, '003c', `${text('c')} ${text(topic)} 0000`))
    expect(old.said()).toEqual([v3, 'closed'])
  })

  // [MQTT-3.1.4-6] [MQTT-3.2.2-7] [MQTT-3.1.3-8]
  test('nothing that follows a refused CONNECT is looked at', () => {
    const one = peer()
    const retained = packet('31', text('t'), '00 "x"')
    one.send(packet('10', PROTOCOL[5], '02 003c 00', text('x'.repeat(24))), retained)
    one.send(retained)
    expect(one.said()).toEqual(['connack 0x85', 'closed'])
    expect(hub.kernel.storage.retainedCount).toBe(0)
  })
})

describe('after CONNECT', () => {
  const cases: [name: string, bytes: Buffer | string, v5: string][] = [
    ['a second CONNECT', connectBytes(5), 'disconnect 0x82'],
    ['a packet that only servers send', '20 02 00 00', 'disconnect 0x82'],
    ['packet type 0', '00 00', 'disconnect 0x81'],
    ['a packet that is too large, by its header', '30 81 08', 'disconnect 0x95'],
    ['a remaining length of five bytes', '30 ff ff ff ff 01', 'disconnect 0x81'],
    ['PINGREQ with flags', 'c1 00', 'disconnect 0x81'],
    ['PINGREQ with a body', 'c0 01 00', 'disconnect 0x81'],
    ['DISCONNECT with flags', 'e1 00', 'disconnect 0x81'],
    ['PUBREL without its flags', '60 02 00 01', 'disconnect 0x81'],
    ['PUBACK of packet id 0', '40 02 00 00', 'disconnect 0x82'],
    ['PUBACK without a packet id', '40 00', 'disconnect 0x81'],
    ['QoS 3', packet('36', text('t'), '0001 00'), 'disconnect 0x81'],
    ['DUP at QoS 0', packet('38', text('t'), '00'), 'disconnect 0x81'],
    ['packet id 0', packet('32', text('t'), '0000 00'), 'disconnect 0x82'],
    ['a wildcard in a topic', packet('30', text('t/+'), '00'), 'disconnect 0x90'],
    ['U+0000 in a topic', packet('30', '0002 61 00', '00'), 'disconnect 0x81'],
    ['bad UTF-8 in a topic', packet('30', '0002 c3 28', '00'), 'disconnect 0x81'],
    ['a topic longer than its packet', packet('30', '00ff 61', '00'), 'disconnect 0x81'],
    ['a topic with too many levels', packet('30', text('/'.repeat(16)), '00'), 'disconnect 0x90'],
    ['SUBSCRIBE without a filter', packet('82', '0001 00'), 'disconnect 0x82'],
    ['SUBSCRIBE with packet id 0', packet('82', '0000 00', text('t'), '00'), 'disconnect 0x82'],
    ['SUBSCRIBE without its flags', packet('80', '0001 00', text('t'), '00'), 'disconnect 0x81'],
    ['UNSUBSCRIBE without a filter', packet('a2', '0001 00'), 'disconnect 0x82'],
    ['an invalid filter', packet('82', '0001 00', text('a/#/b'), '00'), 'disconnect 0x8f'],
    ['an empty filter', packet('82', '0001 00 0000 00'), 'disconnect 0x8f'],
    ['a share without a filter', packet('82', '0001 00', text('$share/g'), '00'), 'disconnect 0x8f'],
    ['a share name with a wildcard', packet('82', '0001 00', text('$share/+/t'), '00'), 'disconnect 0x8f'],
    ['UNSUBSCRIBE of an invalid filter', packet('a2', '0001 00', text('a+')), 'disconnect 0x8f'],
  ]

  test.each(cases)('5.0, %s', (_, bytes, answer) => {
    const one = connected()
    one.send(bytes, PINGREQ)
    expect(one.said()).toEqual([answer, 'closed'])
    expect(hub.clientCount).toBe(0)
  })

  // [MQTT-3.14.1-1]
  test.each([
    ['a second CONNECT', connectBytes(4)],
    ['AUTH', 'f0 00'],
    ['a packet that is too large, by its header', '30 81 08'],
    ['QoS 3', packet('36', text('t'), '0001')],
    ['an empty topic', packet('30', '0000')],
    ['a topic with too many levels', packet('30', text('/'.repeat(16)))],
    ['SUBSCRIBE with QoS 3', packet('82', '0001', text('t'), '03')],
    ['SUBSCRIBE with options of 5.0', packet('82', '0001', text('t'), '04')],
    ['SUBSCRIBE without a filter', '82 02 00 01'],
    ['an invalid filter', packet('82', '0001', text('a/#/b'), '00')],
    ['DISCONNECT with a body', 'e0 01 00'],
  ])('3.1.1, %s is closed without a word', (_, bytes) => {
    const one = connected(4)
    one.send(bytes, PINGREQ)
    expect(one.said()).toEqual(['closed'])
  })

  // [MQTT-3.3.2-8] [MQTT-3.3.2-14] [MQTT-4.13.1-1]
  test.each([
    ['QoS above the maximum', { maxQos: 1 }, packet('34', text('t'), '0001 00'), '0x9b'],
    ['RETAIN', { retainAvailable: false }, packet('31', text('t'), '00'), '0x9a'],
    ['topic alias 0', {}, packet('30', text('t'), '03 23 0000'), '0x94'],
    ['topic alias above the maximum', {}, packet('30', text('t'), '03 23 000b'), '0x94'],
    [
      'a topic alias where none is offered',
      { maxTopicAlias: 0 },
      packet('30', text('t'), '03 23 0001'),
      '0x94',
    ],
    ['a topic alias that has no topic yet', {}, packet('30', '0000 03 23 0001'), '0x82'],
    ['no topic and no alias', {}, packet('30', '0000 00'), '0x82'],
    ['a subscription identifier', {}, packet('30', text('t'), '02 0b 01'), '0x82'],
    ['a wildcard in the response topic', {}, packet('30', text('t'), '06 08 0003 "a/#"'), '0x82'],
    ['a property cut short', {}, packet('30', text('t'), '05 02 0000'), '0x81'],
  ] as const)('PUBLISH with %s', (_, options, bytes, code) => {
    const one = connected(5, options)
    one.send(bytes, PINGREQ)
    expect(one.said()).toEqual([`disconnect ${code}`, 'closed'])
  })

  // [MQTT-3.8.3-4] [MQTT-3.8.3-5] [MQTT-4.13.1-1]
  test.each([
    ['identifier 0', packet('82', '0001 02 0b 00', text('t'), '00'), '0x82'],
    ['two identifiers', packet('82', '0001 04 0b 01 0b 02', text('t'), '00'), '0x82'],
    ['No Local on a share', packet('82', '0001 00', text('$share/g/t'), '04'), '0x82'],
    ['retain handling 3', packet('82', '0001 00', text('t'), '30'), '0x82'],
    ['reserved options', packet('82', '0001 00', text('t'), '40'), '0x81'],
    ['QoS 3', packet('82', '0001 00', text('t'), '03'), '0x82'],
  ])('SUBSCRIBE with %s', (_, bytes, code) => {
    const one = connected()
    one.send(bytes, PINGREQ)
    expect(one.said()).toEqual([`disconnect ${code}`, 'closed'])
    expect(hub.session('c')).toBeUndefined()
  })

  test.each([
    ['AUTH, when CONNECT named no method', packet('f0', '18 06 15 0003 "abc"'), '0x82'],
    ['AUTH with Success', 'f0 00', '0x82'],
    ['AUTH without a method', 'f0 02 19 00', '0x82'],
    ['an unknown code in DISCONNECT', 'e0 01 05', '0x82'],
    ['a session expiry where CONNECT had none', 'e0 07 00 05 11 00000001', '0x82'],
    ['a server reference from a client', 'e0 06 00 04 1c 0001 "a"', '0x81'],
  ])('%s', (_, bytes, code) => {
    const one = connected()
    one.send(bytes, PINGREQ)
    expect(one.said()).toEqual([`disconnect ${code}`, 'closed'])
  })

  test('more QoS 2 messages than the receive maximum wait for PUBREL', () => {
    const one = connected(5, { maxAwaitingRelease: 2 })
    for (const id of ['0001', '0002', '0003']) one.send(packet('34', text('t'), id, '00'))
    expect(one.said()).toEqual(['pubrec 1 0x10', 'pubrec 2 0x10', 'disconnect 0x93', 'closed'])
  })

  // [MQTT-3.14.4-2]
  test('the reason is told in words, unless the client wants none', () => {
    const talkative = connected()
    talkative.send('00 00')
    const quiet = connected(5, {}, '02 003c 02 17 00')
    quiet.send('00 00')
    expect(talkative.packets()).toMatchObject([{ properties: { reasonString: 'packet type is 0' } }])
    expect(quiet.packets()).toEqual([expect.not.objectContaining({ properties: expect.anything() })])
  })

  test('a bad packet publishes the will and leaves a session that was to stay', async () => {
    const watcher = connected()
    watcher.send(packet('82', '0001 00', text('w'), '00'))
    watcher.said()
    const one = peer()
    const rest = `${text('d')} 00 ${text('w')} ${text('gone')}`
    one.send(packet('10', PROTOCOL[5], '06 003c 05 11 0000000a', rest), '00 00')
    expect(one.said()).toEqual(['connack 0x00', 'disconnect 0x81', 'closed'])
    expect(watcher.said()).toEqual(['publish w=gone q0'])
    expect(hub.session('d')?.isOnline).toBe(false)
  })
})

describe('random bytes', () => {
  /** Rubbish, half of it with a header that makes its body be looked at. */
  function rubbish(random: Random): Buffer {
    const bytes = random.bytes(60)
    if (bytes.length > 2 && random.int(2) === 0) {
      bytes[0] = random.int(16) * 16 + random.pick([0, 2, random.int(16)])
      bytes[1] = bytes.length - 2
    }
    return bytes
  }

  test.each([
    ['before', 5000],
    ['after', 5000],
  ] as const)('%s CONNECT leave everything up, and others served', async (when, count) => {
    const random = new Random(when === 'before' ? 1 : 2)
    const context = mqttContext(hub)
    const witness = new RawPeer(context)
    witness.send(connectBytes(5, 'witness'), packet('82', '0001 00', text('alive'), '00'))
    expect(witness.said()).toEqual(['connack 0x00', 'suback 1 0x00'])
    for (let i = 0; i < count; i++) {
      const version = random.pick([3, 4, 5] as const)
      const one = new RawPeer(context, version)
      if (when === 'after') one.send(connectBytes(version, 'fuzzer'))
      for (let chunk = 0; chunk < 3; chunk++) one.send(rubbish(random))
      one.transport.close()
    }
    witness.said()
    witness.send(packet('30', text('alive'), '00 "yes"'), frame(PINGREQ))
    expect(witness.said()).toEqual(['publish alive=yes q0', 'pingresp'])
    expect(hub.clientCount).toBe(1)
    expect(hub.session('witness')?.isOnline).toBe(true)
  })
})
