/** What is counted, by the names the outside knows it by. */
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { Authz } from '../../authz/index.ts'
import type { Hub } from '../../broker/hub.ts'
import { Metrics, metricNames, readMetric, readMetrics } from '../../broker/metrics.ts'
import { MqttServer } from '../../broker/mqtt/server.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { silentLogger } from '../../model/log.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { tcpOptions } from '../listeners/support.ts'
import {
  connectBytes,
  connected,
  DISCONNECT,
  MQTT_OPTIONS,
  mqttContext,
  PINGREQ,
  publish as publishBytes,
  RawPeer,
  subscribe as subscribeBytes,
  text,
} from './mqtt/raw-peer.ts'
import { packet } from './mqtt/support.ts'
import { clientInfo, connect, publish, startHub, subscription } from './support.ts'

let hub: Hub
beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

/** What has changed since the last look. */
function counting(metrics: Metrics = hub.metrics): () => Record<string, number> {
  let before = new Map(readMetrics(metrics))
  return () => {
    const now = new Map(readMetrics(metrics))
    const changes = [...now].map(([name, value]) => [name, value - (before.get(name) ?? 0)] as const)
    before = now
    return Object.fromEntries(changes.filter(([, change]) => change !== 0))
  }
}

describe('names', () => {
  test('every counter has one of its own', () => {
    expect(new Set(metricNames()).size).toBe(metricNames().length)
    expect(metricNames()).toContain('packets.pubrel.missed')
    expect(metricNames()).toContain('authorization.cache_hit')
  })

  test('a counter can be asked for by its name', () => {
    const metrics = new Metrics()
    metrics.packetsPublishReceived = 3
    metrics.packetsConnectReceived = 1
    expect(readMetric(metrics, 'packets.publish.received')).toBe(3)
    expect(readMetric(metrics, 'packets.received')).toBe(4)
    expect(readMetric(metrics, 'packets.nonsense')).toBeUndefined()
  })

  test('a sum has each of its parts once', () => {
    const metrics = new Metrics()
    metrics.messagesQos0Received = 1
    metrics.messagesQos1Received = 10
    metrics.messagesQos2Received = 100
    metrics.messagesQos1Sent = 5
    metrics.messagesResent = 2
    metrics.deliveryDroppedExpired = 1
    metrics.deliveryDroppedNoLocal = 1
    expect(Object.fromEntries(readMetrics(metrics))).toMatchObject({
      'messages.received': 111,
      'messages.sent': 5,
      'messages.delivered': 3,
      'delivery.dropped': 2,
    })
  })
})

