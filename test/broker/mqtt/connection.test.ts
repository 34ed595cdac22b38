// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders of mountpoints
/** The conversation with an MQTT client, in bytes: what it is answered, by version. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { connect, publish as publishTo, startHub, subscription } from '../support.ts'
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
import { packet } from './support.ts'

let hub: Hub
beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

describe('CONNACK', () => {
  // [MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-9] [MQTT-3.2.2-16]
  test('MQTT 5 clients are told what differs from what they presume', () => {
    const options = { maxQos: 1, retainAvailable: false, wildcardSubscription: false } as const
    const one = new RawPeer(mqttContext(hub, options))
    one.send(connectBytes(5, ''))
    expect(one.packets()[0]).toMatchObject({
      reasonCode: 0,
      sessionPresent: false,
      properties: {
        assignedClientIdentifier: expect.stringMatching(/^auto-/),
        receiveMaximum: 100,
        maximumQoS: 1,
        retainAvailable: false,
        wildcardSubscriptionAvailable: false,
        maximumPacketSize: 1024,
        topicAliasMaximum: 10,
      },
    })
  })

  // [MQTT-3.1.2-28]
  test.each([
    ['that asks for it, if there is any', 'replies/', '02 19 01', 'replies/'],
    ['that asks for it, but not if there is none', '', '02 19 01', undefined],
    ['but not one that says it does not want it', 'replies/', '02 19 00', undefined],
    ['but not one that does not ask', 'replies/', '00', undefined],
  ])('response information is told to a client %s', (_name, responseInformation, properties, told) => {
    const one = new RawPeer(mqttContext(hub, { responseInformation }))
    one.send(connectBytes(5, 'c', `02 003c ${properties}`))
    const [connack] = one.packets()
    expect(connack?.cmd === 'connack' && connack.properties?.responseInformation).toBe(told)
  })

  test('a session expiry above the bound is cut, and the client told', () => {
    const one = new RawPeer(mqttContext(hub, { maxSessionExpiryMs: 60_000 }))
    one.send(connectBytes(5, 'c', '02 003c 05 11 ffffffff'))
    expect(one.packets()[0]).toMatchObject({ properties: { sessionExpiryInterval: 60 } })
    expect(hub.session('c')?.expiryIntervalMs).toBe(60_000)
  })

  // [MQTT-3.2.2-3]
  test.each([3, 4, 5] as const)('session present, version %i: only when one is taken up', (version) => {
    const rest = version === 5 ? '00 003c 05 11 00000064' : '00 003c'
    const said: string[] = []
    for (let i = 0; i < 2; i++) {
      const one = new RawPeer(mqttContext(hub), version)
      one.send(connectBytes(version, 'c', rest))
      said.push(...one.said())
      one.transport.close()
    }
    // 3.1 has no such flag
    expect(said).toEqual(['connack 0x00', version === 3 ? 'connack 0x00' : 'connack 0x00 present'])
  })

  test('a client that cannot take even a CONNACK is closed, and is no client', () => {
    const one = new RawPeer(mqttContext(hub))
    one.send(connectBytes(5, 'c', '02 003c 05 27 00000003'), PINGREQ)
    expect(one.said()).toEqual(['closed'])
    expect(hub.clientCount).toBe(0)
  })

  test('the user name as client id is what counts, and without one the rules for empty ids hold', () => {
    const context = mqttContext(hub, { useUsernameAsClientId: true })
    new RawPeer(context).send(packet('10', PROTOCOL[5], '82 003c 00', text('ignored'), text('walter')))
    expect(hub.client('walter')).toBeDefined()
    const long = new RawPeer(context)
    long.send(packet('10', PROTOCOL[5], '82 003c 00', text('ignored'), text('w'.repeat(24))))
    expect(long.said()).toEqual(['connack 0x85', 'closed'])
    const nobody = new RawPeer(context, 4)
    nobody.send(packet('10', PROTOCOL[4], '00 003c', '0000'))
    expect(nobody.said()).toEqual(['connack 0x02', 'closed'])
  })

  test('the mountpoint is known to authentication, and made anew of what that has found out', () => {
    const seen: string[] = []
    const principal = { isSuperuser: false, attributes: new Map([['site', 'berlin']]) }
    hub.hooks.add('client.authenticate', 'test', (_verdict, login) => {
      seen.push(login.client.mountpoint)
      return { stop: { kind: 'allow', principal } }
    })
    hub.hooks.add('client.connected', 'test', (client) => void seen.push(client.mountpoint))
    connected(hub, 5, { listener: { mountpoint: '${client_attrs.site}/${clientid}/' } })
    expect(seen).toEqual(['${client_attrs.site}/c/', 'berlin/c/'])
  })

  test('a hook adds properties; a bug of ours while logging in is a refusal and leaves nothing behind', async () => {
    const added = { reasonString: 'welcome', responseInformation: 'replies/', authenticationMethod: 'X' }
    hub.hooks.add('client.connack', 'test', () => ({ ok: added }))
    const one = new RawPeer(mqttContext(hub))
    one.send(connectBytes(5))
    const [connack] = one.packets()
    expect(connack).toMatchObject({ properties: { reasonString: 'welcome' } })
    // nothing that the client has not asked for: [MQTT-3.1.2-28] [MQTT-4.12.0-6]
    expect(connack).not.toHaveProperty('properties.responseInformation')
    expect(connack).not.toHaveProperty('properties.authenticationMethod')
    hub.hooks.put('client.connack', 'test', () => ({ ok: { userProperties: 7 } }))
    const two = new RawPeer(mqttContext(hub))
    two.send(connectBytes(5, 'd'), PINGREQ)
    expect(two.said()).toEqual(['connack 0x88', 'closed'])
    expect(hub.client('d')).toBeUndefined()
  })
})

describe('taking over', () => {
  // [MQTT-3.1.4-3]
  test('the older connection is told before the new one is answered; 3.1.1 is just closed', () => {
    const context = mqttContext(hub)
    const first = connected(hub)
    const second = new RawPeer(context, 4).send(connectBytes(4))
    expect([first.said(), second.said()]).toEqual([['disconnect 0x8e', 'closed'], ['connack 0x00']])
    const third = new RawPeer(context, 4).send(connectBytes(4))
    expect([second.said(), third.said()]).toEqual([['closed'], ['connack 0x00']])
    expect(hub.clientCount).toBe(1)
  })

  // [MQTT-3.14.0-1] [MQTT-3.2.0-1]
  test('a client taken over while hooks still hold its CONNACK gets none, and its will is not published', async () => {
    const watcher = subscriber(hub, 'w')
    const releases: (() => void)[] = []
    hub.hooks.add(
      'client.connack',
      'slow',
      () => new Promise<undefined>((resolve) => releases.push(() => resolve(undefined))),
    )
    const first = new RawPeer(mqttContext(hub))
    first.send(packet('10', PROTOCOL[5], '06 003c 00', text('c'), '00', text('w'), text('gone')))
    const second = new RawPeer(mqttContext(hub)).send(connectBytes(5))
    for (const release of releases) release()
    await turns()
    expect([first.said(), second.said()]).toEqual([['closed'], ['connack 0x00']])
    expect(watcher.said()).toEqual([])
    expect(hub.clientCount).toBe(2)
  })
})

describe('PUBLISH from a client', () => {
  // [MQTT-3.3.4-1] [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-4.3.2-4] [MQTT-4.3.3-8] [MQTT-4.3.3-11]
  test.each([
    ['nobody is subscribed', 'nobody', '0x10'],
    ['somebody is', 't', ''],
  ])('is answered by its QoS: %s', (_, topic, code) => {
    subscriber(hub, 't')
    const one = connected(hub)
    one.send(publish('0', topic, 'a'), publish('2', topic, 'b', 1), publish('4', topic, 'c', 2), '62 02 0002')
    expect(one.said()).toEqual([`puback 1 ${code}`.trim(), `pubrec 2 ${code}`.trim(), 'pubcomp 2'])
  })

  // [MQTT-4.3.3-9] [MQTT-3.3.5-2 (3.1.1)]
  test('refused: MQTT 5 is told and has its id back, 3.1.1 gets the usual answers', () => {
    hub.hooks.add('client.authorize', 'no', () => ({ stop: { result: 'deny', from: 'test' } }))
    const watcher = subscriber(hub, 't')
    const five = connected(hub)
    five.send(publish('0', 't', 'a'), publish('2', 't', 'b', 1), publish('4', 't', 'c', 2), '62 02 0002')
    expect(five.said()).toEqual(['puback 1 0x87', 'pubrec 2 0x87', 'pubcomp 2 0x92'])
    const four = connected(hub, 4, { id: 'four' })
    four.send(packet('32', text('t'), '0001'), packet('34', text('t'), '0002'), '62 02 0002')
    expect(four.said()).toEqual(['puback 1', 'pubrec 2', 'pubcomp 2'])
    expect(watcher.said()).toEqual([])
  })

  test('refused with deny_action disconnect: the connection ends, and nothing after it counts', () => {
    hub.update({ ...hub.options, denyAction: 'disconnect' })
    hub.hooks.add('client.authorize', 'no', () => ({ stop: { result: 'deny', from: 'test' } }))
    for (const bytes of [publish('0', 't', 'a'), publish('4', 't', 'a', 1), subscribe('t')]) {
      const one = connected(hub)
      one.send(bytes, PINGREQ)
      expect(one.said()).toEqual(['disconnect 0x87', 'closed'])
    }
    expect(hub.clientCount).toBe(0)
  })

  // [MQTT-4.3.3-9] [MQTT-4.3.3-10] [MQTT-4.3.3-12]
  test('QoS 2: a copy is answered and not routed again; the same id without DUP is in use, and then free', () => {
    const watcher = subscriber(hub, 't')
    const one = connected(hub)
    one.send(publish('4', 't', 'a', 1), publish('c', 't', 'a', 1), publish('4', 't', 'b', 1))
    expect(one.said()).toEqual(['pubrec 1', 'pubrec 1', 'pubrec 1 0x91'])
    one.send('62 02 0001', publish('c', 't', 'c', 1))
    expect(one.said()).toEqual(['pubcomp 1 0x92', 'pubrec 1'])
    // DUP alone does not make it a copy: its first one may never have arrived
    expect(watcher.said()).toEqual(['publish t=a q0', 'publish t=c q0'])
  })

  // [MQTT-4.3.3-10]
  test('QoS 2 across a reconnect: still only once', () => {
    const watcher = subscriber(hub, 't')
    const rest = '00 003c 05 11 00000064'
    const first = connected(hub, 5, { rest })
    first.send(publish('4', 't', 'a', 1))
    first.transport.close()
    const again = connected(hub, 5, { rest })
    again.send(publish('c', 't', 'a', 1), '62 02 0001', '62 02 0001')
    expect(again.said()).toEqual(['pubrec 1', 'pubcomp 1', 'pubcomp 1 0x92'])
    expect(watcher.said()).toEqual(['publish t=a q0'])
  })

  test('hooks learn what is dropped for its packet id or the receive maximum, with its mountpoint', () => {
    const dropped: string[] = []
    hub.hooks.add('message.dropped', 'test', ({ topic }, reason) => {
      if (reason !== 'no_subscribers') dropped.push(`${topic} ${reason}`)
    })
    const one = connected(hub, 5, { options: { maxAwaitingRelease: 1 }, listener: { mountpoint: 'm/' } })
    one.send(publish('4', 't', 'a', 1), publish('4', 't', 'b', 1))
    one.send(publish('4', 't', 'c', 2), publish('4', 't', 'd', 3))
    expect(one.said()).toEqual([
      'pubrec 1 0x10',
      'pubrec 1 0x91',
      'pubrec 2 0x10',
      'disconnect 0x93',
      'closed',
    ])
    expect(dropped).toEqual(['m/t packet_identifier_in_use', 'm/t receive_maximum_exceeded'])
  })

  // [MQTT-3.3.2-7] [MQTT-3.3.2-12]
  test('an alias stands for its topic, and may be given another one', () => {
    const watcher = subscriber(hub, '#')
    const alias = (topic: string, payload: string) => packet('30', text(topic), '03 23 0001', `"${payload}"`)
    connected(hub).send(alias('a', '1'), alias('', '2'), alias('b', '3'), alias('', '4'))
    expect(watcher.said()).toEqual(['publish a=1 q0', 'publish a=2 q0', 'publish b=3 q0', 'publish b=4 q0'])
    // it was the other connection's
    expect(connected(hub).send(alias('', '5')).said()).toEqual(['disconnect 0x82', 'closed'])
  })

  // [MQTT-4.8.0-2 (3.1.1)] [MQTT-4.13.2-1]
  test('what the broker cannot store is not acknowledged, and may be sent again', async () => {
    const watcher = subscriber(hub, 't', '08')
    const { storage } = hub.kernel
    const original = storage.storeRetained.bind(storage)
    storage.storeRetained = () => Promise.reject(new Error('the disk is full'))
    const rest = '00 003c 05 11 00000064'
    const first = connected(hub, 5, { rest }).send(publish('5', 't', 'x', 1))
    await turns()
    expect(first.said()).toEqual(['disconnect 0x80', 'closed'])
    storage.storeRetained = original
    const again = connected(hub, 5, { rest }).send(publish('d', 't', 'x', 1))
    expect(again.said()).toEqual(['pubrec 1'])
    expect(watcher.said()).toEqual(['publish t=x q0 retain'])
  })
})

describe('deliveries', () => {
  // [MQTT-3.6.2-1] [MQTT-3.7.2-1] [MQTT-4.3.3-4]
  test('QoS 2: the steps of the hand-over, and unknown ids', () => {
    const sub = subscriber(hub, 't', '02')
    connected(hub).send(publish('4', 't', 'x', 9))
    expect(sub.said()).toEqual(['publish t=x q2 #1'])
    sub.send('50 02 0001', '50 02 0001', '70 02 0001')
    expect(sub.said()).toEqual(['pubrel 1', 'pubrel 1'])
    sub.send('50 02 0001', '70 02 0001', '40 02 0001', '50 03 0009 80', '62 02 0009')
    expect(sub.said()).toEqual(['pubrel 1 0x92', 'pubcomp 9 0x92'])
  })

  // [MQTT-4.4.0-2]
  test('PUBREC with an error ends the delivery without PUBREL, and its place is free', () => {
    const sub = subscriber(hub, 't', '02', { rest: '02 003c 03 21 0001' })
    connected(hub).send(publish('4', 't', 'a', 1), publish('4', 't', 'b', 2))
    expect(sub.said()).toEqual(['publish t=a q2 #1'])
    expect(sub.send('50 03 0001 97').said()).toEqual(['publish t=b q2 #2'])
  })

  // [MQTT-3.1.2-25]
  test('longer than the client takes: dropped, counted, and its place in the window is free', () => {
    const sub = subscriber(hub, 't', '01', { rest: '02 003c 08 27 00000014 21 0001' })
    connected(hub).send(publish('2', 't', 'much too long a payload', 1), publish('2', 't', 'short', 2))
    expect(sub.said()).toEqual(['publish t=short q1 #2'])
    expect(hub.session('sub')?.droppedCount).toBe(1)
    expect(hub.session('sub')?.inflightCount).toBe(1)
  })

  test('a subscriber sees topics without its mountpoint, the identifiers of its subscriptions and the rest of the expiry', async () => {
    const sub = connected(hub, 5, { id: 'sub', listener: { mountpoint: 'm/' } })
    sub.send(packet('82', '0001 02 0b 07', text('t'), '00'))
    sub.said()
    const pub = await connect(hub, 'pub')
    const properties = { messageExpiryInterval: 10, userProperties: [['a', 'b']] as [string, string][] }
    void publishTo(pub, 'm/t', 'x', 0, { properties })
    expect(sub.packets()[0]).toMatchObject({
      topic: 't',
      properties: { subscriptionIdentifier: 7, messageExpiryInterval: 10, userProperties: { a: 'b' } },
    })
  })

  test('ignore_loop_deliver keeps MQTT 3 clients from their own messages, a bridge keeps RETAIN', () => {
    const options = { ignoreLoopDeliver: true }
    const one = connected(hub, 4, { options })
    one.send(packet('82', '0001', text('t'), '00'), packet('30', text('t'), '"own"'))
    expect(one.said()).toEqual(['suback 1 0x00'])
    const bridge = new RawPeer(mqttContext(hub), 4)
    bridge.send(packet('10', '0004 "MQTT" 84 02 003c', text('bridge')), packet('82', '0001', text('t'), '00'))
    one.send(packet('31', text('t'), '"kept"'))
    expect(bridge.said()).toEqual(['connack 0x00', 'suback 1 0x00', 'publish t=kept q0 retain'])
  })
})

describe('SUBSCRIBE and UNSUBSCRIBE', () => {
  // [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2]
  // [MQTT-3.2.2-10] [MQTT-3.10.4-4] [MQTT-3.10.4-5] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2]
  // [MQTT-3.9.3-2 (3.1.1)]
  test('one code for each filter, in order', () => {
    hub.update({ ...hub.options, maxQos: 1, maxSubscriptions: 2, sharedSubscription: false })
    const one = connected(hub)
    const filters = ['a', '02', '$share/g/t', '00', 'b', '00', 'c', '00', '/'.repeat(16), '00']
    const body = filters.map((part, i) => (i % 2 === 0 ? text(part) : part))
    one.send(packet('82', '0007 00', ...body), packet('a2', '0008 00', text('a'), text('nothing')))
    expect(one.said()).toEqual(['suback 7 0x01 0x9e 0x00 0x97 0x8f', 'unsuback 8 0x00 0x11'])
    const old = connected(hub, 4, { id: 'old' })
    old.send(packet('82', '0007', text('$share/g/t'), '00'), packet('a2', '0008', text('nothing')))
    expect(old.said()).toEqual(['suback 7 0x80', 'unsuback 8'])
  })

  test('retained messages come after SUBACK', async () => {
    connected(hub).send(publish('1', 't', 'kept'))
    const sub = connected(hub, 5, { id: 'sub' }).send(subscribe('t'))
    await turns()
    expect(sub.said()).toEqual(['suback 1 0x00', 'publish t=kept q0 retain'])
  })
})

describe('the end', () => {
  test('DISCONNECT ends it, and what follows is not looked at', () => {
    const watcher = subscriber(hub, 't')
    const one = connected(hub).send(publish('0', 't', 'before'), DISCONNECT, publish('0', 't', 'after'))
    expect(one.said()).toEqual(['closed'])
    expect(watcher.said()).toEqual(['publish t=before q0'])
  })

  // [MQTT-3.14.4-3] [MQTT-3.1.2-10]
  test.each([
    ['normal', '00', []],
    ['with will', '04', ['publish w=gone q0']],
    ['with an error', '80', ['publish w=gone q0']],
  ])('DISCONNECT %s', (_, code, published) => {
    const watcher = subscriber(hub, 'w')
    const one = new RawPeer(mqttContext(hub))
    one.send(packet('10', PROTOCOL[5], '06 003c 00', text('c'), '00', text('w'), text('gone')))
    one.send(packet('e0', code))
    expect(watcher.said()).toEqual(published)
  })

  test('DISCONNECT changes how long the session stays', () => {
    const one = connected(hub, 5, { rest: '02 003c 05 11 0000000a' })
    one.send('e0 07 00 05 11 00000064')
    expect(hub.session('c')?.expiryIntervalMs).toBe(100_000)
    connected(hub, 5, { rest: '00 003c 05 11 0000000a' }).send('e0 07 00 05 11 00000000')
    expect(hub.session('c')).toBeUndefined()
  })

  // [MQTT-3.14.4-2] [MQTT-3.14.2-1]
  test.each([
    ['kicked', 'disconnect 0x98'],
    ['connection_expired', 'disconnect 0x87'],
    ['server_shutting_down', 'disconnect 0x8b'],
  ] as const)('%s: MQTT 5 is told, 3.1.1 is closed', (reason, told) => {
    const [five, four] = [connected(hub), connected(hub, 4, { id: 'four' })]
    for (const client of hub.clients()) client.end(reason)
    expect([five.said(), four.said()]).toEqual([[told, 'closed'], ['closed']])
  })

  test('a client whose own message gets it ended is not answered for it', () => {
    hub.hooks.add('message.publish', 'test', () => ({ stop: 'disconnect' }))
    const one = connected(hub).send(publish('2', 't', 'x', 1), PINGREQ)
    expect(one.said()).toEqual(['disconnect 0x83', 'closed'])
    expect(hub.clientCount).toBe(0)
  })

  test('the subscriber that kicks the publisher out of its own message does not confuse anybody', async () => {
    const pub = connected(hub, 5, { id: 'pub' })
    const watcher = await connect(hub, 'watcher')
    watcher.receiver.deliver = () => hub.kick('pub')
    await watcher.client.subscribe([subscription('t')])
    const other = subscriber(hub, 't')
    pub.send(publish('2', 't', 'x', 1), publish('2', 't', 'y', 2))
    expect(pub.said()).toEqual(['disconnect 0x98', 'closed'])
    expect(other.said()).toEqual(['publish t=x q0'])
    expect(publishTo(watcher, 'nobody', 'x', 1)).toBe(ReasonCode.NoMatchingSubscribers)
  })
})
