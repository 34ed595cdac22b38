import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { clientOf, recordingLog } from '../authn/fixtures.ts'
import { RedisServer } from '../support/redis.ts'
import { requireService, skipNote } from '../support/services.ts'
import {
  askOf,
  build,
  type ContractRule,
  chainOf,
  publish,
  RULES,
  readConfig,
  sourceContract,
  subscribe,
} from './source-contract.ts'

const redis = requireService('redis-server')
const CMD = 'HGETALL mqtt_acl:${username}'

function fieldValue({ action, qos, retain }: ContractRule): string {
  if (qos === undefined && retain === undefined) return action
  return JSON.stringify({ action, qos, retain })
}

sourceContract(
  `redis${skipNote(redis)}`,
  async () => {
    const server = await RedisServer.start({ settings: { requirepass: 'redis-secret' } })
    for (const { username, rules } of RULES) {
      const fields = rules
        .filter((rule) => rule.permission === 'allow')
        .flatMap((rule) => [rule.topic, fieldValue(rule)])
      await server.ask('-a', 'redis-secret', '--no-auth-warning', 'HSET', `mqtt_acl:${username}`, ...fields)
    }
    return {
      config: { type: 'redis', cmd: CMD, server: server.address, password: 'redis-secret' },
      elsewhere: (address) => ({ server: address }),
      onlyAllows: true,
      secrets: ['redis-secret'],
      stop: () => server.stop(),
    }
  },
  redis.skip,
)

describe.skipIf(redis.skip)(`what is kept in Redis${skipNote(redis)}`, () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await RedisServer.start()
  })
  afterAll(() => server?.stop())

  async function open(changes: object, ...fields: string[]) {
    await server.ask('DEL', 'mqtt_acl:ann')
    if (fields.length > 0) await server.ask('HSET', 'mqtt_acl:ann', ...fields)
    const recorded = recordingLog()
    const source = await build({ type: 'redis', cmd: CMD, server: server.address, ...changes }, recorded)
    onTestFinished(() => source.close())
    return { ...recorded, source }
  }

  test('HMGET reads the topic filters that it names', async () => {
    const { source } = await open({ cmd: 'HMGET mqtt_acl:${username} a/# b' }, 'a/#', 'publish', 'c', 'all')
    expect(await askOf(source, clientOf(), publish(), 'a/x')).toBe('allow')
    expect(await askOf(source, clientOf(), publish(), 'b')).toBe('ignore')
    expect(await askOf(source, clientOf(), publish(), 'c')).toBe('ignore')
  })

  test('fields of EMQX 4', async () => {
    const { source } = await open(
      { compatibility_mode: 'v4' },
      's/%c',
      '1',
      'p/%u',
      '2',
      'b',
      '3',
      'x',
      'publish',
    )
    const ask = async (topic: string) => [
      await askOf(source, clientOf(), publish(), topic),
      await askOf(source, clientOf(), subscribe(), topic),
    ]
    expect(await ask('s/c1')).toEqual(['ignore', 'allow'])
    expect(await ask('p/ann')).toEqual(['allow', 'ignore'])
    expect(await ask('b')).toEqual(['allow', 'allow'])
    expect(await ask('x')).toEqual(['ignore', 'ignore'])
    expect(await ask('p/%u')).toEqual(['ignore', 'ignore'])
  })

  test.each([
    ['read', /action/],
    ['{"action":"pub', /JSON/],
    ['{"qos":1}', /action/],
    ['{"action":"publish","qos":7}', /qos/],
    ['{"action":"publish","permission":"deny"}', /only allow/],
    ['3', /action/],
  ])('a field with %s is passed over, the others hold, and the log says so once', async (value, why) => {
    const { source, lines } = await open({}, 'bad', value, 'good', 'all')
    expect(await askOf(source, clientOf(), publish(), 'bad')).toBe('ignore')
    expect(await askOf(source, clientOf(), publish(), 'good')).toBe('allow')
    const said = lines.filter(({ level }) => level === 'warn')
    expect(said).toHaveLength(1)
    expect(said[0]?.text).toMatch(why)
  })

  test('a value cannot name another topic', async () => {
    const { source } = await open({}, 'a', '{"action":"all","topic":"#","topics":["#"]}')
    expect(await askOf(source, clientOf(), publish(), 'a')).toBe('allow')
    expect(await askOf(source, clientOf(), publish(), 'b')).toBe('ignore')
  })

  test('a key of another type is a failure', async () => {
    const { source, log } = await open({})
    await server.ask('SET', 'mqtt_acl:ann', 'x')
    const chain = chainOf([source], {}, log)
    const decided = await chain.authorize({ result: 'allow', from: 'default' }, clientOf(), publish(), 'a')
    expect(decided).toEqual({ ok: { result: 'deny', from: 'source_failed' } })
  })
})

test.each([
  ['GET mqtt_acl', /HGETALL or HMGET/],
  ['HGETALL', /no key/],
  ['HGETALL a b', /nothing else/],
  ['HMGET a', /no fields/],
  ['HGETALL "a', /quotes/],
])('cmd: %s stops the start', async (cmd, why) => {
  await expect(build({ type: 'redis', cmd, server: '127.0.0.1:1' })).rejects.toThrow(why)
})

test('EMQX’s names and defaults', () => {
  expect(readConfig({ type: 'redis', cmd: CMD, server: 'x' })).toMatchObject({
    redis_type: 'single',
    database: 0,
    pool_size: 8,
    compatibility_mode: 'disabled',
  })
})
