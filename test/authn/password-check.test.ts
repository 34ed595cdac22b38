import { createHash } from 'node:crypto'
import bcrypt from '@node-rs/bcrypt'
import { expect, test, vi } from 'vitest'
import type { HashAlgorithmConfig } from '../../authn/fields.ts'
import { type FoundUser, hasPassword, PasswordCheck } from '../../authn/password-check.ts'
import { WorkGate } from '../../authn/work-gate.ts'
import { ALLOW, IGNORE, loginOf, NOT_AUTHORIZED, recordingLog, WRONG_PASSWORD } from './fixtures.ts'

const SHA256: HashAlgorithmConfig = { name: 'sha256', salt_position: 'prefix' }
const BCRYPT: HashAlgorithmConfig = { name: 'bcrypt', salt_rounds: 5 }

const user = (fields: Partial<FoundUser>): FoundUser => ({
  hash: undefined,
  salt: undefined,
  isSuperuser: undefined,
  ...fields,
})

async function start(algorithm: HashAlgorithmConfig = SHA256) {
  const hashing = new WorkGate()
  const { log, lines } = recordingLog()
  const context = { log, hashing, dataDir: '', configDir: '', chain: 'c' }
  const check = await PasswordCheck.create(algorithm, context)
  const judge = async (found: FoundUser | undefined) => {
    const login = loginOf()
    if (!hasPassword(login)) throw new Error('a login with a password')
    return check.judge(found, login, new AbortController().signal)
  }
  return { judge, lines, work: vi.spyOn(hashing, 'run') }
}

test('salts and hashes may be bytes, as drivers give binary columns', async () => {
  const salt = Buffer.from([0xff, 0x00, 0x80, 0x41])
  const hash = createHash('sha256').update(salt).update('secret').digest('hex')
  const { judge } = await start()
  expect(await judge(user({ hash: Buffer.from(hash), salt }))).toEqual(ALLOW)
  expect(await judge(user({ hash, salt: Buffer.from('other') }))).toEqual(WRONG_PASSWORD)
})

test('a user may come with a client id, as text or bytes, and one that cannot be is a no', async () => {
  const { judge, lines } = await start({ name: 'plain', salt_position: 'disable' })
  const withId = (clientIdOverride: unknown) => judge(user({ hash: 'secret', clientIdOverride }))
  const given = { kind: 'allow', principal: { isSuperuser: false, clientId: 'c2' } }
  expect(await withId('c2')).toEqual(given)
  expect(await withId(Buffer.from('c2'))).toEqual(given)
  for (const nothing of [undefined, null, '']) expect(await withId(nothing)).toEqual(ALLOW)
  expect(await withId(7)).toEqual(NOT_AUTHORIZED)
  expect(lines).toHaveLength(1)
})

test.each<[string, Partial<FoundUser>, object]>([
  ['no hash', {}, NOT_AUTHORIZED],
  ['a number', { hash: 7 }, NOT_AUTHORIZED],
  ['an empty hash', { hash: '' }, WRONG_PASSWORD],
  ['a salt that is a number', { hash: 'a'.repeat(64), salt: 7 }, NOT_AUTHORIZED],
  ['a salt that is null', { hash: 'a'.repeat(64), salt: null }, NOT_AUTHORIZED],
])('%s is a no, whatever the password, and the log says so once', async (_, fields, expected) => {
  const { judge, lines } = await start()
  for (let i = 0; i < 3; i++) expect(await judge(user(fields))).toEqual(expected)
  expect(lines.filter(({ level }) => level === 'warn')).toHaveLength(1)
})

test('one that is there, one that is not and one that is broken cost the same work', async () => {
  const { judge, work } = await start(BCRYPT)
  const hash = await bcrypt.hash(Buffer.from('other'), { cost: 5 })
  const cases: [FoundUser | undefined, object][] = [
    [user({ hash }), WRONG_PASSWORD],
    [undefined, IGNORE],
    [user({ hash: '$2b$10$broken' }), WRONG_PASSWORD],
    [user({}), NOT_AUTHORIZED],
  ]
  for (const [found, verdict] of cases) {
    work.mockClear()
    expect(await judge(found)).toEqual(verdict)
    expect(work).toHaveBeenCalledOnce()
  }
})

test('logins with a method of their own, or without a password, are not for it', () => {
  expect(hasPassword(loginOf())).toBe(true)
  expect(hasPassword(loginOf({ password: Buffer.alloc(0) }))).toBe(true)
  expect(hasPassword(loginOf({ password: undefined }))).toBe(false)
  expect(hasPassword(loginOf({ authMethod: 'M' }))).toBe(false)
})
