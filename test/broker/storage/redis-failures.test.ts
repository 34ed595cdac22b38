import { inspect } from 'node:util'
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest'
import type { DurableStorage } from '../../../broker/storage/durable-storage.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { freePort } from '../../support/free-port.ts'
import { RedisServer } from '../../support/redis.ts'
import { requireService, skipNote } from '../../support/services.ts'
import { eventually, openRedis, redisOptions, redisStorage } from './redis-support.ts'
import { delivery, LogLines, message, NEVER, payloadsOf, sessionRecord } from './support.ts'

const redis = requireService('redis-server')

describe.skipIf(redis.skip)(`Redis fails${skipNote(redis)}`, () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await RedisServer.start()
  })
  afterAll(() => server.stop())

  /** Its own, because it is going to be killed. */
  async function startOwn(t: TestContext): Promise<RedisServer> {
    const own = await RedisServer.start()
    t.onTestFinished(() => own.stop())
    return own
  }

  /** Writes something. @returns what became of it */
  async function write(storage: DurableStorage, topic = 't'): Promise<unknown> {
    storage.storeRetained(message(topic), NEVER)
    return await storage.durable.unsafe?.then(
      () => 'safe',
      (error: unknown) => error,
    )
  }

  test('nothing that was safe is lost when it is killed in the middle of writes', async (t) => {
    const own = await startOwn(t)
    const options = redisOptions([own.port])
    const before = redisStorage(options)
    await before.setup({ id: 'node' })
    const { durable } = before
    durable.sessions.save(sessionRecord('c'))
    const safe: string[] = []
    let killed: Promise<void> | undefined
    for (let round = 0; killed === undefined || durable.refusal !== undefined || round < 150; round++) {
      const payloads = Array.from({ length: 20 }, (_, i) => `${round}/${i}`)
      for (const payload of payloads) durable.sessions.added('c', delivery(message('t', payload)))
      const written = durable.unsafe?.then(() => safe.push(...payloads))
      if (round === 75) killed = own.kill().then(() => own.restart())
      await written?.catch(() => killed)
    }
    await killed
    expect(safe.length).toBeGreaterThan(1000)
    await before.destroy()
    const after = await openRedis(t, options)
    const found = await payloadsOf(after, 'c')
    expect(found.filter((payload) => safe.includes(payload))).toEqual(safe)
  })

  test('while it is away nothing is safe, and everything is once it is back', async (t) => {
    const own = await startOwn(t)
    const log = new LogLines()
    const options = redisOptions([own.port])
    const storage = await openRedis(t, options, { log })
    await own.kill()
    expect(await write(storage)).toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringMatching(`storage redis://127.0.0.1:${own.port}/0 .* no connection to Redis`),
    })
    expect(storage.durable.refusal).toBe(ReasonCode.ServerUnavailable)
    await own.restart()
    await eventually(() => storage.durable.unsafe === undefined)
    expect(storage.durable.refusal).toBeUndefined()
    expect(await own.ask('hexists', `${options.prefix}:retained`, 't')).toBe('1')
    const complaints = log.lines.filter(({ level }) => level !== 'info').map((line) => line.message)
    expect(complaints.sort()).toEqual([
      'connection to Redis lost, connecting again',
      'storage cannot be written: nothing is acknowledged until it can, writing is tried again',
    ])
    expect(log.find('connected to Redis again')).toBeDefined()
    expect(log.find('storage can be written again')).toBeDefined()
  })

  test('one that answers nothing is away after command_timeout', async (t) => {
    const own = await startOwn(t)
    const options = redisOptions([own.port], { commandTimeoutMs: 150 })
    const storage = await openRedis(t, options)
    own.pause()
    expect(await write(storage)).toMatchObject({ code: 'STORAGE_FAILED' })
    own.proceed()
    await eventually(() => storage.durable.unsafe === undefined)
    expect(await own.ask('hexists', `${options.prefix}:retained`, 't')).toBe('1')
  })

  test('out of memory it is said to be full', async (t) => {
    const own = await startOwn(t)
    const storage = await openRedis(t, redisOptions([own.port]))
    await own.ask('config', 'set', 'maxmemory', '1')
    expect(await write(storage)).toMatchObject({ code: 'STORAGE_FAILED' })
    expect(storage.durable.refusal).toBe(ReasonCode.QuotaExceeded)
    await own.ask('config', 'set', 'maxmemory', '0')
    await eventually(() => storage.durable.unsafe === undefined)
    expect(storage.durable.refusal).toBeUndefined()
  })

  test('a start without it fails with its address', async () => {
    const options = redisOptions([await freePort()], { password: 'p4ss' })
    const error = await redisStorage(options)
      .setup({ id: 'node' })
      .catch((thrown: unknown) => thrown)
    const address = `redis://127.0.0.1:${options.servers[0]?.port}/0 prefix ${options.prefix}`
    expect(error).toMatchObject({
      code: 'STORAGE_FAILED',
      message: expect.stringMatching(`^storage ${address} cannot be opened: connect ECONNREFUSED`),
    })
  })

  test('a start that it refuses says why, and nothing secret', async () => {
    const options = redisOptions([server.port], { username: 'jo', password: 'p4ss' })
    const error: unknown = await redisStorage(options)
      .setup({ id: 'node' })
      .catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'STORAGE_FAILED' })
    expect(inspect(error, { depth: 9 })).toContain('WRONGPASS')
    expect(inspect(error, { depth: 9 })).not.toContain('p4ss')
  })

  test('a user with the rights that docs/storage.md tells is enough', async (t) => {
    const options = redisOptions([server.port], { username: 'hubbub', password: 'p4ss' })
    const rights = `on >p4ss ~${options.prefix}:* &${options.prefix}:* +@all -@dangerous +info`
    await server.ask('acl', 'setuser', 'hubbub', ...rights.split(' '))
    const storage = await openRedis(t, options, { isExclusive: true })
    expect(await write(storage)).toBe('safe')
  })

  test('what somebody else has under the same prefix is left alone', async () => {
    const options = redisOptions([server.port])
    await server.ask('set', `${options.prefix}:something`, 'x')
    await expect(redisStorage(options).setup({ id: 'node' })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
  })

  test('a server that may forget is warned of', async (t) => {
    const own = await startOwn(t)
    for (const [name, value] of [
      ['appendonly', 'no'],
      ['maxmemory-policy', 'allkeys-lru'],
    ] as const)
      await own.ask('config', 'set', name, value)
    const log = new LogLines()
    await openRedis(t, redisOptions([own.port]), { log })
    expect(log.find('set its appendonly to yes')?.level).toBe('warn')
    expect(log.find('(allkeys-lru): set its maxmemory-policy to noeviction')?.level).toBe('warn')
  })
})
