/** What there is now, and the most there has been. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { connect, publish, startHub, subscription } from './support.ts'

const KEPT = { cleanStart: false, expiryIntervalMs: 60_000 }

let hub: Hub
beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

function now(): Record<string, number> {
  return Object.fromEntries(hub.stats.read())
}

test('clients are counted, and remembered when they have gone', async () => {
  await connect(hub, 'c1')
  const { client } = await connect(hub, 'c2', KEPT)
  client.close('tcp_closed')
  expect(now()).toMatchObject({
    'connections.count': 2, // with the one that is away
    'live_connections.count': 1,
    'live_connections.max': 2,
    'sessions.count': 2,
    'channels.count': 2,
  })
  hub.kick('c1')
  hub.kick('c2')
  expect(now()).toMatchObject({
    'connections.count': 0,
    'connections.max': 2,
    'sessions.count': 0,
    'sessions.max': 2,
  })
})

test('subscriptions, subscribers and filters are counted', async () => {
  const { client: one } = await connect(hub, 'c1')
  const { client: other } = await connect(hub, 'c2')
  await one.subscribe([subscription('a'), subscription('b/+'), subscription('$share/g/a')])
  await other.subscribe([subscription('a'), subscription('a', 1), subscription('$share/g/a')])
  expect(now()).toMatchObject({
    'subscriptions.count': 5,
    'suboptions.count': 5,
    'subscriptions.shared.count': 2,
    'subscribers.count': 2,
    'topics.count': 2, // a, b/+
  })
  await one.unsubscribe(['a', 'b/+', '$share/g/a'])
  expect(now()).toMatchObject({
    'subscriptions.count': 2,
    'subscriptions.shared.count': 1,
    'subscribers.count': 1,
    'topics.count': 1,
    'topics.max': 2,
  })
  other.close('normal')
  expect(now()).toMatchObject({
    'subscriptions.count': 0,
    'subscriptions.shared.count': 0,
    'subscribers.count': 0,
    'topics.count': 0,
    'subscriptions.max': 5,
  })
})

test('a session that is away keeps its subscriptions counted until it ends', async () => {
  const { client } = await connect(hub, 'c1', KEPT)
  await client.subscribe([subscription('a')])
  client.close('tcp_closed')
  expect(hub.stats.get('subscribers.count')).toBe(1)
  await connect(hub, 'c1')
  expect(hub.stats.get('subscribers.count')).toBe(0)
})

test('retained messages are counted', async () => {
  const peer = await connect(hub, 'c1')
  await publish(peer, 'a', 'x', 0, { retain: true })
  await publish(peer, 'b', 'x', 0, { retain: true })
  await publish(peer, 'a', '', 0, { retain: true })
  expect(now()).toMatchObject({ 'retained.count': 1 })
})

test('a feature adds its own number', () => {
  let count = 3
  hub.stats.provide('delayed', () => count)
  expect(now()).toMatchObject({ 'delayed.count': 3, 'delayed.max': 3 })
  count = 1
  expect(hub.stats.get('delayed.count')).toBe(1)
  expect(hub.stats.get('delayed.max')).toBe(3)
  expect(hub.stats.get('nothing.count')).toBeUndefined()
})
