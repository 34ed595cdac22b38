/** Packets are handled strictly in order, however they arrive and whoever has to be asked; and nothing piles up meanwhile. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import { connect, publish as publishTo, startHub, subscription } from '../support.ts'
import {
  connectBytes,
  connected,
  DISCONNECT,
  mqttContext,
  PINGREQ,
  PROTOCOL,
  publish,
  RawPeer,
  slowAuthorization,
  subscribe,
  subscriber,
  text,
  turns,
} from './raw-peer.ts'
import { frame, packet } from './support.ts'

let hub: Hub
beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

describe('while others are being asked', () => {
  // [MQTT-3.12.4-1]
  test('SUBSCRIBE, PUBLISH and PINGREQ of one chunk are answered one after the other', async () => {
    const one = connected(hub)
    const authorization = slowAuthorization(hub)
    one.send(subscribe('t', '01', 7), publish('2', 't', 'x', 8), PINGREQ)
    expect([one.said(), authorization.count]).toEqual([[], 1])
    await authorization.answer()
    expect([one.said(), authorization.count]).toEqual([['suback 7 0x01'], 1])
    await authorization.answer()
    expect(one.said()).toEqual(['publish t=x q1 #1', 'puback 8', 'pingresp'])
    expect(one.transport.isPaused).toBe(false)
  })

  test('what follows a packet in two pieces waits behind it', async () => {
    const one = connected(hub)
    const authorization = slowAuthorization(hub)
    const first = subscribe('t', '01', 7)
    one.send(first.subarray(0, 5))
    one.send(Buffer.concat([first.subarray(5), frame(PINGREQ), frame(PINGREQ).subarray(0, 1)]))
    one.send(frame(PINGREQ).subarray(1))
    expect([one.said(), authorization.count]).toEqual([[], 1])
    await authorization.answer()
    expect(one.said()).toEqual(['suback 7 0x01', 'pingresp', 'pingresp'])
    expect(one.transport.isPaused).toBe(false)
  })

  // [MQTT-3.2.0-1]
  test('what came after CONNECT waits for its answer', async () => {
    const releases: (() => void)[] = []
    hub.hooks.add(
      'client.authenticate',
      'slow',
      () =>
        new Promise((resolve) =>
          releases.push(() => resolve({ stop: { kind: 'allow', principal: { isSuperuser: false } } })),
        ),
    )
    const one = new RawPeer(mqttContext(hub))
    one.send(connectBytes(5), PINGREQ)
    one.send(PINGREQ)
    await turns()
    expect(one.said()).toEqual([])
    releases[0]?.()
    await turns()
    expect(one.said()).toEqual(['connack 0x00', 'pingresp', 'pingresp'])
  })

  test('a client that leaves while it is authenticated takes over nobody, and its authenticator is told', async () => {
    const old = connected(hub)
    let answer = () => {}
    let signal: AbortSignal | undefined
    hub.hooks.add('client.authenticate', 'slow', (_verdict, login) => {
      signal = login.signal
      return new Promise((resolve) => {
        answer = () => resolve({ stop: { kind: 'allow', principal: { isSuperuser: false } } })
      })
    })
    const one = new RawPeer(mqttContext(hub)).send(connectBytes(5), PINGREQ)
    one.transport.close()
    expect(signal?.aborted).toBe(true)
    answer()
    await turns()
    expect(one.said()).toEqual(['closed'])
    expect(old.said()).toEqual([])
    expect(old.send(PINGREQ).said()).toEqual(['pingresp'])
  })

  test('a client that leaves while hooks see its SUBSCRIBE leaves no subscription behind', async () => {
    let answer = () => {}
    hub.hooks.add(
      'client.subscribe',
      'slow',
      () => new Promise((resolve) => (answer = () => resolve(undefined))),
    )
    const one = connected(hub).send(subscribe('t'))
    one.transport.close()
    answer()
    await turns()
    expect(one.said()).toEqual(['closed'])
    expect(hub.kernel.router.route('t').targets).toEqual([])
  })

  test('a message whose publisher has left meanwhile is routed all the same', async () => {
    const watcher = subscriber(hub, 't')
    const one = connected(hub)
    const authorization = slowAuthorization(hub)
    one.send(publish('2', 't', 'x', 1))
    one.transport.close()
    await authorization.answer()
    expect([one.said(), watcher.said()]).toEqual([['closed'], ['publish t=x q0']])
  })

  test('a login that fails for a bug of ours is refused', async () => {
    vi.spyOn(hub, 'connectInSteps').mockRejectedValue(new Error('a bug'))
    const one = new RawPeer(mqttContext(hub)).send(connectBytes(5), PINGREQ)
    await turns()
    expect(one.said()).toEqual(['connack 0x88', 'closed'])
  })

  test('what has to wait is bounded', async () => {
    const one = connected(hub)
    slowAuthorization(hub)
    one.send(subscribe('t'))
    expect(one.transport.isPaused).toBe(true)
    // A TLS or WebSocket transport may hand out some more although it is paused.
    const chunk = Buffer.alloc(65_536, frame(PINGREQ))
    let handedOut = 0
    while (!one.isClosed) {
      one.connection.onData(chunk, 0, chunk.length)
      handedOut += chunk.length
    }
    expect(handedOut).toBeLessThanOrEqual(1024 * 1024 + chunk.length)
    expect(one.said()).toEqual(['disconnect 0x97', 'closed'])
  })
})

/** A life in packets: every kind a client sends. */
const LIFE = Buffer.concat([
  packet(
    '10',
    PROTOCOL[5],
    'ce 003c 08 11 00000064 21 0014',
    text('life'),
    '05 18 00000005',
    text('w/life'),
    text('gone'),
    text('u'),
    text('pw'),
  ),
  packet('82', '0001 02 0b 07', text('t/+'), '02', text('$share/g/s'), '01'),
  publish('0', 't/a', 'zero'),
  publish('2', 't/b', 'one', 2),
  publish('4', 't/c', 'two', 3),
  packet('30', text('t/alias'), '03 23 0001', '"first"'),
  packet('30', '0000', '03 23 0001', '"second"'),
  frame('62 02 0003'),
  frame('40 02 0001'),
  frame('50 02 0002 70 02 0002'),
  publish('2', 's', 'x'.repeat(300), 4),
  frame(PINGREQ),
  packet('a2', '0005 00', text('t/+'), text('none')),
  frame('40 03 0003 10'),
  frame(DISCONNECT),
])

