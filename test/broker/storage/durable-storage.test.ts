import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, type TestContext, test, vi } from 'vitest'
import { DurableStorage } from '../../../broker/storage/durable-storage.ts'
import { GroupCommit } from '../../../broker/storage/group-commit.ts'
import { RejectedRecords } from '../../../broker/storage/rejected-records.ts'
import { silentLogger } from '../../../model/log.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { durableContract } from './durable-contract.ts'
import {
  delivery,
  FakeRecords,
  LogLines,
  message,
  NEVER,
  payloadsOf,
  sessionRecord,
  sessionsOf,
  storedClient,
  subscription,
} from './support.ts'

const nowhere = { rejectedPrefix: join(tmpdir(), 'hubbub-never-written') }

durableContract('records in memory', async () => {
  const records = new FakeRecords()
  return () => new DurableStorage(records, silentLogger, nowhere)
})

async function opened(
  t: TestContext,
  records: FakeRecords,
  log = new LogLines(),
  options = nowhere,
): Promise<DurableStorage> {
  const storage = new DurableStorage(records, log, options)
  await storage.setup({ id: 'node' })
  t.onTestFinished(() => storage.destroy())
  return storage
}

test('a message for one session lies in its delivery, one for several lies once', async (t) => {
  const records = new FakeRecords()
  const { durable } = await opened(t, records)
  durable.sessions.added('a', delivery(message('t')))
  await durable.unsafe
  expect(records.ids('messages')).toEqual([])
  const shared = message('t', 'x'.repeat(10_000))
  const all = ['a', 'b', 'c'].map((key) => ({ key, one: delivery(shared) }))
  for (const { key, one } of all) durable.sessions.added(key, one)
  await durable.unsafe
  expect(records.ids('messages').length).toBe(1)
  const stored = [...records.records.values()].reduce((sum, { value }) => sum + value.length, 0)
  expect(stored).toBeLessThan(11_000)
  for (const { key, one } of all) durable.sessions.dropped(key, one)
  await durable.unsafe
  expect(records.ids('messages')).toEqual([])
  expect(records.ids('sessions').length).toBe(1)
})

test('a second subscriber that comes after the first was written is no problem', async (t) => {
  const records = new FakeRecords()
  const storage = await opened(t, records)
  const of = message('t')
  for (const key of ['a', 'b']) {
    storage.durable.sessions.save(sessionRecord(key))
    storage.durable.sessions.added(key, delivery(of))
    await storage.durable.unsafe
  }
  const again = await opened(t, records)
  expect(await payloadsOf(again, 'a')).toEqual(['t'])
  expect(await payloadsOf(await opened(t, records), 'b')).toEqual(['t'])
})

test('a delivery that a hook has changed is dropped by its copy, once', async (t) => {
  const records = new FakeRecords()
  const { durable } = await opened(t, records)
  const original = delivery(message('t'))
  durable.sessions.added('a', original)
  await durable.unsafe
  const copy = original.with(message('t', 'changed'))
  durable.sessions.dropped('a', copy)
  durable.sessions.dropped('a', original)
  await durable.unsafe
  expect(records.ids('sessions')).toEqual([])
})

test('expired retained messages are taken out of the store, swept, found or met at a start', async (t) => {
  const records = new FakeRecords()
  const nowMs = Date.now()
  const storage = await opened(t, records)
  storage.storeRetained(message('found'), nowMs - 1)
  storage.storeRetained(message('swept'), nowMs + 60_000)
  storage.storeRetained(message('stays'), NEVER)
  await storage.durable.unsafe
  expect(records.ids('retained').length).toBe(3)
  expect(await storage.retained('found').next()).toBeUndefined()
  storage.dropExpired(nowMs + 60_000)
  await storage.durable.unsafe
  expect(records.ids('retained')).toEqual(['stays'])

  storage.storeRetained(message('met'), nowMs - 1)
  await storage.durable.unsafe
  const again = await opened(t, records)
  await again.durable.unsafe
  expect(records.ids('retained')).toEqual(['stays'])
})

test('what an interrupted write has left behind is taken away', async (t) => {
  const records = new FakeRecords()
  const before = await opened(t, records)
  before.durable.sessions.save(sessionRecord('whole'))
  before.durable.sessions.subscribed('no session', subscription('a'))
  before.durable.sessions.received('no session', 7, 1)
  const shared = message('t')
  for (const key of ['whole', 'no session']) before.durable.sessions.added(key, delivery(shared))
  await before.destroy()
  records.set(
    'messages',
    '',
    'nobody has it',
    [...records.records.values()].find(({ table }) => table === 'messages')?.value ?? '',
  )

  const log = new LogLines()
  const after = await opened(t, records, log)
  expect([...(await sessionsOf(after)).keys()]).toEqual(['whole'])
  await after.durable.unsafe
  expect(records.ids('messages').length).toBe(1)
  expect([...records.records.values()].filter(({ owner }) => owner === 'no session')).toEqual([])
  expect(log.lines.filter(({ level }) => level !== 'info')).toEqual([])
})

