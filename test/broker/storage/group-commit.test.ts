import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { GroupCommit } from '../../../broker/storage/group-commit.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { FakeRecords, LogLines } from './support.ts'

const bytes = (text: string) => Buffer.from(text)

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
})
afterEach(() => {
  vi.useRealTimers()
})

function start(): { records: FakeRecords; log: LogLines; changes: GroupCommit } {
  const records = new FakeRecords()
  const log = new LogLines()
  return { records, log, changes: new GroupCommit(records, log) }
}

/** The ids of each batch. */
const batches = ({ commits }: FakeRecords) => commits.map((writes) => writes.map(({ id }) => id))

test('what is noted in one turn is written together, each key once, as it was last', async () => {
  const { records, changes } = start()
  for (const id of ['a', 'b', 'a']) changes.put('bans', '', id, bytes(`${id}${Math.random()}`))
  changes.put('bans', '', 'a', bytes('last'))
  changes.delete('bans', '', 'b')
  await changes.unsafe
  expect(batches(records)).toEqual([['a', 'b']])
  expect(records.ids('bans')).toEqual(['a'])
  expect([...records.records.values()][0]?.value.toString()).toBe('last')
})

test('a value is encoded when it is written, and never if it was taken away before', async () => {
  const { records, changes } = start()
  const encode = vi.fn(() => bytes('x'))
  changes.put('bans', '', 'a', { encode }, true)
  changes.put('bans', '', 'b', { encode }, true)
  changes.delete('bans', '', 'b')
  expect(encode).not.toHaveBeenCalled()
  await changes.unsafe
  expect(encode).toHaveBeenCalledTimes(1)
  expect(batches(records)).toEqual([['a']])
})

test('a record that may be in the store is taken away even if its new value was never written', async () => {
  const { records, changes } = start()
  records.set('bans', '', 'a', 'old')
  changes.delete('bans', '', 'a')
  changes.put('bans', '', 'a', bytes('x'), true)
  changes.delete('bans', '', 'a')
  await changes.unsafe
  expect(records.ids('bans')).toEqual([])
})

test('one batch is written at a time while the next one collects, and promises settle in order', async () => {
  const { records, changes } = start()
  let release = () => {}
  records.gate = new Promise((resolve) => {
    release = resolve
  })
  const settled: string[] = []
  changes.put('bans', '', 'a', bytes('1'))
  const first = changes.unsafe?.then(() => settled.push('first'))
  await new Promise((resolve) => setImmediate(resolve))
  const alsoFirst = changes.unsafe?.then(() => settled.push('also first'))
  changes.put('bans', '', 'b', bytes('2'))
  changes.put('bans', '', 'a', bytes('3'))
  const second = changes.unsafe?.then(() => settled.push('second'))
  release()
  await Promise.all([second, first, alsoFirst])
  expect(settled).toEqual(['first', 'also first', 'second'])
  expect(batches(records)).toEqual([['a'], ['b', 'a']])
  expect(changes.unsafe).toBeUndefined()
})

test('what many turns note is written in batches of a bounded size, in the order in which it was noted', async () => {
  const { records, changes } = start()
  let release = () => {}
  records.gate = new Promise((resolve) => {
    release = resolve
  })
  changes.put('bans', '', 'first', bytes('x'))
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  await turn()
  const count = 2000
  for (let i = 0; i < count; i++) {
    changes.put('bans', '', String(i), bytes('x'))
    if (i % 100 === 99) await turn()
  }
  for (let i = 0; i < 6; i++, await turn()) changes.put('users', '', String(i), Buffer.alloc(1024 * 512))
  records.gate = undefined
  release()
  await changes.unsafe
  expect(batches(records).map(({ length }) => length)).toEqual([1, 1100, 902, 2, 2])
  expect(
    batches(records)
      .flat()
      .slice(1, count + 1),
  ).toEqual(Array.from({ length: count }, (_, i) => String(i)))
})

test('what one turn notes is never torn apart: a message, its deliveries and the packet id it came with', async () => {
  const { records, changes } = start()
  changes.put('sessions', 'publisher', 'i1', bytes('noted before, in the same batch'))
  for (let i = 0; i < 10_000; i++) changes.put('sessions', `subscriber ${i}`, 'd1', Buffer.alloc(1024))
  changes.delete('sessions', 'publisher', 'i1')
  await changes.unsafe
  expect(batches(records).map(({ length }) => length)).toEqual([10_001])
})

