/** The rates of a listener for STOMP clients, who come through the connection that all stream gateways share. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { expect, onTestFinished, test, vi } from 'vitest'
import { encodeFrame } from '../../../gateways/stomp/frame.ts'
import { Pace, type RateLimits } from '../../../listeners/pace.ts'
import { startStompHost } from '../support/stomp-host.ts'
import { type StompPeer, stompBed } from '../support/stomp-peer.ts'

const NONE: RateLimits = { messages: undefined, bytes: undefined, subscribes: undefined }
const limit = (count: number, perMs = 1000) => ({ rate: { count, perMs }, burst: undefined })

/** A STOMP peer with limits, logged in, on the clock of the test. */
function limited(limits: Partial<RateLimits>, headers: Record<string, string> = {}) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] })
  onTestFinished(() => void vi.useRealTimers())
  const bed = stompBed()
  const peer = bed.peer().connect('1.2', headers)
  peer.transport.pace = new Pace(
    { ...NONE, ...limits },
    () => {},
    () => Date.now(),
  )
  return { peer, context: bed.context }
}

const send = (peer: StompPeer, body: string) => peer.send('SEND', { destination: '/t', receipt: body }, body)
const receipts = (peer: StompPeer) => peer.frames().map(({ headers }) => headers['receipt-id'])

test('SEND above messages_rate waits, and is answered when it is done', () => {
  const { peer, context } = limited({ messages: limit(2) })
  for (const body of ['a', 'b', 'c', 'd']) send(peer, body)
  expect([receipts(peer), peer.transport.isPaused]).toEqual([['a', 'b'], true])
  vi.advanceTimersByTime(500)
  expect(receipts(peer)).toEqual(['c'])
  vi.advanceTimersByTime(500)
  expect(receipts(peer)).toEqual(['d'])
  expect(context.counters.get('connections.paused')).toBe(3)
})

test('bodies count for bytes_rate, SUBSCRIBE for subscribes_rate, and other frames for nothing', () => {
  const { peer } = limited({ messages: limit(100), bytes: limit(10), subscribes: limit(1) })
  for (let i = 0; i < 200; i++)
    peer.send('BEGIN', { transaction: `${i}` }).send('ABORT', { transaction: `${i}` })
  peer.send('SUBSCRIBE', { id: '1', destination: '/a', receipt: 'sub' })
  send(peer, 'late')
  expect(receipts(peer)).toEqual(['sub'])
  vi.advanceTimersByTime(1000)
  expect(receipts(peer)).toEqual(['late'])
  send(peer, 'x'.repeat(26))
  send(peer, 'last')
  expect(receipts(peer)).toHaveLength(1)
  vi.advanceTimersByTime(2000)
  expect(receipts(peer)).toEqual([])
  vi.advanceTimersByTime(100)
  expect(receipts(peer)).toEqual(['last'])
})

test('a peer that is not read is not taken for dead', () => {
  const { peer } = limited({ messages: limit(1, 60_000) }, { 'heart-beat': '1000,0' })
  send(peer, 'x')
  vi.advanceTimersByTime(59_000)
  expect([peer.isClosed, peer.transport.isPaused]).toEqual([false, true])
  vi.advanceTimersByTime(10_000)
  expect(peer.isClosed).toBe(true)
})

test('a peer that leaves while it waits leaves no timer behind, and its end is counted', () => {
  const { peer, context } = limited({ messages: limit(1, 60_000) })
  const count = vi.getTimerCount()
  send(peer, 'x')
  expect(vi.getTimerCount()).toBe(count + 1)
  peer.transport.close()
  expect(vi.getTimerCount()).toBe(count)
  expect(context.counters.get('connections.closed.tcp_closed')).toBe(1)
})

test('over a real socket everything arrives, at the rate of the listener', async () => {
  const tcp = { default: { bind: '127.0.0.1:0', messages_rate: '10/20ms' } }
  const { broker, host, tcpPort } = await startStompHost({ listeners: { tcp } })
  const socket = connect(tcpPort, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  socket.write(
    encodeFrame(
      'CONNECT',
      [
        ['accept-version', '1.2'],
        ['host', 'h'],
      ],
      '',
      '1.2',
    ),
  )
  await once(socket, 'data')
  const bodies = Array.from({ length: 50 }, (_, i) => `${i}`)
  socket.write(Buffer.concat(bodies.map((body) => encodeFrame('SEND', [['destination', '/t']], body, '1.2'))))
  await expect.poll(() => broker.published.length).toBe(50)
  expect(broker.published.map(({ payload }) => String(Buffer.from(payload)))).toEqual(bodies)
  expect(host.listener('stomp:tcp:default')?.counters?.().ratePauses).toBeGreaterThanOrEqual(4)
})
