import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { parseUsers } from '../../authn/bootstrap.ts'
import { BuiltInDatabase, type BuiltInDatabaseConfig, usersFile } from '../../authn/built-in-database.ts'
import { PasswordHasher } from '../../authn/password-hash.ts'
import { WorkGate } from '../../authn/work-gate.ts'
import { silentLogger } from '../../model/log.ts'
import { ALLOW, builtIn, IGNORE, loginOf, temporaryDir, WRONG_PASSWORD } from './fixtures.ts'

afterEach(() => void vi.restoreAllMocks())

async function database(
  config: Partial<BuiltInDatabaseConfig> = {},
  dataDir = temporaryDir(),
): Promise<BuiltInDatabase> {
  const opened = await BuiltInDatabase.open(builtIn(config), {
    log: silentLogger,
    dataDir,
    configDir: dataDir,
    chain: 'mqtt:global',
    hashing: new WorkGate(),
  })
  onTestFinished(() => opened.close())
  return opened
}

const ask = (db: BuiltInDatabase, userId: string | undefined, password: string | undefined, extra = {}) =>
  db.authenticate(
    loginOf({
      client: { username: userId, clientId: 'dev1' },
      password: password === undefined ? undefined : Buffer.from(password),
      ...extra,
    }),
    new AbortController().signal,
  )

test('tells users from strangers and right passwords from wrong ones', async () => {
  const db = await database()
  await db.users.add({ userId: 'ann', password: 'secret' })
  await db.users.add({ userId: 'root', password: 'toor', isSuperuser: true })
  expect(ask(db, 'ann', 'secret')).toEqual(ALLOW)
  expect(ask(db, 'root', 'toor')).toEqual({ kind: 'allow', principal: { isSuperuser: true } })
  expect(ask(db, 'ann', 'Secret')).toEqual(WRONG_PASSWORD)
  expect(ask(db, 'ann', '')).toEqual(WRONG_PASSWORD)
  expect(ask(db, 'bob', 'secret')).toEqual(IGNORE)
  expect(ask(db, 'Ann', 'secret')).toEqual(IGNORE)
})

test('has no opinion without a password, without a user, or about another way to log in', async () => {
  const db = await database()
  await db.users.add({ userId: 'ann', password: 'secret' })
  expect(ask(db, 'ann', undefined)).toEqual(IGNORE)
  expect(ask(db, undefined, 'secret')).toEqual(IGNORE)
  expect(ask(db, 'ann', 'secret', { authMethod: 'SCRAM-SHA-256' })).toEqual(IGNORE)
})

test('users may be known by client id', async () => {
  const db = await database({ user_id_type: 'clientid' })
  await db.users.add({ userId: 'dev1', password: 'secret' })
  expect(ask(db, undefined, 'secret')).toEqual(ALLOW)
  expect(ask(db, 'dev1', 'wrong')).toEqual(WRONG_PASSWORD)
})

test.each([
  { name: 'plain', salt_position: 'disable' },
  { name: 'sha512', salt_position: 'prefix' },
  { name: 'bcrypt', salt_rounds: 5 },
  { name: 'pbkdf2', mac_fun: 'sha256', iterations: 100 },
] as const)('works with $name', async (algorithm) => {
  const db = await database({ password_hash_algorithm: algorithm })
  await db.users.add({ userId: 'ann', password: 'secret' })
  expect(await ask(db, 'ann', 'secret')).toEqual(ALLOW)
  expect(await ask(db, 'ann', 'wrong')).toEqual(WRONG_PASSWORD)
  expect(await ask(db, 'bob', 'secret')).toEqual(IGNORE)
})

test.each([
  { name: 'sha256', salt_position: 'suffix' },
  { name: 'bcrypt', salt_rounds: 5 },
  { name: 'pbkdf2', mac_fun: 'sha256', iterations: 100 },
] as const)('a stranger costs as many hashes as a user: $name', async (algorithm) => {
  const db = await database({ password_hash_algorithm: algorithm })
  await db.users.add({ userId: 'ann', password: 'secret' })
  const verify = vi.spyOn(PasswordHasher.prototype, 'verify')
  const gate = vi.spyOn(WorkGate.prototype, 'run')
  const cost = async (userId: string) => {
    verify.mockClear()
    gate.mockClear()
    await ask(db, userId, 'wrong')
    // The same work: same kind of hash, salt of the same length.
    const stored = verify.mock.calls[0]?.[1]
    return [verify.mock.calls.length, gate.mock.calls.length, stored?.salt.length, stored?.hash.length]
  }
  const known = await cost('ann')
  expect(known[0]).toBe(1)
  expect(await cost('nobody')).toEqual(known)
})

test('a thousand logins at once all get their answer', async () => {
  const db = await database({
    password_hash_algorithm: { name: 'pbkdf2', mac_fun: 'sha256', iterations: 10 },
  })
  await Promise.all(
    Array.from({ length: 20 }, (_, n) => db.users.add({ userId: `u${n}`, password: `p${n}` })),
  )
  const verdicts = await Promise.all(
    Array.from({ length: 1000 }, (_, n) => ask(db, `u${n % 25}`, `p${n % 20}`)),
  )
  for (const [n, verdict] of verdicts.entries()) {
    expect(verdict).toEqual(n % 25 >= 20 ? IGNORE : n % 25 === n % 20 ? ALLOW : WRONG_PASSWORD)
  }
})

