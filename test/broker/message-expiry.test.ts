/** `mqtt.message_expiry_interval`: messages that bring no expiry of their own. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { subscriber, turns } from './mqtt/raw-peer.ts'
import { connect, HUB_OPTIONS, type Peer, publish, startHub, subscription } from './support.ts'

const KEPT = { cleanStart: false, expiryIntervalMs: Number.POSITIVE_INFINITY }
let hub: Hub
let pub: Peer

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] })
  hub = await startHub({ messageExpiryMs: 10_000 })
  pub = await connect(hub, 'pub', {}, { protocolVersion: '4' })
})
afterEach(async () => {
  vi.useRealTimers()
  await hub.stop()
})

const OWN = { properties: { messageExpiryInterval: 60 } }

test('what waits longer is dropped; what the publisher has said counts more', async () => {
  const sub = await connect(hub, 'sub', KEPT)
  await sub.client.subscribe([subscription('#', 1)])
  sub.client.close('tcp_closed')
  await publish(pub, 'default', 'x', 1)
  await publish(pub, 'own', 'x', 1, OWN)
  vi.advanceTimersByTime(10_000)
  await publish(pub, 'late', 'x', 1)
  const back = await connect(hub, 'sub', KEPT)
  expect(back.receiver.packetIds).toHaveLength(2)
  expect(back.receiver.texts).toEqual(['own=x', 'late=x'])
})

// [MQTT-3.3.2-6]
test('MQTT 5 subscribers are told what is left, also of what MQTT 3 clients publish', async () => {
  const sub = subscriber(hub, '#', '00')
  await publish(pub, 'plain')
  await publish(pub, 'kept', 'x', 0, { retain: true })
  expect(sub.packets()).toMatchObject([
    { topic: 'plain', properties: { messageExpiryInterval: 10 } },
    { topic: 'kept', properties: { messageExpiryInterval: 10 } },
  ])
  vi.advanceTimersByTime(4000)
  const late = subscriber(hub, '#', '00', { id: 'late' })
  await turns()
  expect(late.packets()).toMatchObject([
    { topic: 'kept', retain: true, properties: { messageExpiryInterval: 6 } },
  ])
})

test('of the defaults of all messages and of retained ones, the earlier one counts', async () => {
  const has = () => ['default', 'own'].map((topic) => hub.kernel.storage.hasRetained(topic))
  const expireRetained = (expiryMs: number) => {
    const retainer = { ...HUB_OPTIONS.retainer, expiryMs, sweepIntervalMs: 1000 }
    hub.update({ ...HUB_OPTIONS, messageExpiryMs: 10_000, retainer })
  }
  for (const expiryMs of [5000, 20_000]) {
    expireRetained(expiryMs)
    await publish(pub, 'default', 'x', 0, { retain: true })
    await publish(pub, 'own', 'x', 0, { retain: true, ...OWN })
    const earlier = Math.min(expiryMs, 10_000)
    vi.advanceTimersByTime(earlier - 1000)
    expect(has()).toEqual([true, true])
    vi.advanceTimersByTime(2000)
    expect(has()).toEqual([false, true])
  }
})

test('without it messages have no expiry', async () => {
  hub.update(HUB_OPTIONS)
  const sub = await connect(hub, 'sub')
  await sub.client.subscribe([subscription('#')])
  await publish(pub, 't')
  expect(sub.receiver.deliveries[0]?.message.expiresAtMs).toBe(0)
})
