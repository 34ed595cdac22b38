/** Clients that want to cost us memory or time: each is bounded by a limit of the config, and counted. */
import type { Socket } from 'node:net'
import { afterEach, beforeEach, describe, expect, type TestContext, test, vi } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import { dial, read, readAll, tcpOptions } from '../../listeners/support.ts'
import { connect, publish as publishTo, startHub, subscription } from '../support.ts'
import {
  connectBytes,
  connected,
  mqttContext,
  PINGREQ,
  publish,
  RawPeer,
  subscribe,
  subscriber,
  text,
  u16,
} from './raw-peer.ts'
import { startServer } from './server-support.ts'
import { frame, packet } from './support.ts'

let hub: Hub
beforeEach(async () => {
  hub = await startHub()
  vi.spyOn(hub, 'connectInSteps')
})
afterEach(() => hub.stop())

const closed = () => hub.metrics.connectionsClosed
/** For clients that do not read. */
const LITTLE_PATIENCE = { ...tcpOptions().tcp, highWatermarkBytes: 64 * 1024, sendTimeoutMs: 100 }

describe('a client that does not log in', () => {
  test('but opens and says nothing is closed, and counted', async (t) => {
    const { port, listener } = await startServer(t, hub, {}, { idleTimeoutMs: 50 })
    const sockets = await Promise.all(Array.from({ length: 20 }, () => dial(t, port)))
    await Promise.all(sockets.map(readAll))
    await expect.poll(() => listener.counters.current).toBe(0)
    expect(closed().idle_timeout).toBe(20)
  })

  test('but sends a CONNECT byte by byte has no more time than the others', () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const one = new RawPeer(mqttContext(hub, { idleTimeoutMs: 15_000 }))
    const bytes = connectBytes(5, 'slowly')
    let seconds = 0
    while (!one.isClosed) {
      one.send(bytes.subarray(seconds, seconds + 1))
      vi.advanceTimersByTime(1000)
      seconds++
    }
    vi.useRealTimers()
    expect([seconds, closed().idle_timeout, hub.sessionCount]).toEqual([15, 1, 0])
  })

  test('but announces a large CONNECT costs what it has sent', () => {
    const peers = Array.from(
      { length: 100 },
      () => new RawPeer(mqttContext(hub, { maxPacketBytes: 10_000_000 })),
    )
    const spent = allocatedBy(() => {
      for (const one of peers) one.send('10 ff ff ff 03')
    })
    expect(spent).toBeLessThan(100 * 8192)
    for (const one of peers) one.transport.close()
  })
})

