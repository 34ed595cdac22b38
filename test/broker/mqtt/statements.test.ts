/** Statements of MQTT 5.0 and 3.1.1 one by one, where no other test is about them: each tag is what its test shows. */
import type { Packet } from 'mqtt-packet'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { startHub } from '../support.ts'
import {
  connectBytes,
  connected,
  DISCONNECT,
  mqttContext,
  PINGREQ,
  PROTOCOL,
  publish,
  RawPeer,
  subscribe,
  subscriber,
  text,
  turns,
} from './raw-peer.ts'
import { frame, packet, VERSIONS } from './support.ts'

/** No Clean Start, and a session that stays for hours. */
const KEPT = '00 003c 05 11 0000ffff'
const TEN_DAYS_MS = 864_000_000

let hub: Hub
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  hub = await startHub()
})
afterEach(async () => {
  await hub.stop()
  vi.useRealTimers()
})

/** Those of MQTT 5, whichever packet it is. */
function propertiesOf(one: Packet | undefined): Readonly<Record<string, unknown>> {
  return { ...(one !== undefined && 'properties' in one ? one.properties : undefined) }
}

/** Not let in yet: what CONNECT is answered with, and what follows it, is left to look at. */
function connecting(version: ProtocolVersion = 5, id = 'c', rest?: string): RawPeer {
  return new RawPeer(mqttContext(hub), version).send(connectBytes(version, id, rest))
}

describe('strings', () => {
  const places: [name: string, before: string, after: string, field: string][] = [
    ['the name of a user property', '26', '0001 "v"', 'user property name'],
    ['the value of a user property', '26 0001 "n"', '', 'user property value'],
    ['Response Topic', '08', '', 'responseTopic'],
    ['Content Type', '03', '', 'contentType'],
  ]
  const forms: [name: string, bytes: string, complaint: string][] = [
    ['an overlong form', 'c0 af', 'is not valid UTF-8'],
    ['half a surrogate pair', 'ed a0 80', 'is not valid UTF-8'],
    ['U+0000', '00', 'contains U+0000'],
  ]
  const all = places.flatMap(([place, before, after, field]) =>
    forms.map(
      ([form, bytes, complaint]) => [place, form, before, bytes, after, `${field} ${complaint}`] as const,
    ),
  )

  /** A string field of these bytes. */
  const field = (bytes: string) => `${`000${frame(bytes).length}`} ${bytes}`

  // [MQTT-1.5.7-1] [MQTT-3.3.2-13] [MQTT-3.3.2-19]
  test.each(all)('%s is not to be %s', (_, _form, before, bytes, after, reasonString) => {
    const watcher = subscriber(hub, 't')
    const properties = frame(`${before} ${field(bytes)} ${after}`)
    const one = connected(hub)
    one.send(packet('30', text('t'), `0${properties.length.toString(16)}`, properties.toString('hex'), '"x"'))
    expect(one.packets()).toMatchObject([
      { cmd: 'disconnect', reasonCode: 0x81, properties: { reasonString } },
    ])
    expect(watcher.said()).toEqual([])
  })

  // [MQTT-3.10.3-1]
  test.each(forms)('a filter to unsubscribe from is not to be %s', (_, bytes, complaint) => {
    const one = subscriber(hub, 't')
    one.send(packet('a2', '0002 00', text('t'), field(bytes)))
    expect(one.packets()).toMatchObject([
      { cmd: 'disconnect', reasonCode: 0x81, properties: { reasonString: `topic filter ${complaint}` } },
    ])
  })
})

