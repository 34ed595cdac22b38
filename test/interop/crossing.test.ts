/** One broker for every device's language: messages that cross from one protocol to the other. */
import { expect, test } from 'vitest'
import { startBroker } from '../support/broker.ts'
import { connectMqtt, TRANSPORTS, VERSIONS } from './mqtt-peer.ts'
import { connectStomp } from './stomp-peer.ts'

for (const version of VERSIONS) {
  test(`what MQTT ${version} publishes, retained and at every QoS, STOMP clients get`, async () => {
    const broker = await startBroker()
    const meter = await connectMqtt(broker, { version })
    await meter.publish('meters/7/state', 'on', { qos: 1, retain: true })
    const desk = await connectStomp(broker)
    await desk.subscribe('meters/+/state', 'client-individual')
    const retained = await desk.next()
    expect(retained.headers).toMatchObject({
      destination: 'meters/7/state',
      retain: 'true',
      'content-type': 'text/plain',
    })
    expect(retained.body).toBe('on')
    await desk.answer('ack', retained)

    for (const qos of [0, 1, 2] as const) await meter.publish('meters/8/state', `at ${qos}`, { qos })
    const [first] = await desk.messages.take(3)
    expect(first?.body).toBe('at 0')
    expect(first?.headers.retain).toBeUndefined()
  })

  test(`what STOMP sends, retained and with QoS, MQTT ${version} clients get`, async () => {
    const broker = await startBroker()
    const desk = await connectStomp(broker)
    await desk.send('orders/1', 'kept', { qos: '1', retain: 'true' })
    const meter = await connectMqtt(broker, { version })
    await meter.subscribe('orders/+', { qos: 2 })
    expect(await meter.next()).toEqual({ topic: 'orders/1', payload: 'kept', qos: 1, retain: true })
    for (const qos of ['0', '1', '2']) await desk.send('orders/2', `at ${qos}`, { qos })
    const live = await meter.take(3)
    expect(live.map(({ payload, qos }) => `${payload} as ${qos}`).toSorted()).toEqual([
      'at 0 as 0',
      'at 1 as 1',
      'at 2 as 2',
    ])
  })
}

test('headers are user properties and content-type is the content type, both ways', async () => {
  const broker = await startBroker()
  const device = await connectMqtt(broker)
  await device.subscribe('to/mqtt')
  const desk = await connectStomp(broker, { via: 'ws' })
  await desk.subscribe('to/stomp')

  await desk.send('to/mqtt', '{}', { 'content-type': 'application/json', 'x-trace': 'a:b\nc', unit: '°C' })
  const arrived = await device.messages.next()
  expect(arrived.properties).toEqual({
    contentType: 'application/json',
    userProperties: { 'x-trace': 'a:b\nc', unit: '°C' },
  })

  await device.publish('to/stomp', 'Grüße', {
    properties: {
      contentType: 'text/plain; charset=utf-8',
      userProperties: { unit: '°C', 'x-y': 'a:b\nc', 'message-id': 'forged', subscription: 'forged' },
    },
  })
  const { headers, body } = await desk.next()
  expect(body).toBe('Grüße')
  expect(headers).toMatchObject({
    destination: 'to/stomp',
    subscription: 'sub-0',
    'content-type': 'text/plain; charset=utf-8',
    unit: '°C',
    'x-y': 'a:b\nc',
  })
  expect(headers['message-id']).not.toBe('forged')
})

test('a message goes to both protocols over every transport', async () => {
  const broker = await startBroker()
  const mqtt = await Promise.all(TRANSPORTS.map((via) => connectMqtt(broker, { via })))
  const stomp = await Promise.all(TRANSPORTS.map((via) => connectStomp(broker, { via })))
  await Promise.all([...mqtt, ...stomp].map((one) => one.subscribe('news/#')))
  await Promise.all([
    ...mqtt.map((one, i) => one.publish('news/mqtt', `mqtt ${i}`)),
    ...stomp.map((one, i) => one.send('news/stomp', `stomp ${i}`)),
  ])
  const everything = [0, 1, 2, 3].flatMap((i) => [`mqtt ${i}`, `stomp ${i}`]).toSorted()
  for (const one of mqtt) expect((await one.payloads(8)).toSorted()).toEqual(everything)
  for (const one of stomp) expect((await one.bodies(8)).toSorted()).toEqual(everything)
})

test('the mountpoints of a gateway and of a listener are before the topics of their clients only', async () => {
  const bind = '127.0.0.1:0'
  const broker = await startBroker({
    gateway: { stomp: { mountpoint: 'stomp/' } },
    listeners: { ws: { default: { bind, mountpoint: 'web/' } } },
  })
  const everything = await connectMqtt(broker)
  await everything.subscribe('#')
  const desk = await connectStomp(broker)
  await desk.subscribe('sales')
  const page = await connectMqtt(broker, { via: 'ws' })
  await page.subscribe('sales')
  await desk.send('sales', 'from stomp')
  await page.publish('sales', 'from the web')
  await everything.publish('sales', 'from everywhere')
  expect((await everything.take(3)).map(({ topic }) => topic)).toEqual(['stomp/sales', 'web/sales', 'sales'])
  expect(await desk.next()).toMatchObject({ body: 'from stomp', headers: { destination: 'sales' } })
  expect(await page.next()).toMatchObject({ topic: 'sales', payload: 'from the web' })
  await desk.expectSilence()
  await page.expectSilence()
})

test('a member of a shared subscription may speak either protocol', async () => {
  const broker = await startBroker()
  const worker = await connectMqtt(broker)
  await worker.subscribe('$share/crew/jobs', { qos: 1 })
  const desk = await connectStomp(broker)
  await desk.subscribe('$share/crew/jobs')
  const publisher = await connectMqtt(broker)
  const jobs = Array.from({ length: 20 }, (_, i) => String(i))
  for (const job of jobs) await publisher.publish('jobs', job, { qos: 1 })
  await worker.ping()
  await desk.sync()
  const mine = worker.messages.drain().map(({ payload }) => payload.toString())
  const theirs = desk.messages.drain().map(({ body }) => body)
  expect([...mine, ...theirs].toSorted((a, b) => Number(a) - Number(b))).toEqual(jobs)
  expect(mine.length).toBeGreaterThan(0)
  expect(theirs.length).toBeGreaterThan(0)
})

test('one client id may live in MQTT and in STOMP, and a second login takes over only within its own', async () => {
  const broker = await startBroker({
    gateway: { stomp: { clientinfo_override: { clientid: `\${Packet.headers.client-id}` } } },
  })
  const clientId = 'till-7'
  const headers = { 'client-id': clientId }
  const mqtt = await connectMqtt(broker, { clientId })
  const stomp = await connectStomp(broker, { headers })
  expect(stomp.library.connected.session).toBe(clientId)
  expect(broker.hub.clientCount).toBe(2)
  await mqtt.subscribe('t')
  await stomp.subscribe('t')

  const secondStomp = await connectStomp(broker, { via: 'ws', headers })
  expect(await stomp.gone()).toBe('Discarded')
  await mqtt.publish('t', 'to myself')
  expect(await mqtt.payloads(1)).toEqual(['to myself'])

  const secondMqtt = await connectMqtt(broker, { clientId, clean: false })
  expect((await mqtt.gone())?.reasonCode).toBe(0x8e)
  await secondStomp.subscribe('t')
  await secondMqtt.publish('t', 'still here')
  expect(await secondStomp.bodies(1)).toEqual(['still here'])
  expect(broker.hub.clientCount).toBe(2)
})
