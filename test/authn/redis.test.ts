import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { RedisServer, startRedisCluster } from '../support/redis.ts'
import { requireService, skipNote } from '../support/services.ts'
import { askOf, authenticatorContract, build, PASSWORD, USERS } from './authenticator-contract.ts'
import { ALLOW, NOT_AUTHORIZED, recordingLog, WRONG_PASSWORD } from './fixtures.ts'
import { HASH, SALT, sha256 } from './stored-users.ts'

const redis = requireService('redis-server')
const CMD = 'HMGET mqtt_user:${username} password_hash salt is_superuser'
const base = { mechanism: 'password_based', backend: 'redis', cmd: CMD }
const LOGIN = { client: { username: 'ann' }, password: Buffer.from(PASSWORD) }

/** @param options - of redis-cli, like -c for a cluster */
async function addUsers(server: RedisServer, ...options: string[]): Promise<void> {
  for (const { name, isSuperuser } of USERS) {
    const fields = ['password_hash', HASH, 'salt', SALT, 'is_superuser', isSuperuser ? '1' : '0']
    await server.ask(...options, 'HSET', `mqtt_user:${name}`, ...fields)
  }
}

authenticatorContract(
  `password_based:redis, one server${skipNote(redis)}`,
  async () => {
    const server = await RedisServer.start({ settings: { requirepass: 'redis-secret' } })
    await addUsers(server, '-a', 'redis-secret', '--no-auth-warning')
    return {
      config: { ...base, server: server.address, password: 'redis-secret' },
      nowhere: (address) => ({ server: address }),
      slow: (address) => ({ server: address }),
      secrets: ['redis-secret'],
      stop: () => server.stop(),
    }
  },
  redis.skip,
)

authenticatorContract(
  `password_based:redis, sentinels${skipNote(redis)}`,
  async () => {
    const master = await RedisServer.start()
    const monitor = `mymaster 127.0.0.1 ${master.port} 1`
    const sentinel = await RedisServer.start({ isSentinel: true, settings: { 'sentinel monitor': monitor } })
    await addUsers(master)
    return {
      config: { ...base, redis_type: 'sentinel', servers: sentinel.address, sentinel: 'mymaster' },
      nowhere: (address) => ({ servers: address }),
      slow: (address) => ({ servers: address }),
      secrets: [],
      stop: async () => {
        await sentinel.stop()
        await master.stop()
      },
    }
  },
  redis.skip,
)

authenticatorContract(
  `password_based:redis, a cluster${skipNote(redis)}`,
  async () => {
    const servers = await startRedisCluster()
    await addUsers(servers[0] as RedisServer, '-c')
    return {
      config: { ...base, redis_type: 'cluster', servers: servers.map(({ address }) => address).join(', ') },
      nowhere: (address) => ({ servers: address }),
      slow: (address) => ({ servers: address }),
      secrets: [],
      stop: async () => void (await Promise.all(servers.map((server) => server.stop()))),
    }
  },
  redis.skip,
)

describe.skipIf(redis.skip)(`what is in a hash of Redis${skipNote(redis)}`, () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await RedisServer.start()
  })
  afterAll(() => server.stop())

  async function open(changes: object = {}) {
    const recorded = recordingLog()
    const authenticator = await build({ ...base, server: server.address, ...changes }, recorded)
    onTestFinished(() => authenticator.close())
    return { ...recorded, ask: () => askOf(authenticator, LOGIN) }
  }

  test.each([
    ['a hash without salt', ['password_hash', sha256(PASSWORD)], CMD, ALLOW],
    [
      'password in place of password_hash',
      ['password', HASH, 'salt', SALT],
      'HMGET mqtt_user:${username} password salt',
      ALLOW,
    ],
    ['one field', ['password_hash', sha256(PASSWORD)], 'HGET mqtt_user:${username} password_hash', ALLOW],
    [
      'by client id',
      ['password_hash', HASH, 'salt', SALT],
      'hmget "mqtt_user:${clientid}" password_hash salt',
      ALLOW,
    ],
    ['no hash', ['salt', SALT], CMD, NOT_AUTHORIZED],
    ['a malformed hash', ['password_hash', 'nonsense', 'salt', SALT], CMD, WRONG_PASSWORD],
    ['an upper case hash', ['password_hash', HASH.toUpperCase(), 'salt', SALT], CMD, ALLOW],
  ])('%s', async (_, fields, cmd, verdict) => {
    for (const key of ['mqtt_user:ann', 'mqtt_user:c1']) {
      await server.ask('DEL', key)
      await server.ask('HSET', key, ...fields)
    }
    const { ask, lines } = await open({ cmd })
    expect(await ask()).toEqual(verdict)
    expect(await ask()).toEqual(verdict)
    const warnings = lines.filter(({ level }) => level === 'warn')
    expect(warnings).toHaveLength(verdict === ALLOW ? 0 : 1)
    expect(JSON.stringify(warnings)).not.toMatch(new RegExp(`${PASSWORD}|nonsense|${SALT}`))
  })

  test('a key of another type is a failure, not a no', async () => {
    await server.ask('DEL', 'mqtt_user:ann')
    await server.ask('SET', 'mqtt_user:ann', 'x')
    const { ask } = await open()
    await expect(ask()).rejects.toMatchObject({
      code: 'BACKEND_FAILED',
      message: expect.stringContaining('WRONGTYPE'),
    })
    await server.ask('DEL', 'mqtt_user:ann')
  })

  test.each([
    ['GET mqtt_user:${username}', /must be HMGET or HGET/],
    ['HMGET', /has no key/],
    ['HMGET mqtt_user:${username} salt', /password_hash or password/],
    ['HMGET mqtt_user:${username} password_hash secret', /not for secret/],
    ['HGET mqtt_user:${username} password_hash salt', /one field/],
    ['HMGET "mqtt_user', /quotes/],
  ])('a command that looks nobody up is refused: %s', async (cmd, text) => {
    const server = `127.0.0.1:${await freePort()}`
    await expect(build({ ...base, server, cmd })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(text),
    })
  })
})
