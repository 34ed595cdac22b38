import { expect, test } from 'vitest'
import { TokenBucket } from '../../model/token-bucket.ts'

const PER_SECOND = { count: 10, perMs: 1000 }

/** How many single tokens are there at `nowMs`; takes them. */
function drain(bucket: TokenBucket, nowMs: number): number {
  let count = 0
  while (bucket.has(nowMs)) {
    bucket.take(1, nowMs)
    count++
  }
  return count
}

test('it begins full, and never holds more than the rate', () => {
  const bucket = new TokenBucket(PER_SECOND, undefined, 0)
  expect(drain(bucket, 0)).toBe(10)
  expect(drain(bucket, 3_600_000)).toBe(10)
})

test('tokens come evenly, fractions included', () => {
  const bucket = new TokenBucket(PER_SECOND, undefined, 0)
  drain(bucket, 0)
  expect([50, 99, 100, 150, 250].map((nowMs) => drain(bucket, nowMs))).toEqual([0, 0, 1, 0, 1])
})

test('whoever takes the last token is told', () => {
  const bucket = new TokenBucket({ count: 2, perMs: 1000 }, undefined, 0)
  expect([bucket.take(1, 0), bucket.take(1, 0)]).toEqual([true, false])
})

test('more than there is may be taken, and has to be waited for', () => {
  const bucket = new TokenBucket(PER_SECOND, undefined, 0)
  expect(bucket.take(30, 0)).toBe(false)
  expect(bucket.waitMs(1, 0)).toBe(2100)
  expect([bucket.has(2099), bucket.has(2100)]).toEqual([false, true])
})

test('over a long time the rate holds, whatever is taken when', () => {
  const bucket = new TokenBucket(PER_SECOND, undefined, 0)
  let taken = 0
  for (let nowMs = 0; nowMs < 100_000; nowMs += 7) {
    if (!bucket.has(nowMs)) continue
    bucket.take(1 + (nowMs % 13), nowMs)
    taken += 1 + (nowMs % 13)
  }
  expect(taken).toBeGreaterThan(990)
  expect(taken).toBeLessThan(1030)
})

test('a burst is used when the rest is, and comes back at its own pace', () => {
  const bucket = new TokenBucket(PER_SECOND, { count: 5, perMs: 10_000 }, 0)
  expect(drain(bucket, 0)).toBe(15)
  // Half a token of the burst beside ten of the rate.
  expect(drain(bucket, 1000)).toBe(10)
  expect(drain(bucket, 3_600_000)).toBe(15)
})

test('a burst pays debts too', () => {
  const bucket = new TokenBucket(PER_SECOND, { count: 10, perMs: 1000 }, 0)
  bucket.take(39, 0)
  expect(bucket.waitMs(1, 0)).toBe(1000)
  expect(drain(bucket, 1000)).toBe(1)
})

test('the wait for a full bucket is the wait for all it can hold', () => {
  const bucket = new TokenBucket(PER_SECOND, undefined, 0)
  expect(bucket.waitMs(Number.POSITIVE_INFINITY, 0)).toBe(0)
  drain(bucket, 0)
  expect(bucket.waitMs(Number.POSITIVE_INFINITY, 0)).toBe(1000)
})

test('other limits hold at once, and what was taken stays taken', () => {
  const bucket = new TokenBucket(PER_SECOND, { count: 5, perMs: 1000 }, 0)
  bucket.update({ count: 3, perMs: 1000 }, undefined, 0)
  expect(drain(bucket, 0)).toBe(3)
  bucket.update({ count: 1000, perMs: 1000 }, undefined, 0)
  expect(drain(bucket, 1)).toBe(1)
})

test('a clock that goes back neither gives tokens nor stops them', () => {
  const bucket = new TokenBucket(PER_SECOND, undefined, 1_000_000)
  drain(bucket, 1_000_000)
  expect([drain(bucket, 0), drain(bucket, 100)]).toEqual([0, 1])
})
