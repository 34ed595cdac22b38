import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { RetainedPacer } from '../../broker/retained-pacer.ts'
import { RetainedReplays } from '../../broker/retained-replays.ts'
import type { SubscriptionEntry } from '../../broker/routing/route.ts'
import { MemoryStorage } from '../../broker/storage/storage-memory.ts'
import { Message } from '../../model/message.ts'
import { turns } from './mqtt/raw-peer.ts'

const NO_LIMIT = { count: Number.POSITIVE_INFINITY, perMs: 1000 }
const FAKED = ['performance', 'Date', 'setTimeout', 'clearTimeout', 'setImmediate'] as const

let pacer: RetainedPacer

beforeEach(() => {
  pacer = new RetainedPacer(NO_LIMIT)
})
afterEach(() => {
  pacer.close()
  vi.useRealTimers()
})

/** Takes as many as it can get, for ever. */
async function takeAll(from: RetainedPacer, taken: () => void, isOver: () => boolean): Promise<void> {
  while (!isOver()) {
    await from.take()
    taken()
  }
}

test('a rate is kept by all takers together, in every short time', async () => {
  vi.useFakeTimers({ toFake: [...FAKED] })
  pacer.update({ count: 1000, perMs: 1000 })
  let count = 0
  let isOver = false
  const takers = [1, 2, 3].map(() =>
    takeAll(
      pacer,
      () => count++,
      () => isOver,
    ),
  )
  await vi.advanceTimersByTimeAsync(100)
  expect(count).toBeLessThanOrEqual(155) // and a burst of 50 ms
  await vi.advanceTimersByTimeAsync(1900)
  expect(count).toBeGreaterThan(1900)
  expect(count).toBeLessThanOrEqual(2055)
  isOver = true
  pacer.close()
  await Promise.all(takers)
})

test('a rate below one in 50 ms is kept too, and one that is lifted lets all go on', async () => {
  vi.useFakeTimers({ toFake: [...FAKED] })
  pacer.update({ count: 2, perMs: 1000 })
  let count = 0
  let isOver = false
  const taker = takeAll(
    pacer,
    () => count++,
    () => isOver || count >= 1000,
  )
  await vi.advanceTimersByTimeAsync(3100)
  expect(count).toBeGreaterThanOrEqual(6)
  expect(count).toBeLessThanOrEqual(8)
  pacer.update(NO_LIMIT)
  await vi.advanceTimersByTimeAsync(100)
  expect(count).toBe(1000)
  isOver = true
  await taker
})

test('in one turn of the event loop all together get no more than some milliseconds', async () => {
  let inTurn = 0
  while (pacer.take() === undefined) {
    const from = performance.now()
    while (performance.now() - from < 0.5) {
      // a message that costs half a millisecond
    }
    inTurn++
  }
  expect(inTurn).toBeLessThan(30)
  const order: string[] = []
  const waiting = ['first', 'second', 'third'].map(async (name) => {
    await pacer.take()
    order.push(name)
  })
  expect(order).toEqual([])
  await Promise.all(waiting)
  expect(order).toEqual(['first', 'second', 'third'])
})

test('once closed, nobody waits', async () => {
  pacer.update({ count: 1, perMs: 60_000 })
  expect(pacer.take()).toBeUndefined()
  const waits = [pacer.take(), pacer.pause()]
  pacer.close()
  await Promise.all(waits)
  expect(pacer.take()).toBeUndefined()
})

test('a search for one topic among many is interrupted, and finds it', async () => {
  const storage = new MemoryStorage()
  for (let i = 0; i < 20_000; i++) storage.storeRetained(retained(`a/${i}/x`))
  storage.storeRetained(retained('a/7/rare'))
  let pauses = 0
  const cursor = storage.retained('+/+/rare', () => {
    pauses++
    return pacer.pause()
  })
  expect((await cursor.next())?.topic).toBe('a/7/rare')
  expect(await cursor.next()).toBeUndefined()
  expect(pauses).toBeGreaterThan(10)
})

test('a sweep of very many expired ones takes several turns', async () => {
  const storage = new MemoryStorage()
  for (let i = 0; i < 5000; i++) storage.storeRetained(retained(`a/${i}`), 1)
  storage.dropExpired(2)
  expect(storage.retainedCount).toBeGreaterThan(0)
  await vi.waitFor(() => expect(storage.retainedCount).toBe(0))
})

test('what was read while its client stopped taking messages is kept for it', async () => {
  const got: string[] = []
  let hasRoom = true
  const replays = new RetainedReplays({
    hasRoom: () => hasRoom,
    offer: (message) => void got.push(message.topic),
    failed: (error) => {
      throw error
    },
  })
  const topics = ['a', 'b', 'c']
  const later: (() => void)[] = []
  const next = () =>
    new Promise<Message | undefined>((resolve) => {
      const topic = topics.shift()
      later.push(() => resolve(topic === undefined ? undefined : retained(topic)))
    })
  replays.add({ ready: () => undefined, next }, {} as SubscriptionEntry)
  await turns()
  hasRoom = false
  later.shift()?.()
  await turns()
  expect(got).toEqual([])
  hasRoom = true
  replays.goOn()
  for (let i = 0; i < 4; i++) {
    await turns()
    later.shift()?.()
  }
  await turns()
  expect(got).toEqual(['a', 'b', 'c'])
  expect(replays.isWaiting).toBe(false)
})

test('a subscription that comes while the last one before it is being read and cleared is served', async () => {
  const got: string[] = []
  const replays = new RetainedReplays({
    hasRoom: () => true,
    offer: (message) => void got.push(message.topic),
    failed: () => {},
  })
  let answer: ((message: Message | undefined) => void) | undefined
  const slow = () => new Promise<Message | undefined>((resolve) => (answer = resolve))
  replays.add({ ready: () => undefined, next: slow }, {} as SubscriptionEntry)
  await turns()
  replays.clear()
  const rest = ['new']
  const quick = () => {
    const topic = rest.shift()
    return topic === undefined ? undefined : retained(topic)
  }
  replays.add({ ready: () => undefined, next: quick }, {} as SubscriptionEntry)
  answer?.(undefined)
  await turns()
  expect(got).toEqual(['new'])
})

function retained(topic: string): Message {
  return Message.of(topic, Buffer.from('x'), 0, true, undefined, undefined, 0)
}
