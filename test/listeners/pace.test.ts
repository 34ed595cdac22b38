import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { Pace, type RateLimits } from '../../listeners/pace.ts'
import { dial, listen, tcpOptions } from './support.ts'

const NONE: RateLimits = { messages: undefined, bytes: undefined, subscribes: undefined }
const limit = (count: number, perMs = 1000) => ({ rate: { count, perMs }, burst: undefined })

/** A pace on a clock that stands until `vi` moves it. */
function start(limits: Partial<RateLimits>) {
  const onPause = vi.fn()
  return { onPause, pace: new Pace({ ...NONE, ...limits }, onPause, () => Date.now()) }
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] }))
afterEach(() => void vi.useRealTimers())

test('it is spent with the last message, byte or SUBSCRIBE, each by its own rate', () => {
  const { pace } = start({ messages: limit(2), bytes: limit(100), subscribes: limit(1) })
  pace.message(10)
  expect(pace.isSpent).toBe(false)
  pace.message(10)
  expect(pace.isSpent).toBe(true)

  const bytes = start({ bytes: limit(100) }).pace
  bytes.subscribe()
  bytes.message(99)
  expect(bytes.isSpent).toBe(false)
  bytes.message(1)
  expect(bytes.isSpent).toBe(true)

  const subscribes = start({ subscribes: limit(1) }).pace
  subscribes.message(1000)
  expect(subscribes.isSpent).toBe(false)
  subscribes.subscribe()
  expect(subscribes.isSpent).toBe(true)
})

test('who waits is called once there are tokens, and counted', () => {
  const { pace, onPause } = start({ messages: limit(2, 10_000) })
  const resume = vi.fn()
  pace.message(0)
  pace.message(0)
  pace.wait(resume)
  vi.advanceTimersByTime(4999)
  expect(resume).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1)
  expect([resume.mock.calls.length, onPause.mock.calls.length, pace.isSpent]).toEqual([1, 1, false])
  vi.advanceTimersByTime(60_000)
  expect(resume).toHaveBeenCalledTimes(1)
})

test('a fast client is not paused for each message, and still gets its rate', () => {
  const { pace, onPause } = start({ messages: limit(1000) })
  let sent = 0
  const flood = () => {
    while (!pace.isSpent) {
      pace.message(0)
      sent++
    }
    pace.wait(flood)
  }
  flood()
  expect(sent).toBe(1000)
  vi.advanceTimersByTime(10_000)
  expect(sent).toBeGreaterThanOrEqual(10_950)
  expect(sent).toBeLessThanOrEqual(11_000)
  expect(onPause.mock.calls.length).toBeLessThan(210)
})

test('a bucket that fills faster than a pause lasts loses nothing', () => {
  const { pace } = start({ messages: limit(10, 10) })
  let sent = 0
  const flood = () => {
    while (!pace.isSpent) {
      pace.message(0)
      sent++
    }
    pace.wait(flood)
  }
  flood()
  vi.advanceTimersByTime(1000)
  expect(sent).toBe(1010)
})

test('other limits end a pause that would last too long', () => {
  const { pace } = start({ messages: limit(1, 86_400_000) })
  const resume = vi.fn()
  pace.message(0)
  pace.wait(resume)
  pace.update({ ...NONE, messages: limit(1, 2000) })
  vi.advanceTimersByTime(1999)
  expect(resume).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1)
  expect(resume).toHaveBeenCalledTimes(1)

  pace.message(0)
  pace.wait(resume)
  pace.update(NONE)
  expect(resume).toHaveBeenCalledTimes(1) // not while the config is being changed
  vi.advanceTimersByTime(1)
  expect(resume).toHaveBeenCalledTimes(2)
})

test('closed, it leaves no timer behind', () => {
  const { pace } = start({ messages: limit(1, 86_400_000) })
  const resume = vi.fn()
  const timers = vi.getTimerCount()
  pace.message(0)
  pace.wait(resume)
  expect(vi.getTimerCount()).toBe(timers + 1)
  pace.close()
  expect(vi.getTimerCount()).toBe(timers)
  pace.update(NONE)
  expect(vi.getTimerCount()).toBe(timers)
})

test('a listener gives its clients a pace, those too that are there when its rates change', async (t) => {
  vi.useRealTimers()
  const rates = { ...NONE, messages: limit(1, 3_600_000) }
  const { listener, port, next } = await listen(t, tcpOptions())
  await dial(t, port)
  const { transport } = await next()
  expect(transport.pace).toBeUndefined()

  listener.update(tcpOptions({ bind: tcpOptions().bind, rates }))
  const { pace } = transport
  pace?.message(0)
  expect(pace?.isSpent).toBe(true)
  await dial(t, port)
  const later = (await next()).transport
  expect(later.pace).not.toBe(pace)
  expect(later.pace?.isSpent).toBe(false)

  await new Promise<void>((resume) => {
    pace?.wait(resume)
    listener.update(tcpOptions())
  })
  expect(listener.counters.ratePauses).toBe(1)
})

test('a transport that ends takes its pause along', async (t) => {
  vi.useRealTimers()
  const rates = { ...NONE, messages: limit(1, 3_600_000) }
  for (const end of ['end', 'destroy', 'peer'] as const) {
    const { port, next } = await listen(t, tcpOptions({ rates }))
    const socket = await dial(t, port)
    const probe = await next()
    const { pace } = probe.transport
    if (pace === undefined) throw new Error('no pace')
    const close = vi.spyOn(pace, 'close')
    pace.message(0)
    pace.wait(() => {})
    if (end === 'peer') socket.resetAndDestroy()
    else probe.transport[end]()
    socket.resume()
    if (end === 'end') socket.end()
    await probe.closed
    expect(close, end).toHaveBeenCalled()
  }
})