describe('a client that sends', () => {
  test('a large packet byte by byte costs what it has sent, and not more than max_packet_size', () => {
    const peers = Array.from({ length: 100 }, (_, i) =>
      connected(hub, 5, { id: `c${i}`, options: { maxPacketBytes: 10_000_000 } }),
    )
    const spent = allocatedBy(() => {
      for (const one of peers) one.send('30 ff ff ff 03')
      for (let i = 0; i < 100; i++) for (const one of peers) one.send('00')
    })
    expect(spent).toBeLessThan(100 * 8192)
    const [greedy] = peers
    greedy?.send(Buffer.alloc(8_000_000))
    expect(greedy?.isClosed).toBe(false)
    const larger = connected(hub, 5, { id: 'larger', options: { maxPacketBytes: 1000 } }).send('30 ff 07')
    expect([larger.said(), closed().frame_too_large]).toEqual([['disconnect 0x95', 'closed'], 1])
  })

  test.for([
    ['PINGREQ', frame(PINGREQ)],
    ['PUBLISH at QoS 1', publish('2', 'x', '', 1)],
  ] as const)(
    '%s without end and reads no answer is not read either, and then closed',
    async ([, bytes], t) => {
      const { port, transports } = await startServer(t, hub, { tcp: LITTLE_PATIENCE })
      const socket = await login(t, port, 'flooder')
      socket.pause()
      socket.pause()
      const unsentBytes = () => transports[0]?.outbox.unsentBytes ?? 0
      let mostUnsent = 0
      const chunk = Buffer.concat(Array.from({ length: 5000 }, () => bytes))
      const flood = () => {
        mostUnsent = Math.max(mostUnsent, unsentBytes())
        socket.write(chunk, (error) => error ?? flood())
      }
      const end = new Promise((resolve) => socket.once('close', resolve))
      flood()
      await end
      // One chunk of answers may come on top.
      expect(mostUnsent).toBeLessThan(LITTLE_PATIENCE.highWatermarkBytes + 2 * 65_536)
      await expect.poll(() => closed().send_timeout).toBe(1)
    },
  )

  test.each([
    ['PINGREQ', frame(PINGREQ)],
    ['SUBSCRIBE', subscribe('t')],
    ['UNSUBSCRIBE', packet('a2', '0001 00', text('t'))],
    ['PUBLISH at QoS 1', publish('2', 'x', '', 1)],
    ['PUBLISH at QoS 2', publish('4', 'x', '', 1)],
  ])('%s, is not heard while its answers wait for it', (_, bytes) => {
    const one = connected(hub)
    one.transport.outbox.congested = true
    one.send(...Array.from({ length: 1000 }, () => bytes))
    expect([one.said().length, one.transport.isPaused]).toEqual([1, true])
  })

  test('as fast as it can leaves the others their turn', async (t) => {
    const { port } = await startServer(t, hub)
    const [loud, quiet] = [await login(t, port, 'loud'), await login(t, port, 'quiet')]
    let isOver = false
    const chunk = Buffer.concat(Array.from({ length: 2000 }, () => publish('0', 't', 'x')))
    const flood = () => !isOver && loud.write(chunk, flood)
    loud.resume()
    flood()
    for (let i = 0; i < 5; i++) {
      quiet.write(frame(PINGREQ))
      await read(quiet, 2)
    }
    isOver = true
    expect(hub.clientCount).toBe(2)
  })

  test('very much at once, as a WebSocket message may be, is not heard in one go', async () => {
    const watcher = await connect(hub, 'watcher')
    await watcher.client.subscribe([subscription('t')])
    const one = connected(hub)
    const message = publish('0', 't', 'x'.repeat(900))
    one.send(...Array.from({ length: 1000 }, () => message))
    const { deliveries } = watcher.receiver
    expect(deliveries.length).toBeLessThan(200)
    await expect.poll(() => deliveries.length).toBe(1000)
    expect(one.transport.isPaused).toBe(false)
  })

  test('SUBSCRIBE after SUBSCRIBE has max_subscriptions', () => {
    hub.update({ ...hub.options, maxSubscriptions: 100 })
    const one = connected(hub, 5, { options: { maxPacketBytes: 1024 } })
    for (let i = 0; i < 500; i++) one.send(subscribe(`t/${i}`, '00', i + 1))
    const answers = one.said()
    expect([
      hub.session('c')?.subscriptions.size,
      answers.filter((said) => said.endsWith('0x97')).length,
    ]).toEqual([100, 400])
  })

  test('SUBSCRIBE and UNSUBSCRIBE in turn leaves nothing behind', () => {
    const one = connected(hub)
    const left: number[] = []
    for (let round = 0; round < 4; round++) {
      for (let i = 0; i < 5000; i++) {
        const filter = `${round}/${i}/+/x`
        one.send(
          subscribe(filter),
          packet('a2', '0002 00', text(filter)),
          publish('0', filter.replace('+', 'y'), ''),
        )
        one.transport.outbox.take()
      }
      left.push(hub.session('c')?.subscriptions.size ?? -1)
    }
    expect(left).toEqual([0, 0, 0, 0])
    expect(hub.kernel.router.route('0/0/y/x').targets).toEqual([])
  })

  test('QoS 2 messages without PUBREL is ended at its receive maximum', () => {
    const one = connected(hub, 5, { options: { maxAwaitingRelease: 10 } })
    for (let i = 1; i <= 11; i++) one.send(publish('4', 't', 'x', i))
    expect([one.said().at(-2), closed().receive_maximum_exceeded]).toEqual(['disconnect 0x93', 1])
  })
})

