/** `retry_interval`: what is not acknowledged is sent again while the client is connected. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { connect, publish as publishTo, startHub } from '../support.ts'
import { connected, type RawPeer, subscribe, text, u16 } from './raw-peer.ts'
import { packet } from './support.ts'

const options = { retryIntervalMs: 10_000 }

let hub: Hub
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  hub = await startHub()
})
afterEach(async () => {
  await hub.stop()
  vi.useRealTimers()
})

/** A client without keep alive that is subscribed to `t` at QoS 2. */
function subscribed(version: ProtocolVersion, wanted = options): RawPeer {
  const rest = version === 5 ? '02 0000 00' : '02 0000'
  const one = connected(hub, version, { rest, options: wanted })
  one.send(version === 5 ? subscribe('t', '02') : packet('82', u16(1), text('t'), '02'))
  one.said()
  return one
}

const send = async (payload: string, qos: 1 | 2) => publishTo(await connect(hub, 'pub'), 't', payload, qos)

test('an MQTT 3 client gets it again every interval, marked as a copy and in order', async () => {
  const one = subscribed(4)
  await send('a', 1)
  await send('b', 2)
  expect(one.said()).toEqual(['publish t=a q1 #1', 'publish t=b q2 #2'])
  vi.advanceTimersByTime(10_000)
  expect(one.said()).toEqual([]) // it may have come just before
  const again = ['publish t=a q1 #1 dup', 'publish t=b q2 #2 dup']
  for (let i = 0; i < 2; i++) {
    vi.advanceTimersByTime(10_000)
    expect(one.said()).toEqual(again)
  }
})

test('what it has acknowledged it does not get again, and after PUBREC it is asked to complete', async () => {
  const one = subscribed(4)
  await send('a', 1)
  await send('b', 2)
  one.send('40 02 0001', '50 02 0002').said()
  vi.advanceTimersByTime(20_000)
  expect(one.said()).toEqual(['pubrel 2'])
  one.send('70 02 0002')
  vi.advanceTimersByTime(20_000)
  expect(one.said()).toEqual([])
})

test('a client that does not read gets no copies on top', async () => {
  const one = subscribed(4)
  await send('a', 1)
  one.said()
  one.transport.outbox.congested = true
  vi.advanceTimersByTime(30_000)
  expect(one.said()).toEqual([])
})

// [MQTT-4.4.0-1]
test('an MQTT 5 client gets nothing again while it is connected', async () => {
  const one = subscribed(5)
  await send('a', 1)
  one.said()
  vi.advanceTimersByTime(60_000)
  expect(one.said()).toEqual([])
})

test('by default nobody does, and no timer runs', async () => {
  const timers = vi.getTimerCount()
  const one = subscribed(4, { retryIntervalMs: Number.POSITIVE_INFINITY })
  await send('a', 1)
  expect(vi.getTimerCount()).toBe(timers)
  one.said()
  vi.advanceTimersByTime(60_000)
  expect(one.said()).toEqual([])
})

test('the timer ends with the connection', () => {
  const timers = vi.getTimerCount()
  const one = subscribed(4)
  expect(vi.getTimerCount()).toBe(timers + 1)
  one.transport.close()
  expect(vi.getTimerCount()).toBe(timers)
})
