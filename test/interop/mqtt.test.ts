/** mqtt.js in each version of MQTT over each transport. */
import { expect, test } from 'vitest'
import { startBroker } from '../support/broker.ts'
import { connectMqtt, TRANSPORTS, VERSIONS } from './mqtt-peer.ts'

for (const version of VERSIONS) {
  for (const via of TRANSPORTS) {
    test(`MQTT ${version} over ${via}: messages of every QoS come back as they were sent`, async () => {
      const broker = await startBroker()
      const alice = await connectMqtt(broker, { version, via, clientId: 'alice' })
      const bob = await connectMqtt(broker, { version, via, clientId: 'bob' })
      expect(broker.hub.client('alice')?.info).toMatchObject({
        protocolName: version === '3.1' ? 'MQIsdp' : 'MQTT',
        protocolVersion: { '3.1': '3', '3.1.1': '4', '5.0': '5' }[version],
        listener: `${via === 'tls' ? 'ssl' : via}:default`,
      })
      expect(await alice.subscribe(['a/0', 'a/1'], { qos: 0 })).toEqual([0, 0])
      expect(await bob.subscribe('b/+', { qos: 2 })).toEqual([2])

      const large = Buffer.alloc(300_000, 'x')
      await alice.publish('b/0', '')
      await alice.publish('b/1', 'grüß dich', { qos: 1 })
      await alice.publish('b/2', large, { qos: 2 })
      await bob.publish('a/1', 'lowered to what was granted', { qos: 2 })

      expect(await bob.take(3)).toEqual([
        { topic: 'b/0', payload: '', qos: 0, retain: false },
        { topic: 'b/1', payload: 'grüß dich', qos: 1, retain: false },
        { topic: 'b/2', payload: large.toString(), qos: 2, retain: false },
      ])
      expect(await alice.next()).toMatchObject({ payload: 'lowered to what was granted', qos: 0 })

      await bob.client.unsubscribeAsync('b/+')
      await alice.publish('b/1', 'nobody listens', { qos: 1 })
      await bob.expectSilence()
      await alice.end()
      await bob.end()
      expect(broker.hub.clientCount).toBe(0)
    })
  }
}

test('clients of all versions and transports meet on one topic', async () => {
  const broker = await startBroker()
  const everybody = await Promise.all(
    VERSIONS.flatMap((version) =>
      TRANSPORTS.map((via) => connectMqtt(broker, { version, via, clientId: `${version} ${via}` })),
    ),
  )
  await Promise.all(everybody.map((one) => one.subscribe('all/#', { qos: 2 })))
  await Promise.all(
    everybody.map((one, i) => one.publish(`all/${i}`, String(i), { qos: (i % 3) as 0 | 1 | 2 })),
  )
  const sent = everybody.map((_, i) => `${i}@${i % 3}`).toSorted()
  for (const one of everybody) {
    const got = await one.take(everybody.length)
    expect(got.map(({ payload, qos }) => `${payload}@${qos}`).toSorted()).toEqual(sent)
  }
})

