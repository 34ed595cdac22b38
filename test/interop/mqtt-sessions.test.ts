/** What outlives a connection: sessions, queues, messages on their way. */
import { expect, test } from 'vitest'
import { hookRun, startBroker } from '../support/broker.ts'
import { Inbox } from '../support/inbox.ts'
import { connectMqtt, type PeerOptions, received, VERSIONS } from './mqtt-peer.ts'

for (const version of VERSIONS) {
  /** A client whose session is kept. */
  const lasting = (clientId: string): PeerOptions => ({
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
    expect(await second.payloads(5)).toEqual(['0@2', '1@1', '2@0', '3@1', '4@2'])
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
    const arrived = new Inbox<string>('a message that is not acknowledged')
    const forgetful = await connectMqtt(broker, {
      ...lasting('forgetful'),
      customHandleAcks: (topic) => arrived.put(topic), // and never acknowledges
    })
    await forgetful.subscribe('t/+', { qos: 2 })
    const sender = await connectMqtt(broker, { version })
    await sender.publish('t/1', 'one', { qos: 1 })
    await sender.publish('t/2', 'two', { qos: 2 })
    expect(await arrived.take(2)).toEqual(['t/1', 't/2'])
    await forgetful.breakOff()

    const again = await connectMqtt(broker, lasting('forgetful'))
    const packets = await again.messages.take(2)
    expect(packets.map(({ dup }) => dup)).toEqual([true, true])
    expect(packets.map(received)).toMatchObject([{ payload: 'one' }, { payload: 'two' }])
    await again.expectSilence()
    await again.breakOff()

    const third = await connectMqtt(broker, lasting('forgetful'))
    await third.expectSilence()
  })

  test(`MQTT ${version}: QoS 2 is exactly once when the publisher breaks off in the middle`, async () => {
    const broker = await startBroker()
    const listener = await connectMqtt(broker, { version })
    await listener.subscribe('money', { qos: 2 })
    const payer = await connectMqtt(broker, lasting('payer'))
    payer.client.on('packetreceive', function cut(packet) {
      if (packet.cmd !== 'pubrec') return
      payer.client.off('packetreceive', cut)
      payer.client.stream.destroy() // before PUBREL
    })
    const paid = payer.client.publishAsync('money', '100', { qos: 2 })
    await payer.gone()
    payer.client.reconnect() // sends the PUBLISH again, as it has seen no PUBREC
    await paid
    expect(await listener.next()).toMatchObject({ payload: '100', qos: 2 })
    await listener.expectSilence()
  })
}

test('a session of MQTT 5 ends when its expiry interval has passed', async () => {
  const broker = await startBroker()
  const options: PeerOptions = { clientId: 'short', clean: false, properties: { sessionExpiryInterval: 1 } }
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
  const options: PeerOptions = { clientId: 'x', clean: false, properties: { sessionExpiryInterval: 3600 } }
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
