import bcrypt from '@node-rs/bcrypt'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Verdict } from '../../model/access.ts'
import { MariaDb } from '../support/mysql.ts'
import { Postgres } from '../support/postgres.ts'
import { requireService, skipNote } from '../support/services.ts'
import { askOf, authenticatorContract, build, PASSWORD } from './authenticator-contract.ts'
import { ALLOW, IGNORE, NOT_AUTHORIZED, recordingLog, WRONG_PASSWORD } from './fixtures.ts'
import { HASH, SALT, sha256, userTable } from './stored-users.ts'

const QUERY = 'SELECT password_hash, salt, is_superuser FROM mqtt_user WHERE username = ${username} LIMIT 1'

const mariadbd = requireService('mariadbd')
const postgres = requireService('pg_ctlcluster')

const dialects = [
  {
    backend: 'mysql',
    service: mariadbd,
    start: (): Promise<MariaDb | Postgres> => MariaDb.start(),
    access: { database: 'mqtt', username: 'mqtt', password: 'mysql-secret' },
    inDatabase: 'USE mqtt',
    sleep: 'SELECT SLEEP(5), password_hash FROM mqtt_user WHERE username = ${username}',
  },
  {
    backend: 'postgresql',
    service: postgres,
    start: (): Promise<MariaDb | Postgres> => Postgres.start(),
    access: { database: 'postgres', username: 'postgres', password: 'postgres-secret' },
    inDatabase: 'SELECT 1',
    sleep: 'SELECT pg_sleep(5), password_hash FROM mqtt_user WHERE username = ${username}',
  },
] as const

