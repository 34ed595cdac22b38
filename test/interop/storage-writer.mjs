// Writes deliveries until it is killed, and says on stdout what is safe. One line for each event: `+id` is safe, `~id` is
// about to be dropped, `-id` is dropped safely, `r id` is the topic's retained message safely.
import { writeSync } from 'node:fs'
import { SessionDelivery } from '../../dist/broker/delivery.js'
import { LevelStorage } from '../../dist/broker/storage/storage-level.js'
import { silentLogger } from '../../dist/model/log.js'
import { Message } from '../../dist/model/message.js'

const [directory, round] = process.argv.slice(2)
const storage = new LevelStorage(directory, silentLogger)
await storage.setup({ id: 'node' })
for await (const _ of storage.durable.sessions.load());
const { sessions } = storage.durable
const keys = ['a', 'b', 'g\0c']
const client = { attributes: [] }
for (const key of keys) {
  const record = { client: { ...client, key }, expiryIntervalMs: Infinity, disconnectedAtMs: undefined }
  sessions.save(record)
}

const waiting = []
for (let turn = 0; ; turn++) {
  const safe = []
  for (const { id, key, delivery } of waiting.splice(0, 3)) {
    writeSync(1, `~${id}\n`)
    sessions.dropped(key, delivery)
    safe.push(`-${id}\n`)
  }
  for (let i = 0; i < 5; i++) {
    const text = `${round}.${turn}.${i}`
    const message = Message.of(
      't',
      Buffer.from(text + '.'.repeat(i * 100)),
      1,
      false,
      undefined,
      undefined,
      Date.now(),
    )
    for (const key of i % 2 === 0 ? keys : [keys[turn % 3]]) {
      const delivery = new SessionDelivery(message, 1, false, undefined)
      sessions.added(key, delivery)
      const id = JSON.stringify([key, text])
      safe.push(`+${id}\n`)
      if (turn % 7 !== 0) waiting.push({ id, key, delivery })
    }
  }
  const retained = Message.of('r', Buffer.from(String(turn)), 1, true, undefined, undefined, Date.now())
  storage.storeRetained(retained, Infinity)
  safe.push(`r${round * 1e9 + turn}\n`)
  await storage.durable.unsafe
  writeSync(1, safe.join(''))
}
