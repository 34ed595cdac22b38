/** What only MQTT 5 has. */
import type { IPublishPacket, Packet } from 'mqtt-packet'
import { expect, onTestFinished, test, vi } from 'vitest'
import { hookRun, startBroker } from '../support/broker.ts'
import { connectMqtt, type PeerOptions } from './mqtt-peer.ts'
import { connectRaw } from './raw-mqtt.ts'

// [MQTT-3.3.2-4] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]
test('properties travel from publisher to subscriber as they were written', async () => {
  const broker = await startBroker()
  const subscriber = await connectMqtt(broker)
  await subscriber.subscribe('t', { qos: 1 })
  const publisher = await connectMqtt(broker)
  const properties = {
    payloadFormatIndicator: true,
    contentType: 'application/json',
    responseTopic: 'answers/7',
    correlationData: Buffer.from([0, 255, 13, 10]),
    userProperties: { zebra: 'first', apple: ['1', '2', '1'], 'mid dle': '', ünï: 'ß' },
  }
  await publisher.publish('t', '{}', { qos: 1, properties })
  const packet = await subscriber.messages.next()
  expect(packet.properties).toEqual(properties)
  expect(Object.keys(packet.properties?.userProperties ?? {})).toEqual(['zebra', 'apple', 'mid dle', 'ünï'])
})

// [MQTT-3.3.2-15] [MQTT-3.3.2-16]
test('an answer finds its way by response topic and correlation data', async () => {
  const broker = await startBroker()
  const server = await connectMqtt(broker)
  await server.subscribe('add', { qos: 1 })
  const asker = await connectMqtt(broker)
  await asker.subscribe('replies/asker', { qos: 1 })
  const correlationData = Buffer.from('42')
  await asker.publish('add', '1+1', {
    qos: 1,
    properties: { responseTopic: 'replies/asker', correlationData },
  })
  const question = await server.messages.next()
  const { responseTopic = '', correlationData: about } = question.properties ?? {}
  await server.publish(responseTopic, '2', {
    qos: 1,
    properties: about === undefined ? {} : { correlationData: about },
  })
  const answer = await asker.messages.next()
  expect(answer.payload.toString()).toBe('2')
  expect(answer.properties?.correlationData).toEqual(correlationData)
})

test('a message expires while it waits, and says how long it still has when it does not', async () => {
  vi.useFakeTimers({ toFake: ['Date'] })
  onTestFinished(() => void vi.useRealTimers())
  const broker = await startBroker()
  const options: PeerOptions = { clientId: 'away', clean: false, properties: { sessionExpiryInterval: 300 } }
  const before = await connectMqtt(broker, options)
  await before.subscribe('t', { qos: 1 })
  await before.end()
  const publisher = await connectMqtt(broker)
  const send = (payload: string, seconds: number, retain = false) =>
    publisher.publish(retain ? 'kept' : 't', payload, {
      qos: 1,
      retain,
      properties: { messageExpiryInterval: seconds },
    })
  await send('short', 5)
  await send('long', 60)
  await send('retained', 60, true)

  vi.setSystemTime(Date.now() + 20_000)
  const after = await connectMqtt(broker, options)
  const packet = await after.messages.next()
  expect(packet.payload.toString()).toBe('long')
  expect(packet.properties?.messageExpiryInterval).toBe(40)
  await after.subscribe('kept')
  expect((await after.messages.next()).properties?.messageExpiryInterval).toBe(40)
  await after.expectSilence()

  vi.setSystemTime(Date.now() + 50_000)
  const late = await connectMqtt(broker)
  await late.subscribe('kept')
  await late.expectSilence()
})

