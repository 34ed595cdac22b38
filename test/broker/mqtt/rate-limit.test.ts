/** `messages_rate`, `bytes_rate` and `subscribes_rate` of a client: too much is not read before its time, and nothing is lost. */
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { WebSocket } from 'ws'
import type { Hub } from '../../../broker/hub.ts'
import { Pace, type RateLimits } from '../../../listeners/pace.ts'
import { dial, read, wsOptions } from '../../listeners/support.ts'
import { connect, startHub, subscription } from '../support.ts'
import {
  connectBytes,
  connected,
  PINGREQ,
  publish,
  type RawPeer,
  slowAuthorization,
  subscribe,
  subscriber,
  type Wish,
} from './raw-peer.ts'
import { startServer } from './server-support.ts'

const NONE: RateLimits = { messages: undefined, bytes: undefined, subscribes: undefined }
const limit = (count: number, perMs = 1000) => ({ rate: { count, perMs }, burst: undefined })

let hub: Hub
afterEach(() => hub.stop())

describe('a client', () => {
  beforeEach(async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    hub = await startHub()
  })
  afterEach(() => void vi.useRealTimers())

  /** A connected peer with limits, on the clock of the test. */
  function limited(limits: Partial<RateLimits>, wish: Wish = {}): RawPeer {
    const one = connected(hub, 5, { rest: '02 0000 00', ...wish })
    one.transport.pace = new Pace(
      { ...NONE, ...limits },
      () => {},
      () => Date.now(),
    )
    return one
  }

  const numbered = (count: number, flags = '0') =>
    Array.from({ length: count }, (_, i) => publish(flags, 't', `${i}`, flags === '0' ? undefined : i + 1))

  test('above messages_rate is heard again later, and all it said arrives in order', () => {
    const watcher = subscriber(hub, 't', '00', { rest: '02 0000 00' })
    const one = limited({ messages: limit(10) }).send(...numbered(25))
    expect([watcher.said().length, one.transport.isPaused]).toEqual([10, true])
    one.send(publish('0', 't', 'last'))

    const heard: string[] = []
    for (let i = 0; i < 16; i++) {
      vi.advanceTimersByTime(100)
      heard.push(...watcher.said())
    }
    expect(heard).toEqual([
      ...Array.from({ length: 15 }, (_, i) => `publish t=${i + 10} q0`),
      'publish t=last q0',
    ])
    vi.advanceTimersByTime(100)
    expect([one.transport.isPaused, one.isClosed]).toEqual([false, false])
  })

  test('QoS 1 and 2 are acknowledged when they are heard, not before', () => {
    const one = limited({ messages: limit(2) }).send(...numbered(2, '2'), publish('4', 't', 'x', 3))
    expect(one.said()).toEqual(['puback 1 0x10', 'puback 2 0x10'])
    vi.advanceTimersByTime(1000)
    expect(one.said()).toEqual(['pubrec 3 0x10'])
  })

  test('above bytes_rate waits for what its payloads cost, however large one is', () => {
    const watcher = subscriber(hub, 't', '00', { rest: '02 0000 00' })
    limited({ bytes: limit(100) }).send(publish('0', 't', 'x'.repeat(500)), publish('0', 't', 'next'))
    expect(watcher.said()).toHaveLength(1)
    vi.advanceTimersByTime(4000)
    expect(watcher.said()).toEqual([])
    vi.advanceTimersByTime(100)
    expect(watcher.said()).toEqual(['publish t=next q0'])
  })

  test('above subscribes_rate has its SUBSCRIBE answered later; publishing costs nothing of it', () => {
    const one = limited({ subscribes: limit(2) })
    one.send(subscribe('a'), publish('0', 'x', ''), subscribe('b', '00', 2), subscribe('c', '00', 3))
    expect(one.said()).toEqual(['suback 1 0x00', 'suback 2 0x00'])
    vi.advanceTimersByTime(500)
    expect(one.said()).toEqual(['suback 3 0x00'])
  })

  test('may ping as it likes, but what follows too much waits with it', () => {
    const one = limited({ messages: limit(1), subscribes: limit(1) })
    for (let i = 0; i < 100; i++) one.send(PINGREQ)
    expect(one.said()).toHaveLength(100)
    one.send(publish('0', 't', 'x'), PINGREQ)
    expect(one.said()).toEqual([])
    vi.advanceTimersByTime(1000)
    expect(one.said()).toEqual(['pingresp'])
  })

  test('that is not read is not taken for dead, and has its whole keep alive afterwards', () => {
    const one = limited({ messages: limit(1, 60_000) }, { rest: '02 000a 00' })
    one.send(publish('0', 't', 'x'))
    vi.advanceTimersByTime(59_999)
    expect(one.isClosed).toBe(false)
    vi.advanceTimersByTime(15_000)
    expect(one.isClosed).toBe(false)
    vi.advanceTimersByTime(15_000)
    expect(one.said()).toEqual(['disconnect 0x8d', 'closed'])
  })

  test('that leaves or is thrown out meanwhile leaves no timer behind', () => {
    const count = vi.getTimerCount()
    for (const leave of ['close', 'end', 'kick'] as const) {
      const one = limited({ messages: limit(1, 60_000) }).send(publish('0', 't', 'x'), publish('0', 't', 'y'))
      expect(vi.getTimerCount()).toBe(count + 1)
      if (leave === 'kick') hub.kick('c')
      else one.transport[leave]()
      expect(vi.getTimerCount(), leave).toBe(count)
    }
  })

  test('for whom others are being asked, too, goes on when both are over', async () => {
    const one = limited({ messages: limit(1) })
    const authorization = slowAuthorization(hub)
    one.send(publish('2', 't', 'a', 1), publish('2', 't', 'b', 2))
    await authorization.answer()
    expect([one.said(), authorization.count, one.transport.isPaused]).toEqual([['puback 1 0x10'], 0, true])
    vi.advanceTimersByTime(1000)
    expect(authorization.count).toBe(1)
    await authorization.answer()
    expect(one.said()).toEqual(['puback 2 0x10'])
  })

  test('is counted when it is made to wait', () => {
    limited({ messages: limit(1) }).send(...numbered(3))
    vi.advanceTimersByTime(10_000)
    expect(hub.metrics.connectionsPaused).toBe(3)
  })

  test('without limits costs nothing', () => {
    const one = connected(hub).send(...numbered(1000))
    expect([one.transport.pace, one.transport.isPaused, hub.metrics.connectionsPaused]).toEqual([
      undefined,
      false,
      0,
    ])
  })
})

