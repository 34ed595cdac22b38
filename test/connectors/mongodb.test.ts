import { MongoClient } from 'mongodb'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compileFilter } from '../../connectors/filter-template.ts'
import { openMongo } from '../../connectors/mongodb.ts'
import type { MongoConfig } from '../../connectors/mongodb-config.ts'
import { MongoDouble } from '../support/mongo-double.ts'
import { connectorContract } from './contract.ts'
import { ALLOWED, contextOf, NASTY, opened, randomTexts, valuesOf } from './support.ts'
import { NO_TLS } from './support-config.ts'

const USERS = [
  { _id: 1 as never, username: 'alice', password_hash: 'hash-a', groups: ['a', 'b'] },
  { _id: 2 as never, username: 'bob', password_hash: 'hash-b', groups: ['b'] },
]
const FILTER = compileFilter({ username: '${username}' }, ALLOWED)

const base: MongoConfig = {
  mongo_type: 'single',
  r_mode: 'master',
  srv_record: false,
  database: 'mqtt',
  topology: { server_selection_timeout_ms: 500 },
  pool_size: 8,
  connect_timeout: 5000,
  query_timeout: 5000,
  auto_reconnect: true,
  ssl: NO_TLS,
}

describe('MongoDB, a double of it', () => {
  let double: MongoDouble

  beforeAll(async () => {
    double = await MongoDouble.start({ mqtt: 'mongo-secret' })
    double.insert('mqtt', 'mqtt_user', ...USERS)
  })

  afterAll(() => double.stop())

  const configOf = (more: Partial<MongoConfig> = {}): MongoConfig => ({
    ...base,
    server: double.address,
    username: 'mqtt',
    password: 'mongo-secret',
    ...more,
  })

  connectorContract('mongodb (double)', {
    backend: () => ({
      address: double.address,
      kill: () => double.stop(),
      restart: () => double.restart(),
      pause: () => {
        double.isSilent = true
      },
      proceed: () => {
        double.isSilent = false
      },
    }),
    secret: 'mongo-secret',
    open: (
      address,
      { timeoutMs = 5000, password = 'mongo-secret', poolSize = 8, reconnects = true },
      context,
    ) =>
      openMongo(
        'password_based:mongodb',
        configOf({
          server: address,
          query_timeout: timeoutMs,
          password,
          pool_size: poolSize,
          auto_reconnect: reconnects,
        }),
        context,
      ),
    ask: (connector, signal) => connector.find('mqtt_user', { username: 'alice' }, {}, signal),
  })

  documentsAreFound('a double', () => configOf())

  test('what is asked of the double is what was asked for', async () => {
    const connector = await opened(openMongo('mongodb', configOf(), contextOf()))
    const from = double.commands.length
    await connector.find('mqtt_user', FILTER.render(valuesOf({ username: '{"$ne":""}' })), {
      limit: 3,
      skip: 1,
    })
    const asked = double.commands.slice(from).find((command) => 'find' in command)
    expect(asked).toMatchObject({ filter: { username: '{"$ne":""}' }, limit: 3, skip: 1, $db: 'mqtt' })
  })
})

const url = process.env.MONGODB_TEST_URL
const note = url === undefined ? ' (skipped: MONGODB_TEST_URL is not set)' : ''

describe.skipIf(url === undefined)(`MongoDB${note}`, () => {
  const database = `hubbub_test_${process.pid}`
  let client: MongoClient

  beforeAll(async () => {
    client = new MongoClient(url ?? '')
    await client.db(database).collection('mqtt_user').insertMany(USERS)
  })

  afterAll(async () => {
    await client?.db(database).dropDatabase()
    await client?.close()
  })

  documentsAreFound('a server', () => {
    const { host, username, password } = new URL(url ?? 'mongodb://localhost')
    return {
      ...base,
      database,
      server: host,
      ...(username === ''
        ? {}
        : { username: decodeURIComponent(username), password: decodeURIComponent(password) }),
    }
  })
})

/** What holds for the double and for the real one. */
function documentsAreFound(name: string, config: () => MongoConfig): void {
  test(`${name}: documents come in order, from skip on, at most limit`, async () => {
    const connector = await opened(openMongo('mongodb', config(), contextOf()))
    expect(await connector.find('mqtt_user', {})).toEqual(USERS)
    expect(await connector.find('mqtt_user', {}, { limit: 1 })).toEqual([USERS[0]])
    expect(await connector.find('mqtt_user', {}, { skip: 1 })).toEqual([USERS[1]])
    expect(await connector.find('nothing', {})).toEqual([])
  })

  test(`${name}: no value changes a filter`, async () => {
    const connector = await opened(openMongo('mongodb', config(), contextOf()))
    const patterns = compileFilter({ username: { $regex: '^${username}$' } }, ALLOWED)
    const expressions = compileFilter({ $expr: { $eq: ['$username', '${username}'] } }, ALLOWED)
    for (const template of [FILTER, patterns, expressions]) {
      for (const text of [...NASTY, '[a]lice', '(alice)', ...randomTexts(60, 17)]) {
        const filter = template.render(valuesOf({ username: text }))
        expect(await connector.find('mqtt_user', filter), JSON.stringify([text, filter])).toEqual([])
      }
      const alice = template.render(valuesOf({ username: 'alice' }))
      expect(await connector.find('mqtt_user', alice)).toEqual([USERS[0]])
    }
  })

  test(`${name}: a wrong filter fails without its values, and nothing is thought lost`, async () => {
    const connector = await opened(openMongo('mongodb', config(), contextOf()))
    const error: unknown = await connector
      .find('mqtt_user', { username: { $nonsense: 'swordfish' } })
      .catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'BACKEND_FAILED' })
    expect(String(error)).not.toContain('swordfish')
    expect(connector.status.state).toBe('connected')
  })
}

test.each([
  [{}, 'server is needed'],
  [{ mongo_type: 'rs', servers: 'a,b' }, 'replica_set_name is needed'],
  [{ mongo_type: 'single', server: 'a,b' }, 'server is one address'],
  [{ mongo_type: 'sharded', servers: 'user:secret@a' }, 'servers: is not host:port'],
  [{ server: 'a', topology: { heartbeat_frequency_ms: -1 } }, 'heartbeatFrequencyMS'],
] as const)('a config that does not go together is refused: %j', async (more, text) => {
  await expect(openMongo('mongodb', { ...base, ...more }, contextOf())).rejects.toThrow(text)
})