describe('CONNECT', () => {
  // [MQTT-3.1.3-5]
  test.each(VERSIONS)('version %i: 1 to 23 digits and Latin letters are a client id', (version) => {
    const ids = ['0', 'Z', '0123456789abcdefghijklm', 'nopqrstuvwxyzABCDEFGHIJ', 'KLMNOPQRSTUVWXYZ']
    for (const id of ids) {
      expect(connecting(version, id).said(), id).toEqual(['connack 0x00'])
      expect(hub.client(id), id).toBeDefined()
    }
  })

  // [MQTT-3.1.4-5] [MQTT-3.2.0-2]
  test('who is let in gets CONNACK 0x00, and no other one whatever it sends', async () => {
    for (const [version, told] of [
      [5, ['disconnect 0x82', 'closed']],
      [4, ['closed']],
    ] as const) {
      const again = connectBytes(version)
      expect(connecting(version).send(again).said()).toEqual(['connack 0x00', ...told])
      hub.hooks.put('client.connect', 'slow', (decision) => Promise.resolve({ ok: decision }))
      const one = connecting(version).send(again)
      expect(one.said()).toEqual([])
      await turns()
      expect(one.said()).toEqual(['connack 0x00', ...told])
      hub.hooks.del('client.connect', 'slow')
    }
  })

  // [MQTT-3.2.2-8]
  test.each([
    [ReasonCode.Banned, 'connack 0x8a'],
    [ReasonCode.ServerShuttingDown, 'connack 0x88'],
    [ReasonCode.SessionTakenOver, 'connack 0x88'],
    [ReasonCode.PacketIdentifierInUse, 'connack 0x80'],
    [ReasonCode.KeepAliveTimeout, 'connack 0x80'],
    [ReasonCode.TopicFilterInvalid, 'connack 0x80'],
  ])('a refusal for reason %i is told with a code that CONNACK has', (refused, told) => {
    hub.hooks.add('client.connect', 'no', () => ({ stop: { refused } }))
    expect(connecting().said()).toEqual([told, 'closed'])
  })

  // [MQTT-4.12.0-1] [MQTT-4.12.0-4]
  test.each([
    ['alone', '02 003c 08 15', text('SCRAM')],
    ['with data', '02 003c 0d 15', `${text('SCRAM')} 16 0002 beef`],
  ])('an authentication method, %s, is refused and the connection closed', (_, rest, method) => {
    const one = new RawPeer(mqttContext(hub))
    one.send(packet('10', PROTOCOL[5], rest, method, text('c')), PINGREQ)
    expect(one.said()).toEqual(['connack 0x8c', 'closed'])
    expect([hub.clientCount, hub.sessionCount]).toEqual([0, 0])
  })

  // [MQTT-4.12.0-6]
  test('who named no authentication method is told none and sent no AUTH, even in answer to one', () => {
    const one = connecting().send('f0 00')
    const packets = one.packets()
    expect(packets.map(({ cmd }) => cmd)).toEqual(['connack', 'disconnect'])
    expect(packets[0]).toMatchObject({ reasonCode: 0 })
    for (const one of packets) {
      expect(propertiesOf(one)).not.toHaveProperty('authenticationMethod')
      expect(propertiesOf(one)).not.toHaveProperty('authenticationData')
    }
  })

  // [MQTT-3.1.2-29]
  test('who wants no problem information gets codes without reason strings and user properties', () => {
    hub.hooks.add('client.authorize', 'no', () => ({ stop: { result: 'deny', from: 'test' } }))
    const reasonsOf = (rest: string) => {
      const one = connected(hub, 5, { rest })
      one.send(publish('2', 't', 'x', 1), publish('4', 't', 'x', 2), '62 02 0009', '50 02 0009')
      one.send(subscribe('t'), packet('a2', '0002 00', text('t')), publish('2', 't/+', 'x', 3))
      const packets = one.packets()
      const order = ['puback', 'pubrec', 'pubcomp', 'pubrel', 'suback', 'unsuback', 'disconnect']
      expect(packets.map(({ cmd }) => cmd)).toEqual(order)
      return packets.filter((one) =>
        /reasonString|userProperties/.test(Object.keys(propertiesOf(one)).join()),
      )
    }
    expect(reasonsOf('02 003c 02 17 00')).toEqual([])
    // the others are told more, so there is something to leave out
    expect(reasonsOf('02 003c 02 17 01').map(({ cmd }) => cmd)).toEqual(['disconnect'])
  })

  // [MQTT-3.1.3-10]
  test('user properties of a will are published in their order', () => {
    const watcher = subscriber(hub, 'w')
    const pairs = '26 0001 "b" 0001 "1" 26 0001 "a" 0001 "2" 26 0001 "b" 0001 "3"'
    const one = new RawPeer(mqttContext(hub))
    one.send(packet('10', PROTOCOL[5], '06 003c 00', text('c'), '15', pairs, text('w'), text('gone')))
    one.transport.close()
    expect(watcher.transport.outbox.take()).toEqual(packet('30', text('w'), '15', pairs, '"gone"'))
  })
})

