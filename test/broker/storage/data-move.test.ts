/** A copy of everything, from one kind of storage to the other and back. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, expect, test } from 'vitest'
import { exportData, importData } from '../../../broker/storage/data-file.ts'
import type { DurableStorage } from '../../../broker/storage/durable-storage.ts'
import { LevelStorage } from '../../../broker/storage/storage-level.ts'
import { silentLogger } from '../../../model/log.ts'
import { temporaryDirectory } from '../../config/sample.ts'
import { RedisServer } from '../../support/redis.ts'
import { requireService, skipNote } from '../../support/services.ts'
import { openRedis, redisOptions } from './redis-support.ts'
import { delivery, message, NEVER, payloadsOf, sessionRecord, subscription } from './support.ts'

const redis = requireService('redis-server')

/** Lines of the file without its header, which tells the time. */
async function linesOf(storage: DurableStorage): Promise<string[]> {
  await storage.durable.unsafe
  const lines = (await text(exportData(storage.durable.records, 'n@h'))).split('\n')
  return lines.slice(1)
}

async function copy(from: DurableStorage, to: DurableStorage): Promise<void> {
  const path = join(temporaryDirectory(), 'data.jsonl')
  writeFileSync(path, await text(exportData(from.durable.records, 'n@h')))
  await importData(to.durable.records, path, { replace: true })
}

function fill(storage: DurableStorage): void {
  const { durable } = storage
  const { sessions } = durable
  for (const key of ['c1', 'stomp\0c2']) {
    sessions.save(sessionRecord(key))
    sessions.subscribed(key, subscription('a/#'))
  }
  const shared = message('a/b', 'for both')
  for (const key of ['c1', 'stomp\0c2']) sessions.added(key, delivery(shared))
  sessions.added('c1', delivery(message('a/c', 'for one')))
  sessions.received('c1', 7, 1)
  storage.storeRetained(message('r\u2028', 'retained'), NEVER)
  durable.table('users').put('password_based mqtt:global ann', Buffer.from('{}'))
  durable.table('bans').put('clientid x', Buffer.from('{}'))
}

describe.skipIf(redis.skip)(`LevelDB and Redis${skipNote(redis)}`, () => {
  test('everything comes back as it was', async (t) => {
    const server = await RedisServer.start()
    t.onTestFinished(() => server.stop())
    const open = async () => {
      const storage = new LevelStorage(join(temporaryDirectory(), 'store'), silentLogger)
      await storage.open('n@h')
      t.onTestFinished(() => storage.destroy())
      return storage
    }
    const [first, last] = [await open(), await open()]
    const between = await openRedis(t, redisOptions([server.port]))
    fill(first)
    const lines = await linesOf(first)
    expect(lines.at(-2)).toBe('{"end":12}')

    await copy(first, between)
    expect((await linesOf(between)).toSorted()).toEqual(lines.toSorted())
    await copy(between, last)
    expect(await linesOf(last)).toEqual(lines)
    expect(await payloadsOf(last, 'c1')).toEqual(['for both', 'for one'])
  })
})
