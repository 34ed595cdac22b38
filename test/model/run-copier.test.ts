import { expect, test } from 'vitest'
import { RunCopier } from '../../model/run-copier.ts'

const from = Buffer.from(Array.from({ length: 600 }, (_, i) => (i * 7) & 0xff)).subarray(3)

test('pieces of any length and place are copied, and nothing beside them', () => {
  const copier = new RunCopier()
  const buffer = Buffer.alloc(700)
  const into = buffer.subarray(5)
  for (let length = 0; length < 200; length++) {
    const start = length % 11
    into.fill(0xee)
    copier.copy(into, 9 + start, from, start, start + length)
    const expected = Buffer.alloc(into.length, 0xee)
    from.copy(expected, 9 + start, start, start + length)
    expect(into.equals(expected), `${length} bytes`).toBe(true)
  }
})

test('other buffers may come in between', () => {
  const copier = new RunCopier()
  const others = [Buffer.alloc(64), Buffer.alloc(64, 1)]
  for (let i = 0; i < 12; i++) {
    const into = others[(i >> 2) & 1] as Buffer
    const source = i % 3 === 0 ? from : from.subarray(1)
    copier.copy(into, 1, source, i, i + 30)
    expect(into.subarray(1, 31).equals(source.subarray(i, i + 30))).toBe(true)
  }
})