describe('CONNECT in 3.1.1', () => {
  // [MQTT-3.1.2-7 (3.1.1)]
  test('retained messages stay when the session of their publisher ends', async () => {
    const one = connected(hub, 4, { rest: '00 003c' })
    one.send(packet('31', text('t'), '"kept"')).transport.close()
    expect(connecting(4, 'c', '02 003c').send(DISCONNECT).said()).toEqual(['connack 0x00', 'closed'])
    expect(hub.sessionCount).toBe(0)
    const sub = connected(hub).send(subscribe('t'))
    await turns()
    expect(sub.said()).toEqual(['suback 1 0x00', 'publish t=kept q0 retain'])
  })

  // [MQTT-3.1.2-12 (3.1.1)]
  test('without the will flag nothing is published, though the session had a will before', () => {
    const watcher = subscriber(hub, '#')
    const withWill = packet('10', PROTOCOL[4], '04 003c', text('c'), text('w'), text('gone'))
    new RawPeer(mqttContext(hub), 4).send(withWill, DISCONNECT)
    const one = connecting(4, 'c', '00 003c')
    expect(one.said()).toEqual(['connack 0x00 present'])
    one.transport.close()
    expect(watcher.said()).toEqual([])
    const again = new RawPeer(mqttContext(hub), 4).send(withWill)
    again.transport.close()
    expect(watcher.said()).toEqual(['publish w=gone q0'])
  })

  // [MQTT-3.1.3-8 (3.1.1)]
  test('no client id and Clean Session 0 is answered with 0x02 and closed', () => {
    expect(connecting(4, '', '00 003c').said()).toEqual(['connack 0x02', 'closed'])
    expect(hub.sessionCount).toBe(0)
    expect(connecting(4, '', '02 003c').said()).toEqual(['connack 0x00'])
  })

  // [MQTT-3.1.4-1 (3.1.1)] [MQTT-3.2.2-6 (3.1.1)]
  test.each([
    ['the reserved flag', '03 003c', text('c')],
    ['will QoS 3', '1e 003c', `${text('c')} ${text('w')} ${text('gone')}`],
    ['will QoS without a will', '0a 003c', text('c')],
    ['a password without a user name', '42 003c', `${text('c')} ${text('secret')}`],
    ['no client id field', '02 003c', ''],
    ['a client id that is no UTF-8', '02 003c', '0002 c3 28'],
    ['a client id longer than the packet', '02 003c', '0009 "c"'],
    ['more than belongs to it', '02 003c', `${text('c')} 00`],
  ])('%s in CONNECT: no return code fits, so it is closed without CONNACK', (_, rest, payload) => {
    const one = new RawPeer(mqttContext(hub), 4).send(packet('10', PROTOCOL[4], rest, payload))
    expect(one.said()).toEqual(['closed'])
    expect(hub.sessionCount).toBe(0)
  })
})

