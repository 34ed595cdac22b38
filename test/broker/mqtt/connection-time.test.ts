/** Keep alive, idle timeout and other clocks of a connection. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import { startHub } from '../support.ts'
import {
  connectBytes,
  connected,
  mqttContext,
  PINGREQ,
  PROTOCOL,
  publish,
  RawPeer,
  subscribe,
  subscriber,
  text,
} from './raw-peer.ts'
import { packet } from './support.ts'

let hub: Hub
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  hub = await startHub()
})
afterEach(async () => {
  await hub.stop()
  vi.useRealTimers()
})

describe('before CONNECT', () => {
  test('silence is borne for the idle timeout', () => {
    const one = new RawPeer(mqttContext(hub, { idleTimeoutMs: 15_000 }))
    vi.advanceTimersByTime(14_999)
    expect(one.isClosed).toBe(false)
    vi.advanceTimersByTime(1)
    expect(one.said()).toEqual(['closed'])
  })

  test('a CONNECT that dribbles in gets no more time than silence', () => {
    const one = new RawPeer(mqttContext(hub, { idleTimeoutMs: 15_000 }))
    const bytes = connectBytes(5, 'slowly')
    for (let at = 0; at < bytes.length && !one.isClosed; at++) {
      one.send(bytes.subarray(at, at + 1))
      vi.advanceTimersByTime(1000)
    }
    expect(one.said()).toEqual(['closed'])
  })

  test('an infinite idle timeout is one', () => {
    const one = new RawPeer(mqttContext(hub, { idleTimeoutMs: Number.POSITIVE_INFINITY }))
    vi.advanceTimersByTime(3_000_000_000)
    expect(one.send(connectBytes(5)).said()).toEqual(['connack 0x00'])
  })

  test('authentication is not part of it', async () => {
    let answer = () => {}
    hub.hooks.add(
      'client.authenticate',
      'slow',
      () =>
        new Promise((resolve) => {
          answer = () => resolve({ stop: { kind: 'allow', principal: { isSuperuser: false } } })
        }),
    )
    const one = new RawPeer(mqttContext(hub, { idleTimeoutMs: 15_000 })).send(connectBytes(5))
    await vi.advanceTimersByTimeAsync(60_000)
    answer()
    await vi.advanceTimersByTimeAsync(0)
    expect(one.said()).toEqual(['connack 0x00'])
    // and its time does not count as silence of the client
    await vi.advanceTimersByTimeAsync(89_000)
    expect(one.isClosed).toBe(false)
  })
})

describe('keep alive', () => {
  // [MQTT-3.1.2-22]
  test.each([
    [5, ['disconnect 0x8d', 'closed']],
    [4, ['closed']],
  ] as const)(
    'one and a half times without a packet, and a client of version %i is gone',
    (version, said) => {
      const watcher = subscriber(hub, 'w', '00', { rest: '02 0000 00' })
      const one = new RawPeer(mqttContext(hub), version)
      const properties = version === 5 ? '00' : ''
      const will = [properties, text('w'), text('gone')]
      one.send(packet('10', PROTOCOL[version], '06 000a', properties, text('c'), ...will))
      one.said()
      vi.advanceTimersByTime(14_999)
      expect(one.isClosed).toBe(false)
      vi.advanceTimersByTime(1)
      expect([one.said(), watcher.said()]).toEqual([said, ['publish w=gone q0']])
    },
  )

  test.each([
    ['PINGREQ', PINGREQ],
    ['PUBLISH', publish('0', 't', 'x')],
    ['an acknowledgement', '40 02 0001'],
    ['half a packet', '30'],
  ])('begins anew with %s', (_, bytes) => {
    const one = connected(hub, 5, { rest: '02 000a 00' })
    vi.advanceTimersByTime(10_000)
    one.send(bytes)
    vi.advanceTimersByTime(14_999)
    expect(one.isClosed).toBe(false)
    vi.advanceTimersByTime(1)
    expect(one.isClosed).toBe(true)
  })

  // [MQTT-3.2.2-22]
  test('0 is for ever, and what the client is sent does not count', () => {
    const forever = connected(hub, 5, { id: 'forever', rest: '02 0000 00' })
    const sub = subscriber(hub, 't', '00', { rest: '02 000a 00' })
    for (let i = 0; i < 15; i++) {
      forever.send(publish('0', 't', 'x'))
      vi.advanceTimersByTime(1000)
    }
    expect(sub.isClosed).toBe(true)
    vi.advanceTimersByTime(1e9)
    expect(forever.isClosed).toBe(false)
  })

  test('the server may set it, and its multiplier may be large', () => {
    const options = { serverKeepAliveSeconds: 100, keepAliveMultiplier: 65_535 }
    const one = connected(hub, 5, { rest: '02 000a 00', options })
    vi.advanceTimersByTime(3_000_000_000)
    expect(one.isClosed).toBe(false)
    vi.advanceTimersByTime(100_000 * 65_535 - 3_000_000_000)
    expect(one.said()).toEqual(['disconnect 0x8d', 'closed'])
  })

  test('the client is told a keep alive of the server', () => {
    const one = new RawPeer(mqttContext(hub, { serverKeepAliveSeconds: 5 })).send(connectBytes(5))
    expect(one.packets()[0]).toMatchObject({ properties: { serverKeepAlive: 5 } })
  })

  test('silence means nothing while the connection does not read', async () => {
    let answer = () => {}
    hub.hooks.add(
      'client.subscribe',
      'slow',
      () => new Promise((resolve) => (answer = () => resolve(undefined))),
    )
    const one = connected(hub, 5, { rest: '02 000a 00' }).send(subscribe('t'))
    await vi.advanceTimersByTimeAsync(60_000)
    answer()
    await vi.advanceTimersByTimeAsync(0)
    expect(one.said()).toEqual(['suback 1 0x00'])
    await vi.advanceTimersByTimeAsync(15_000)
    expect(one.said()).toEqual(['disconnect 0x8d', 'closed'])
  })
})

test('a QoS 2 id that was never released is forgotten after await_rel_timeout', () => {
  const watcher = subscriber(hub, 't', '00', { rest: '02 0000 00' })
  const one = connected(hub, 5, { rest: '02 0000 00', options: { awaitReleaseTimeoutMs: 300_000 } })
  one.send(publish('4', 't', 'a', 1))
  vi.advanceTimersByTime(299_999)
  one.send(publish('c', 't', 'a', 1))
  vi.advanceTimersByTime(1)
  one.send(publish('c', 't', 'b', 1))
  expect(one.said()).toEqual(['pubrec 1', 'pubrec 1', 'pubrec 1'])
  expect(watcher.said()).toEqual(['publish t=a q0', 'publish t=b q0'])
})

test('a closed connection leaves no timer behind', () => {
  const count = vi.getTimerCount()
  for (const version of [3, 4, 5] as const) connected(hub, version).transport.close()
  const context = mqttContext(hub)
  const [silent, talking] = [new RawPeer(context), new RawPeer(context)]
  talking.send(connectBytes(5))
  expect([...context.newcomers]).toEqual([silent.connection])
  for (const { transport } of [silent, talking]) transport.close()
  expect([vi.getTimerCount(), context.newcomers.size]).toEqual([count, 0])
})