describe('while the store cannot be written', () => {
  test('everything goes on in memory, and is written when it can be', async (t) => {
    const records = new FakeRecords()
    const storage = await opened(t, records)
    records.failure = Object.assign(new Error('disk'), { code: 'ENOSPC' })
    const [first, second] = [delivery(message('first')), delivery(message('second'))]
    storage.durable.sessions.save(sessionRecord('c'))
    storage.durable.sessions.added('c', first)
    await expect(storage.durable.unsafe).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
    expect(storage.durable.refusal).toBe(ReasonCode.QuotaExceeded)
    storage.durable.sessions.added('c', second)
    storage.durable.sessions.dropped('c', first)
    storage.storeRetained(message('r'), NEVER)
    expect(storage.hasRetained('r')).toBe(true)
    records.failure = undefined
    await storage.durable.unsafe
    expect(storage.durable.refusal).toBeUndefined()
    const after = await opened(t, records)
    expect(await payloadsOf(after, 'c')).toEqual(['second'])
    expect(after.hasRetained('r')).toBe(true)
  })

  test('no rejection is left for nobody', async (t) => {
    const records = new FakeRecords()
    const storage = await opened(t, records)
    records.failure = new Error('gone')
    storage.durable.sessions.save(sessionRecord('c'))
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
    expect(storage.durable.refusal).toBe(ReasonCode.ServerUnavailable)
    records.failure = undefined
    await storage.durable.unsafe
  })
})

test('records that cannot be read are moved into a file, all others are kept', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'hubbub-rejected-'))
  t.onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const records = new FakeRecords()
  const before = await opened(t, records)
  for (const key of ['good', 'bad session']) {
    before.durable.sessions.save(sessionRecord(key))
    before.durable.sessions.added(key, delivery(message('t', key)))
  }
  before.storeRetained(message('good'), NEVER)
  await before.destroy()
  records.set('retained', '', 'bad', 'x')
  records.set('retained', '', 'newer', Buffer.from([2, 0, 0]))
  records.set('sessions', 'good', 'd9', Buffer.from([1, 0, 0]))
  records.set('sessions', 'good', '?', '')
  records.set('sessions', 'bad session', '0', '\u0001[')
  records.set('messages', '', 'bad', '')
  records.set('wills', '', 'bad', '\u0001{}')
  records.set('node_wills', '', 'bad', '{')

  const log = new LogLines()
  const after = await opened(t, records, log, { rejectedPrefix: join(directory, 'store') })
  expect(await payloadsOf(after, 'good')).toEqual(['good'])
  for await (const _ of after.durable.wills.load()) expect.unreachable()
  await after.durable.unsafe
  expect(after.retainedCount).toBe(1)
  expect(records.records.size).toBe(4)

  const [file = ''] = await readdir(directory)
  expect(file).toMatch(/^store\.rejected-\d{8}-\d{6}\.jsonl$/)
  const lines = (await readFile(join(directory, file), 'utf8')).trim().split('\n')
  const moved = lines.map(
    (line) => JSON.parse(line) as { table: string; id: string; why: string; value: string },
  )
  expect(moved.length).toBe(9)
  expect(moved.find(({ id }) => id === 'newer')).toMatchObject({
    table: 'retained',
    why: 'record of version 2, known is 1',
    value: 'AgAA',
  })
  const reports = log.lines.filter(({ message: text }) => text.includes('moved into a file'))
  expect(reports.map(({ fields: { rejected, kept } }) => [rejected, kept])).toEqual([
    [
      { retained: 2, node_wills: 1 },
      { retained: 1, nodeWills: 0 },
    ],
    [
      { sessions: 4, messages: 1 },
      { sessions: 1, subscriptions: 0, deliveries: 1, messages: 0 },
    ],
    [{ wills: 1 }, { wills: 0 }],
  ])
})

test('a delivery that is dropped while the batch before its own is written leaves nothing, and no mistake', async (t) => {
  const records = new FakeRecords()
  const log = new LogLines()
  const { durable } = await opened(t, records, log)
  const nextTurn = () => new Promise((resolve) => setImmediate(resolve))
  durable.sessions.save(sessionRecord('a'))
  await durable.unsafe
  let release = () => {}
  records.gate = new Promise((resolve) => {
    release = resolve
  })
  durable.sessions.save(sessionRecord('a'))
  await nextTurn()
  const all: ReturnType<typeof delivery>[] = []
  for (let turn = 0; turn < 3; turn++) {
    for (let i = 0; i < 2000; i++) {
      const one = delivery(message('t', `${turn}/${i}`))
      durable.sessions.added('a', one)
      all.push(one)
    }
    await nextTurn()
  }
  const safe = durable.unsafe
  const commit = records.commit.bind(records)
  let commits = 0
  vi.spyOn(records, 'commit').mockImplementation(async (writes) => {
    await commit(writes)
    if (++commits === 1) for (const one of all) durable.sessions.dropped('a', one)
  })
  records.gate = undefined
  release()
  await safe
  await durable.unsafe
  expect(records.ids('sessions')).toEqual(['0'])
  expect(log.find('could not be encoded')).toBeUndefined()
})