test('a batch that cannot be written is tried again with what was noted since, after a growing delay', async () => {
  const { records, log, changes } = start()
  records.failure = new Error('gone')
  for (const id of ['a', 'b', 'c']) changes.put('bans', '', id, bytes('old'), true)
  await expect(changes.unsafe).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
  expect(changes.refusal).toBe(ReasonCode.ServerUnavailable)
  changes.put('bans', '', 'b', bytes('new'))
  changes.delete('bans', '', 'c')
  let isSettled = false
  const next = changes.unsafe
  next?.catch(() => {
    isSettled = true
  })
  await vi.advanceTimersByTimeAsync(99)
  expect(isSettled).toBe(false)
  await vi.advanceTimersByTimeAsync(1)
  await expect(next).rejects.toMatchObject({ code: 'STORAGE_FAILED' })

  records.failure = undefined
  const last = changes.unsafe
  await vi.advanceTimersByTimeAsync(199)
  expect(records.commits).toEqual([])
  await vi.advanceTimersByTimeAsync(1)
  await last
  expect([...records.records.values()].map(({ id, value }) => [id, value.toString()])).toEqual([
    ['a', 'old'],
    ['b', 'new'],
  ])
  // It may have been written by a batch that failed afterwards.
  expect(records.commits[0]?.find(({ id }) => id === 'c')).toMatchObject({ value: undefined })
  expect([changes.refusal, changes.unsafe]).toEqual([undefined, undefined])
  expect(log.lines.map(({ level }) => level)).toEqual(['error', 'info'])
})

test('the delay never grows beyond five seconds', async () => {
  const { records, changes } = start()
  records.failure = new Error('gone')
  const attempts = vi.spyOn(records, 'commit')
  changes.put('bans', '', 'a', bytes('x'))
  await new Promise((resolve) => setImmediate(resolve))
  await vi.advanceTimersByTimeAsync(60_000)
  const before = attempts.mock.calls.length
  await vi.advanceTimersByTimeAsync(50_000)
  expect(attempts.mock.calls.length - before).toBe(10)
})

test.each([
  Object.assign(new Error('write failed'), { code: 'ENOSPC' }),
  new Error('outer', { cause: new Error('IO error: 000003.log: No space left on device') }),
  new Error("OOM command not allowed when used memory > 'maxmemory'."),
])('a full disk is called one: %s', async (failure) => {
  const { records, changes } = start()
  records.failure = failure
  changes.put('bans', '', 'a', bytes('x'))
  await expect(changes.unsafe).rejects.toMatchObject({ message: expect.stringContaining('is full') })
  expect(changes.refusal).toBe(ReasonCode.QuotaExceeded)
})

test('a record with a bug does not keep others from being written, but nobody is told that all are safe', async () => {
  const { records, log, changes } = start()
  const encode = () => {
    throw new TypeError('bug')
  }
  changes.put('bans', '', 'a', { encode })
  changes.put('bans', '', 'b', bytes('x'))
  await expect(changes.unsafe).rejects.toMatchObject({ code: 'INTERNAL' })
  expect(records.ids('bans')).toEqual(['b'])
  expect(log.find('could not be encoded')?.level).toBe('error')
  expect([changes.unsafe, changes.refusal]).toEqual([undefined, undefined])
  changes.put('bans', '', 'c', bytes('x'))
  await changes.unsafe
})

test('closing writes what is left, without waiting for the end of a delay', async () => {
  const { records, changes } = start()
  records.failure = new Error('gone')
  changes.put('bans', '', 'a', bytes('x'))
  await expect(changes.unsafe).rejects.toThrow()
  records.failure = undefined
  changes.put('bans', '', 'b', bytes('y'))
  await changes.close()
  await changes.close()
  expect(records.ids('bans')).toEqual(['a', 'b'])
  expect(changes.unsafe).toBeUndefined()
})

test('what could not be written at the end is said to nobody to be safe', async () => {
  const { records, log, changes } = start()
  records.failure = new Error('gone')
  changes.put('bans', '', 'a', bytes('x'))
  const rejected = expect(changes.unsafe).rejects.toThrow()
  await changes.close()
  await rejected
  expect(log.find('changes were not written')?.fields).toMatchObject({ changes: 1 })
  const settled = vi.fn()
  changes.unsafe?.then(settled, settled)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(settled).not.toHaveBeenCalled()
})

test('nobody may count on what is noted after the end', async () => {
  const { records, changes } = start()
  await changes.close()
  expect(changes.unsafe).toBeUndefined()
  changes.put('bans', '', 'a', bytes('x'))
  expect(changes.unsafe).toBeInstanceOf(Promise)
  expect(records.ids('bans')).toEqual([])
})
