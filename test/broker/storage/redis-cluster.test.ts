import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { recordKey } from '../../../broker/storage/record-key.ts'
import type { RecordKind, RecordWrite } from '../../../broker/storage/record-store.ts'
import { RedisRecords } from '../../../broker/storage/redis-records.ts'
import { silentLogger } from '../../../model/log.ts'
import { type RedisServer, startRedisCluster } from '../../support/redis.ts'
import { requireService, skipNote } from '../../support/services.ts'
import { durableContract } from './durable-contract.ts'
import { aedesContract, eventually, openRedis, redisOptions, redisStorage } from './redis-support.ts'
import { message, NEVER } from './support.ts'

const redis = requireService('redis-server')

describe.skipIf(redis.skip)(`Redis Cluster${skipNote(redis)}`, () => {
  let servers: RedisServer[] = []
  beforeAll(async () => {
    servers = await startRedisCluster()
  })
  afterAll(() => Promise.all(servers.map((server) => server.stop())))
  const ports = () => servers.map(({ port }) => port)

  aedesContract('Redis Cluster', ports)
  durableContract('Redis Cluster', async () => {
    const options = redisOptions(ports())
    return () => redisStorage(options)
  })

  test('retained messages are kept current between nodes', async (t) => {
    const options = redisOptions(ports())
    const [a, b] = [await openRedis(t, options), await openRedis(t, options, { id: 'node@b' })]
    a.storeRetained(message('t'), NEVER)
    await eventually(() => b.hasRetained('t'))
    b.storeRetained(message('t', ''), NEVER)
    await eventually(() => !a.hasRetained('t'))
  })

  test('sessions on all servers are found, each once', async (t) => {
    const records = new RedisRecords(redisOptions(ports()), silentLogger)
    await records.open()
    t.onTestFinished(() => records.close())
    const owners = Array.from({ length: 700 }, (_, i) => `client {${i}}`)
    await records.commit(owners.map((owner) => put('sessions', owner, '0')))
    const found: string[] = []
    for await (const chunk of records.scan('sessions')) found.push(...chunk.map(({ owner }) => owner))
    expect(found.sort()).toEqual(owners.sort())
    const sizes = await Promise.all(servers.map((server) => server.ask('dbsize')))
    expect(sizes.every((size) => Number(size) > 0)).toBe(true)
  })
})

function put(table: RecordKind, owner: string, id: string): RecordWrite {
  return { key: recordKey(table, owner, id), table, owner, id, value: Buffer.from('x') }
}
