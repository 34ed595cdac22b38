import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { LevelRecords } from '../../../broker/storage/level-records.ts'
import { LevelStorage } from '../../../broker/storage/storage-level.ts'
import { silentLogger } from '../../../model/log.ts'
import { LogLines, message, NEVER, sessionRecord, sessionsOf, subscription } from './support.ts'

const SESSIONS = 400
const RETAINED = 4000

let root = ''
let count = 0
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'hubbub-level-'))
})
afterAll(() => rm(root, { recursive: true, force: true }))

const newDirectory = () => join(root, String(count++), 'store')

/** A directory with something in tables and something in the journal. */
async function filled(): Promise<string> {
  const directory = newDirectory()
  for (let half = 0; half < 2; half++) {
    const storage = new LevelStorage(directory, silentLogger)
    await storage.setup({ id: 'node' })
    for (let i = half; i < SESSIONS; i += 2) {
      storage.durable.sessions.save(sessionRecord(`c${i}`))
      storage.durable.sessions.subscribed(`c${i}`, subscription(`topic/${i}/${Math.random()}`))
    }
    for (let i = half; i < RETAINED; i += 2) {
      storage.storeRetained(message(`topic/${i}`, `${i} ${Math.random()}`.repeat(5)), NEVER)
      if (i % 500 === half) await storage.durable.unsafe
    }
    await storage.destroy()
  }
  return directory
}

async function opened(t: TestContext, directory: string, log = new LogLines()): Promise<LevelStorage> {
  const storage = new LevelStorage(directory, log)
  await storage.setup({ id: 'node' })
  t.onTestFinished(() => storage.destroy())
  return storage
}

function fileOf(directory: string, pattern: RegExp): string {
  const names = readdirSync(directory).filter((name) => pattern.test(name))
  return join(directory, names.sort()[0] ?? expect.unreachable(`no ${pattern} in ${directory}`))
}

function garble(path: string, at: number, length: number): void {
  const file = openSync(path, 'r+')
  writeSync(file, Buffer.alloc(length, 0xa5), 0, length, at)
  closeSync(file)
}

function cutOffAll(directory: string): void {
  for (const name of readdirSync(directory)) truncateSync(join(directory, name), 5)
}

const half = (path: string) => Math.floor(statSync(path).size / 2)

