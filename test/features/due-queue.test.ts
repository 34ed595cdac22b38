import { expect, test } from 'vitest'
import { type Due, DueQueue } from '../../features/delayed/due-queue.ts'

function drain(queue: DueQueue<Due>): number[] {
  const ids: number[] = []
  for (let { first } = queue; first !== undefined; { first } = queue) {
    ids.push(first.id)
    queue.remove(first)
  }
  return ids
}

function filled(times: readonly number[]): { queue: DueQueue<Due>; items: Due[] } {
  const queue = new DueQueue<Due>()
  const items = times.map((dueAtMs, id) => ({ id, dueAtMs, place: 0 }))
  for (const item of items) queue.add(item)
  return { queue, items }
}

test('what is due first comes first, of the same time what came first', () => {
  expect(drain(filled([30, 10, 20, 10, 5, 30]).queue)).toEqual([4, 1, 3, 2, 0, 5])
})

test('anything may be taken out, and the rest stays in order', () => {
  const times = Array.from({ length: 500 }, (_, i) => (i * 7919) % 101)
  const { queue, items } = filled(times)
  const taken = new Set(items.filter(({ id }) => id % 3 === 0))
  for (const item of taken) queue.remove(item)
  expect(queue.size).toBe(500 - taken.size)
  const rest = items.filter((item) => !taken.has(item))
  const inOrder = rest.toSorted((a, b) => a.dueAtMs - b.dueAtMs || a.id - b.id)
  expect(drain(queue)).toEqual(inOrder.map(({ id }) => id))
  expect(queue.first).toBeUndefined()
})

test('a cleared queue is empty', () => {
  const { queue } = filled([1, 2])
  queue.clear()
  expect(queue.size).toBe(0)
  expect(queue.first).toBeUndefined()
})