describe('PUBLISH', () => {
  // [MQTT-3.3.1-8]
  test('without RETAIN nothing is retained, and what is retained stays', async () => {
    const one = connected(hub)
    one.send(publish('1', 't', 'kept'), publish('0', 't', 'passes'), publish('0', 't', ''))
    one.send(publish('0', 'other', 'passes'))
    const sub = connected(hub, 5, { id: 'sub' }).send(subscribe('#'))
    await turns()
    expect(sub.said()).toEqual(['suback 1 0x00', 'publish t=kept q0 retain'])
  })

  // [MQTT-3.1.2-26] [MQTT-3.1.2-27] [MQTT-3.3.2-11]
  test.each([
    ['no Topic Alias Maximum', '02 003c 00', 0],
    ['one of 0', '02 003c 03 22 0000', 0],
    ['one of 1', '02 003c 03 22 0001', 1],
    ['one of 2', '02 003c 03 22 0002', 2],
  ])('a client with %s is sent no alias above it, and can tell every topic', (_, rest, maximum) => {
    const sub = subscriber(hub, '#', '00', { rest })
    const alias = (topic: string, number: string) => packet('30', text(topic), '03 23', number, '"x"')
    const long = ['a', 'b', 'c'].map((name) => `a/topic/worth/an/alias/${name}`)
    const pub = connected(hub)
    for (const [i, topic] of long.entries()) {
      const number = `000${i + 7}`
      pub.send(alias(topic, number), alias('', number), alias('', number))
    }
    const topics = new Map<number, string>()
    const told = sub.packets().map((one) => {
      if (one.cmd !== 'publish') throw new Error(`${one.cmd} is no message`)
      const number = one.properties?.topicAlias
      if (number === undefined) return one.topic
      expect(number).toBeGreaterThan(0)
      expect(number).toBeLessThanOrEqual(maximum)
      if (one.topic !== '') topics.set(number, one.topic)
      return topics.get(number)
    })
    expect(told).toEqual(long.flatMap((topic) => [topic, topic, topic]))
  })

  // [MQTT-3.3.4-5]
  test('where a client gets several copies, each has the identifiers of its own subscriptions', () => {
    const sub = connected(hub, 5, { id: 'sub' })
    sub.send(packet('82', '0001 02 0b 01', text('#'), '00'), packet('82', '0002 02 0b 02', text('t'), '00'))
    sub.send(packet('82', '0003 02 0b 03', text('$share/g/t'), '00'))
    sub.send(packet('82', '0004 02 0b 04', text('$share/h/+'), '00'))
    sub.said()
    connected(hub).send(publish('0', 't', 'x'))
    const copies = sub.packets().map((one) => [propertiesOf(one).subscriptionIdentifier].flat().map(Number))
    const sorted = copies.map((identifiers) => identifiers.toSorted((a, b) => a - b))
    expect(sorted.toSorted(([a = 0], [b = 0]) => a - b)).toEqual([[1, 2], [3], [4]])
  })

  // [MQTT-4.5.0-1]
  test('a message is added to every session with a subscription that matches, of those away too', () => {
    const filters = ['a/b', 'a/+', '+/b', 'a/#', '#', 'a/c']
    const peers = filters.map((filter) => subscriber(hub, filter, '01', { id: filter }))
    subscriber(hub, 'a/b', '01', { id: 'away', rest: KEPT }).transport.close()
    const one = subscriber(hub, 'a/b', '01', { id: 'itself' })
    one.send(publish('2', 'a/b', 'x', 1))
    expect(one.said()).toEqual(['publish a/b=x q1 #1', 'puback 1'])
    for (const [i, peer] of peers.entries())
      expect(peer.said(), filters[i]).toEqual(filters[i] === 'a/c' ? [] : ['publish a/b=x q1 #1'])
    expect(connecting(5, 'away', KEPT).said()).toEqual(['connack 0x00 present', 'publish a/b=x q1 #1'])
  })

  // [MQTT-4.3.2-5]
  test('QoS 1: an id that was acknowledged is a new message, with DUP or without', () => {
    const watcher = subscriber(hub, 't')
    const one = connected(hub)
    one.send(publish('2', 't', 'a', 1), publish('a', 't', 'b', 1), publish('2', 't', 'c', 1))
    expect(one.said()).toEqual(['puback 1', 'puback 1', 'puback 1'])
    expect(watcher.said()).toEqual(['publish t=a q0', 'publish t=b q0', 'publish t=c q0'])
  })

  // [MQTT-4.3.2-2] [MQTT-4.3.3-2]
  test.each([
    ['1', '01', 'a'],
    ['2', '02', 'c'],
  ])('QoS %s: a new delivery has DUP 0, whatever the publisher said', (qos, options, flags) => {
    const sub = subscriber(hub, 't', options)
    connected(hub).send(publish(flags, 't', 'x', 7), publish(flags, 't', 'y', 8))
    expect(sub.said()).toEqual([`publish t=x q${qos} #1`, `publish t=y q${qos} #2`])
  })
})

/** A PUBLISH that expires after a second. */
function expiring(flags: string, payload: string, packetId: string): Buffer {
  return packet(`3${flags}`, text('t'), packetId, '05 02 00000001', `"${payload}"`)
}

