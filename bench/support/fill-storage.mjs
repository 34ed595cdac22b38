/** Fills a broker's data directory: `fill-storage.mjs <data directory> <retained messages> <sessions>`. */
import { join } from 'node:path'
import { storedClient } from '../../dist/broker/session-mirror.js'
import { LevelStorage } from '../../dist/broker/storage/storage-level.js'
import { silentLogger } from '../../dist/model/log.js'
import { Message } from '../../dist/model/message.js'
import { client } from './client.mjs'
import { progress } from './figures.mjs'

const [directory, retained, sessions] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const NEVER = Number.POSITIVE_INFINITY
const PER_BATCH = 10_000
const payload = Buffer.alloc(64, 'x')

const storage = new LevelStorage(join(directory, 'store'), silentLogger)
await storage.setup({ id: 'bench' })
const publisher = client('publisher')
for (let i = 0; i < retained; i++) {
  const topic = `site/${i % 100}/device/${i}`
  storage.storeRetained(Message.of(topic, payload, 1, true, undefined, publisher, Date.now()), NEVER)
  if (i % PER_BATCH === 0) await storage.durable.unsafe
  if (i % PER_BATCH === 0) progress('retained messages', i + 1, retained)
}
for (let i = 0; i < sessions; i++) {
  const info = client(`subscriber-${i}`)
  const record = { client: storedClient(info), expiryIntervalMs: NEVER, disconnectedAtMs: Date.now() }
  storage.durable.sessions.save(record)
  storage.durable.sessions.subscribed(info.key, {
    filter: `site/+/device/${i}`,
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    identifier: 0,
  })
  if (i % PER_BATCH === 0) await storage.durable.unsafe
  if (i % PER_BATCH === 0) progress('sessions', i + 1, sessions)
}
progress('', 1, 1)
await storage.destroy()
