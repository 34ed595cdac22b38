import { existsSync, readFileSync, renameSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BuiltInStore, type StoredUser } from '../../authn/built-in-store.ts'
import { silentLogger } from '../../model/log.ts'
import { recordingLog, temporaryDir } from './fixtures.ts'

const user = (userId: string, passwordHash = 'h'): StoredUser => ({
  userId,
  passwordHash,
  salt: 's',
  isSuperuser: false,
})

async function open(path: string, log = silentLogger, watch = true): Promise<BuiltInStore> {
  const store = await BuiltInStore.open(path, log, { watch })
  onTestFinished(() => store.close())
  return store
}

const ids = (store: BuiltInStore) => Array.from(store.all(), ({ userId }) => userId)
const add = (store: BuiltInStore, userId: string) =>
  store.change((users) => void users.set(userId, user(userId)))

test('a first start has no users and makes no file', async () => {
  const path = join(temporaryDir(), 'authn', 'mqtt.global.json')
  const store = await open(path)
  expect(store.size).toBe(0)
  expect(existsSync(path)).toBe(false)
})

test('what a change promised is in the file, readable by its owner only, and there after a restart', async () => {
  const path = join(temporaryDir(), 'users.json')
  const store = await open(path)
  await add(store, 'ann')
  await add(store, '__proto__')
  expect(statSync(path).mode & 0o777).toBe(0o600)
  const again = await open(path)
  expect(ids(again)).toEqual(['ann', '__proto__'])
  expect(again.get('ann')).toEqual(user('ann'))
  expect(again.get('toString')).toBeUndefined()
})

test('changes made at the same time all hold and share writes', async () => {
  const path = join(temporaryDir(), 'users.json')
  const store = await open(path)
  const names = Array.from({ length: 200 }, (_, n) => `user${n}`)
  await Promise.all(names.map((name) => add(store, name)))
  expect(ids(await open(path))).toEqual(names)
})

test('a change that throws is dropped, its neighbours hold', async () => {
  const store = await open(join(temporaryDir(), 'users.json'))
  const results = await Promise.allSettled([
    add(store, 'a'),
    store.change(() => {
      throw new Error('not me')
    }),
    add(store, 'b'),
  ])
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
  expect(ids(store)).toEqual(['a', 'b'])
})

test('a process killed before the rename leaves the old users, and the next write goes on', async () => {
  const path = join(temporaryDir(), 'users.json')
  await add(await open(path), 'ann')
  // What a kill in mid-write leaves: half a temporary file, and a lock nobody will release.
  writeFileSync(`${path}.tmp`, '{"version":1,"users":[{"user_id":"bo', { mode: 0o644 })
  writeFileSync(`${path}.lock`, '')
  const longAgo = new Date(Date.now() - 60_000)
  utimesSync(`${path}.lock`, longAgo, longAgo)

  const store = await open(path)
  expect(ids(store)).toEqual(['ann'])
  await add(store, 'bob')
  expect(ids(await open(path))).toEqual(['ann', 'bob'])
  expect(statSync(path).mode & 0o777).toBe(0o600)
  expect(existsSync(`${path}.tmp`)).toBe(false)
  expect(existsSync(`${path}.lock`)).toBe(false)
})

test('a write that fails rejects, and the users stay as they are on the disk', async () => {
  const path = join(temporaryDir(), 'users.json')
  const store = await open(path)
  await add(store, 'ann')
  renameSync(path, `${path}.moved`)
  // A directory in the file's place: nothing can be renamed over it.
  const { mkdirSync } = await import('node:fs')
  mkdirSync(path)
  await expect(add(store, 'bob')).rejects.toThrow()
  expect(store.get('bob')).toBeUndefined()
  rmSync(path, { recursive: true })
  renameSync(`${path}.moved`, path)
  await add(store, 'cleo')
  expect(ids(store)).toEqual(['ann', 'cleo'])
})

test.each([
  ['{"version":1,"users":[{"user_id":"ann","password_hash":"5e884898', /not JSON/],
  ['', /not JSON/],
  ['[]', /not an object/],
  ['{"version":2,"users":[]}', /another version/],
  ['{"version":1}', /no list of users/],
  ['{"version":1,"users":[{"user_id":"ann"}]}', /user 1 is not complete/],
  [
    `{"version":1,"users":[${Array(2).fill('{"user_id":"a","password_hash":"h","salt":"","is_superuser":false}').join()}]}`,
    /twice/,
  ],
])(
  'a file that cannot be read stops the start with its name and shows nothing of it: %s',
  async (text, why) => {
    const path = join(temporaryDir(), 'users.json')
    writeFileSync(path, text)
    const error: unknown = await BuiltInStore.open(path, silentLogger).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(path) })
    expect(String(error)).toMatch(why)
    expect(String(error)).not.toContain('5e8848')
    expect(readFileSync(path, 'utf8')).toBe(text)
  },
)

test('users another process adds are there soon', async () => {
  const path = join(temporaryDir(), 'users.json')
  const broker = await open(path)
  const cli = await open(path, silentLogger, false)
  await add(cli, 'ann')
  await expect.poll(() => broker.get('ann'), { timeout: 10_000 }).toBeDefined()
  await cli.change((users) => users.delete('ann'))
  await expect.poll(() => broker.get('ann'), { timeout: 10_000 }).toBeUndefined()
})

test('two processes writing at the same time lose nothing', async () => {
  const path = join(temporaryDir(), 'users.json')
  const [one, two] = [await open(path), await open(path, silentLogger, false)]
  for (let n = 0; n < 10; n++) await Promise.all([add(one, `one${n}`), add(two, `two${n}`)])
  await one.refresh()
  await two.refresh()
  expect(ids(one).sort()).toEqual(ids(two).sort())
  expect(one.size).toBe(20)
})

test('a file that becomes unreadable while running keeps the users, says so, and is not overwritten', async () => {
  const path = join(temporaryDir(), 'users.json')
  const { log, lines } = recordingLog()
  const store = await open(path, log)
  await add(store, 'ann')
  writeFileSync(path, '{"version":1,')
  await expect
    .poll(() => lines.find(({ level }) => level === 'error')?.text, { timeout: 10_000 })
    .toContain(path)
  expect(ids(store)).toEqual(['ann'])
  await expect(add(store, 'bob')).rejects.toThrow(path)
  expect(readFileSync(path, 'utf8')).toBe('{"version":1,')
})

test('a file that disappears while running keeps the users and comes back with the next change', async () => {
  const path = join(temporaryDir(), 'users.json')
  const { log, lines } = recordingLog()
  const store = await open(path, log)
  await add(store, 'ann')
  rmSync(path)
  await expect.poll(() => lines.map(({ text }) => text).join(), { timeout: 10_000 }).toContain('disappeared')
  await add(store, 'bob')
  expect(ids(await open(path))).toEqual(['ann', 'bob'])
})

test('reading again while writing never brings back old users', async () => {
  const path = join(temporaryDir(), 'users.json')
  const store = await open(path)
  const work: Promise<unknown>[] = []
  for (let n = 0; n < 50; n++) work.push(add(store, `u${n}`), store.refresh())
  await Promise.all(work)
  expect(store.size).toBe(50)
})
