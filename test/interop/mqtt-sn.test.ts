/** MQTT-SN devices beside mqtt.js, a STOMP client and the official one of NATS. */
import { expect, test } from 'vitest'
import { hex, sized, snPeer } from '../gateways/support/sn-peer.ts'
import { startBroker } from '../support/broker.ts'
import { connectMqtt } from './mqtt-peer.ts'
import { connectNats, listen, natsPort } from './nats-peer.ts'
import { connectStomp } from './stomp-peer.ts'

async function start() {
  const listeners = { udp: { default: { bind: '127.0.0.1:0' } } }
  const nats = { listeners: { tcp: { default: { bind: '127.0.0.1:0' } } } }
  const broker = await startBroker({ gateway: { mqttsn: { listeners, mountpoint: 'sn/' }, nats } })
  const device = await snPeer(broker.log.addressOf('mqttsn:udp:default')?.port ?? -1)
  await device.connect('device')
  return { broker, device }
}

test.each([0, 1, 2] as const)('a device and an MQTT client hear each other at QoS %i', async (qos) => {
  const { broker, device } = await start()
  const client = await connectMqtt(broker)
  await client.subscribe('sn/up', { qos })
  const flags = ['00', '20', '40'][qos] as string
  const up = (await device.ask(sized(`0a00000001${hex('up')}`))).slice(4, 8)
  device.send(sized(`0c${flags}${up}0007${hex('hello')}`))
  expect(await client.next()).toMatchObject({ topic: 'sn/up', payload: 'hello', qos })
  if (qos > 0) await device.next()

  await device.ask(sized(`12${flags}0002${hex('down/+')}`))
  client.client.publish('sn/down/1', 'back', { qos })
  expect(await device.next()).toBe(sized(`0a04020001${hex('down/1')}`))
  const got = await device.ask('070b0402000100')
  expect(got.slice(0, 10)).toBe(`0b0c${flags}0402`)
  expect(got.slice(14)).toBe(hex('back'))
})

test('a device and a STOMP client hear each other', async () => {
  const { broker, device } = await start()
  const till = await connectStomp(broker)
  await till.subscribe('sn/up')
  device.send(sized(`0c02${hex('up')}0000${hex('x')}`))
  expect((await till.next()).body).toBe('x')
  await device.ask(sized(`12000002${hex('down')}`))
  await till.send('sn/down', 'y')
  expect((await device.next()).slice(14)).toBe(hex('y'))
})

test('a device and a NATS client hear each other', async () => {
  const { broker, device } = await start()
  const nats = await connectNats(natsPort(broker))
  const inbox = listen(nats, 'sn.up')
  await nats.flush()
  device.send(sized(`0c02${hex('up')}0000${hex('x')}`))
  device.send(sized(`0c22${hex('up')}0007${hex('y')}`))
  expect(await device.next()).toBe(`070d${hex('up')}000700`)
  expect((await inbox.take(2)).map((message) => message.string())).toEqual(['x', 'y'])

  expect(await device.ask(sized(`12200002${hex('down/1')}`))).toBe('0813200401000200')
  nats.publish('sn.down.1', 'z')
  const got = await device.next()
  expect(got.slice(0, 10)).toBe('080c000401')
  expect(got.slice(14)).toBe(hex('z'))
})

test('what a device, an MQTT, a STOMP and a NATS client publish reaches each of them', async () => {
  const { broker, device } = await start()
  const [mqtt, stomp, nats] = [
    await connectMqtt(broker),
    await connectStomp(broker),
    await connectNats(natsPort(broker)),
  ]
  expect(await device.ask(sized(`12200001${hex('all')}`))).toBe('0813200401000100')
  await mqtt.subscribe('sn/all', { qos: 1 })
  await stomp.subscribe('sn/all')
  const inbox = listen(nats, 'sn.all')
  await nats.flush()
  const heard = async () => {
    const frame = await device.next()
    if (frame.slice(4, 6) === '20') device.send(`070d0401${frame.slice(10, 14)}00`)
    const [one, two, three] = [await mqtt.next(), await stomp.next(), await inbox.next()]
    return [Buffer.from(frame.slice(14), 'hex').toString(), one.payload, two.body, three.string()]
  }
  device.send(sized(`0c000401 0000${hex('sn')}`.replace(' ', '')))
  expect(await heard()).toEqual(Array(4).fill('sn'))
  await mqtt.publish('sn/all', 'mqtt', { qos: 1 })
  expect(await heard()).toEqual(Array(4).fill('mqtt'))
  await stomp.send('sn/all', 'stomp')
  expect(await heard()).toEqual(Array(4).fill('stomp'))
  nats.publish('sn.all', 'nats')
  expect(await heard()).toEqual(Array(4).fill('nats'))
})
