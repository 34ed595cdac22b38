import mqemitter from 'mqemitter'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { NodeBroker } from '../../../broker/storage/redis-aedes.ts'
import { loadConfig } from '../../../config/load.ts'
import { configSchema } from '../../../config/schema.ts'
import { Hubbub } from '../../../main.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { createLog } from '../../../observability/log.ts'
import { temporaryDirectory } from '../../config/sample.ts'
import { LogBook } from '../../support/log-book.ts'
import { RedisServer } from '../../support/redis.ts'
import { requireService, skipNote } from '../../support/services.ts'
import { eventually, openRedis, redisOptions, redisStorage } from './redis-support.ts'
import { LogLines, message, NEVER } from './support.ts'

const redis = requireService('redis-server')

describe.skipIf(redis.skip)(`nodes that share a Redis${skipNote(redis)}`, () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await RedisServer.start()
  })
  afterAll(() => server.stop())

  test('a retained message of one is found by the other, until it is taken away or over', async (t) => {
    const options = redisOptions([server.port])
    const [a, b] = [await openRedis(t, options), await openRedis(t, options, { id: 'node@b' })]
    a.storeRetained(message('t', 'of a'), NEVER)
    a.storeRetained(message('$SYS/t'), Date.now() + 60_000)
    await eventually(() => b.hasRetained('t') && b.hasRetained('$SYS/t'))
    expect(Buffer.from((await b.retained('t').next())?.payload ?? []).toString()).toBe('of a')
    b.storeRetained(message('t', ''), NEVER)
    await eventually(() => !a.hasRetained('t'))
    a.dropExpired(Date.now() + 60_001)
    await eventually(() => !b.hasRetained('$SYS/t'))
  })

  test('nodes that change the same topics at the same time end with the same messages', async (t) => {
    const options = redisOptions([server.port])
    const nodes = [await openRedis(t, options), await openRedis(t, options, { id: 'node@b' })] as const
    for (let round = 0; round < 30; round++) {
      for (const [i, node] of nodes.entries())
        for (let topic = 0; topic < 10; topic++)
          node.storeRetained(message(`t/${topic}`, `${i}/${round}/${topic}`), NEVER)
      await Promise.race(nodes.map(({ durable }) => durable.unsafe))
    }
    await Promise.all(nodes.map(({ durable }) => durable.unsafe))
    nodes[0].storeRetained(message('last'), NEVER)
    nodes[1].storeRetained(message('last too'), NEVER)
    await eventually(() => nodes[1].hasRetained('last') && nodes[0].hasRetained('last too'))
    const [ofA, ofB] = await Promise.all(nodes.map((node) => payloads(node)))
    expect(ofA).toEqual(ofB)
  })

  test('what was missed without connection is found after it', async (t) => {
    const options = redisOptions([server.port])
    const before = redisStorage(options)
    await before.setup({ id: 'node' })
    for (const topic of ['t', '$x/t', 'stays']) before.storeRetained(message(topic), NEVER)
    await before.destroy()
    const storage = await openRedis(t, options)
    expect(storage.retainedCount).toBe(3)
    await server.ask('hdel', `${options.prefix}:retained`, 't', '$x/t')
    await server.ask('client', 'kill', 'type', 'pubsub')
    await eventually(() => storage.retainedCount === 1)
    expect(storage.hasRetained('stays')).toBe(true)
  })

  test("Aedes' subscriptions are kept current through the broker's emitter", async (t) => {
    const options = redisOptions([server.port])
    const emitter = mqemitter()
    t.onTestFinished(() => emitter.close(() => {}))
    const broker = (id: string): NodeBroker => ({
      id,
      publish: (packet, done) => emitter.emit(packet as { topic: string }, done),
      subscribe: (topic, listener, done) => emitter.on(topic, listener, done),
      unsubscribe: (topic, listener, done) => emitter.removeListener(topic, listener, done),
    })
    const [a, b] = [redisStorage(options), redisStorage(options)]
    for (const [storage, id] of [[a, 'a'] as const, [b, 'b'] as const]) {
      await storage.setup(broker(id))
      t.onTestFinished(() => storage.destroy())
    }
    await a.addSubscriptions({ id: 'c' }, [{ topic: 'x/+', qos: 1 }])
    expect(await b.subscriptionsByTopic('x/y')).toMatchObject([{ clientId: 'c', topic: 'x/+', qos: 1 }])
    emitter.emit({ topic: '$SYS/sub/add', payload: 'not JSON' }, () => {})
    await b.removeSubscriptions({ id: 'c' }, ['x/+'])
    expect(await a.subscriptionsByTopic('x/y')).toEqual([])
  })

  describe('one owner of the sessions', () => {
    const exclusive = { isExclusive: true }

    test('a second broker does not start, unless the first has stopped', async (t) => {
      const options = redisOptions([server.port])
      const first = redisStorage(options, exclusive)
      await first.setup({ id: 'node@a' })
      const refused = redisStorage(options, exclusive).setup({ id: 'node@b' })
      await expect(refused).rejects.toMatchObject({
        code: 'STORAGE_FAILED',
        message: expect.stringMatching(/is in use by the broker node@a: .* try again in 1[0-5] s$/),
      })
      await first.destroy()
      await openRedis(t, options, { ...exclusive, id: 'node@b' })
    })

    test('a broker keeps what is configured in its Redis, and shuts others out', async (t) => {
      const { prefix } = redisOptions([])
      const dir = temporaryDirectory()
      const log = new LogBook()
      const start = (name: string) => {
        const overrides = {
          node: { name, data_dir: dir },
          storage: { type: 'redis', redis: { server: server.address, prefix } },
          listeners: Object.fromEntries(
            ['tcp', 'ssl', 'ws', 'wss'].map((type) => [type, { default: { enable: false, bind: 1 } }]),
          ),
        }
        const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
        const stream = { write: (line: string) => log.write(line) }
        return Hubbub.start(config, dir, createLog({ level: 'info', format: 'json', stream }))
      }
      const broker = await start('first@127.0.0.1')
      t.onTestFinished(() => broker.stop())
      const place = `redis://${server.address}/0 prefix ${prefix}`
      await log.until('storage opened', { store: place })
      await expect(start('second@127.0.0.1')).rejects.toThrow('is in use by the broker first@127.0.0.1')
      await broker.stop()
      const next = await start('second@127.0.0.1')
      await next.stop()
    })

    test('a broker that has crashed keeps others out for some seconds only', async (t) => {
      const options = redisOptions([server.port])
      await server.ask('hset', `${options.prefix}:lease`, 'node', 'node@a', 'token', 'x', 'end', '17')
      await openRedis(t, options, { ...exclusive, id: 'node@b' })
    })

    test('the same node takes over at once, and the one before it writes no more', async (t) => {
      const options = redisOptions([server.port])
      const log = new LogLines()
      const first = redisStorage(options, { ...exclusive, log })
      await first.setup({ id: 'node@a' })
      t.onTestFinished(() => first.destroy())
      const second = await openRedis(t, options, { ...exclusive, id: 'node@a' })
      second.storeRetained(message('t', 'new'), NEVER)
      await second.durable.unsafe
      first.storeRetained(message('u', 'old'), NEVER)
      await expect(first.durable.unsafe).rejects.toMatchObject({
        code: 'STORAGE_FAILED',
        message: expect.stringContaining('it was taken over by the broker node@a'),
      })
      expect(first.durable.refusal).toBe(ReasonCode.ServerUnavailable)
      expect(log.lines.filter(({ message: said }) => said.startsWith('another broker'))).toHaveLength(1)
    })
  })
})

async function payloads(node: Awaited<ReturnType<typeof openRedis>>): Promise<string[]> {
  const cursor = node.retained('#')
  const found: string[] = []
  for (let next = await cursor.next(); next !== undefined; next = await cursor.next())
    found.push(`${next.topic} ${Buffer.from(next.payload).toString()}`)
  return found.sort()
}
