import { expect, test } from 'vitest'
import { IdTimes } from '../../model/id-times.ts'

test('it knows what was set last, and nothing of what was deleted', () => {
  const times = new IdTimes()
  expect([times.size, times.get(7), times.delete(7)]).toEqual([0, undefined, false])
  times.set(7, 1.5)
  times.set(7, Number.NEGATIVE_INFINITY)
  times.set(65_535, 3)
  expect([times.size, times.get(7), times.get(65_535)]).toEqual([2, Number.NEGATIVE_INFINITY, 3])
  expect([times.delete(7), times.delete(7), times.size, times.get(7)]).toEqual([true, false, 1, undefined])
  expect(times.entries()).toEqual([[65_535, 3]])
})

test('it does what a map does, whatever comes and goes', () => {
  let seed = 1
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fff_ffff
    return (seed >>> 8) % below
  }
  for (const ids of [8, 40, 1000, 65_535]) {
    const times = new IdTimes()
    const map = new Map<number, number>()
    for (let i = 0; i < 20_000; i++) {
      const id = 1 + random(ids)
      if (random(100) < (i % 4000 < 2000 ? 70 : 30)) {
        times.set(id, i)
        map.set(id, i)
      } else expect(times.delete(id)).toBe(map.delete(id))
      expect(times.size).toBe(map.size)
      const other = 1 + random(ids)
      expect(times.get(other)).toBe(map.get(other))
    }
    expect(new Map(times.entries())).toEqual(map)
  }
})

test('all ids there are can be in it', () => {
  const times = new IdTimes()
  for (let id = 1; id <= 65_535; id++) times.set(id, id * 2)
  expect(times.size).toBe(65_535)
  for (let id = 1; id <= 65_535; id += 2) times.delete(id)
  expect(times.entries().every(([id, time]) => id % 2 === 0 && time === id * 2)).toBe(true)
  expect(times.size).toBe(32_767)
})

test('it can be used again after a burst has left nothing behind', () => {
  const times = new IdTimes()
  for (const burst of [5000, 3, 5000]) {
    for (let id = 1; id <= burst; id++) times.set(id, id)
    for (let id = 1; id <= burst; id++) expect(times.delete(id)).toBe(true)
    expect([times.size, times.get(1), times.delete(1), times.entries()]).toEqual([0, undefined, false, []])
  }
})
