import { expect, test, vi } from 'vitest'
import { Unread } from '../../listeners/unread.ts'

test('what is kept is what was behind the place', () => {
  const unread = new Unread()
  unread.keep(Buffer.from('frame,rest, and what is of others'), 6, 10, 0)
  unread.append(Buffer.from(' of it'))
  expect([String(unread.bytes()), unread.byteLength, unread.isEmpty]).toEqual(['rest of it', 10, false])
  unread.keep(unread.bytes(), 10, 10, 0)
  expect([unread.byteLength, unread.isEmpty]).toEqual([0, true])
})

test('of what comes next only what is missing of the frame is added, where that is known', () => {
  const unread = new Unread()
  const chunk = Buffer.from('..me1frame2fra')
  unread.keep(Buffer.from('fra'), 0, 3, 6)
  expect([unread.complete(chunk, 2, 3), String(unread.bytes())]).toEqual([3, 'fram'])
  expect([unread.complete(chunk, 3, chunk.length), String(unread.bytes())]).toEqual([5, 'frame1'])
  unread.keep(unread.bytes(), 6, 6, 6)
  unread.keep(chunk, 11, chunk.length, 0)
  expect([unread.complete(chunk, 0, 5), String(unread.bytes())]).toEqual([5, 'fra..me1'])
})

test('slices handed out are never written over', () => {
  const unread = new Unread()
  unread.append(Buffer.alloc(100, 'a'))
  const slice = unread.bytes().subarray(0, 10)
  unread.keep(unread.bytes(), 10, 100, 0)
  for (let i = 0; i < 20; i++) unread.append(Buffer.alloc(100, 'b'))
  expect(String(slice)).toBe('a'.repeat(10))
  expect(String(unread.bytes())).toBe('a'.repeat(90) + 'b'.repeat(2000))
})

test('an announced length costs no memory before its bytes come', () => {
  const alloc = vi.spyOn(Buffer, 'allocUnsafeSlow')
  const unread = new Unread()
  unread.keep(Buffer.from([0x30, 0xff, 0xff, 0x7f]), 0, 4, 2_097_151)
  unread.append(Buffer.alloc(50_000))
  expect(Math.max(...alloc.mock.calls.map(([size]) => size))).toBeLessThanOrEqual(100_000)
  alloc.mockRestore()
})

test('taking away piece by piece costs in proportion to the bytes', () => {
  const alloc = vi.spyOn(Buffer, 'allocUnsafeSlow')
  const unread = new Unread()
  unread.append(Buffer.alloc(1_000_000))
  while (!unread.isEmpty) unread.keep(unread.bytes(), Math.min(10, unread.byteLength), unread.byteLength, 0)
  const allocated = alloc.mock.calls.reduce((sum, [size]) => sum + size, 0)
  expect(allocated).toBeLessThan(2_100_000)
  alloc.mockRestore()
})
