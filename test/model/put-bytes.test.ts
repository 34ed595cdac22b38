import { expect, test } from 'vitest'
import { digits, put, putNumber } from '../../model/put-bytes.ts'

test('pieces of any length are put where they are to be, and nothing beside them', () => {
  const bytes = Buffer.from(Array.from({ length: 300 }, (_, i) => i % 251))
  for (const [from, to] of [
    [0, 0],
    [3, 4],
    [1, 8],
    [5, 100],
    [5, 102],
    [0, 300],
  ] as const) {
    const into = Buffer.alloc(310, 0xff)
    const end = put(into, 2, bytes, from, to)
    expect(end).toBe(2 + to - from)
    expect(into.subarray(2, end)).toEqual(bytes.subarray(from, to))
    expect([into[0], into[1], into[end]]).toEqual([0xff, 0xff, 0xff])
  }
})

test.for([0, 1, 9, 10, 99, 100, 65_535, 999_999_999, 1_000_000_000, Number.MAX_SAFE_INTEGER])(
  'number %i is written in decimal digits',
  (value) => {
    const into = Buffer.alloc(20, 0x2e)
    const end = putNumber(into, 1, value)
    expect(into.toString('latin1', 1, end)).toBe(String(value))
    expect(digits(value)).toBe(String(value).length)
    expect([into[0], into[end]]).toEqual([0x2e, 0x2e])
  },
)