describe('a listener', () => {
  const FAST: RateLimits = { ...NONE, messages: limit(10, 20) }
  const FIFTY = Buffer.concat(Array.from({ length: 50 }, (_, i) => publish('0', 't', `${i}`)))

  /** Subscribed to `t`, in memory. */
  async function watch() {
    const watcher = await connect(hub, 'watcher')
    await watcher.client.subscribe([subscription('t')])
    return watcher.receiver
  }

  beforeEach(async () => {
    hub = await startHub()
  })

  test('slows each of its clients down on its own', async (t) => {
    const { listener, port } = await startServer(t, hub, { rates: FAST })
    const heard = await watch()
    const [loud, quiet] = [await dial(t, port), await dial(t, port)]
    loud.write(connectBytes(5, 'loud'))
    quiet.write(connectBytes(5, 'quiet'))
    await Promise.all([read(loud, 2), read(quiet, 2)])
    loud.write(FIFTY)
    await expect.poll(() => heard.texts.length).toBeGreaterThan(0)
    quiet.write(publish('0', 't', 'quiet'))
    await expect.poll(() => heard.texts.length).toBe(51)
    expect(heard.texts.indexOf('t=quiet')).toBeLessThan(50)
    expect(heard.texts.filter((text) => text !== 't=quiet')).toEqual(numbers(50))
    expect(listener.counters.ratePauses).toBeGreaterThanOrEqual(4)
  })

  test.for([
    ['one message', FIFTY.length],
    ['many', 9],
  ] as const)('does so over WebSocket, the packets in %s', async ([, size], t) => {
    const kind = { kind: 'ws', webSocket: wsOptions() } as const
    const { listener, port } = await startServer(t, hub, { ...kind, rates: FAST })
    const heard = await watch()
    const client = new WebSocket(`ws://127.0.0.1:${port}/mqtt`, 'mqtt')
    t.onTestFinished(() => client.terminate())
    await once(client, 'open')
    client.send(connectBytes(5, 'loud'))
    await once(client, 'message')
    for (let at = 0; at < FIFTY.length; at += size) client.send(FIFTY.subarray(at, at + size))
    await expect.poll(() => heard.texts.length).toBe(50)
    expect(heard.texts).toEqual(numbers(50))
    expect(listener.counters.ratePauses).toBeGreaterThanOrEqual(4)
  })

  test('that is reloaded limits those who are there, and lets go of those who wait', async (t) => {
    const { listener, port, update } = await startServer(t, hub)
    const heard = await watch()
    const socket = await dial(t, port)
    socket.write(connectBytes(5))
    await read(socket, 2)

    update({ rates: { ...NONE, messages: limit(1, 86_400_000) } })
    socket.write(Buffer.concat([publish('0', 't', 'one'), publish('0', 't', 'two')]))
    await expect.poll(() => listener.counters.ratePauses).toBe(1)
    expect(heard.texts).toEqual(['t=one'])
    update({})
    await expect.poll(() => heard.texts).toEqual(['t=one', 't=two'])
  })
})

function numbers(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `t=${i}`)
}