describe.each(dialects)('$backend', ({ backend, service, start, access, inDatabase, sleep }) => {
  let server: MariaDb | Postgres
  const base = () => ({
    mechanism: 'password_based',
    backend,
    ...access,
    query: QUERY,
    server: server.address,
  })
  beforeAll(async () => {
    if (service.skip) return
    server = await start()
    await server.admin(inDatabase, ...userTable(backend))
  })
  afterAll(() => server?.stop())

  authenticatorContract(
    `password_based:${backend}${skipNote(service)}`,
    async () => ({
      config: base(),
      nowhere: (address) => ({ server: address }),
      slow: (address) => ({ server: address }),
      secrets: [access.password, HASH],
      stop: async () => {},
    }),
    service.skip,
  )

  async function ask(changes: object, username = 'ann') {
    const recorded = recordingLog()
    const authenticator = await build({ ...base(), ...changes }, recorded)
    onTestFinished(() => authenticator.close())
    const verdict = askOf(authenticator, { client: { username }, password: Buffer.from(PASSWORD) })
    return { ...recorded, verdict }
  }

  const row = (columns: string) => ({
    query: `SELECT ${columns} FROM mqtt_user WHERE username = \${username}`,
  })
  const sha = (name: string) => ({ password_hash_algorithm: { name, salt_position: 'suffix' } })

  test.skipIf(service.skip).each<[string, object, Verdict]>([
    [
      'the query of the documentation',
      { query: 'SELECT password_hash, salt FROM mqtt_user where username = ${username} LIMIT 1' },
      ALLOW,
    ],
    ['a placeholder in quotes', { query: QUERY.replace('${username}', '"${username}"') }, ALLOW],
    ['without prepared statements', { disable_prepared_statements: true }, ALLOW],
    ['password in place of password_hash', row('password_hash AS password, salt'), ALLOW],
    [
      'a superuser as text',
      row(`password_hash, salt, 'true' AS is_superuser`),
      { kind: 'allow', principal: { isSuperuser: true } },
    ],
    [
      'a superuser as number',
      row('password_hash, salt, 1 AS is_superuser'),
      { kind: 'allow', principal: { isSuperuser: true } },
    ],
    [
      'another client id',
      row(`password_hash, salt, 'c2' AS clientid_override`),
      { kind: 'allow', principal: { isSuperuser: false, clientId: 'c2' } },
    ],
    ['no other client id', row('password_hash, salt, NULL AS clientid_override'), ALLOW],
    ['a superuser that is none', row(`password_hash, salt, 'no' AS is_superuser`), ALLOW],
    ['a superuser that is nothing', row('password_hash, salt, NULL AS is_superuser'), ALLOW],
    ['no column of a superuser', row('password_hash, salt'), ALLOW],
    ['other columns', row('username, created, password_hash, salt'), ALLOW],
    ['no salt', row(`'${sha256(PASSWORD)}' AS password_hash`), ALLOW],
    [
      'the salt behind',
      { ...row(`'${sha256(PASSWORD + SALT)}' AS password_hash, salt`), ...sha('sha256') },
      ALLOW,
    ],
    ['the salt on the wrong side', { ...row('password_hash, salt'), ...sha('sha256') }, WRONG_PASSWORD],
    [
      'plain text',
      { ...row(`'${PASSWORD}' AS password_hash`), password_hash_algorithm: { name: 'plain' } },
      ALLOW,
    ],
    [
      'bcrypt, whose salt is in the hash',
      {
        ...row(`'${bcrypt.hashSync(PASSWORD, { cost: 5 })}' AS password_hash, NULL AS salt`),
        password_hash_algorithm: { name: 'bcrypt' },
      },
      ALLOW,
    ],
    ['a column that is not asked for', row('salt'), NOT_AUTHORIZED],
    ['a hash that is nothing', row('NULL AS password_hash, salt'), NOT_AUTHORIZED],
    ['a salt that is nothing', row('password_hash, NULL AS salt'), NOT_AUTHORIZED],
    [
      'a hash of another algorithm',
      { ...row('password_hash, salt'), password_hash_algorithm: { name: 'sha512' } },
      WRONG_PASSWORD,
    ],
    ['a hash that is none', row(`'$2b$10$nonsense' AS password_hash`), WRONG_PASSWORD],
  ])('%s', async (_, changes, expected) => {
    const { verdict, lines } = await ask(changes)
    expect(await verdict).toEqual(expected)
    const warnings = lines.filter(({ level }) => level === 'warn')
    expect(warnings.map(({ fields }) => fields)).toEqual(warnings.map(() => ({ clientId: 'c1' })))
    expect(JSON.stringify(lines)).not.toMatch(new RegExp(`${PASSWORD}|${access.password}|${HASH}|nonsense`))
  })

  test.skipIf(service.skip).each([
    [
      'a table that is not there',
      { query: 'SELECT password_hash FROM no_such WHERE username = ${username}' },
      /no_such/,
    ],
    ['a column that is not there', row('no_such'), /no_such/],
    ['another database', { database: 'no_such' }, /./],
    ['another password', { password: 'wrong-password' }, /./],
    ['a slow query', { query: sleep, query_timeout: '300ms' }, /did not answer within 300 ms/],
  ])('%s is a failure, and its text holds no secret', async (_, changes, text) => {
    const { verdict, lines } = await ask(changes)
    const error = await verdict.catch((caught: unknown) => caught)
    expect(error).toMatchObject({
      code: expect.stringMatching(/^BACKEND_/),
      message: expect.stringMatching(text),
    })
    const said = `${String(error)}${JSON.stringify(lines)}`
    expect(said).toContain(`password_based:${backend}`)
    expect(said).not.toMatch(new RegExp(`${PASSWORD}|${access.password}|wrong-password`))
  })

  test.skipIf(service.skip)(
    'what cannot be a query of one user is refused at once, with its name',
    async () => {
      for (const query of [`${QUERY}; DELETE FROM mqtt_user`, 'SELECT /* ${username} */ 1']) {
        await expect(build({ ...base(), query })).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
      }
    },
  )

  test.skipIf(service.skip)('a user that is not there is looked up for every name', async () => {
    const { verdict } = await ask({}, 'ANN’s sister')
    expect(await verdict).toEqual(IGNORE)
  })
})
