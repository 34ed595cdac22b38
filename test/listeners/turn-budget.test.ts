import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { TurnBudget } from '../../listeners/turn-budget.ts'

const LOOK = 16_384
let nowMs = 0
let turns: TurnBudget

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setImmediate', 'clearImmediate'] })
  nowMs = 0
  turns = new TurnBudget(() => nowMs)
})
afterEach(() => void vi.useRealTimers())

/** Somebody who holds so much that the turn is over when it is handled. */
function slow(name: string, done: string[]) {
  return {
    goOn: () => {
      nowMs += 6
      turns.admits(LOOK)
      done.push(name)
    },
  }
}

test('a turn takes bytes for a few milliseconds, then no more until the next one', () => {
  expect(turns.admits(LOOK)).toBe(true)
  nowMs = 2
  expect(turns.admits(LOOK)).toBe(true)
  nowMs = 2.1
  expect(turns.admits(LOOK)).toBe(false)
  nowMs = 0
  expect(turns.admits(1)).toBe(false)
  vi.runOnlyPendingTimers()
  expect(turns.admits(1)).toBe(true)
})

test('small packets do not ask for the time', () => {
  nowMs = 100
  const now = vi.fn(() => nowMs)
  turns = new TurnBudget(now)
  for (let i = 0; i < 100; i++) expect(turns.admits(100)).toBe(true)
  expect(now).toHaveBeenCalledTimes(1)
})

test('who had to wait goes on in order, each turn as long as it lasts', () => {
  const done: string[] = []
  for (const name of ['a', 'b', 'c']) turns.wait(slow(name, done))
  turns.admits(1)
  vi.runOnlyPendingTimers()
  expect(done).toEqual(['a'])
  turns.wait(slow('d', done))
  for (let i = 0; i < 3; i++) vi.runOnlyPendingTimers()
  expect(done).toEqual(['a', 'b', 'c', 'd'])
})

test('an idle process has no turns', () => {
  turns.admits(1)
  vi.runAllTimers()
  expect(vi.getTimerCount()).toBe(0)
})