describe('clients of any protocol', () => {
  test('a login that is let in by nobody in particular is anonymous', async () => {
    const change = counting()
    await connect(hub, 'c1')
    expect(change()).toEqual({
      'client.connect': 1,
      'client.authenticate': 1,
      'client.auth.anonymous': 1,
      'client.connack': 1,
      'client.connected': 1,
      'authentication.success': 1,
      'authentication.success.anonymous': 1,
      'session.created': 1,
    })
  })

  test('a login that is refused fails, and is answered', async () => {
    hub.hooks.put('client.authenticate', 'test', () => ({
      stop: { kind: 'deny', reason: ReasonCode.NotAuthorized },
    }))
    const change = counting()
    await expect(connect(hub, 'c1')).rejects.toThrow('refused')
    expect(change()).toEqual({
      'client.connect': 1,
      'client.authenticate': 1,
      'client.connack': 1,
      'authentication.failure': 1,
    })
  })

  test('sessions are taken over, resumed, discarded and ended', async () => {
    const kept = { cleanStart: false, expiryIntervalMs: 60_000 }
    await connect(hub, 'c1', kept)
    const change = counting()
    const second = await connect(hub, 'c1', kept)
    expect(change()).toMatchObject({ 'session.takenover': 1, 'session.resumed': 1, 'client.disconnected': 1 })
    second.client.close('tcp_closed')
    expect(change()).toEqual({ 'client.disconnected': 1, 'session.disconnected': 1 })
    await connect(hub, 'c1')
    expect(change()).toMatchObject({ 'session.discarded': 1, 'session.created': 1 })
    hub.kick('c1')
    expect(change()).toEqual({ 'client.disconnected': 1, 'session.terminated': 1 })
  })

  test('a message is counted once when it comes and once for each who gets it', async () => {
    const sender = await connect(hub, 'sender')
    for (const id of ['r1', 'r2']) {
      const { client } = await connect(hub, id)
      await client.subscribe([subscription('t', 1)])
    }
    const change = counting()
    await publish(sender, 't', 'x', 1)
    expect(change()).toEqual({
      'messages.received': 1,
      'messages.qos1.received': 1,
      'messages.publish': 1,
      'messages.sent': 2,
      'messages.qos1.sent': 2,
      'messages.delivered': 2,
    })
  })

  test('what is sent again is sent, but not delivered once more', async () => {
    const kept = { cleanStart: false, expiryIntervalMs: 60_000 }
    const sender = await connect(hub, 'sender')
    const receiver = await connect(hub, 'r', kept)
    await receiver.client.subscribe([subscription('t', 2)])
    await publish(sender, 't', 'x', 2)
    receiver.client.close('tcp_closed')
    const change = counting()
    const { client, receiver: again } = await connect(hub, 'r', kept)
    expect(again.deliveries).toHaveLength(1)
    const sent = change()
    expect(sent).toMatchObject({ 'messages.sent': 1, 'messages.qos2.sent': 1 })
    expect(sent).not.toHaveProperty('messages.delivered')
    client.received(again.packetIds[0] as number)
    client.received(again.packetIds[0] as number)
    client.completed(again.packetIds[0] as number)
    expect(change()).toEqual({ 'messages.acked': 1 })
  })

  test('a will is published, but nobody has sent it as a message', async () => {
    const will = { topic: 't', payload: Buffer.from('x'), qos: 1, retain: false, delaySeconds: 0 } as const
    const { client } = await connect(hub, 'c1', { will: { ...will, properties: undefined } })
    const change = counting()
    client.close('tcp_closed')
    expect(change()).toMatchObject({ 'messages.publish': 1, 'messages.dropped.no_subscribers': 1 })
    expect(change()).toEqual({})
  })

  test('a message for nobody is dropped, and may be retained', async () => {
    const sender = await connect(hub, 'sender')
    const change = counting()
    await publish(sender, 't', 'x', 0, { retain: true })
    await publish(sender, 't', '', 0, { retain: true })
    expect(change()).toMatchObject({
      'messages.retained': 1,
      'messages.dropped': 2,
      'messages.dropped.no_subscribers': 2,
    })
  })

  test('lost deliveries are counted by their reason', async () => {
    const sender = await connect(hub, 'sender')
    const { client, receiver } = await connect(hub, 'r')
    await client.subscribe([subscription('t')])
    await sender.client.subscribe([subscription('t', 0, { noLocal: true })])
    const change = counting()
    receiver.maxPayloadBytes = 1
    await publish(sender, 't', 'too long')
    expect(change()).toMatchObject({ 'delivery.dropped.too_large': 1, 'delivery.dropped.no_local': 1 })
    receiver.congested = true
    await publish(sender, 't')
    expect(change()).toMatchObject({ 'delivery.dropped.queue_full': 1, 'delivery.dropped': 2 })
  })

  test('what nobody listens to costs no hook', async () => {
    const sender = await connect(hub, 'sender')
    await publish(sender, 't')
    expect(Object.values(hub.hooks.used).some((isUsed) => isUsed)).toBe(false)
  })
})

test('what access control decides is counted, whatever becomes of its config', async (t) => {
  const config = { ...loadConfig({ schema: configSchema(), file: undefined, env: {} }).config.authorization }
  Object.assign(config, { sources: [], no_match: 'deny' })
  const authz = await Authz.create(config, { log: silentLogger, configDir: '.', now: Date.now })
  t.onTestFinished(() => authz.close())
  const change = counting(new Metrics(authz.counters))
  const client = clientInfo('c1')
  const publishing = { kind: 'publish', qos: 0, retain: false } as const
  await authz.authorize(authz.initial, client, publishing, 't')
  await authz.authorize(authz.initial, client, publishing, 't')
  expect(change()).toMatchObject({
    'authorization.nomatch': 2,
    'authorization.deny': 2,
    'authorization.cache_miss': 1,
    'authorization.cache_hit': 1,
  })
  await authz.update({ ...config, no_match: 'allow' })
  await authz.authorize(authz.initial, client, publishing, 't')
  expect(change()).toMatchObject({ 'authorization.nomatch': 1, 'authorization.allow': 1 })
})

test('superusers are asked about nothing, and counted', async () => {
  const root = await connect(hub, 'root')
  root.client.info.isSuperuser = true
  const change = counting()
  await publish(root, 't')
  expect(change()).toMatchObject({ 'authorization.superuser': 1, 'authorization.allow': 1 })
})

