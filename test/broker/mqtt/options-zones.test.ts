/** Zones: clients of some listeners with limits and options of their own. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { ClientLimits } from '../../../broker/client-limits.ts'
import type { Hub } from '../../../broker/hub.ts'
import type { MqttOptions } from '../../../broker/mqtt/options.ts'
import { connect, HUB_OPTIONS, publish as publishTo, startHub } from '../support.ts'
import {
  connectBytes,
  MQTT_OPTIONS,
  mqttContext,
  PINGREQ,
  PROTOCOL,
  publish,
  RawPeer,
  subscribe,
  text,
} from './raw-peer.ts'
import { packet } from './support.ts'

let hub: Hub
beforeEach(async () => {
  hub = await startHub({ zones: limits({ maxSubscriptions: 1, maxTopicLevels: 2 }) })
})
afterEach(() => hub.stop())

const limits = (changes: Partial<ClientLimits>) => new Map([['narrow', { ...HUB_OPTIONS, ...changes }]])

const zones = (changes: Partial<MqttOptions>) => new Map([['narrow', { ...MQTT_OPTIONS, ...changes }]])

/** A client of a listener in that zone, let in. */
function client(zone: string, id: string, context = mqttContext(hub)): RawPeer {
  const one = new RawPeer(context, 5, { zone }).send(connectBytes(5, id))
  one.said()
  return one
}

test('limits of a zone hold for its clients and for no others', () => {
  const narrow = client('narrow', 'a')
  const wide = client('default', 'b')
  for (const one of [narrow, wide])
    one.send(subscribe('x', '00', 1), subscribe('y', '00', 2), subscribe('a/b/c', '00', 3))
  expect(narrow.said()).toEqual(['suback 1 0x00', 'suback 2 0x97', 'suback 3 0x8f'])
  expect(wide.said()).toEqual(['suback 1 0x00', 'suback 2 0x00', 'suback 3 0x00'])
})

test('so do those of topics it publishes to, its will included', () => {
  const narrow = client('narrow', 'a')
  narrow.send(publish('2', 'a/b/c', 'x', 1))
  expect(narrow.said()).toEqual(['disconnect 0x90', 'closed'])
  const wide = client('default', 'b')
  wide.send(publish('2', 'a/b/c', 'x', 1))
  expect(wide.said()).toEqual(['puback 1 0x10'])
  const will = ['06 003c 00', text('w'), '00', text('a/b/c'), text('x')]
  const dying = new RawPeer(mqttContext(hub), 5, { zone: 'narrow' }).send(packet('10', PROTOCOL[5], ...will))
  expect(dying.said()).toEqual(['connack 0x90', 'closed'])
})

test('a session gets the window and the queue of its zone', async () => {
  hub.update({ ...hub.options, zones: limits({ session: { ...HUB_OPTIONS.session, maxInflight: 1 } }) })
  const narrow = client('narrow', 'a').send(subscribe('t', '01'))
  narrow.said()
  const publisher = await connect(hub, 'pub')
  for (const payload of ['1', '2']) await publishTo(publisher, 't', payload, 1)
  expect(narrow.said()).toEqual(['publish t=1 q1 #1'])
})

test('an update holds for clients that are connected', () => {
  const narrow = client('narrow', 'a')
  hub.update({ ...HUB_OPTIONS, zones: limits({ maxSubscriptions: 2 }) })
  narrow.send(subscribe('x', '00', 1), subscribe('y', '00', 2), subscribe('z', '00', 3))
  expect(narrow.said()).toEqual(['suback 1 0x00', 'suback 2 0x00', 'suback 3 0x97'])
})

test('MQTT options of a zone are told in CONNACK and hold', () => {
  const context = {
    ...mqttContext(hub),
    zones: zones({ maxQos: 0, maxPacketBytes: 64, serverKeepAliveSeconds: 5 }),
  }
  const narrow = new RawPeer(context, 5, { zone: 'narrow' }).send(connectBytes(5, 'a'))
  expect(narrow.packets()[0]).toMatchObject({
    properties: { maximumQoS: 0, maximumPacketSize: 64, serverKeepAlive: 5 },
  })
  expect(hub.client('a')?.info.keepAliveSeconds).toBe(5)
  narrow.send(publish('2', 't', 'x', 1))
  expect(narrow.said()).toEqual(['disconnect 0x9b', 'closed'])
  const wide = client('default', 'b', context)
  wide.send(publish('2', 't', 'x'.repeat(100), 1))
  expect(wide.said()).toEqual(['puback 1 0x10'])
})

test('new MQTT options of a zone hold at once', () => {
  const context = { ...mqttContext(hub), zones: zones({}) }
  const narrow = client('narrow', 'a', context)
  context.zones = zones({ maxPacketBytes: 16 })
  narrow.send(PINGREQ, publish('0', 't', 'x'.repeat(20)))
  expect(narrow.said()).toEqual(['pingresp', 'disconnect 0x95', 'closed'])
})