test('subscription identifiers tell which subscriptions a message is for', async () => {
  const broker = await startBroker()
  const subscriber = await connectMqtt(broker)
  await subscriber.subscribe('a/+', { properties: { subscriptionIdentifier: 7 } })
  await subscriber.subscribe('a/#', { properties: { subscriptionIdentifier: 268_435_455 } })
  await subscriber.subscribe('b')
  const publisher = await connectMqtt(broker)
  await publisher.publish('a', '1')
  await publisher.publish('b', '2')
  await publisher.publish('a/b', '3')
  await subscriber.ping()
  const packets = subscriber.messages.drain()
  const identifiers = (payload: string) =>
    packets
      .filter((packet) => packet.payload.toString() === payload)
      .flatMap(({ properties }) => properties?.subscriptionIdentifier ?? [])
      .toSorted((x, y) => x - y)
  expect(identifiers('1')).toEqual([268_435_455])
  expect(identifiers('2')).toEqual([])
  expect(identifiers('3')).toEqual([7, 268_435_455])
})

test('a publisher may use topic aliases', async () => {
  const broker = await startBroker({ mqtt: { max_topic_alias: 2 } })
  const subscriber = await connectMqtt(broker)
  await subscriber.subscribe('+/with/a/long/name')
  const publisher = await connectMqtt(broker, { autoAssignTopicAlias: true })
  expect(publisher.connack?.properties?.topicAliasMaximum).toBe(2)
  const sent: string[] = []
  publisher.client.on(
    'packetsend',
    (packet) => packet.cmd === 'publish' && sent.push(packet.topic.toString()),
  )
  for (const n of [1, 2, 1, 2, 3, 3]) await publisher.publish(`topic${n}/with/a/long/name`, String(n))
  expect(await subscriber.take(6)).toMatchObject(
    [1, 2, 1, 2, 3, 3].map((n) => ({ topic: `topic${n}/with/a/long/name`, payload: String(n) })),
  )
  expect(sent.filter((topic) => topic === '')).toHaveLength(3)
})

test('no local keeps back what a client has published itself', async () => {
  const broker = await startBroker()
  const bridge = await connectMqtt(broker)
  await bridge.subscribe('t', { nl: true })
  const other = await connectMqtt(broker)
  await other.subscribe('t')
  await bridge.publish('t', 'mine')
  await bridge.expectSilence()
  await other.publish('t', 'theirs')
  expect(await bridge.payloads(1)).toEqual(['theirs'])
  expect(await other.payloads(2)).toEqual(['mine', 'theirs'])
})

test('retain as published and retain handling do what the subscriber asked for', async () => {
  const broker = await startBroker()
  const publisher = await connectMqtt(broker)
  await publisher.publish('r', 'old', { qos: 1, retain: true })
  const subscriber = await connectMqtt(broker)

  await subscriber.subscribe('r', { rh: 2 })
  await subscriber.expectSilence()
  await subscriber.subscribe('r', { rh: 1 }) // not a new subscription
  await subscriber.expectSilence()
  await subscriber.subscribe('r', { rh: 0, rap: true })
  expect(await subscriber.next()).toMatchObject({ payload: 'old', retain: true })
  await publisher.publish('r', 'new', { qos: 1, retain: true })
  expect(await subscriber.next()).toMatchObject({ payload: 'new', retain: true })
  await publisher.publish('r', 'not kept', { qos: 1 })
  expect(await subscriber.next()).toMatchObject({ payload: 'not kept', retain: false })
  await subscriber.client.unsubscribeAsync('r')
  await subscriber.subscribe('r', { rh: 1 })
  expect(await subscriber.next()).toMatchObject({ payload: 'new', retain: true })
})

test('a client without id is told the one it got', async () => {
  const broker = await startBroker()
  const clients = [await connectMqtt(broker, { clientId: '' }), await connectMqtt(broker, { clientId: '' })]
  const [one = '', two = ''] = clients.map(({ connack }) => connack?.properties?.assignedClientIdentifier)
  expect(one).not.toBe('')
  expect(one).not.toBe(two)
  expect(broker.hub.client(one)?.info.clientId).toBe(one)
})

test('a message larger than its subscriber takes is not sent to it, the next one is', async () => {
  const broker = await startBroker()
  const small = await connectMqtt(broker, { properties: { maximumPacketSize: 100 } })
  await small.subscribe('t', { qos: 1 })
  const publisher = await connectMqtt(broker)
  await publisher.publish('t', 'x'.repeat(200), { qos: 1 })
  await publisher.publish('t', 'fits', { qos: 1 })
  expect(await small.payloads(1)).toEqual(['fits'])
  await small.expectSilence()
})