describe('MQTT packets', () => {
  test('are counted by their type in both directions', () => {
    const change = counting()
    const peer = new RawPeer(mqttContext(hub)).send(connectBytes(5))
    peer.send(subscribeBytes('t', '01'), publishBytes('2', 't', 'x', 7), PINGREQ)
    expect(change()).toMatchObject({
      'packets.connect.received': 1,
      'packets.connack.sent': 1,
      'packets.subscribe.received': 1,
      'packets.suback.sent': 1,
      'packets.publish.received': 1,
      'packets.puback.sent': 1,
      'packets.publish.sent': 1,
      'packets.pingreq.received': 1,
      'packets.pingresp.sent': 1,
      'packets.received': 4,
      'packets.sent': 5,
    })
    peer.send(packet('40', '0001'), packet('40', '0001'), packet('a2', '0002 00', text('t')), DISCONNECT)
    expect(change()).toMatchObject({
      'packets.puback.received': 2,
      'packets.puback.missed': 1,
      'packets.unsubscribe.received': 1,
      'packets.unsuback.sent': 1,
      'packets.disconnect.received': 1,
      'messages.acked': 1,
    })
  })

  test('of QoS 2 are counted step by step', () => {
    const peer = connected(hub)
    peer.send(subscribeBytes('t', '02'))
    const change = counting()
    peer.send(publishBytes('4', 't', 'x', 7), publishBytes('4', 't', 'x', 7))
    expect(change()).toMatchObject({
      'packets.publish.received': 2,
      'packets.publish.inuse': 1,
      'packets.pubrec.sent': 2,
      'messages.dropped': 1,
    })
    peer.send(packet('62', '0008'), packet('50', '0001'), packet('50', '0002'), packet('70', '0001'))
    expect(change()).toMatchObject({
      'packets.pubrel.received': 1,
      'packets.pubrel.missed': 1,
      'packets.pubcomp.sent': 1,
      'packets.pubrec.received': 2,
      'packets.pubrec.missed': 1,
      'packets.pubrel.sent': 2,
      'packets.pubcomp.received': 1,
    })
  })

  test('of QoS 2 that are too many, or wait too long for PUBREL, are dropped', () => {
    const tooMany = connected(hub, 5, { options: { maxAwaitingRelease: 1 } })
    const change = counting()
    tooMany.send(publishBytes('4', 't', 'x', 7), publishBytes('4', 't', 'x', 8))
    expect(change()).toMatchObject({
      'packets.publish.dropped': 1,
      'messages.dropped.receive_maximum': 1,
      'packets.disconnect.sent': 1,
    })
    const tooLate = connected(hub, 5, {
      id: 'd',
      options: { maxAwaitingRelease: 1, awaitReleaseTimeoutMs: 0 },
    })
    change()
    tooLate.send(publishBytes('4', 't', 'x', 7), publishBytes('4', 't', 'x', 8))
    expect(change()).toMatchObject({ 'messages.dropped.await_pubrel_timeout': 1, 'packets.pubrec.sent': 2 })
  })

  test('that are refused are counted as such', () => {
    const peer = connected(hub)
    hub.hooks.put('client.authorize', 'test', () => ({ stop: { result: 'deny', from: 'test' } }))
    const change = counting()
    peer.send(subscribeBytes('t', '01'), publishBytes('2', 't', 'x', 7))
    expect(change()).toMatchObject({
      'client.authorize': 2,
      'client.subscribe': 1,
      'packets.subscribe.auth_error': 1,
      'packets.publish.auth_error': 1,
    })
    peer.send(subscribeBytes('$events/x'))
    expect(change()).toMatchObject({ 'packets.subscribe.error': 1 })
    new RawPeer(mqttContext(hub)).send(connectBytes(5, 'longer than twenty-three bytes'))
    expect(change()).toMatchObject({ 'packets.connack.error': 1 })
  })

  test('of a client that is not let in are counted', () => {
    hub.hooks.put('client.authenticate', 'test', () => ({
      stop: { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword },
    }))
    const change = counting()
    new RawPeer(mqttContext(hub)).send(connectBytes(4))
    expect(change()).toMatchObject({ 'packets.connack.error': 1, 'packets.connack.auth_error': 1 })
  })

  test('are counted in bytes as the sockets have them', async (t) => {
    const server = new MqttServer(hub, MQTT_OPTIONS, silentLogger, {})
    t.onTestFinished(() => server.stop())
    const settings = { enableAuthn: true, mountpoint: '', zone: 'default' } as const
    await server.start([{ options: tcpOptions(), settings }])
    const port = server.listeners.get('tcp:test')?.address()?.port ?? 0
    const change = counting()
    const socket = createConnection(port, '127.0.0.1')
    t.onTestFinished(() => void socket.destroy())
    const hello = connectBytes(4)
    socket.write(hello)
    const [connack] = (await once(socket, 'data')) as [Buffer]
    expect(change()).toMatchObject({ 'bytes.received': hello.length, 'bytes.sent': connack.length })
  })
})
