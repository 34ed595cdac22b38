import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FlushQueue } from '../../listeners/flush-queue.ts'
import { keepLent, type ReadSlab, ReadSlabs } from '../../listeners/read-slabs.ts'
import { Random } from '../support/random.ts'

const SLAB_BYTES = 65_536
const MAX_FREE = 64

let slabs: ReadSlabs

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setImmediate', 'clearImmediate'] })
  slabs = new ReadSlabs(new FlushQueue())
})
afterEach(() => void vi.useRealTimers())

const endTurn = () => vi.runAllTimers()
const put = (bytes: Buffer) => slabs.put(bytes, bytes.length)
const fill = () => put(Buffer.alloc(SLAB_BYTES))

test('pieces of one turn lie one behind the other', () => {
  const slab = put(Buffer.from('one'))
  expect(put(Buffer.from('two'))).toBe(slab)
  expect(slab.bytes.toString('latin1', 0, slab.used)).toBe('onetwo')
})

test('what nobody has kept is written over in the next turn', () => {
  const slab = put(Buffer.from('one'))
  endTurn()
  expect(put(Buffer.from('two'))).toBe(slab)
  expect(slab.bytes.toString('latin1', 0, slab.used)).toBe('two')
})

test('a slab with a piece that was kept is filled, and not used again', () => {
  const slab = put(Buffer.from('one'))
  slab.isKept = true
  endTurn()
  expect(put(Buffer.from('two'))).toBe(slab)
  endTurn()
  const seen = new Set(Array.from({ length: 4 }, fill))
  endTurn()
  for (let i = 0; i < 4; i++) seen.add(fill())
  expect(seen.has(slab)).toBe(false)
  expect(slab.bytes.toString('latin1', 0, slab.used)).toBe('onetwo')
})

test('a piece that waits is left alone until the turn ends in which it was handled', () => {
  const slab = put(Buffer.from('one'))
  slabs.hold(slab)
  slabs.hold(slab)
  endTurn()
  put(Buffer.from('two'))
  slabs.handBack(slab)
  endTurn()
  put(Buffer.from('three'))
  slabs.handBack(slab)
  expect(slab.bytes.toString('latin1', 0, slab.used)).toBe('onetwothree')
  endTurn()
  expect(put(Buffer.from('four'))).toBe(slab)
  expect(slab.bytes.toString('latin1', 0, slab.used)).toBe('four')
})

test('a full slab of which pieces waited comes back', () => {
  const slab = fill()
  slabs.hold(slab)
  const next = fill()
  endTurn()
  expect(fill()).toBe(next)
  slabs.handBack(slab)
  endTurn()
  expect(new Set([fill(), fill()])).toEqual(new Set([next, slab]))
})

test('what a socket has not taken at the end of the turn is left alone, though all seemed free', () => {
  const current = put(Buffer.from('one'))
  endTurn()
  // Of another queue, which is flushed after ours.
  keepLent(current.bytes.subarray(0, 3))
  expect(put(Buffer.from('two'))).not.toBe(current)

  const [first, second] = [fill(), fill()]
  endTurn()
  keepLent(first.bytes.subarray(1, 2))
  endTurn()
  const after = Array.from({ length: 5 }, fill)
  expect([after.includes(first), after.includes(second)]).toEqual([false, true])
  expect(current.bytes.toString('latin1', 0, 3)).toBe('one')
})

test("memory that was not lent is nobody's business", () => {
  expect(() => keepLent(Buffer.from('mine'))).not.toThrow()
})

test('a burst leaves so much memory behind, and no more', () => {
  const burst = () => {
    const seen = new Set<ReadSlab>()
    for (let i = 0; i < 2 * MAX_FREE; i++) seen.add(fill())
    endTurn()
    return seen
  }
  const first = burst()
  const second = burst()
  expect([...second].filter((slab) => first.has(slab))).toHaveLength(MAX_FREE + 1)
})

test('whatever is kept, waits or has not left stays as it is', () => {
  const random = new Random(11)
  const kept: { bytes: Buffer; copy: Buffer }[] = []
  let waiting: { slab: ReadSlab; piece: { bytes: Buffer; copy: Buffer } }[] = []
  let reused = 0
  const seen = new Set<ReadSlab>()
  for (let turn = 0; turn < 400; turn++) {
    const lent: { bytes: Buffer; copy: Buffer }[] = []
    for (let i = random.int(8); i > 0; i--) {
      const copy = Buffer.alloc(1 + random.int(random.pick([100, 20_000, SLAB_BYTES])), random.int(256))
      const slab = put(copy)
      if (seen.has(slab) && slab.used === copy.length) reused++
      seen.add(slab)
      const piece = { bytes: slab.bytes.subarray(slab.used - copy.length, slab.used), copy }
      const fate = random.int(16)
      if (fate === 0) {
        slab.isKept = true
        kept.push(piece)
      } else if (fate < 4) {
        slabs.hold(slab)
        waiting.push({ slab, piece })
      } else lent.push(piece)
    }
    const all = [...kept, ...lent, ...waiting.map(({ piece }) => piece)]
    expect(
      all.every(({ bytes, copy }) => bytes.equals(copy)),
      `turn ${turn}`,
    ).toBe(true)
    // Some of what was passed on is not taken by the kernel, some of what waits is handled.
    const pending = lent.filter(() => random.int(20) === 0)
    const isLate = random.int(2) === 0
    if (!isLate) for (const { bytes } of pending) keepLent(bytes)
    const done = waiting.filter(() => random.int(3) === 0)
    for (const { slab } of done) slabs.handBack(slab)
    waiting = waiting.filter((one) => !done.includes(one))
    endTurn()
    if (isLate) for (const { bytes } of pending) keepLent(bytes)
    kept.push(...pending)
    kept.splice(0, kept.length - 50)
  }
  expect(reused).toBeGreaterThan(100)
})
