import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import type { RetainerOptions } from '../../broker/retainer.ts'
import { connect, HUB_OPTIONS, type Peer, publish, startHub, subscription } from './support.ts'

let hub: Hub
let pub: Peer

beforeEach(async () => {
  hub = await startHub()
  pub = await connect(hub, 'pub')
})
afterEach(async () => {
  vi.useRealTimers()
  await hub.stop()
})

function configure(changes: Partial<RetainerOptions>): void {
  hub.update({ ...HUB_OPTIONS, retainer: { ...HUB_OPTIONS.retainer, ...changes } })
}

const retain = (topic: string, payload = 'x', properties = {}) =>
  publish(pub, topic, payload, 0, { retain: true, properties })
const count = () => hub.kernel.storage.retainedCount

test('a payload above the limit is routed but not retained, and what was retained stays', async () => {
  await pub.client.subscribe([subscription('t')])
  await retain('t', 'small')
  await retain('t', 'x'.repeat(1025))
  expect(pub.receiver.deliveries).toHaveLength(2)
  const sub = await connect(hub, 'sub')
  await sub.client.subscribe([subscription('t')])
  await vi.waitFor(() => expect(sub.receiver.texts).toEqual(['t=small']))
})

test('when there are as many as allowed, only topics that have one can retain', async () => {
  configure({ maxMessages: 2 })
  for (const topic of ['a', 'b', 'c']) await retain(topic)
  expect(count()).toBe(2)
  await retain('a', 'new')
  const sub = await connect(hub, 'sub')
  await sub.client.subscribe([subscription('#')])
  await vi.waitFor(() => expect(sub.receiver.texts.toSorted()).toEqual(['a=new', 'b=x']))
  await retain('a', '')
  await retain('c')
  expect(count()).toBe(2)
})

test('messages without an expiry of their own get the one configured, those with one keep it', async () => {
  vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] })
  configure({ expiryMs: 10_000, sweepIntervalMs: 1000 })
  await retain('short')
  await retain('long', 'x', { messageExpiryInterval: 60 })
  vi.advanceTimersByTime(11_000)
  expect(hub.kernel.storage.hasRetained('short')).toBe(false)
  expect(hub.kernel.storage.hasRetained('long')).toBe(true)
  vi.advanceTimersByTime(60_000)
  expect(count()).toBe(0)
})

test('the message that deletes is hidden from subscribers if so configured', async () => {
  configure({ hidesClearing: true })
  await pub.client.subscribe([subscription('t')])
  await retain('t', 'there')
  await retain('t', '')
  expect(pub.receiver.texts).toEqual(['t=there'])
  expect(count()).toBe(0)
})

test('switched off, nothing is retained or handed out, and what is there comes back with it', async () => {
  await retain('before')
  configure({ enabled: false })
  await retain('meanwhile')
  const sub = await connect(hub, 'sub')
  await sub.client.subscribe([subscription('#')])
  configure({ enabled: true })
  await sub.client.subscribe([subscription('+')])
  await vi.waitFor(() => expect(sub.receiver.texts).toEqual(['before=x']))
})

test('a delivery rate holds for the messages of new subscriptions', async () => {
  for (let i = 0; i < 200; i++) await retain(`t/${i}`)
  configure({ deliveryRate: { count: 100, perMs: 1000 } })
  const sub = await connect(hub, 'sub')
  const from = performance.now()
  await sub.client.subscribe([subscription('t/#')])
  await vi.waitFor(() => expect(sub.receiver.deliveries.length).toBeGreaterThan(10))
  const allowed = 6 + (performance.now() - from) / 10
  expect(sub.receiver.deliveries.length).toBeLessThanOrEqual(allowed)
  configure({})
  await vi.waitFor(() => expect(sub.receiver.deliveries).toHaveLength(200))
})
