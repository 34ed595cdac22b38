import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest'
import { clientOf, recordingLog } from '../authn/fixtures.ts'
import { MongoDouble } from '../support/mongo-double.ts'
import {
  askOf,
  build,
  chainOf,
  publish,
  RULES,
  readConfig,
  sourceContract,
  subscribe,
} from './source-contract.ts'

const FILTER = { username: '${username}' }

sourceContract('mongodb', async () => {
  const double = await MongoDouble.start({ mqtt: 'mongo-secret' })
  for (const { username, rules } of RULES)
    for (const rule of rules) double.insert('mqtt', 'mqtt_acl', { username, ...rule })
  return {
    config: {
      type: 'mongodb',
      server: double.address,
      database: 'mqtt',
      username: 'mqtt',
      password: 'mongo-secret',
      collection: 'mqtt_acl',
      filter: FILTER,
    },
    elsewhere: (address) => ({
      server: address,
      topology: { server_selection_timeout_ms: '300ms' },
    }),
    secrets: ['mongo-secret'],
    stop: () => double.stop(),
  }
})

let double: MongoDouble
beforeAll(async () => {
  double = await MongoDouble.start()
})
afterAll(() => double.stop())

/** A source that reads these documents. */
async function open(documents: object[], changes: object = {}) {
  const collection = `c${collections++}`
  double.insert('mqtt', collection, ...documents.map((document) => ({ ...document })))
  const recorded = recordingLog()
  const config = { type: 'mongodb', server: double.address, database: 'mqtt', collection, ...changes }
  const source = await build(config, recorded)
  onTestFinished(() => source.close())
  return { ...recorded, source }
}
let collections = 0

const allowed = (topic: string) => ({ permission: 'allow', action: 'all', topic })

test('documents as EMQX has them: lists of topics, QoS and retain in several spellings', async () => {
  const { source } = await open(
    [
      {
        username: 'ann',
        clientid: 'c1',
        ipaddress: '127.0.0.1',
        permission: 'allow',
        action: 'publish',
        qos: [1, 2],
        retain: 1,
        topics: ['a', 'b/+', 'eq c/#'],
      },
      {
        username: 'ann',
        clientid: 'c1',
        ipaddress: '127.0.0.1',
        permission: 'deny',
        action: 'all',
        topics: ['eq #'],
      },
    ],
    { filter: { username: '${username}', clientid: '${clientid}', ipaddress: '${peerhost}' } },
  )
  expect(await askOf(source, clientOf(), publish(1, true), 'b/x')).toBe('allow')
  expect(await askOf(source, clientOf(), publish(1, false), 'b/x')).toBe('ignore')
  expect(await askOf(source, clientOf(), publish(0, true), 'a')).toBe('ignore')
  expect(await askOf(source, clientOf(), subscribe(), '#')).toBe('deny')
  expect(await askOf(source, clientOf({ peerHost: '10.0.0.1' }), publish(1, true), 'a')).toBe('ignore')
})

test('limit and skip choose documents', async () => {
  const { source } = await open([allowed('a'), allowed('b'), allowed('c')], { skip: 1, limit: 1 })
  const ask = (topic: string) => askOf(source, clientOf(), publish(), topic)
  expect([await ask('a'), await ask('b'), await ask('c')]).toEqual(['ignore', 'allow', 'ignore'])
})

test.each([
  [{ action: 'read' }, /action/],
  [{ topic: 'a/#/b' }, /topic/],
  [{ topic: undefined }, /topic/],
  [{ qos: 9 }, /qos/],
  [{ username_re: '(' }, /username_re/],
])('a document that would allow, with %j, is passed over and the log says so once', async (changes, why) => {
  const { source, lines } = await open([{ ...allowed('bad'), ...changes }, allowed('good')])
  expect(await askOf(source, clientOf(), publish(), 'bad')).toBe('ignore')
  expect(await askOf(source, clientOf(), publish(), 'good')).toBe('allow')
  const said = lines.filter(({ level }) => level === 'warn')
  expect(said).toHaveLength(1)
  expect(said[0]?.text).toMatch(why)
})

test.each([{ permission: 'Deny' }, { permission: undefined }, { permission: 'deny', action: 'read' }])(
  'a document with %j may have been meant to deny, so all of them are a failure',
  async (changes) => {
    const { source, log } = await open([{ ...allowed('x'), ...changes }, allowed('#')])
    const decided = chainOf([source], {}, log).authorize(
      { result: 'allow', from: 'default' },
      clientOf(),
      publish(),
      'x',
    )
    expect(await decided).toEqual({ ok: { result: 'deny', from: 'source_failed' } })
  },
)

test('a user name never is a query', async () => {
  const { source } = await open([{ username: 'ann', ...allowed('#') }], {
    filter: { username: { $regex: '^${username}$' } },
  })
  expect(await askOf(source, clientOf(), publish(), 'x')).toBe('allow')
  for (const username of ['.*', '^', 'an.', 'ann|'])
    expect(await askOf(source, clientOf({ username }), publish(), 'x'), username).toBe('ignore')
})

test('a filter that runs code stops the start', async () => {
  await expect(open([], { filter: { $where: 'this.username == "${username}"' } })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
  })
})

test('EMQX’s names and defaults', () => {
  const config = { type: 'mongodb', server: 'x', database: 'd', collection: 'c' }
  expect(readConfig(config)).toMatchObject({ mongo_type: 'single', filter: {}, limit: 1000, skip: 0 })
})