for (const version of VERSIONS) {
  test(`MQTT ${version}: a retained message waits for subscribers until an empty one takes it away`, async () => {
    const broker = await startBroker()
    const publisher = await connectMqtt(broker, { version })
    await publisher.publish('lamp/1', 'on', { qos: 1, retain: true })
    await publisher.publish('lamp/2', 'off', { qos: 0, retain: true })

    const early = await connectMqtt(broker, { version })
    await early.subscribe('lamp/#', { qos: 1 })
    expect((await early.take(2)).toSorted((a, b) => a.topic.localeCompare(b.topic))).toEqual([
      { topic: 'lamp/1', payload: 'on', qos: 1, retain: true },
      { topic: 'lamp/2', payload: 'off', qos: 0, retain: true },
    ])
    // [MQTT-3.3.1-12] to who subscribes already it comes as any other message
    await publisher.publish('lamp/1', '', { qos: 1, retain: true })
    expect(await early.next()).toEqual({ topic: 'lamp/1', payload: '', qos: 1, retain: false })

    const late = await connectMqtt(broker, { version })
    await late.subscribe('lamp/1')
    await late.expectSilence()
  })

  // [MQTT-3.1.2-8] [MQTT-3.14.4-3] [MQTT-3.1.2-14]
  test(`MQTT ${version}: a will is published when the connection breaks, not after a goodbye`, async () => {
    const broker = await startBroker()
    const watcher = await connectMqtt(broker, { version })
    await watcher.subscribe('gone/#', { qos: 2 })
    const will = (topic: string) => ({
      topic,
      payload: Buffer.from('farewell'),
      qos: 1 as const,
      retain: true,
    })
    const polite = await connectMqtt(broker, { version, will: will('gone/polite') })
    await polite.end()
    const broken = await connectMqtt(broker, { version, will: will('gone/broken') })
    await broken.breakOff()
    expect(await watcher.next()).toEqual({ topic: 'gone/broken', payload: 'farewell', qos: 1, retain: false })
    await watcher.expectSilence()

    const late = await connectMqtt(broker, { version })
    await late.subscribe('gone/#')
    expect(await late.next()).toMatchObject({ topic: 'gone/broken', retain: true })
  })
}

test('a client that keeps silent longer than its keep alive is gone, and MQTT 5 tells it so', async () => {
  const broker = await startBroker({ mqtt: { keepalive_multiplier: 1 } })
  const watcher = await connectMqtt(broker)
  await watcher.subscribe('gone')
  const never = { set: () => 0, clear: () => {} } // a timer for its pings that never fires
  const farewells = VERSIONS.map(async (version) => {
    const will = { topic: 'gone', payload: Buffer.from(version), qos: 0 as const, retain: false }
    const sleeper = await connectMqtt(broker, { version, keepalive: 1, timerVariant: never, will })
    return (await sleeper.gone())?.reasonCode
  })
  expect(await Promise.all(farewells)).toEqual([undefined, undefined, 0x8d])
  expect((await watcher.payloads(3)).toSorted()).toEqual([...VERSIONS])
})

test('filters with + and # match as they should, and topics with $ only where they are named', async () => {
  const broker = await startBroker()
  const publisher = await connectMqtt(broker)
  const listener = await connectMqtt(broker)
  const cases: Record<string, string[]> = {
    '#': ['a', 'a/b', 'a/b/c', '/'],
    '+': ['a'],
    '+/b': ['a/b'],
    'a/#': ['a', 'a/b', 'a/b/c'],
    'a/+/c': ['a/b/c'],
    '/+': ['/'],
    '$own/#': ['$own/x'],
  }
  for (const [filter, expected] of Object.entries(cases)) {
    await listener.subscribe(filter)
    for (const topic of ['a', 'a/b', 'a/b/c', '/', '$own/x']) await publisher.publish(topic, filter)
    expect(
      (await listener.take(expected.length)).map(({ topic }) => topic),
      filter,
    ).toEqual(expected)
    await listener.expectSilence()
    await listener.client.unsubscribeAsync(filter)
  }
})

test('the members of a shared subscription get each message once between them', async () => {
  const broker = await startBroker()
  const publisher = await connectMqtt(broker)
  const workers = await Promise.all(VERSIONS.map((version) => connectMqtt(broker, { version })))
  for (const worker of workers) expect(await worker.subscribe('$share/crew/jobs/+', { qos: 1 })).toEqual([1])
  const foreman = await connectMqtt(broker)
  await foreman.subscribe('jobs/+', { qos: 1 })

  const jobs = Array.from({ length: 30 }, (_, i) => String(i))
  for (const job of jobs) await publisher.publish(`jobs/${job}`, job, { qos: 1 })

  expect(await foreman.payloads(30)).toEqual(jobs)
  for (const worker of workers) await worker.ping()
  const shares = workers.map((worker) => worker.messages.drain().map(({ payload }) => payload.toString()))
  expect(shares.flat().toSorted((a, b) => Number(a) - Number(b))).toEqual(jobs)
  for (const share of shares) expect(share.length).toBeGreaterThan(0)
})