test('a packet larger than the broker takes ends its connection with 0x95', async () => {
  const broker = await startBroker({ mqtt: { max_packet_size: '1KB' } })
  const publisher = await connectMqtt(broker)
  expect(publisher.connack?.properties?.maximumPacketSize).toBe(1024)
  const limits = publisher.client.serverProperties ?? {}
  limits.maximumPacketSize = 1_000_000 // or the client itself would refuse to send it
  publisher.client.publish('t', 'x'.repeat(2000))
  expect((await publisher.gone())?.reasonCode).toBe(0x95)
})

// [MQTT-3.3.4-9]
test('no more than Receive Maximum messages are sent before they are acknowledged', async () => {
  const broker = await startBroker()
  const slow = await connectRaw(broker, '5.0', { clientId: 'slow', properties: { receiveMaximum: 2 } })
  slow.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't', qos: 1 }] })
  await slow.next()
  const publisher = await connectMqtt(broker)
  for (const payload of ['1', '2', '3', '4']) await publisher.publish('t', payload, { qos: 1 })
  const first = await slow.next()
  await slow.next()
  await slow.expectSilence()
  slow.send({ cmd: 'puback', messageId: first.messageId ?? 0 })
  expect((await slow.next()) as IPublishPacket).toMatchObject({ payload: Buffer.from('3') })
  await slow.expectSilence()
})

test('answers say what became of a packet', async () => {
  const broker = await startBroker({ mqtt: { max_qos_allowed: 1, shared_subscription: false } })
  const client = await connectMqtt(broker)
  expect(client.connack?.properties).toMatchObject({ maximumQoS: 1, sharedSubscriptionAvailable: false })
  expect(await client.subscribe(['a', '$share/g/b'], { qos: 2 })).toEqual([1, 0x9e])
  const puback = new Promise<Packet>((resolve) => {
    client.client.on('packetreceive', (packet) => packet.cmd === 'puback' && resolve(packet))
  })
  await client.publish('nobody', 'x', { qos: 1 })
  expect(await puback).toMatchObject({ reasonCode: 0x10 })
  const unsuback = await client.client.unsubscribeAsync(['a', 'never'])
  expect(unsuback).toMatchObject({ granted: [0, 0x11] })
})

test('a goodbye may ask for the will to be published', async () => {
  const broker = await startBroker()
  const watcher = await connectMqtt(broker)
  await watcher.subscribe('will')
  const will: PeerOptions['will'] = {
    topic: 'will',
    payload: Buffer.from('as asked'),
    qos: 0,
    retain: false,
    properties: { contentType: 'text/plain', userProperties: { why: 'goodbye' } },
  }
  const leaver = await connectMqtt(broker, { will })
  await leaver.client.endAsync(false, { reasonCode: 4 })
  const packet = await watcher.messages.next()
  expect(packet.payload.toString()).toBe('as asked')
  expect(packet.properties).toEqual({ contentType: 'text/plain', userProperties: { why: 'goodbye' } })
})

test('a delayed will is not published when its client comes back in time', async () => {
  const broker = await startBroker()
  const watcher = await connectMqtt(broker)
  await watcher.subscribe('will')
  const options: PeerOptions = {
    clientId: 'flaky',
    clean: false,
    properties: { sessionExpiryInterval: 60 },
    will: {
      topic: 'will',
      payload: Buffer.from('gone'),
      qos: 0,
      retain: false,
      properties: { willDelayInterval: 1 },
    },
  }
  const first = await connectMqtt(broker, options)
  const broken = hookRun(broker, 'client.disconnected', 'flaky')
  await first.breakOff()
  await broken
  const second = await connectMqtt(broker, options)
  await watcher.expectSilence()
  await second.breakOff()
  expect(await watcher.payloads(1)).toEqual(['gone'])
  await watcher.expectSilence()
})
