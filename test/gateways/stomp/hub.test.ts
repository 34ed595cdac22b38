import { expect, onTestFinished, test, vi } from 'vitest'
import type { HubClient } from '../../../broker/client.ts'
import { statsOf } from '../../../broker/client-stats.ts'
import { Message, type QoS } from '../../../model/message.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { startHub } from '../../broker/support.ts'
import { type StompChanges, type StompPeer, stompBed } from '../support/stomp-peer.ts'

async function start(changes: StompChanges = {}) {
  const hub = await startHub()
  onTestFinished(() => hub.stop())
  const bed = stompBed(changes, { connect: (...args) => hub.connect(...args) })
  const publish = (topic: string, payload: string, qos: QoS = 0, retain = false) =>
    hub.publish(Message.of(topic, Buffer.from(payload), qos, retain, undefined, undefined, Date.now()))
  return { hub, bed, publish }
}

/** Waits for the next `count` frames. */
async function take(peer: StompPeer, count: number) {
  const frames = peer.frames()
  await vi.waitFor(() => {
    frames.push(...peer.frames())
    expect(frames).toHaveLength(count)
  })
  return frames
}

test('a STOMP client hears what is published in its mountpoint, once for each subscription that matches', async () => {
  const { bed, publish } = await start({ mountpoint: 'stomp/' })
  const peer = bed.peer().connect()
  peer.send('SUBSCRIBE', { id: 'one', destination: 'a/+' }).send('SUBSCRIBE', { id: 'all', destination: '#' })
  await publish('stomp/a/1', 'x')
  await publish('a/1', 'elsewhere')
  const frames = await take(peer, 2)
  expect(new Set(frames.map((one) => one.headers.subscription))).toEqual(new Set(['all', 'one']))
  expect(frames.map((one) => one.headers.destination)).toEqual(['a/1', 'a/1'])
})

test('a STOMP client has statistics', async () => {
  const { hub, bed, publish } = await start({ clientinfo_override: { clientid: 'till-7' } })
  const peer = bed.peer().connect().send('SUBSCRIBE', { id: '0', destination: 'a' })
  peer.send('SEND', { destination: 'b' }, 'x')
  await publish('a', 'y')
  const client = hub.client('stomp\0till-7') as HubClient
  expect(statsOf(client, hub.options)).toMatchObject({
    recv_oct: client.traffic?.bytesReceived,
    recv_msg: 1,
    send_msg: 1,
    subscriptions_cnt: 1,
  })
  expect(client.traffic?.bytesReceived).toBeGreaterThan('SUBSCRIBE'.length)
})

test('what a hook changes of a message is not said of the next one, though both have the same headers', async () => {
  const { hub, bed } = await start()
  let count = 0
  hub.hooks.add('message.publish', 'test', (message) => {
    if (typeof message !== 'object') return undefined
    if (++count === 1) message.properties?.userProperties?.push(['changed', 'yes'])
    if (count === 3) message.topic = 'elsewhere'
    return undefined
  })
  const peer = bed.peer().connect().send('SUBSCRIBE', { id: '0', destination: '#' })
  for (let i = 0; i < 2; i++) peer.send('SEND', { destination: 'a', x: '1' }, 'with a property')
  for (let i = 0; i < 2; i++) peer.send('SEND', { destination: 'a' }, 'without')
  const frames = await take(peer, 4)
  expect(frames.map(({ headers }) => [headers.destination, headers.x, headers.changed])).toEqual([
    ['a', '1', 'yes'],
    ['a', '1', undefined],
    ['elsewhere', undefined, undefined],
    ['a', undefined, undefined],
  ])
})

test('retained messages follow a SUBSCRIBE, marked as such', async () => {
  const { bed } = await start()
  const peer = bed.peer().connect()
  peer.send('SEND', { destination: 'state', retain: 'true', receipt: 's' }, 'on')
  await take(peer, 1)
  peer.send('SUBSCRIBE', { id: '0', destination: '#', receipt: 'r' })
  const frames = await take(peer, 2)
  expect(frames[0]).toMatchObject({ command: 'RECEIPT' })
  expect(frames[1]).toMatchObject({ command: 'MESSAGE', headers: { retain: 'true' }, body: 'on' })
})

test('a shared subscription gives each message to one of the group', async () => {
  const { bed, publish } = await start()
  const peers = [bed.peer().connect(), bed.peer().connect()]
  for (const peer of peers) peer.send('SUBSCRIBE', { id: '0', destination: '$share/g/job' })
  for (let i = 0; i < 10; i++) await publish('job', String(i))
  const received = peers.flatMap((peer) => peer.frames())
  expect(received.map((one) => one.body).toSorted((a, b) => a.localeCompare(b))).toEqual(
    '0123456789'.split(''),
  )
})

test('the window holds back what is unacknowledged', async () => {
  const { bed, publish } = await start({ max_unacked: 2 })
  const peer = bed.peer().connect().send('SUBSCRIBE', { id: '0', destination: 'a', ack: 'client' })
  for (const body of ['x', 'y', 'z']) await publish('a', body, 1)
  const first = await take(peer, 2)
  peer.send('ACK', { id: first[1]?.headers.ack as string })
  expect((await take(peer, 1))[0]?.body).toBe('z')
})

test('a message in flight for a subscription that is gone does not block the window', async () => {
  const { bed, publish } = await start({ max_unacked: 1 })
  const peer = bed.peer().connect().send('SUBSCRIBE', { id: '0', destination: 'a', ack: 'client' })
  for (const body of ['x', 'y', 'z']) await publish('a', body, 1)
  await take(peer, 1)
  peer.send('UNSUBSCRIBE', { id: '0' }).send('SUBSCRIBE', { id: '1', destination: 'b', ack: 'client' })
  await publish('b', 'new', 1)
  expect((await take(peer, 1))[0]?.body).toBe('new')
})

test('a second login of a client id ends the first, in this gateway only; a kick says so', async () => {
  const { hub, bed } = await start({ clientinfo_override: { clientid: 'till-7' } })
  const first = bed.peer().connect()
  const second = bed.peer().connect()
  expect(first.frames().at(-1)?.body).toBe('Discarded')
  expect(hub.clientCount).toBe(1)
  expect(hub.kick('stomp\0till-7')).toBe(true)
  expect(second.frames().at(-1)?.body).toBe('Kicked out')
  expect(hub.clientCount).toBe(0)
})

test('access rules are asked with the topic of the client; a denial ends the connection', async () => {
  const { hub, bed } = await start({ mountpoint: 'stomp/' })
  hub.hooks.add('client.authorize', 'test', (_value, _client, _action, topic) =>
    topic === 'secret' ? { stop: { result: 'deny', from: 'test' } } : undefined,
  )
  const sender = bed.peer().connect().send('SEND', { destination: 'secret' }, 'x')
  const reader = bed.peer().connect().send('SUBSCRIBE', { id: '0', destination: 'secret' })
  for (const peer of [sender, reader]) {
    expect((await peer.settled()).at(-1)?.body).toBe('Insufficient permissions for secret')
    expect(peer.isClosed).toBe(true)
  }
})

test('a login that hooks refuse is told why', async () => {
  const { hub, bed } = await start()
  hub.hooks.add('client.connect', 'test', () => ({ stop: { refused: ReasonCode.Banned } }))
  const peer = bed.peer().send('CONNECT', { 'accept-version': '1.2' })
  expect((await peer.settled())[0]?.body).toBe('Login Failed: banned')
  expect(peer.isClosed).toBe(true)
})
