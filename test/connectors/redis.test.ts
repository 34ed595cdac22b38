import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openRedis } from '../../connectors/redis.ts'
import type { RedisConfig } from '../../connectors/redis-config.ts'
import { compileCommand } from '../../connectors/template.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { freePort } from '../support/free-port.ts'
import { RedisServer, startRedisCluster } from '../support/redis.ts'
import { requireService, skipNote } from '../support/services.ts'
import { connectorContract } from './contract.ts'
import { ALLOWED, contextOf, NASTY, opened, randomTexts, valuesOf } from './support.ts'
import { NO_TLS } from './support-config.ts'

const service = requireService('redis-server')
const HMGET = compileCommand('HMGET mqtt_user:${username} password_hash salt', ALLOWED)

const configOf = (more: Partial<RedisConfig>): RedisConfig => ({
  redis_type: 'single',
  password: 'redis-secret',
  database: 0,
  pool_size: 8,
  connect_timeout: 5000,
  query_timeout: 5000,
  auto_reconnect: true,
  ssl: NO_TLS,
  ...more,
})

describe.skipIf(service.skip)(`Redis${skipNote(service)}`, () => {
  let server: RedisServer
  let certs: Certs

  beforeAll(async () => {
    certs = makeCerts()
    server = await RedisServer.start({ settings: { requirepass: 'redis-secret' } })
    await server.ask(
      '-a',
      'redis-secret',
      '--no-auth-warning',
      'HSET',
      'mqtt_user:alice',
      'password_hash',
      'hash-a',
    )
  })

  afterAll(() => server?.stop())

  connectorContract('redis', {
    backend: () => server,
    secret: 'redis-secret',
    open: (
      address,
      { timeoutMs = 5000, password = 'redis-secret', poolSize = 8, reconnects = true },
      context,
    ) =>
      openRedis(
        'password_based:redis',
        configOf({
          server: address,
          query_timeout: timeoutMs,
          password,
          pool_size: poolSize,
          auto_reconnect: reconnects,
        }),
        context,
      ),
    ask: (connector, signal) => connector.command(['HGETALL', 'mqtt_user:alice'], signal),
  })

  test('a hash is a flat list, and what is not there is null', async () => {
    const connector = await opened(openRedis('redis', configOf({ server: server.address }), contextOf()))
    expect(await connector.command(['HGETALL', 'mqtt_user:alice'])).toEqual(['password_hash', 'hash-a'])
    expect(await connector.command(['HMGET', 'mqtt_user:alice', 'password_hash', 'salt'])).toEqual([
      'hash-a',
      null,
    ])
  })

  test('no value changes a command', async () => {
    const connector = await opened(openRedis('redis', configOf({ server: server.address }), contextOf()))
    for (const text of [...NASTY, '\0', ...randomTexts(150, 11)]) {
      const command = HMGET.render(valuesOf({ username: text }))
      expect(command).toHaveLength(4)
      expect(await connector.command(command), JSON.stringify(text)).toEqual([null, null])
      expect(await connector.command(['ECHO', text])).toBe(Buffer.from(text).toString())
    }
  })

  test('a refused command fails without its arguments, and its connection stays', async () => {
    const connector = await opened(openRedis('redis', configOf({ server: server.address }), contextOf()))
    const error: unknown = await connector.command(['HMGETX', 'swordfish']).catch((reason: unknown) => reason)
    expect(error).toMatchObject({ code: 'BACKEND_FAILED' })
    expect(String(error)).toContain('unknown command')
    expect(String(error)).not.toContain('swordfish')
    expect(connector.status.state).toBe('connected')
  })

  test('a cluster is asked where the key is', async () => {
    const nodes = await startRedisCluster()
    try {
      const [first] = nodes
      await first?.ask('-c', 'HSET', 'mqtt_user:alice', 'password_hash', 'hash-a')
      await first?.ask('-c', 'HSET', 'mqtt_user:bob', 'password_hash', 'hash-b')
      const { password: _, ...config } = configOf({ redis_type: 'cluster', servers: first?.address ?? '' })
      const connector = await opened(openRedis('redis', config, contextOf()))
      for (const [name, hash] of [
        ['alice', 'hash-a'],
        ['bob', 'hash-b'],
      ] as const)
        expect(await connector.command(HMGET.render(valuesOf({ username: name })))).toEqual([hash, null])
    } finally {
      await Promise.all(nodes.map((node) => node.stop()))
    }
  })

  test('sentinels say where the master is', async () => {
    const sentinelPort = await freePort()
    const settings = {
      port: String(sentinelPort),
      'sentinel monitor': `mymaster 127.0.0.1 ${server.port} 1`,
      'sentinel auth-pass': 'mymaster redis-secret',
    }
    const sentinel = await RedisServer.start({ settings, isSentinel: true })
    try {
      const config = configOf({ redis_type: 'sentinel', servers: sentinel.address, sentinel: 'mymaster' })
      const connector = await opened(openRedis('redis', config, contextOf()))
      expect(await connector.command(['HGETALL', 'mqtt_user:alice'])).toEqual(['password_hash', 'hash-a'])
    } finally {
      await sentinel.stop()
    }
  })

  test('over TLS the certificate must be of a known authority', async () => {
    const settings = {
      'tls-port': String(await freePort()),
      port: '0',
      'tls-cert-file': certs.serverCert,
      'tls-key-file': certs.serverKey,
      'tls-ca-cert-file': certs.ca,
      'tls-auth-clients': 'no',
    }
    const secure = await RedisServer.start({ settings })
    try {
      const ssl = { ...NO_TLS, enable: true, cacertfile: certs.ca }
      const { password: _, ...open } = configOf({ server: secure.address, ssl })
      const connector = await opened(openRedis('redis', open, contextOf()))
      expect(await connector.command(['PING'])).toBe('PONG')
      const stranger = { ...open, ssl: { ...ssl, cacertfile: certs.strangerCert } }
      const other = await opened(openRedis('redis', stranger, contextOf()))
      await expect(other.command(['PING'])).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    } finally {
      await secure.stop()
    }
  })

  test.each([
    [{}, 'server is needed'],
    [{ redis_type: 'cluster', server: 'a' }, 'servers is needed'],
    [{ redis_type: 'sentinel', servers: 'a,b' }, 'sentinel is needed'],
    [{ redis_type: 'cluster', servers: 'a', database: 1 }, 'database can only be 0'],
  ] as const)('a config that does not go together is refused: %j', async (more, text) => {
    await expect(openRedis('redis', configOf(more), contextOf())).rejects.toThrow(text)
  })
})