describe('a client that is sent', () => {
  test.for([0, 1] as const)(
    'QoS %i and reads nothing is not written to without end, and then closed',
    async (qos, t) => {
      const { port, transports } = await startServer(t, hub, { tcp: LITTLE_PATIENCE })
      const socket = await login(t, port, 'deaf')
      socket.write(subscribe('t', '00'))
      await read(socket, 6)
      socket.pause()
      const unsentBytes = () => transports[0]?.outbox.unsentBytes ?? 0
      const session = hub.session('deaf')
      const publisher = await connect(hub, 'publisher')
      const payload = 'x'.repeat(16_000)
      let mostUnsent = 0
      while (hub.client('deaf') !== undefined) {
        for (let i = 0; i < 100; i++) await publishTo(publisher, 't', payload, qos)
        mostUnsent = Math.max(mostUnsent, unsentBytes())
        await new Promise((resolve) => setImmediate(resolve))
      }
      expect(mostUnsent).toBeLessThan(LITTLE_PATIENCE.highWatermarkBytes + 2 * payload.length)
      expect(session?.droppedCount).toBeGreaterThan(0)
      expect(closed().send_timeout).toBe(1)
    },
  )

  test('QoS 1 and acknowledges nothing has a window and a queue, and the oldest is dropped', async () => {
    const limits = { ...hub.options.session, maxInflight: 32, maxQueueLength: 100 }
    hub.update({ ...hub.options, session: limits })
    const sub = subscriber(hub, 't', '01')
    const publisher = await connect(hub, 'publisher')
    for (let i = 0; i < 10_000; i++) await publishTo(publisher, 't', `${i}`, 1)
    const session = hub.session('sub')
    expect(sub.said()).toHaveLength(32)
    expect([session?.inflightCount, session?.queueLength, session?.droppedCount]).toEqual([32, 100, 9868])
  })

  test('QoS 2 and never completes it, the same', async () => {
    hub.update({ ...hub.options, session: { ...hub.options.session, maxInflight: 4, maxQueueLength: 10 } })
    const sub = subscriber(hub, 't', '02')
    const publisher = await connect(hub, 'publisher')
    for (let i = 1; i <= 100; i++) {
      await publishTo(publisher, 't', `${i}`, 2)
      if (i <= 4) sub.send(`50 02 ${u16(i)}`)
    }
    expect(sub.said()).toHaveLength(8)
    expect(hub.session('sub')).toMatchObject({ inflightCount: 4, queueLength: 10, droppedCount: 86 })
  })
})

test('thousands of connections: max_connections of them are let in, the others closed and counted', async (t) => {
  const { port, listener } = await startServer(t, hub, { maxConnections: 50 })
  for (let i = 0; i < 2000; i += 200) await Promise.all(Array.from({ length: 200 }, () => dial(t, port)))
  await expect.poll(() => listener.counters.refusedByLimit).toBe(1950)
  expect(listener.counters).toMatchObject({ current: 50, accepted: 50 })
  listener.closeAll()
  await expect.poll(() => listener.counters.current).toBe(0)
})

async function login(t: TestContext, port: number, id: string): Promise<Socket> {
  const socket = await dial(t, port)
  socket.write(connectBytes(5, id, '02 0000 00'))
  await read(socket, 5)
  return socket
}

/** Bytes that were set aside for packets that are not whole yet. */
function allocatedBy(run: () => void): number {
  const allocations = vi.spyOn(Buffer, 'allocUnsafeSlow')
  run()
  const bytes = allocations.mock.calls.reduce((sum, [size]) => sum + size, 0)
  allocations.mockRestore()
  return bytes
}