test('what is noted while nothing can be written is bounded by what there is, not by what happens', async (t) => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  t.onTestFinished(() => void vi.useRealTimers())
  const records = new FakeRecords()
  const storage = await opened(t, records)
  const { sessions, wills } = storage.durable
  const waiting = Array.from({ length: 100 }, (_, i) => delivery(message('t', `${i}`), { qos: 2 }))
  sessions.save(sessionRecord('a'))
  for (const one of waiting) sessions.added('a', one)
  await storage.durable.unsafe
  records.failure = new Error('gone')
  sessions.save(sessionRecord('a'))
  await expect(storage.durable.unsafe).rejects.toThrow()
  const will = {
    topic: 'w',
    payload: Buffer.from(''),
    qos: 1,
    retain: false,
    delaySeconds: 0,
    properties: undefined,
  }
  for (let i = 0; i < 20_000; i++) {
    // Clients with wills come and go, those with sessions too, at QoS 2 one packet id follows the other.
    wills.save(storedClient(`passing ${i}`), { will: { ...will, qos: 1 }, dueAtMs: undefined })
    wills.remove(`passing ${i}`)
    sessions.save(sessionRecord('a'))
    sessions.received('a', (i % 50) + 1, i)
    sessions.released('a', (i % 50) + 1)
    storage.storeRetained(message(`passing ${i}`), NEVER)
    storage.storeRetained(message(`passing ${i}`, ''), NEVER)
    const one = delivery(message('t'))
    sessions.added('a', one)
    sessions.changed('a', Object.assign(one, { packetId: 7 }))
    sessions.dropped('a', one)
    const old = waiting[i % 100] as (typeof waiting)[number]
    if (i < 1000) sessions.changed('a', Object.assign(old, { packetId: i + 1 }))
    else if (i < 1100) sessions.dropped('a', old)
  }
  records.failure = undefined
  const { length } = records.commits
  await vi.advanceTimersByTimeAsync(5000)
  await storage.durable.unsafe
  const written = records.commits.slice(length).flat()
  // The session, 50 packet ids, and that each old delivery is gone.
  expect(written.length).toBe(1 + 50 + 100)
  expect(records.ids('sessions')).toEqual(['0'])
})

test('files of records that cannot be read have a bound, beyond it these stay where they are', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'hubbub-rejected-'))
  t.onTestFinished(() => rm(directory, { recursive: true, force: true }))
  const prefix = join(directory, 'store')
  await writeFile(`${prefix}.rejected-20200101-000000.jsonl`, 'x'.repeat(600))
  const records = new FakeRecords()
  const bad = Array.from({ length: 10 }, (_, i) => ({
    table: 'bans' as const,
    owner: '',
    id: String(i),
    value: Buffer.alloc(30),
  }))
  for (const { id, value } of bad) records.set('bans', '', id, value)
  const log = new LogLines()
  const changes = new GroupCommit(records, log)
  const rejected = new RejectedRecords(prefix, changes, log, 1000)
  for (const record of bad) await rejected.add(record, 'why')
  await rejected.report({})
  await changes.unsafe
  const files = (await readdir(directory)).sort()
  const lines = (await readFile(join(directory, files[1] as string), 'utf8')).trim().split('\n')
  expect(600 + lines.join('\n').length + 1).toBeLessThanOrEqual(1000)
  expect(records.ids('bans')).toEqual(bad.slice(lines.length).map(({ id }) => id))
  expect(lines.length).toBe(4)
  expect(log.find('move these files away')?.level).toBe('error')
})

test('a start that takes long says how far it is', async (t) => {
  const records = new FakeRecords()
  const before = await opened(t, records)
  for (const topic of ['a', 'b', 'c']) before.storeRetained(message(topic), NEVER)
  for (const key of ['one', 'two']) before.durable.sessions.save(sessionRecord(key))
  await before.destroy()
  vi.useFakeTimers({ toFake: ['performance'] })
  t.onTestFinished(() => void vi.useRealTimers())
  const scan = records.scan.bind(records)
  vi.spyOn(records, 'scan').mockImplementation(async function* (table) {
    for await (const chunk of scan(table)) {
      vi.advanceTimersByTime(3000)
      yield chunk
    }
  })
  const log = new LogLines()
  const after = await opened(t, records, log)
  await sessionsOf(after)
  const said = log.lines.filter(({ message: text }) => text === 'storage is being read')
  expect(said.map(({ fields: { store: _, ...counts } }) => counts)).toEqual([
    { retained: 1 },
    { retained: 3 },
    { sessions: 1, subscriptions: 0, deliveries: 0, messages: 0 },
  ])
})
