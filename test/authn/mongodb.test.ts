/** Against a double of MongoDB, which is not MongoDB: see test/support/mongo-double.ts. */
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Verdict } from '../../model/access.ts'
import { MongoDouble } from '../support/mongo-double.ts'
import { askOf, authenticatorContract, build, PASSWORD, readConfig, USERS } from './authenticator-contract.ts'
import { ALLOW, IGNORE, recordingLog, WRONG_PASSWORD } from './fixtures.ts'
import { HASH, SALT, sha256 } from './stored-users.ts'

const base = {
  mechanism: 'password_based',
  backend: 'mongodb',
  database: 'mqtt',
  collection: 'mqtt_user',
  username: 'broker',
  password: 'mongo-secret',
  filter: { username: '${username}' },
}

async function start(): Promise<MongoDouble> {
  const double = await MongoDouble.start({ broker: 'mongo-secret' })
  double.insert(
    'mqtt',
    'mqtt_user',
    ...USERS.map(({ name, isSuperuser }) => ({
      username: name,
      password_hash: HASH,
      salt: SALT,
      is_superuser: isSuperuser,
    })),
  )
  return double
}

authenticatorContract('password_based:mongodb, a double of MongoDB', async () => {
  const double = await start()
  return {
    config: { ...base, server: double.address },
    nowhere: (address) => ({ server: address }),
    slow: (address) => ({ server: address }),
    secrets: ['mongo-secret', HASH],
    stop: () => double.stop(),
  }
})

describe('what is in a document (of a double of MongoDB)', () => {
  let double: MongoDouble
  beforeAll(async () => {
    double = await start()
  })
  afterAll(() => double.stop())

  async function ask(changes: object) {
    const recorded = recordingLog()
    const authenticator = await build({ ...base, server: double.address, ...changes }, recorded)
    onTestFinished(() => authenticator.close())
    const login = { client: { username: 'ann' }, password: Buffer.from(PASSWORD) }
    return { ...recorded, verdict: askOf(authenticator, login) }
  }

  test.each<[string, object, object, Verdict]>([
    ['another field of the hash', { pw: HASH, salt: SALT }, { password_hash_field: 'pw' }, ALLOW],
    ['another field of the salt', { password_hash: HASH, grain: SALT }, { salt_field: 'grain' }, ALLOW],
    [
      'another field of superusers',
      { password_hash: HASH, salt: SALT, boss: 1 },
      { is_superuser_field: 'boss' },
      superuser(),
    ],
    [
      'another client id',
      { password_hash: HASH, salt: SALT, clientid_override: 'c2' },
      {},
      { kind: 'allow', principal: { isSuperuser: false, clientId: 'c2' } },
    ],
    ['a superuser as text', { password_hash: HASH, salt: SALT, is_superuser: '1' }, {}, superuser()],
    ['no salt', { password_hash: sha256(PASSWORD) }, {}, ALLOW],
    ['a malformed hash', { password_hash: 'nonsense', salt: SALT }, {}, WRONG_PASSWORD],
    ['another name', { password_hash: HASH, salt: SALT }, { filter: { username: 'x-${username}' } }, IGNORE],
    ['another collection', { password_hash: HASH, salt: SALT }, { collection: 'no_such' }, IGNORE],
  ])('%s', async (collection, fields, changes, expected) => {
    double.insert('mqtt', collection, { username: 'ann', ...fields })
    const { verdict, lines } = await ask({ collection, ...changes })
    expect(await verdict).toEqual(expected)
    expect(JSON.stringify(lines)).not.toMatch(new RegExp(`${PASSWORD}|mongo-secret|nonsense|${HASH}`))
  })

  test.each([
    ['a document without a hash', { username: 'ann' }],
    ['a hash that is no text', { username: 'ann', password_hash: 7 }],
  ])('%s is a failure that names the option', async (collection, document) => {
    double.insert('mqtt', collection, document)
    const { verdict } = await ask({ collection })
    await expect(verdict).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: 'password_based:mongodb: a document has no password_hash (password_hash_field)',
    })
  })

  test('another password of the broker is a failure, and its text does not hold it', async () => {
    const { verdict, lines } = await ask({ password: 'wrong-secret' })
    const error = await verdict.catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: expect.stringMatching(/^BACKEND_/) })
    expect(`${String(error)}${JSON.stringify(lines)}`).not.toContain('wrong-secret')
  })
})

test('EMQX’s names and defaults', () => {
  const config = {
    mechanism: 'password_based',
    backend: 'mongodb',
    server: 'db',
    database: 'mqtt',
    collection: 'c',
  }
  expect(readConfig(config)).toMatchObject({
    mongo_type: 'single',
    filter: {},
    password_hash_field: 'password_hash',
    salt_field: 'salt',
    is_superuser_field: 'is_superuser',
    clientid_override_field: 'clientid_override',
    password_hash_algorithm: { name: 'sha256', salt_position: 'prefix' },
  })
})

function superuser(): Verdict {
  return { kind: 'allow', principal: { isSuperuser: true } }
}
