/** `storage.*`: where what outlives the process is kept. */
import { join } from 'node:path'
import Type, { type Static } from 'typebox'
import type { Logger } from '../../model/log.ts'
import { Strict } from '../../model/schema.ts'
import { readRedis, redisSchema } from './redis-config.ts'
import type { Storage } from './storage.ts'
import { LevelStorage } from './storage-level.ts'
import { MemoryStorage } from './storage-memory.ts'
import { RedisStorage } from './storage-redis.ts'

export const storageSchema = Strict(
  {
    type: Type.Unsafe<'level' | 'memory' | 'redis'>({
      type: 'string',
      enum: ['level', 'memory', 'redis'],
      default: 'level',
      description:
        'Where sessions, queued and retained messages, wills and delayed messages are kept: level (a database in ' +
        'node.data_dir, synced to disk before anything is acknowledged), memory (forgotten when the broker stops), redis',
    }),
    redis: redisSchema,
  },
  { description: 'What outlives the process, and where' },
)

export type StorageConfig = Static<typeof storageSchema>

/**
 * The storage that is configured; it is opened when the broker starts.
 * @param configDir - where relative paths of its options start
 * @throws BrokerError CONFIG_INVALID
 */
export function createStorage(
  config: StorageConfig,
  dataDir: string,
  log: Logger,
  configDir: string,
): Storage {
  const path = join(dataDir, 'store')
  switch (config.type) {
    case 'memory':
      return new MemoryStorage()
    case 'level':
      return new LevelStorage(path, log)
    case 'redis':
      return new RedisStorage(readRedis(config.redis, configDir), log, {
        rejectedPrefix: path,
        isExclusive: true,
      })
  }
}
