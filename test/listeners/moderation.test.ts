import { expect, test } from 'vitest'
import { Moderation, type ModerationClock } from '../../listeners/moderation.ts'

/** A turn of the event loop. */
interface Turn {
  workMs: number
  bytes: number
  /** How long the loop waits before it. */
  waitMs?: number
}

/** @param wasPaused - whether there was a pause right before this turn */
type Load = (wasPaused: boolean) => Turn

/** What the system makes of a pause of 0.05 ms. */
const PAUSE_MS = 0.1
/** Turns that it takes to see that a load has ended. */
const FEW_TURNS = 16

/** An event loop that takes no time, with its clock. */
class Loop implements ModerationClock {
  nowMs = 0
  /** When a pause began. */
  readonly pauses: number[] = []
  /** When pauses began and ended to be made. */
  readonly begins: number[] = []
  readonly ends: number[] = []
  readonly moderation: Moderation
  #idleMs = 0
  #wasPaused = false

  constructor() {
    this.moderation = new Moderation(this)
  }

  now(): number {
    return this.nowMs
  }

  idle(): number {
    return this.#idleMs
  }

  pause(): void {
    this.#wasPaused = true
    this.pauses.push(this.nowMs)
    this.nowMs += PAUSE_MS
  }

  run(load: Load, forMs: number): void {
    const untilMs = this.nowMs + forMs
    while (this.nowMs < untilMs) {
      const { moderation } = this
      const { workMs, bytes, waitMs = 0 } = load(this.#wasPaused)
      this.#wasPaused = false
      this.#idleMs += waitMs
      this.nowMs += waitMs + workMs
      const before = moderation.isPausing
      moderation.turnEnded(bytes)
      if (before === moderation.isPausing) continue
      if (before) this.ends.push(this.nowMs)
      else this.begins.push(this.nowMs)
    }
  }

  /** The share of the time that went to pauses from `sinceMs` on. */
  pausedShare(sinceMs = 0): number {
    return (this.pauses.filter((at) => at >= sinceMs).length * PAUSE_MS) / (this.nowMs - sinceMs)
  }
}

/** There is always more to read, and a read costs more than what it brings. */
const flood: Load = (wasPaused) => (wasPaused ? { workMs: 0.14, bytes: 2000 } : { workMs: 0.06, bytes: 400 })
/** Peers that wait for answers: nothing more comes meanwhile. */
const pingPong: Load = () => ({ workMs: 0.06, bytes: 400 })
/** Comes at a rate of its own and costs the same in large pieces as in small ones. */
const steady: Load = (wasPaused) =>
  wasPaused ? { workMs: 0.93, bytes: 1030 } : { workMs: 0.93, bytes: 1000, waitMs: 0.07 }
/** Ping-pong, by turns a little too much and a little too little to do for a loop that is fully busy. */
function wavering(): Load {
  let turns = 0
  return () => ({ workMs: 0.06, bytes: 400, waitMs: turns++ % 1000 < 500 ? 0 : 0.02 })
}
const trickle: Load = () => ({ workMs: 0.02, bytes: 100, waitMs: 10 })

test('where pauses make reads larger, they begin and stay', () => {
  const loop = new Loop()
  loop.run(flood, 60)
  expect(loop.moderation.isPausing).toBe(true)
  loop.run(flood, 10_000)
  // All but a look at how it would be without, once in a second.
  const withoutMs = loop.begins.slice(1).map((beginMs, i) => beginMs - (loop.ends[i] ?? 0))
  expect(withoutMs).toHaveLength(9)
  expect(Math.max(...withoutMs)).toBeLessThan(30)
})

test('where less gets through with pauses, they are given up, and tried again ever more rarely', () => {
  const loop = new Loop()
  loop.run(pingPong, 12_000)
  const trialsMs = loop.ends.map((endMs, i) => endMs - (loop.begins[i] ?? 0))
  expect(Math.max(...trialsMs)).toBeLessThan(30)
  const gapsMs = loop.begins.slice(1).map((beginMs, i) => beginMs - (loop.ends[i] ?? 0))
  expect(gapsMs.map((gapMs) => Math.floor(gapMs / 50) * 50)).toEqual([
    100, 200, 400, 800, 1600, 2000, 2000, 2000, 2000,
  ])
})

test('where it takes as much work with pauses as without, they are given up', () => {
  const loop = new Loop()
  loop.run(steady, 500)
  expect([loop.begins.length, loop.ends.length]).toEqual([3, 3])
})

test.each([
  ['less gets through', pingPong],
  ['it takes as much work', steady],
  ['it is not always busy', wavering()],
])('where %s, hardly any time is lost to pauses', (_, load) => {
  const loop = new Loop()
  loop.run(load, 60_000)
  expect(loop.pauses.length).toBeGreaterThan(0)
  expect(loop.pausedShare()).toBeLessThan(0.02)
})

test.each<[string, Load]>([
  ['a loop that waits now and then', () => ({ workMs: 0.08, bytes: 400, waitMs: 0.02 })],
  ['a loop whose turns are long', () => ({ workMs: 1.5, bytes: 40_000 })],
  ['a loop that sends nothing', () => ({ workMs: 0.06, bytes: 0 })],
])('%s never pauses', (_, load) => {
  const loop = new Loop()
  loop.run(load, 10_000)
  expect(loop.pauses).toHaveLength(0)
})

test('a load that ends takes the pauses along', () => {
  const loop = new Loop()
  loop.run(flood, 500)
  expect(loop.moderation.isPausing).toBe(true)
  const before = loop.pauses.length
  loop.run(trickle, 10_000)
  expect(loop.moderation.isPausing).toBe(false)
  expect(loop.pauses.length - before).toBeLessThanOrEqual(FEW_TURNS)
})

test.each([
  ['helped', flood],
  ['did not help', pingPong],
])('after a load where they %s the next one is tried at once', (_, load) => {
  const loop = new Loop()
  loop.run(load, 10_000)
  loop.run(trickle, 1000)
  loop.run(flood, 90)
  expect(loop.moderation.isPausing).toBe(true)
})

test('a moment with less to do does not keep them away from a load that they help', () => {
  const loop = new Loop()
  loop.run(flood, 500)
  loop.run(() => ({ workMs: 0.06, bytes: 400, waitMs: 0.03 }), 60)
  expect(loop.ends).toHaveLength(1)
  loop.run(flood, 90)
  expect(loop.moderation.isPausing).toBe(true)
})

test('when more would get through without them, they end within a second or so', () => {
  const loop = new Loop()
  loop.run(flood, 500)
  const changedMs = loop.nowMs
  loop.run(pingPong, 10_000)
  expect(loop.pausedShare(changedMs + 1100)).toBeLessThan(0.02)
})

test('a loop that has hardly anything to do between pauses ends them at once', () => {
  const loop = new Loop()
  loop.run(flood, 500)
  loop.run(() => ({ workMs: 0.01, bytes: 100 }), 60)
  expect(loop.ends).toHaveLength(1)
})

test('it can be told of turns by the clock of the system', () => {
  const moderation = new Moderation()
  expect(() => {
    for (let i = 0; i < 1000; i++) moderation.turnEnded(100)
  }).not.toThrow()
})
