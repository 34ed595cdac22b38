/** What outlives a connection: sessions, queues, messages on their way. */
import { expect, test } from 'vitest'
import { hookRun, startBroker } from '../support/broker.ts'
import { connectMqtt, received, VERSIONS } from './mqtt-peer.ts'
import { connectRaw } from './raw-mqtt.ts'

for (const version of VERSIONS) {
  /** A client whose session is kept. */
  const lasting = (clientId: string) => ({
    version,
    clientId,
    clean: false,
    ...(version === '5.0' ? { properties: { sessionExpiryInterval: 300 } } : {}),
  })

  test(`MQTT ${version}: messages for a client that is away wait in its session, in order`, async () => {
    const broker = await startBroker()
    const first = await connectMqtt(broker, lasting('sensor'))
    expect(first.connack?.sessionPresent).toBe(false)
    expect(await first.subscribe('orders/#', { qos: 2 })).toEqual([2])
    await first.end()

    const sender = await connectMqtt(broker, { version })
    for (const [i, qos] of ([2, 1, 0, 1, 2] as const).entries()) {
      await sender.publish('orders/x', `${i}@${qos}`, { qos })
    }
    const second = await connectMqtt(broker, lasting('sensor'))
    const payloads = await second.payloads(5)
    // mqtt.js hands out a QoS 2 message only when its PUBREL comes.
    expect(payloads.filter((payload) => !payload.endsWith('@2'))).toEqual(['1@1', '2@0', '3@1'])
    expect(payloads.filter((payload) => payload.endsWith('@2'))).toEqual(['0@2', '4@2'])
    if (version !== '3.1') expect(second.connack?.sessionPresent).toBe(true) // 3.1 has no such flag
    await second.expectSilence()
    await second.breakOff()

    const fresh = await connectMqtt(broker, { version, clientId: 'sensor', clean: true })
    await sender.publish('orders/x', 'for nobody', { qos: 1 })
    await fresh.expectSilence()
  })

  test(`MQTT ${version}: a second login with the same client id takes over session and connection`, async () => {
    const broker = await startBroker()
    const older = await connectMqtt(broker, lasting('meter'))
    await older.subscribe('to/meter', { qos: 1 })
    const newer = await connectMqtt(broker, lasting('meter'))
    const farewell = await older.gone()
    expect(farewell?.reasonCode).toBe(version === '5.0' ? 0x8e : undefined)
    if (version !== '3.1') expect(newer.connack?.sessionPresent).toBe(true)

    const sender = await connectMqtt(broker, { version })
    await sender.publish('to/meter', 'still subscribed', { qos: 1 })
    expect(await newer.next()).toMatchObject({ payload: 'still subscribed' })
    expect(older.messages.size).toBe(0)
    expect(broker.hub.clientCount).toBe(2)
  })

  test(`MQTT ${version}: what was not acknowledged comes again, marked as a duplicate`, async () => {
    const broker = await startBroker()
    const clientId = 'forgetful'
    const before = await connectRaw(broker, version, lasting(clientId))
    before.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 't/+', qos: 2 }] })
    expect(await before.next()).toMatchObject({ cmd: 'suback', granted: [2] })
    const sender = await connectMqtt(broker, { version })
    await sender.publish('t/1', 'one', { qos: 1 })
    await sender.publish('t/2', 'two', { qos: 2 })
    for (const topic of ['t/1', 't/2']) expect(await before.next()).toMatchObject({ topic, dup: false })
    await before.breakOff()

    const after = await connectMqtt(broker, lasting(clientId))
    const packets = await after.messages.take(2)
    expect(packets.map(({ dup }) => dup)).toEqual([true, true])
    expect(packets.map(received)).toMatchObject([{ payload: 'one' }, { payload: 'two' }])
    await after.expectSilence()
    await after.breakOff()
    const done = await connectMqtt(broker, lasting(clientId))
    await done.expectSilence()
  })

  // [MQTT-4.3.3-10] [MQTT-4.4.0-1]
  test(`MQTT ${version}: QoS 2 is exactly once when either side breaks off in the middle`, async () => {
    const broker = await startBroker()
    const listening = await connectRaw(broker, version, lasting('listener'))
    listening.send({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic: 'money', qos: 2 }] })
    await listening.next()
    const payment = { cmd: 'publish', topic: 'money', payload: '100', qos: 2, messageId: 5 } as const

    const paying = await connectRaw(broker, version, lasting('payer'))
    paying.send({ ...payment, dup: false, retain: false })
    expect(await paying.next()).toMatchObject({ cmd: 'pubrec', messageId: 5 })
    await paying.breakOff()
    const payer = await connectRaw(broker, version, lasting('payer'))
    payer.send({ ...payment, dup: true, retain: false })
    expect(await payer.next()).toMatchObject({ cmd: 'pubrec', messageId: 5 })
    payer.send({ cmd: 'pubrel', messageId: 5 })
    expect(await payer.next()).toMatchObject({ cmd: 'pubcomp', messageId: 5 })

    const paid = await listening.next()
    expect(paid).toMatchObject({ cmd: 'publish', topic: 'money', qos: 2 })
    const { messageId } = paid
    listening.send({ cmd: 'pubrec', ...idOf(messageId) })
    expect(await listening.next()).toMatchObject({ cmd: 'pubrel', messageId })
    await listening.expectSilence()
    await listening.breakOff()
    const listener = await connectRaw(broker, version, lasting('listener'))
    expect(await listener.next()).toMatchObject({ cmd: 'pubrel', messageId })
    listener.send({ cmd: 'pubcomp', ...idOf(messageId) })
    await listener.expectSilence()
  })
}