test('users can be listed, changed and deleted, and passwords are never shown', async () => {
  const db = await database()
  expect(await db.users.add({ userId: 'ann', password: 'one' })).toEqual({
    userId: 'ann',
    isSuperuser: false,
  })
  expect(await db.users.add({ userId: 'ann', password: 'two' })).toBeUndefined()
  await expect(db.users.add({ userId: '', password: 'two' })).rejects.toThrow(/needs an id/)
  expect(ask(db, 'ann', 'one')).toEqual(ALLOW)

  expect(await db.users.update('ann', { isSuperuser: true })).toEqual({ userId: 'ann', isSuperuser: true })
  expect(ask(db, 'ann', 'one')).toMatchObject({ kind: 'allow' })
  await db.users.update('ann', { password: 'three' })
  expect(ask(db, 'ann', 'one')).toEqual(WRONG_PASSWORD)
  expect(ask(db, 'ann', 'three')).toMatchObject({ principal: { isSuperuser: true } })
  expect(await db.users.update('bob', { password: 'x' })).toBeUndefined()

  expect(db.users.list()).toEqual([{ userId: 'ann', isSuperuser: true }])
  expect(db.users.get('ann')).toEqual({ userId: 'ann', isSuperuser: true })
  expect(await db.users.delete('ann')).toBe(true)
  expect(await db.users.delete('ann')).toBe(false)
  expect(ask(db, 'ann', 'three')).toEqual(IGNORE)
})

test('two adds of one user at the same time: one wins', async () => {
  const db = await database()
  const results = await Promise.all(
    ['a', 'b', 'c'].map((password) => db.users.add({ userId: 'ann', password })),
  )
  expect(results.filter((added) => added !== undefined)).toHaveLength(1)
  expect(ask(db, 'ann', 'a')).toEqual(ALLOW)
})

test('the bootstrap file adds users and never changes those there are', async () => {
  const dir = temporaryDir()
  writeFileSync(join(dir, 'users.csv'), 'user_id,password,is_superuser\nann,first,true\nbob,second,false\n')
  const config = { bootstrap_file: 'users.csv' }
  const db = await database(config, dir)
  expect(ask(db, 'ann', 'first')).toMatchObject({ principal: { isSuperuser: true } })
  await db.users.update('ann', { password: 'changed' })
  await db.users.delete('bob')

  const again = await database(config, dir)
  expect(ask(again, 'ann', 'changed')).toMatchObject({ kind: 'allow' })
  expect(ask(again, 'bob', 'second')).toEqual(ALLOW)
})

test('a bootstrap file of hashes', async () => {
  const dir = temporaryDir()
  const hash = '7a37b85c8918eac19a9089c0fa5a2ab4dce3f90528dcdeec108b23ddf3607b99'
  writeFileSync(join(dir, 'users.csv'), `user_id,password_hash,salt,is_superuser\nann,${hash},salt,false\n`)
  const db = await database({ bootstrap_file: 'users.csv', bootstrap_type: 'hash' }, dir)
  expect(ask(db, 'ann', 'password')).toEqual(ALLOW)
})

test.each([
  ['user_id,password_hash\nann,zzz\n', 'line 2: password_hash must be 64 hex digits'],
  ['user_id,password_hash\nann\n', 'line 2: expected 2 fields'],
])('a bad bootstrap file stops the start and adds nobody', async (text, message) => {
  const dir = temporaryDir()
  writeFileSync(join(dir, 'users.csv'), text)
  await expect(database({ bootstrap_file: 'users.csv', bootstrap_type: 'hash' }, dir)).rejects.toThrow(
    message,
  )
  expect((await database({}, dir)).users.list()).toEqual([])
})

test('a missing bootstrap file stops the start', async () => {
  await expect(database({ bootstrap_file: 'none.csv' })).rejects.toThrow(/none\.csv/)
})

test('an import counts what it did', async () => {
  const db = await database()
  await db.users.add({ userId: 'ann', password: 'old' })
  const users = parseUsers('user_id,password\nann,new\nbob,x\n', 'csv', 'plain')
  expect(await db.users.import(users, { override: false })).toEqual({
    total: 2,
    success: 1,
    override: 0,
    skipped: 1,
  })
  expect(ask(db, 'ann', 'old')).toEqual(ALLOW)
  expect(await db.users.import(users, { override: true })).toEqual({
    total: 2,
    success: 0,
    override: 2,
    skipped: 0,
  })
  expect(ask(db, 'ann', 'new')).toEqual(ALLOW)
})

test('every chain has a file of its own, with a name every system takes', () => {
  const names = ['mqtt:global', 'tcp:default', 'stomp:global', 'stomp:tcp:default'].map((c) =>
    usersFile('/data', c),
  )
  expect(new Set(names).size).toBe(4)
  expect(names[3]).toBe(join('/data', 'authn', 'stomp.tcp.default.json'))
})
