import { afterAll, beforeAll, describe } from 'vitest'
import { RedisServer } from '../../support/redis.ts'
import { requireService, skipNote } from '../../support/services.ts'
import { durableContract } from './durable-contract.ts'
import { aedesContract, redisOptions, redisStorage } from './redis-support.ts'

const redis = requireService('redis-server')

describe.skipIf(redis.skip)(`Redis${skipNote(redis)}`, () => {
  let server: RedisServer
  beforeAll(async () => {
    server = await RedisServer.start()
  })
  afterAll(() => server.stop())

  aedesContract('Redis', () => [server.port])
  durableContract('Redis', async () => {
    const options = redisOptions([server.port])
    return () => redisStorage(options)
  })
})
