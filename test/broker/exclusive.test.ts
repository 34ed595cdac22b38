/** `$exclusive/<topic>`: who may have it, and when it is free again. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { connect, HUB_OPTIONS, type Peer, publish, startHub, subscription } from './support.ts'

let hub: Hub
let one: Peer
let two: Peer

beforeEach(async () => {
  hub = await startHub({ exclusiveSubscription: true })
  one = await connect(hub, 'one')
  two = await connect(hub, 'two')
})
afterEach(() => hub.stop())

const ask = async (peer: Peer, filter = '$exclusive/t') =>
  (await peer.client.subscribe([subscription(filter, 1)]))[0]

test('one client has it, others are refused, and the topic itself is open to everybody', async () => {
  expect(await ask(one)).toBe(1)
  expect(await ask(two)).toBe(ReasonCode.QuotaExceeded)
  expect(await ask(two, 't')).toBe(1)
  await publish(two, 't', 'x', 1)
  expect([one.receiver.texts, two.receiver.texts]).toEqual([['t=x'], ['t=x']])
})

test('its holder may subscribe again, and is no longer the holder once it has unsubscribed', async () => {
  await ask(one)
  expect(await ask(one)).toBe(1)
  expect(hub.exclusive.size).toBe(1)
  await two.client.unsubscribe(['$exclusive/t'])
  expect(await ask(two)).toBe(ReasonCode.QuotaExceeded)
  await one.client.unsubscribe(['$exclusive/t'])
  expect(await ask(two)).toBe(1)
  await publish(one, 't')
  expect([one.receiver.texts, two.receiver.texts]).toEqual([[], ['t=x']])
})

test('it is free when the session ends, not when only the connection does', async () => {
  const kept = await connect(hub, 'kept', { expiryIntervalMs: 60_000 })
  await ask(kept)
  await ask(one, '$exclusive/u')
  kept.client.close('tcp_closed')
  one.client.close('tcp_closed')
  expect(await ask(two)).toBe(ReasonCode.QuotaExceeded)
  expect(await ask(two, '$exclusive/u')).toBe(1)
  hub.kick('kept')
  expect(await ask(two)).toBe(1)
  hub.kick('two')
  expect(hub.exclusive.size).toBe(0)
})

test('retained messages of the topic are sent', async () => {
  await publish(two, 't', 'kept', 0, { retain: true })
  await ask(one)
  await vi.waitFor(() => expect(one.receiver.texts).toEqual(['t=kept']))
})

test.each(['$exclusive/', '$exclusive/t/+', '$exclusive/#', '$exclusive/$share/g/t', '$exclusive/$queue/t'])(
  'what is not a single topic is refused: %s',
  async (filter) => expect(await ask(one, filter)).toBe(ReasonCode.TopicFilterInvalid),
)

test('switched off it is refused; who had it keeps it, and frees it', async () => {
  await ask(one)
  hub.update({ ...HUB_OPTIONS, exclusiveSubscription: false })
  expect(await ask(two)).toBe(ReasonCode.TopicFilterInvalid)
  await publish(two, 't')
  expect(one.receiver.texts).toEqual(['t=x'])
  await one.client.unsubscribe(['$exclusive/t'])
  expect(hub.exclusive.size).toBe(0)
})

test('clients with different mountpoints have topics of their own', async () => {
  const mounted = await connect(hub, 'mounted', {}, { mountpoint: 'm/' })
  await ask(one)
  expect(await ask(mounted)).toBe(1)
  expect(await ask(two, '$exclusive/m/t')).toBe(ReasonCode.QuotaExceeded)
})

test('a client that has come back with another mountpoint frees its old topic with the next subscription', async () => {
  const kept = { cleanStart: false, expiryIntervalMs: 60_000 }
  await ask(await connect(hub, 'kept', kept, { mountpoint: 'old/' }))
  await ask(await connect(hub, 'kept', kept, { mountpoint: 'new/' }))
  expect(await ask(one, '$exclusive/old/t')).toBe(1)
  expect(await ask(one, '$exclusive/new/t')).toBe(ReasonCode.QuotaExceeded)
})

test('a refused client holds nothing: not who has too many subscriptions, not who is not allowed', async () => {
  hub.update({ ...HUB_OPTIONS, exclusiveSubscription: true, maxSubscriptions: 1 })
  await ask(one, 'other')
  expect(await ask(one)).toBe(ReasonCode.QuotaExceeded)
  hub.hooks.add('client.authorize', 'test', (_answer, info) =>
    info.clientId === 'two' ? { stop: { result: 'deny', from: 'test' } } : undefined,
  )
  expect(await ask(two)).toBe(ReasonCode.NotAuthorized)
  expect(hub.exclusive.size).toBe(0)
})
