import { expect, onTestFinished, test, vi } from 'vitest'
import { Calls, type CallsOptions } from '../../connectors/calls.ts'
import { contextOf, Listener } from './support.ts'

function callsOf(more: Partial<CallsOptions> = {}): Calls {
  const calls = new Calls({
    id: 'thing',
    context: contextOf(),
    maxInflight: 1,
    timeoutMs: 1000,
    connectTimeoutMs: 1000,
    reconnects: true,
    secrets: ['hidden-secret'],
    probe: async () => {},
    isLoss: () => true,
    ...more,
  })
  onTestFinished(() => calls.close())
  return calls
}

test('what is given up is still being worked on until it ends', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const calls = callsOf()
  let end = (_: string) => {}
  const slow = calls.run([], undefined, () => new Promise<string>((resolve) => (end = resolve)))
  const refused = expect(slow).rejects.toMatchObject({ code: 'BACKEND_TIMEOUT' })
  await vi.advanceTimersByTimeAsync(600)
  const next = calls.run([], undefined, async () => 'next')
  await vi.advanceTimersByTimeAsync(500)
  await refused
  expect(calls.counters).toMatchObject({ inflight: 1, waiting: 1, timeouts: 1 })
  end('late')
  expect(await next).toBe('next')
  expect(calls.counters).toMatchObject({ inflight: 0, waiting: 0, success: 1 })
})

test('the deadline holds for waiting too', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const calls = callsOf()
  const never = () => new Promise<string>(() => {})
  const both = [calls.run([], undefined, never), calls.run([], undefined, never)]
  const refused = both.map((call) => expect(call).rejects.toThrow('thing did not answer within 1000 ms'))
  await vi.advanceTimersByTimeAsync(1000)
  await Promise.all(refused)
  expect(calls.counters).toMatchObject({ waiting: 0, timeouts: 2 })
})

test('secrets and values are not in the texts of errors, and the cause is left out', async () => {
  const calls = callsOf()
  const fail = async () => {
    throw Object.assign(new Error('no hidden-secret for mellon'), { sql: 'mellon' })
  }
  const error: unknown = await calls.run(['mellon'], undefined, fail).catch((reason: unknown) => reason)
  expect(error).toMatchObject({ message: 'thing failed: no *** for ***' })
  expect((error as Error).cause).toBeUndefined()
})

test('a backend is asked again after growing pauses, and while all is quiet', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const listener = new Listener()
  let isThere = false
  const probes: number[] = []
  const calls = callsOf({
    context: contextOf(listener, { firstRetryMs: 100, maxRetryMs: 400, healthIntervalMs: 15_000 }),
    probe: async () => {
      probes.push(Date.now())
      if (!isThere) throw new Error('nobody there')
    },
  })
  calls.start()
  await vi.advanceTimersByTimeAsync(3000)
  const pauses = probes.slice(1).map((at, i) => at - (probes[i] ?? 0))
  for (const [i, least] of [100, 200, 400, 400].entries()) {
    expect(pauses[i]).toBeGreaterThanOrEqual(least)
    expect(pauses[i]).toBeLessThanOrEqual(least * 1.2 + 1)
  }
  expect(calls.status).toEqual({ state: 'disconnected', lastError: 'nobody there' })
  isThere = true
  await vi.advanceTimersByTimeAsync(500)
  expect(calls.status.state).toBe('connected')
  expect(listener.said.map(({ level }) => level)).toEqual(['warn', 'info'])
  const before = probes.length
  await vi.advanceTimersByTimeAsync(15_100)
  expect(probes.length).toBe(before + 1)
  isThere = false
  await vi.advanceTimersByTimeAsync(15_100)
  expect(calls.status.state).toBe('disconnected')
})