describe('damage', () => {
  const damages: [name: string, damage: (directory: string) => void, keeps: 'most' | 'some' | 'any'][] = [
    ['a table with garbage in it', (d) => garble(fileOf(d, /ldb$/), half(fileOf(d, /ldb$/)), 3000), 'some'],
    ['a table that was cut off', (d) => truncateSync(fileOf(d, /ldb$/), 1000), 'some'],
    ['a table that is missing', (d) => rmSync(fileOf(d, /ldb$/)), 'some'],
    [
      'a journal with garbage in it',
      (d) => garble(fileOf(d, /\d\.log$/), half(fileOf(d, /\d\.log$/)), 100),
      'some',
    ],
    [
      'a journal that was cut off',
      (d) => truncateSync(fileOf(d, /\d\.log$/), half(fileOf(d, /\d\.log$/))),
      'some',
    ],
    ['a manifest with garbage in it', (d) => garble(fileOf(d, /MANIFEST/), 10, 30), 'most'],
    ['CURRENT with garbage in it', (d) => writeFileSync(join(d, 'CURRENT'), 'garbage'), 'most'],
    ['CURRENT is missing', (d) => rmSync(join(d, 'CURRENT')), 'most'],
    ['all files cut off', cutOffAll, 'any'],
  ]

  test.each(damages)('%s: the broker starts with what can be read', async (_, damage, keeps) => {
    const directory = await filled()
    damage(directory)
    const log = new LogLines()
    const storage = new LevelStorage(directory, log)
    await storage.setup({ id: 'node' })
    const sessions = await sessionsOf(storage)
    const least = { most: RETAINED, some: 1, any: 0 }[keeps]
    expect(storage.retainedCount).toBeGreaterThanOrEqual(least)
    expect(storage.retainedCount + sessions.size).toBeLessThanOrEqual(RETAINED + SESSIONS)
    if (keeps === 'most') expect(sessions.size).toBe(SESSIONS)

    storage.storeRetained(message('after'), NEVER)
    storage.durable.sessions.save(sessionRecord('after'))
    await storage.destroy()
    const again = new LevelStorage(directory, silentLogger)
    await again.setup({ id: 'node' })
    expect(again.hasRetained('after')).toBe(true)
    expect((await sessionsOf(again)).has('after')).toBe(true)
    await again.destroy()
  })

  test('the log says what was kept', async (t) => {
    const directory = await filled()
    rmSync(fileOf(directory, /ldb$/))
    const log = new LogLines()
    const storage = await opened(t, directory, log)
    const repaired = log.find('was repaired')
    expect(repaired?.level).toBe('error')
    expect(repaired?.fields).toMatchObject({ kept: { retained: storage.retainedCount } })
  })

  test('the log says what a damaged journal has cost', async (t) => {
    const directory = await filled()
    const journal = fileOf(directory, /\d\.log$/)
    garble(journal, half(journal), 100)
    const log = new LogLines()
    await opened(t, directory, log)
    expect(log.find('journal')?.fields.lostBytes).toBeGreaterThan(100)
  })

  test('what cannot be repaired is put aside, and a new store begun', async (t) => {
    const directory = await filled()
    for (const name of readdirSync(directory)) rmSync(join(directory, name))
    writeFileSync(join(directory, 'CURRENT'), 'garbage')
    const log = new LogLines()
    const storage = await opened(t, directory, log)
    expect(storage.retainedCount).toBe(0)
    const movedTo = String(log.find('beginning a new one')?.fields.movedTo)
    expect(movedTo).toMatch(/store\.corrupt-\d{8}-\d{6}$/)
    expect(existsSync(join(movedTo, 'CURRENT'))).toBe(true)
    expect(readdirSync(dirname(directory)).length).toBe(2)
  })
})

describe('refusal', () => {
  test('a directory that another process has open', async (t) => {
    const directory = await filled()
    await opened(t, directory)
    const second = new LevelStorage(directory, silentLogger)
    await expect(second.setup({ id: 'node' })).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      message: `storage ${directory} is in use by another process`,
    })
  })

  test('a database of something else, which stays as it is', async () => {
    const directory = newDirectory()
    const other = new ClassicLevel(directory)
    await other.put('theirs', 'x')
    await other.close()
    const storage = new LevelStorage(directory, silentLogger)
    await expect(storage.setup({ id: 'node' })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    expect(await other.open().then(() => other.get('theirs'))).toBe('x')
    await other.close()
  })

  test('a place that cannot be a directory', async () => {
    const directory = newDirectory()
    const file = `${root}/file`
    writeFileSync(file, '')
    await expect(
      new LevelStorage(join(file, directory), silentLogger).setup({ id: 'node' }),
    ).rejects.toMatchObject({ code: 'STORAGE_FAILED', message: expect.stringContaining('cannot be opened') })
  })
})

test('after a failed write the database is opened anew before the next one', async (t) => {
  const directory = newDirectory()
  const records = new LevelRecords(directory, silentLogger)
  await records.open()
  t.onTestFinished(() => records.close())
  const write = (id: string, key: string) =>
    records.commit([{ key, table: 'bans', owner: '', id, value: Buffer.from(id) }])
  await write('a', 'b\0a')
  await expect(write('refused', undefined as unknown as string)).rejects.toThrow()
  await write('b', 'b\0b')
  const ids: string[] = []
  for await (const chunk of records.scan('bans')) ids.push(...chunk.map(({ id }) => id))
  expect(ids).toEqual(['a', 'b'])
})

test('a closed place says so', async () => {
  const records = new LevelRecords(newDirectory(), silentLogger)
  await records.close()
  await expect(records.isEmpty()).rejects.toMatchObject({ code: 'STORAGE_FAILED' })
})
