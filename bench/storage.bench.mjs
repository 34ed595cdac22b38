/**
 * What the durable storage costs, without the rest of the broker: `npm run build && node --expose-gc bench/storage.bench.mjs
 * [load|write]`. `write` prints CPU time per delivery that is written, acknowledged and taken away again, threads of the
 * database included; `load` fills a directory with retained messages and sessions, opens it in a process of
 * its own and prints time and memory.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SessionDelivery } from '../dist/broker/delivery.js'
import { LevelStorage } from '../dist/broker/storage/storage-level.js'
import { silentLogger } from '../dist/model/log.js'
import { Message } from '../dist/model/message.js'
import { client } from './support/client.mjs'

const RETAINED = Number(process.env.RETAINED ?? 1_000_000)
const SESSIONS = Number(process.env.SESSIONS ?? 100_000)
const ROUNDS = 5
const PER_ROUND = 200_000
const PER_TURN = 500
const NEVER = Number.POSITIVE_INFINITY
const PAYLOAD = Buffer.alloc(64, 'x')

const [mode = 'all', directory] = process.argv.slice(2)
if (mode === 'open') await openFull(directory)
if (mode === 'write' || mode === 'all') await inDirectory(writes)
if (mode === 'load' || mode === 'all') await inDirectory(load)

async function inDirectory(run) {
  const root = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'hubbub-bench-'))
  try {
    await run(join(root, 'store'))
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

/** Prints a line that the next one replaces, on a terminal only. */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r${text.padEnd(70)}`)
}

async function writes(place) {
  const cases = [
    ['one subscriber each, stays', 1, false],
    ['one subscriber each, acknowledged later', 1, true],
    ['ten subscribers each, acknowledged later', 10, true],
  ]
  for (const [name, fanOut, isDropped] of cases) {
    const results = []
    for (let round = 0; round < ROUNDS; round++) {
      progress(`${name}: round ${round + 1} of ${ROUNDS}`)
      results.push(await writeRound(`${place}-${fanOut}-${isDropped}-${round}`, fanOut, isDropped))
    }
    progress('')
    const cpu = results.map((result) => result.cpu).sort((a, b) => a - b)
    const wall = results.map((result) => result.wall).sort((a, b) => a - b)
    const middle = cpu[ROUNDS >> 1]
    console.log(
      `${name}: ${middle.toFixed(2)} µs CPU per delivery (${cpu[0].toFixed(2)} to ${cpu.at(-1).toFixed(2)}), ` +
        `${Math.round(1e6 / middle)} deliveries per core-second, ${Math.round(1e6 / wall[ROUNDS >> 1])}/s`,
    )
  }
}

async function writeRound(place, fanOut, isDropped) {
  const storage = new LevelStorage(place, silentLogger)
  await storage.setup({ id: 'bench' })
  const { durable } = storage
  const publishers = Array.from({ length: 100 }, (_, i) => client(`publisher-${i}`))
  const keys = Array.from({ length: 1000 }, (_, i) => `subscriber-${i}`)
  const atCpu = process.cpuUsage()
  const at = performance.now()
  let previous = []
  for (let n = 0; n < PER_ROUND; ) {
    const turn = []
    for (let i = 0; i < PER_TURN; i += fanOut) {
      const publisher = publishers[n % publishers.length]
      const message = Message.of(
        `building/7/room/${n % 1000}`,
        PAYLOAD,
        1,
        false,
        undefined,
        publisher,
        Date.now(),
      )
      for (let k = 0; k < fanOut; k++) {
        const delivery = new SessionDelivery(message, 1, false, undefined)
        delivery.packetId = (n % 65_535) + 1
        delivery.state = 'sent'
        const key = keys[n++ % keys.length]
        durable.sessions.added(key, delivery)
        turn.push([key, delivery])
      }
    }
    if (isDropped) for (const [key, delivery] of previous) durable.sessions.dropped(key, delivery)
    previous = turn
    await durable.unsafe
  }
  const wall = ((performance.now() - at) * 1000) / PER_ROUND
  const used = process.cpuUsage(atCpu)
  await storage.destroy()
  return { cpu: (used.user + used.system) / PER_ROUND, wall }
}

async function load(place) {
  const storage = new LevelStorage(place, silentLogger)
  await storage.setup({ id: 'bench' })
  const publisher = client('publisher')
  for (let i = 0; i < RETAINED; i++) {
    const topic = `site/${i % 100}/device/${i}`
    storage.storeRetained(Message.of(topic, PAYLOAD, 1, true, undefined, publisher, Date.now()), NEVER)
    if (i % 10_000 === 0) {
      progress(`filling: ${i} of ${RETAINED} retained messages`)
      await storage.durable.unsafe
    }
  }
  for (let i = 0; i < SESSIONS; i++) {
    const { attributes: _, ...info } = client(`subscriber-${i}`)
    const record = {
      client: { ...info, attributes: [] },
      expiryIntervalMs: NEVER,
      disconnectedAtMs: Date.now(),
    }
    storage.durable.sessions.save(record)
    storage.durable.sessions.subscribed(info.key, {
      filter: `site/+/device/${i}`,
      qos: 1,
      noLocal: false,
      retainAsPublished: false,
      retainHandling: 0,
      identifier: 0,
    })
    if (i % 10_000 === 0) await storage.durable.unsafe
  }
  progress('opening')
  await storage.destroy()
  const args = [...process.execArgv, import.meta.filename, 'open', place]
  spawnSync(process.execPath, args, { stdio: 'inherit' })
}

async function openFull(place) {
  const at = performance.now()
  const storage = new LevelStorage(place, silentLogger)
  await storage.setup({ id: 'bench' })
  const retainedMs = performance.now() - at
  const sessions = []
  for await (const session of storage.durable.sessions.load()) sessions.push(session)
  const ms = performance.now() - at
  const { rss } = process.memoryUsage()
  globalThis.gc?.()
  const after = process.memoryUsage()
  progress('')
  console.log(
    `${storage.retainedCount} retained messages in ${(retainedMs / 1000).toFixed(1)} s, ${sessions.length} sessions ` +
      `in ${((ms - retainedMs) / 1000).toFixed(1)} s: ${(rss / 1e6).toFixed(0)} MB RSS, ` +
      `heap ${(after.heapUsed / 1e6).toFixed(0)} MB, buffers ${(after.arrayBuffers / 1e6).toFixed(0)} MB`,
  )
  await storage.destroy()
}
