import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import { DurableStorage } from '../../../broker/storage/durable-storage.ts'
import { recordKey } from '../../../broker/storage/record-key.ts'
import type { RecordKind, RecordWrite } from '../../../broker/storage/record-store.ts'
import type { RedisOptions } from '../../../broker/storage/redis-config.ts'
import { RedisRecords } from '../../../broker/storage/redis-records.ts'
import { silentLogger } from '../../../model/log.ts'
import { type RedisServer, startRedisCluster } from '../../support/redis.ts'
import { requireService, skipNote } from '../../support/services.ts'
import { durableContract } from './durable-contract.ts'
import { aedesContract, eventually, openRedis, redisOptions, redisStorage } from './redis-support.ts'
import { delivery, message, NEVER, sessionRecord, sessionsOf } from './support.ts'

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

  /** Sessions on all three servers, one delivery to a group's member, and a publisher's packet id 1 from before. */
  async function begin(t: TestContext, options: RedisOptions): Promise<[RedisRecords, DurableStorage]> {
    const records = new RedisRecords(options, silentLogger)
    records.claimFor('node')
    const storage = new DurableStorage(records, silentLogger, { rejectedPrefix: '/nowhere/store' })
    await storage.setup({ id: 'node' })
    t.onTestFinished(() => storage.destroy())
    return [records, storage]
  }

  test('wherever a broker dies while it writes, all of a batch is there afterwards, or nothing', async (t) => {
    const outcomes = new Set<string>()
    for (let limit = 0, isWritten = false; !isWritten; limit++) {
      const options = redisOptions(ports())
      const [records, storage] = await begin(t, options)
      const { sessions } = storage.durable
      const names = ['pub', 'member-1', 'member-2', ...Array.from({ length: 6 }, (_, i) => `sub-${i}`)]
      for (const name of names) sessions.save(sessionRecord(name))
      const moved = delivery(message('t', 'moved'), { qos: 2, group: { name: 'g', filter: 't' } })
      sessions.added('member-1', moved)
      sessions.received('pub', 1, 1)
      await storage.durable.unsafe

      killAfter(records, limit)
      // A message at QoS 2 with its packet id, the end of the one before, and a delivery that changes hands.
      const published = message('t', 'new')
      for (const name of names.slice(3)) sessions.added(name, delivery(published, { qos: 2 }))
      sessions.received('pub', 2, 1)
      sessions.released('pub', 1)
      sessions.added('member-2', delivery(moved.message, { qos: 2, group: { name: 'g', filter: 't' } }))
      sessions.dropped('member-1', moved)
      isWritten = await (storage.durable.unsafe as Promise<void>).then(
        () => true,
        () => false,
      )

      const [, after] = await begin(t, options)
      const found = await sessionsOf(after)
      const incoming = found.get('pub')?.incoming.map(([packetId]) => packetId)
      const counts = names.slice(1).map((name) => found.get(name)?.deliveries.length)
      outcomes.add(`${incoming?.join()}: ${counts.join(' ')}`)
      if (isWritten) expect(incoming).toEqual([2])
    }
    expect([...outcomes].sort()).toEqual(['1: 1 0 0 0 0 0 0 0', '2: 0 1 1 1 1 1 1 1'])
  })

  test('a batch of which a part was written is completed before the next one', async (t) => {
    const options = redisOptions(ports())
    const [records, storage] = await begin(t, options)
    const { client } = records.connection
    const hset = client.hset.bind(client) as (...args: unknown[]) => Promise<number>
    let isAway = true
    const flaky = (hash: string, ...args: unknown[]) =>
      isAway && hash.includes('{b}') ? Promise.reject(new Error('away')) : hset(hash, ...args)
    Object.assign(client, { hset: flaky })
    await expect(records.commit([put('sessions', 'a', '0'), put('sessions', 'b', '0')])).rejects.toThrow(
      'away',
    )
    isAway = false
    await records.commit([put('sessions', 'c', '0')])
    const owners: string[] = []
    for await (const chunk of records.scan('sessions')) owners.push(...chunk.map(({ owner }) => owner))
    expect(owners.sort()).toEqual(['a', 'b', 'c'])
    await storage.destroy()
  })

  test("who has lost the lease puts nothing in anybody's way", async (t) => {
    const options = redisOptions(ports())
    const [first] = await begin(t, options)
    const [second] = await begin(t, options)
    await second.commit([put('sessions', 'a', '0')])
    await expect(first.commit([put('sessions', 'b', '0')])).rejects.toThrow('taken over')
    const owners: string[] = []
    for await (const chunk of second.scan('sessions')) owners.push(...chunk.map(({ owner }) => owner))
    expect(owners).toEqual(['a'])
  })
})

/** Writes go on until `limit` of them have been, then nothing gets through any more: the broker is dead. */
function killAfter(records: RedisRecords, limit: number): () => number {
  let count = 0
  const { client } = records.connection
  for (const command of ['eval', 'hset', 'hdel', 'publish'] as const) {
    const send = client[command].bind(client) as (...args: unknown[]) => Promise<unknown>
    const killed = (...args: unknown[]) =>
      ++count > limit ? Promise.reject(new Error('killed')) : send(...args)
    Object.assign(client, { [command]: killed })
  }
  return () => count
}

function put(table: RecordKind, owner: string, id: string): RecordWrite {
  return { key: recordKey(table, owner, id), table, owner, id, value: Buffer.from('x') }
}
