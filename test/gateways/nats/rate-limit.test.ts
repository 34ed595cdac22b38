/** The rates of a listener for NATS clients. */
import { expect, onTestFinished, test, vi } from 'vitest'
import { Pace, type RateLimits } from '../../../listeners/pace.ts'
import { type NatsPeer, natsBed } from '../support/nats-peer.ts'

const NONE: RateLimits = { messages: undefined, bytes: undefined, subscribes: undefined }
const limit = (count: number) => ({ rate: { count, perMs: 1000 }, burst: undefined })

/** A verbose NATS peer with limits, on the clock of the test. */
function limited(limits: Partial<RateLimits>) {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'Date'] })
  onTestFinished(() => void vi.useRealTimers())
  const bed = natsBed()
  const peer = bed.peer().connect({ verbose: true })
  peer.transport.pace = new Pace(
    { ...NONE, ...limits },
    () => {},
    () => Date.now(),
  )
  return { peer, bed }
}

const okays = (peer: NatsPeer) => peer.said().split('+OK|').length - 1

test('PUB above messages_rate waits, and is answered when it is done', () => {
  const { peer, bed } = limited({ messages: limit(2) })
  for (let i = 0; i < 4; i++) peer.send('PUB a 0', '')
  expect([okays(peer), peer.transport.isPaused]).toEqual([2, true])
  vi.advanceTimersByTime(500)
  expect(okays(peer)).toBe(1)
  vi.advanceTimersByTime(500)
  expect([okays(peer), peer.isClosed]).toEqual([1, false])
  expect(bed.context.counters.get('connections.paused')).toBe(3)
})

test('payloads count for bytes_rate, also while the broker takes its time; SUB for subscribes_rate; the rest for nothing', async () => {
  const { peer, bed } = limited({ messages: limit(100), bytes: limit(10), subscribes: limit(1) })
  for (let i = 0; i < 200; i++) peer.send('PONG', 'UNSUB 9')
  expect(okays(peer)).toBe(200)
  peer.send('SUB a 1', 'PUB b 0', '')
  expect(okays(peer)).toBe(1)
  vi.advanceTimersByTime(1000)
  expect(okays(peer)).toBe(1)
  bed.broker.isAsync = true
  peer.send('PUB b 26', 'x'.repeat(26), 'PUB b 0', '')
  expect((await peer.settled()).split('+OK|').length - 1).toBe(1)
  vi.advanceTimersByTime(1500)
  expect(await peer.settled()).toBe('')
  vi.advanceTimersByTime(200)
  expect(await peer.settled()).toBe('+OK|')
})