test('a session of MQTT 5 ends when its expiry interval has passed', async () => {
  const broker = await startBroker()
  const options = { clientId: 'short', clean: false, properties: { sessionExpiryInterval: 1 } }
  const first = await connectMqtt(broker, options)
  await first.subscribe('t', { qos: 1 })
  await first.breakOff()
  const second = await connectMqtt(broker, options)
  expect(second.connack?.sessionPresent).toBe(true)

  const over = hookRun(broker, 'session.terminated', 'short')
  await second.breakOff()
  await over
  const third = await connectMqtt(broker, options)
  expect(third.connack?.sessionPresent).toBe(false)
})

test('a session of MQTT 5 can be ended with the goodbye, and is bounded by the broker', async () => {
  const broker = await startBroker({ mqtt: { max_session_expiry_interval: '60s' } })
  const options = { clientId: 'x', clean: false, properties: { sessionExpiryInterval: 3600 } }
  const first = await connectMqtt(broker, options)
  expect(first.connack?.properties?.sessionExpiryInterval).toBe(60)
  await first.client.endAsync(false, { properties: { sessionExpiryInterval: 0 } })
  const second = await connectMqtt(broker, options)
  expect(second.connack?.sessionPresent).toBe(false)
})

test('a session made over MQTT 3.1.1 is found again over MQTT 5 and another transport', async () => {
  const broker = await startBroker()
  const old = await connectMqtt(broker, { version: '3.1.1', clientId: 'upgraded', clean: false })
  await old.subscribe('t', { qos: 1 })
  await old.end()
  const sender = await connectMqtt(broker)
  await sender.publish('t', 'kept', { qos: 1, properties: { contentType: 'text/plain' } })
  const properties = { sessionExpiryInterval: 60 }
  const now = await connectMqtt(broker, { via: 'wss', clientId: 'upgraded', clean: false, properties })
  expect(now.connack?.sessionPresent).toBe(true)
  const packet = await now.messages.next()
  expect(received(packet)).toMatchObject({ payload: 'kept', qos: 1 })
  expect(packet.properties?.contentType).toBe('text/plain')
})

function idOf(messageId: number | undefined): { messageId: number } {
  return { messageId: messageId ?? 0 }
}