test('a stream of packets is answered the same however it is cut', () => {
  const answersTo = (size: number) => {
    const one = new RawPeer(mqttContext(hub))
    for (let at = 0; at < LIFE.length; at += size) one.send(LIFE.subarray(at, at + size))
    hub.kick('life')
    return one.said()
  }
  const whole = answersTo(LIFE.length)
  expect(whole).toHaveLength(16)
  expect(whole.at(-1)).toBe('closed')
  for (let size = 1; size < LIFE.length; size++)
    expect(answersTo(size), `${size} bytes at a time`).toEqual(whole)
})

describe('a peer that does not read', () => {
  test('its packets wait until it has read what it was answered', () => {
    const one = connected(hub)
    one.transport.outbox.congested = true
    one.send(PINGREQ, PINGREQ, PINGREQ)
    expect([one.transport.isPaused, one.said()]).toEqual([true, ['pingresp']])
    one.send(PINGREQ)
    one.transport.drain()
    expect([one.transport.isPaused, one.said()]).toEqual([false, ['pingresp', 'pingresp', 'pingresp']])
  })

  test('so do they when each of its packets has to be asked about', async () => {
    const one = connected(hub)
    const authorization = slowAuthorization(hub)
    one.send(subscribe('a'), subscribe('b', '00', 2), subscribe('c', '00', 3))
    one.transport.outbox.congested = true
    await authorization.answer()
    expect([one.said(), authorization.count]).toEqual([['suback 1 0x00'], 0])
    one.transport.drain()
    expect(authorization.count).toBe(1)
  })

  test('QoS 0 for it is dropped and counted, QoS 1 waits in its session, and memory does not grow', async () => {
    hub.update({ ...hub.options, session: { ...hub.options.session, maxQueueLength: 10 } })
    const sub = subscriber(hub, '#', '01')
    sub.transport.outbox.congested = true
    const pub = await connect(hub, 'pub')
    for (let i = 0; i < 1000; i++) {
      void publishTo(pub, 't', `${i}`, 0)
      void publishTo(pub, 't', `${i}`, 1)
    }
    const session = hub.session('sub')
    expect([session?.queueLength, session?.droppedCount, sub.transport.outbox.unsentBytes]).toEqual([
      10, 1990, 0,
    ])
    sub.transport.drain()
    expect(sub.said()).toEqual(Array.from({ length: 10 }, (_, i) => `publish t=${990 + i} q1 #${i + 1}`))
  })
})

describe('a receiver that throws', () => {
  test('ends its own connection; the publisher and the other subscribers notice nothing', async () => {
    const [before, bad, after] = [
      subscriber(hub, 't', '01', { id: 'before' }),
      await connect(hub, 'bad', { cleanStart: false, expiryIntervalMs: 60_000 }),
      subscriber(hub, 't', '01', { id: 'after' }),
    ]
    await bad.client.subscribe([subscription('t', 1)])
    bad.receiver.deliver = () => {
      throw new Error('a bug')
    }
    bad.receiver.end = () => bad.client.close('internal_error')
    const pub = connected(hub, 5, { id: 'pub' }).send(publish('2', 't', 'x', 1))
    expect(pub.said()).toEqual(['puback 1'])
    expect([before.said(), after.said()]).toEqual([['publish t=x q1 #1'], ['publish t=x q1 #1']])
    expect(hub.client('bad')).toBeUndefined()
    const back = await connect(hub, 'bad', { cleanStart: false, expiryIntervalMs: 60_000 })
    expect(back.receiver.texts).toEqual(['t=x'])
  })

  test('when it is to be ended, does not keep the broker from ending others', async () => {
    const bad = await connect(hub, 'bad')
    bad.receiver.end = () => {
      throw new Error('a bug')
    }
    const good = await connect(hub, 'good')
    await hub.stop()
    expect(good.receiver.ended).toBe('server_shutting_down')
    expect(hub.clientCount).toBe(0)
  })
})
