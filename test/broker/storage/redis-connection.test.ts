import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type RedisOptions, readRedis } from '../../../broker/storage/redis-config.ts'
import { placeOf } from '../../../broker/storage/redis-connection.ts'
import { warningsOf } from '../../../broker/storage/redis-durability.ts'
import { type Certs, makeCerts } from '../../support/certs.ts'
import { freePort } from '../../support/free-port.ts'
import { RedisServer } from '../../support/redis.ts'
import { requireService, skipNote } from '../../support/services.ts'
import { eventually, NO_TLS, openRedis, redisOptions, redisStorage } from './redis-support.ts'
import { message, NEVER } from './support.ts'

const redis = requireService('redis-server')

describe.skipIf(redis.skip)(`Redis with TLS and password${skipNote(redis)}`, () => {
  let server: RedisServer
  let certs: Certs
  beforeAll(async () => {
    certs = makeCerts()
    server = await RedisServer.start({
      settings: {
        port: '0',
        'tls-port': String(await freePort()),
        'tls-cert-file': certs.serverCert,
        'tls-key-file': certs.serverKey,
        'tls-ca-cert-file': certs.ca,
        requirepass: 'p4ss',
      },
    })
  })
  afterAll(() => server.stop())

  const secured = (tls: Partial<RedisOptions['tls']> = {}): RedisOptions =>
    redisOptions([server.port], {
      password: 'p4ss',
      tls: {
        ...NO_TLS,
        enable: true,
        cacertfile: certs.ca,
        certfile: certs.clientCert,
        keyfile: certs.clientKey,
        ...tls,
      },
    })

  test('it stores, with a client certificate and the password', async (t) => {
    const options = secured()
    const storage = await openRedis(t, options)
    storage.storeRetained(message('t'), NEVER)
    await storage.durable.unsafe
    expect(placeOf(options)).toBe(`rediss://127.0.0.1:${server.port}/0 prefix ${options.prefix}`)
  })

  test('a server whose certificate nobody has issued is refused, unless verify is off', async (t) => {
    const stranger = redisStorage(secured({ cacertfile: certs.strangerCert })).setup({ id: 'node' })
    await expect(stranger).rejects.toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringMatching(/certificate/),
    })
    await openRedis(t, secured({ cacertfile: certs.strangerCert, verify: 'verify_none' }))
  })

  test('a file that cannot be read is named', async () => {
    const missing = redisStorage(secured({ keyfile: '/nowhere/key.pem' })).setup({ id: 'node' })
    await expect(missing).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/^storage.redis.ssl.keyfile: .*\/nowhere\/key.pem/),
    })
  })
})

describe.skipIf(redis.skip)(`Redis behind sentinels${skipNote(redis)}`, () => {
  test('the master is asked for, and again when it has moved', async (t) => {
    const [master, other] = [await RedisServer.start(), await RedisServer.start()]
    const sentinel = await RedisServer.start({
      isSentinel: true,
      settings: { 'sentinel monitor main': `127.0.0.1 ${master.port} 1` },
    })
    for (const server of [master, other, sentinel]) t.onTestFinished(() => server.stop())
    const options = redisOptions([sentinel.port], {
      type: 'sentinel',
      sentinel: { name: 'main', username: undefined, password: undefined },
    })
    const storage = await openRedis(t, options)
    storage.storeRetained(message('before'), NEVER)
    await storage.durable.unsafe
    expect(await master.ask('hexists', `${options.prefix}:retained`, 'before')).toBe('1')

    // A failover of its own would take it ten seconds to begin.
    await sentinel.ask('sentinel', 'remove', 'main')
    await sentinel.ask('sentinel', 'monitor', 'main', '127.0.0.1', String(other.port), '1')
    await master.kill()
    storage.storeRetained(message('after'), NEVER)
    await storage.durable.unsafe?.catch(() => {})
    await eventually(() => storage.durable.unsafe === undefined)
    expect(await other.ask('hexists', `${options.prefix}:retained`, 'after')).toBe('1')
  })
})

describe('storage.redis', () => {
  const config = {
    redis_type: 'single' as const,
    server: '127.0.0.1:6379',
    database: 0,
    prefix: 'hubbub',
    command_timeout: 5000,
    ssl: NO_TLS,
  }

  test('addresses are read as EMQX has them', () => {
    const servers = 'a.example:7000, [::1]:7001,b'
    expect(readRedis({ ...config, redis_type: 'cluster', servers }, '').servers).toEqual([
      { host: 'a.example', port: 7000 },
      { host: '::1', port: 7001 },
      { host: 'b', port: 6379 },
    ])
    const sentinel = readRedis(
      { ...config, redis_type: 'sentinel', servers, sentinel: 'main', database: 2 },
      '',
    )
    expect(placeOf(sentinel)).toBe('redis-sentinel://a.example:7000,[::1]:7001,b:6379/main/2 prefix hubbub')
  })

  test.each([
    [{ redis_type: 'cluster' as const }, 'storage.redis.servers: is needed by redis_type cluster'],
    [{ redis_type: 'sentinel' as const, servers: 'a' }, 'storage.redis.sentinel: is needed'],
    [{ redis_type: 'cluster' as const, servers: 'a', database: 1 }, 'storage.redis.database: can only be 0'],
    [{ server: 'a,b' }, 'storage.redis.server: is one address'],
    [{ server: 'a:99999' }, 'storage.redis.server: is not host:port'],
    [{ server: 'redis://:p4ss@a' }, /^storage.redis.server: is not host:port$/],
  ])('%j does not fit together', (more, problem) => {
    expect(() => readRedis({ ...config, ...more }, '')).toThrow(problem)
  })

  test('what INFO says of durability is understood', () => {
    expect(warningsOf('# Memory\r\nmaxmemory_policy:noeviction\r\naof_enabled:1\r\n')).toEqual([])
    expect(warningsOf('maxmemory_policy:volatile-lru\r\naof_enabled:0\r\n')).toHaveLength(2)
    expect(warningsOf('')).toEqual([])
  })
})