describe('expiry', () => {
  // [MQTT-4.3.3-7]
  test('QoS 2, sending: what was sent once is sent again however old, what only waited is not', () => {
    const rest = '00 003c 08 11 0000ffff 21 0001'
    const sub = subscriber(hub, 't', '02', { rest })
    connected(hub).send(expiring('4', 'sent', '0001'), expiring('4', 'waited', '0002'))
    expect(sub.said()).toEqual(['publish t=sent q2 #1'])
    sub.transport.close()
    vi.advanceTimersByTime(10_000)
    const again = connecting(5, 'sub', rest)
    expect(again.said()).toEqual(['connack 0x00 present', 'publish t=sent q2 #1 dup'])
    vi.advanceTimersByTime(10_000)
    expect(again.send('50 02 0001', '70 02 0001').said()).toEqual(['pubrel 1'])
  })

  // [MQTT-4.3.3-13]
  test('QoS 2, receiving: the steps go on after the message has expired', () => {
    const watcher = subscriber(hub, 't')
    const one = connected(hub).send(expiring('4', 'x', '0001'))
    expect(one.said()).toEqual(['pubrec 1'])
    vi.advanceTimersByTime(10_000)
    one.send(expiring('c', 'x', '0001'), '62 02 0001')
    expect(one.said()).toEqual(['pubrec 1', 'pubcomp 1'])
    expect(watcher.said()).toEqual(['publish t=x q0'])
  })

  // [MQTT-4.1.0-1]
  test.each([
    ['ends with its connection', '02 0000 00'],
    ['lasts a second longer', '02 0000 05 11 00000001'],
  ])('a session that %s is there as long as that is open', (_, rest) => {
    const sub = subscriber(hub, 't', '02', { rest })
    connected(hub).send(publish('4', 't', 'x', 1))
    expect(sub.said()).toEqual(['publish t=x q2 #1'])
    vi.advanceTimersByTime(TEN_DAYS_MS)
    connected(hub).send(publish('4', 't', 'y', 1))
    expect(sub.send('50 02 0001').said()).toEqual(['publish t=y q2 #2', 'pubrel 1'])
  })

  // [MQTT-4.1.0-1]
  test('the end of a session is put off for good by coming back in time', () => {
    const rest = '00 0000 05 11 0000000a'
    subscriber(hub, 't', '00', { rest }).transport.close()
    vi.advanceTimersByTime(9000)
    const again = connecting(5, 'sub', rest)
    vi.advanceTimersByTime(TEN_DAYS_MS)
    connected(hub).send(publish('0', 't', 'x'))
    expect(again.said()).toEqual(['connack 0x00 present', 'publish t=x q0'])
  })
})

// [MQTT-3.3.4-10] [MQTT-4.9.0-3]
test('with Receive Maximum used up only PUBLISH above QoS 0 waits: all else is sent and answered', () => {
  const sub = subscriber(hub, 't', '02', { rest: '02 003c 03 21 0001' })
  const pub = connected(hub).send(publish('4', 't', 'first', 1), publish('4', 't', 'second', 2))
  expect(sub.said()).toEqual(['publish t=first q2 #1'])
  sub.send(PINGREQ, subscribe('u', '00', 7), packet('a2', '0008 00', text('u')))
  sub.send(publish('2', 'v', 'x', 5), publish('4', 'v', 'x', 6), '62 02 0006')
  const answers = [
    'pingresp',
    'suback 7 0x00',
    'unsuback 8 0x00',
    'puback 5 0x10',
    'pubrec 6 0x10',
    'pubcomp 6',
  ]
  expect(sub.said()).toEqual(answers)
  pub.send(publish('0', 't', 'third'))
  expect(sub.said()).toEqual(['publish t=third q0'])
  expect(sub.send('50 02 0001').said()).toEqual(['pubrel 1'])
  expect(sub.send('70 02 0001').said()).toEqual(['publish t=second q2 #2'])
})

