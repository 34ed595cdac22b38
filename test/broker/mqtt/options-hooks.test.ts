/** What `client.connect` hooks change, and where clients are sent to. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import type { PropertyBag } from '../../../hooks/hookpoints.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { connect, publish as publishTo, startHub } from '../support.ts'
import { connectBytes, connected, mqttContext, RawPeer, subscribe, subscriber, turns } from './raw-peer.ts'

let hub: Hub
beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

/** Lets a hook change the properties of every CONNECT. */
function change(properties: PropertyBag): void {
  hub.hooks.add('client.connect', 'test', (decision) =>
    'refused' in decision ? undefined : { ok: { properties: { ...decision.properties, ...properties } } },
  )
}

describe('what a hook changes of CONNECT', () => {
  test('is the session expiry that holds, and that CONNACK tells', () => {
    change({ sessionExpiryInterval: 60 })
    const one = new RawPeer(mqttContext(hub)).send(connectBytes(5, 'c', '02 003c 05 11 00000e10'))
    expect(one.packets()[0]).toMatchObject({ properties: { sessionExpiryInterval: 60 } })
    expect(hub.session('c')?.expiryIntervalMs).toBe(60_000)
  })

  test('may make a session outlive its connection that was not to, within the bound', () => {
    change({ sessionExpiryInterval: 0xffff_ffff })
    const options = { maxSessionExpiryMs: 100_000 }
    const one = new RawPeer(mqttContext(hub, options)).send(connectBytes(5))
    expect(one.packets()[0]).toMatchObject({ properties: { sessionExpiryInterval: 100 } })
    expect(hub.session('c')?.expiryIntervalMs).toBe(100_000)
  })

  test('holds for a session of MQTT 3 too, unless it is a clean one', () => {
    change({ sessionExpiryInterval: 60 })
    connected(hub, 4, { id: 'kept', rest: '00 003c' })
    connected(hub, 4, { id: 'clean' })
    expect(hub.session('kept')?.expiryIntervalMs).toBe(60_000)
    expect(hub.session('clean')?.expiryIntervalMs).toBe(0)
  })

  test('is the window', async () => {
    change({ receiveMaximum: 1 })
    const one = subscriber(hub, 't', '01')
    await publishTo(await connect(hub, 'pub'), 't', 'a', 1)
    await publishTo(await connect(hub, 'pub'), 't', 'b', 1)
    expect(one.said()).toEqual(['publish t=a q1 #1'])
  })

  test('is the number of aliases', async () => {
    change({ topicAliasMaximum: 0 })
    const one = subscriber(hub, 'a/long/topic', '00', { rest: '02 003c 03 22 000a' })
    for (const payload of ['1', '2', '3']) await publishTo(await connect(hub, 'pub'), 'a/long/topic', payload)
    expect(one.said()).toEqual(['1', '2', '3'].map((payload) => `publish a/long/topic=${payload} q0`))
  })

  test('cannot break what the client was promised', async () => {
    change({
      receiveMaximum: 100,
      maximumPacketSize: 100_000,
      topicAliasMaximum: 10,
      requestResponseInformation: 1,
    })
    const one = subscriber(hub, 'a/long/topic', '01', {
      rest: '02 003c 08 21 0001 27 00000040',
      options: { responseInformation: 'replies/' },
    })
    await publishTo(await connect(hub, 'pub'), 'a/long/topic', 'x'.repeat(100), 1)
    await publishTo(await connect(hub, 'pub'), 'a/long/topic', 'a', 1)
    await publishTo(await connect(hub, 'pub'), 'a/long/topic', 'b', 1)
    expect(one.said()).toEqual(['publish a/long/topic=a q1 #2'])
  })

  test.each([-1, 1.5, '60', null, 2 ** 32])(
    'that is no number of seconds (%s) changes nothing',
    (seconds) => {
      change({ sessionExpiryInterval: seconds, receiveMaximum: seconds })
      new RawPeer(mqttContext(hub)).send(connectBytes(5, 'c', '02 003c 05 11 00000e10'))
      expect(hub.session('c')?.expiryIntervalMs).toBe(3_600_000)
    },
  )
})

describe('another server', () => {
  const serverReference = 'b.example:1883'

  test.each([
    [ReasonCode.UseAnotherServer, 0x9c],
    [ReasonCode.ServerMoved, 0x9d],
  ])('a hook can refuse with it: %i', (refused, code) => {
    hub.hooks.add('client.connect', 'test', () => ({ stop: { refused, properties: { serverReference } } }))
    const one = new RawPeer(mqttContext(hub)).send(connectBytes(5))
    expect(one.packets()).toEqual([
      expect.objectContaining({ cmd: 'connack', reasonCode: code, properties: { serverReference } }),
    ])
    expect(one.isClosed).toBe(true)
    // [MQTT-3.2.2-7] MQTT 3 knows no such thing: the server is not available
    expect(new RawPeer(mqttContext(hub), 4).send(connectBytes(4)).said()).toEqual(['connack 0x03', 'closed'])
  })

  test('a connected client can be sent there, and its session stays', async () => {
    const one = connected(hub, 5, { rest: '02 003c 05 11 00000e10' })
    one.send(subscribe('t'))
    one.said()
    expect(hub.redirect('c', 'use_another_server', serverReference)).toBe(true)
    expect(one.packets()).toEqual([
      expect.objectContaining({ cmd: 'disconnect', reasonCode: 0x9c, properties: { serverReference } }),
    ])
    expect(one.isClosed).toBe(true)
    await turns()
    expect(hub.session('c')?.subscriptions.size).toBe(1)
    expect(hub.redirect('c', 'server_moved', undefined)).toBe(false)
  })

  test('an MQTT 3 client is closed', () => {
    const one = connected(hub, 4)
    hub.redirect('c', 'server_moved', serverReference)
    expect(one.said()).toEqual(['closed'])
  })
})
