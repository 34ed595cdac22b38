import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { BuiltInDatabase, usersFile } from '../../authn/built-in-database.ts'
import { BuiltInStore, type StoredUser } from '../../authn/built-in-store.ts'
import { UserTable } from '../../authn/built-in-table.ts'
import { WorkGate } from '../../authn/work-gate.ts'
import { LevelStorage } from '../../broker/storage/storage-level.ts'
import { silentLogger } from '../../model/log.ts'
import { builtIn, recordingLog, temporaryDir } from './fixtures.ts'

async function opened(dir: string, log = silentLogger) {
  const storage = new LevelStorage(join(dir, 'store'), silentLogger)
  await storage.open('n@h')
  onTestFinished(() => storage.destroy())
  return { storage, table: await UserTable.load(storage.durable, log) }
}

const user = (userId: string, more: Partial<StoredUser> = {}): StoredUser => ({
  userId,
  passwordHash: `hash of ${userId}`,
  salt: 'salt',
  isSuperuser: false,
  ...more,
})

test('users of each chain are there after a restart, in the order in which they were added', async () => {
  const dir = temporaryDir()
  const { storage, table } = await opened(dir)
  const [mqtt, stomp] = [table.chain('mqtt:global'), table.chain('stomp:global')]
  const names = ['zoe', 'ann', 'with space', 'mqtt:global ann', 'U+0000 \0', '']
  for (const name of names) await mqtt.change((users) => users.set(name, user(name)))
  await stomp.change((users) => users.set('ann', user('ann', { isSuperuser: true })))
  await mqtt.change((users) => users.set('zoe', user('zoe', { salt: 'new' })))
  expect(await mqtt.change((users) => [users.delete('ann'), users.delete('ann')])).toEqual([true, false])
  await storage.destroy()

  const again = (await opened(dir)).table
  expect(Array.from(again.chain('mqtt:global').all(), ({ userId }) => userId)).toEqual(
    names.filter((name) => name !== 'ann'),
  )
  expect(again.chain('mqtt:global').get('zoe')).toEqual(user('zoe', { salt: 'new' }))
  expect([...again.chain('stomp:global').all()]).toEqual([user('ann', { isSuperuser: true })])
  expect(again.chain('tcp:default').size).toBe(0)
})

test('a change that throws changes nothing', async () => {
  const { storage, table } = await opened(temporaryDir())
  const users = table.chain('mqtt:global')
  const failing = users.change((changes) => {
    changes.set('ann', user('ann'))
    expect(changes.has('ann')).toBe(true)
    throw new Error('no')
  })
  await expect(failing).rejects.toThrow('no')
  expect(users.size).toBe(0)
  expect(storage.durable.unsafe).toBeUndefined()
})

test('a record that cannot be read is no user, and stays where it is', async () => {
  const dir = temporaryDir()
  const { storage } = await opened(dir)
  storage.durable.table('users').put('password_based mqtt:global ann', Buffer.from('{"salt":1}'))
  storage.durable.table('users').put('another_mechanism mqtt:global bob', Buffer.from('x'))
  await storage.destroy()
  const { log, lines } = recordingLog()
  const { table } = await opened(dir, log)
  expect(table.chain('mqtt:global').size).toBe(0)
  expect(lines).toEqual([
    {
      level: 'warn',
      fields: { user: 'password_based mqtt:global ann' },
      text: 'a stored user cannot be read, it cannot log in',
    },
  ])
})

test('users of a file are taken over once; those in the storage already stay', async () => {
  const dir = temporaryDir()
  const file = usersFile(dir, 'mqtt:global')
  const before = await BuiltInStore.open(file, silentLogger, { watch: false })
  await before.change((users) => {
    for (const name of ['ann', 'bob']) users.set(name, user(name))
  })
  const { table } = await opened(dir)
  await table.chain('mqtt:global').change((users) => users.set('bob', user('bob', { salt: 'stored' })))
  const { log, lines } = recordingLog()
  const open = () =>
    BuiltInDatabase.open(builtIn(), {
      log,
      dataDir: dir,
      configDir: dir,
      chain: 'mqtt:global',
      users: table,
      hashing: new WorkGate(),
    })
  await open()
  expect([...table.chain('mqtt:global').all()]).toEqual([user('bob', { salt: 'stored' }), user('ann')])
  expect(existsSync(file)).toBe(false)
  expect(existsSync(`${file}.imported`)).toBe(true)
  await open()
  expect(lines.filter(({ level }) => level === 'info')).toEqual([
    {
      level: 'info',
      fields: { file, added: 1, renamed: `${file}.imported` },
      text: 'users of a file are kept in the storage from now on',
    },
  ])
})

test('a damaged file stops the start and stays where it is', async () => {
  const dir = temporaryDir()
  const file = usersFile(dir, 'mqtt:global')
  mkdirSync(join(dir, 'authn'))
  writeFileSync(file, '{ "version": 1, ')
  const { table } = await opened(dir)
  const context = { log: silentLogger, dataDir: dir, configDir: dir, chain: 'mqtt:global' }
  const opening = BuiltInDatabase.open(builtIn(), { ...context, users: table, hashing: new WorkGate() })
  await expect(opening).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  expect(existsSync(file)).toBe(true)
})