describe('UNSUBSCRIBE', () => {
  // [MQTT-3.10.4-1]
  test('only the subscription that is equal in every character goes', () => {
    const sub = subscriber(hub, 't/ä')
    const others = ['t/+', 't/#', 'T/ä', 't/Ä', 't/ä/', '/t/ä', 't/a\u0308', '$share/g/t/ä']
    sub.send(packet('a2', '0002 00', ...others.map(text)))
    expect(sub.said()).toEqual([`unsuback 2${' 0x11'.repeat(others.length)}`])
    const pub = connected(hub).send(publish('0', 't/ä', 'x'))
    expect(sub.said()).toEqual(['publish t/ä=x q0'])
    sub.send(packet('a2', '0003 00', text('t/ä')))
    pub.send(publish('0', 't/ä', 'y'))
    expect(sub.said()).toEqual(['unsuback 3 0x00'])
  })

  // [MQTT-3.10.4-2] [MQTT-3.10.4-3]
  test('nothing new is added, and deliveries that have begun are completed, on another connection too', () => {
    const sub = subscriber(hub, 't', '02', { rest: KEPT })
    const pub = connected(hub)
    pub.send(publish('2', 't', 'a', 1), publish('4', 't', 'b', 2), publish('4', 't', 'c', 3))
    expect(sub.said()).toEqual(['publish t=a q1 #1', 'publish t=b q2 #2', 'publish t=c q2 #3'])
    sub.send('50 02 0002', packet('a2', '0009 00', text('t')))
    pub.send(publish('0', 't', 'new'), publish('2', 't', 'new', 4), publish('4', 't', 'new', 5))
    expect(sub.said()).toEqual(['pubrel 2', 'unsuback 9 0x00'])
    sub.transport.close()
    const again = connecting(5, 'sub', KEPT)
    const rest = ['connack 0x00 present', 'publish t=a q1 #1 dup', 'pubrel 2', 'publish t=c q2 #3 dup']
    expect(again.said()).toEqual(rest)
    expect(again.send('40 02 0001', '70 02 0002', '50 02 0003', '70 02 0003').said()).toEqual(['pubrel 3'])
    expect(hub.session('sub')?.inflightCount).toBe(0)
  })
})

// [MQTT-3.14.4-1]
test('nothing is sent after DISCONNECT, neither messages nor answers', () => {
  const sub = subscriber(hub, '#', '02', { rest: KEPT })
  const pub = connected(hub).send(publish('4', 't', 'before', 1))
  hub.client('sub')?.end('server_shutting_down')
  pub.send(publish('0', 't', 'after'), publish('4', 't', 'after', 2))
  sub.send('50 02 0001', PINGREQ, subscribe('u'), publish('2', 'u', 'x', 1))
  expect(sub.said()).toEqual(['publish t=before q2 #1', 'disconnect 0x8b', 'closed'])
})

describe('shared subscriptions', () => {
  const member = (id: string, options: string, rest = '02 003c 00') =>
    subscriber(hub, '$share/g/t', options, { id, rest })

  // [MQTT-4.8.2-3]
  test('each member gets its messages at the QoS granted to it', () => {
    const members = ['00', '01', '02'].map((options) => member(options, options))
    connected(hub).send(...[1, 2, 3].map((id) => publish('4', 't', 'x', id)))
    expect(members.map((one) => one.said())).toEqual([
      ['publish t=x q0'],
      ['publish t=x q1 #1'],
      ['publish t=x q2 #1'],
    ])
  })

  // [MQTT-4.8.2-4]
  test.each([
    ['PUBLISH', '', ['publish t=x q2 #1 dup']],
    ['PUBREC', '50 02 0001', ['pubrel 1']],
  ])('QoS 2, broken off after %s: completed with the same member when that is back', (_, step, resent) => {
    const chosen = member('chosen', '02', KEPT)
    connected(hub).send(publish('4', 't', 'x', 1))
    const other = member('other', '02')
    chosen.send(step).transport.close()
    vi.advanceTimersByTime(10_000)
    const back = connecting(5, 'chosen', KEPT)
    expect(back.said()).toEqual(['connack 0x00 present', ...resent])
    back.send('50 02 0001', '70 02 0001')
    expect(hub.session('chosen')?.inflightCount).toBe(0)
    expect(other.said()).toEqual([])
  })

  // [MQTT-4.8.2-6]
  test.each([
    ['PUBACK', '2', '40 03 0001 87'],
    ['PUBREC', '4', '50 03 0001 97'],
  ])('what a member refuses with %s goes to nobody else, nor when its session ends', (_, flags, refusal) => {
    const chosen = member('chosen', '02')
    connected(hub).send(publish(flags, 't', 'x', 1))
    const other = member('other', '02')
    expect(chosen.said()).toHaveLength(1)
    expect(chosen.send(refusal).said()).toEqual([])
    chosen.transport.close()
    expect(hub.session('chosen')).toBeUndefined()
    expect(other.said()).toEqual([])
  })
})
