/**
 * What durable sessions cost, with a broker in a process of its own and its data on disk:
 * `npm run build && node bench/durable.bench.mjs [publish|start|return]`. BENCH_DIR is where the data goes.
 *
 * - publish: 64 publishers at QoS 1, a session for each that is away. CPU of all threads per message, and event-loop delay.
 * - start: 1,000,000 retained messages and 100,000 sessions are read when the broker starts.
 * - return: 10,000 sessions with 10 messages each come back at once.
 *
 * Exits with 1 if a bound is broken.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { start } from './support/child.mjs'
import { bound, end, progress, show } from './support/figures.mjs'
import { PersistentWire } from './support/persistent-wire.mjs'
import { packet, text } from './support/wire.mjs'

const PUBLISHERS = 64
const DEPTHS = [1, 10, 100, 500]
/** Deeper, all that is under way at once is more than fits into the time below. */
const BOUND_DEPTH = 10
const ROUNDS = 5
const PER_ROUND = 64_000
const PAYLOAD = Buffer.alloc(64, 'x')
const RETAINED = 1_000_000
const SESSIONS = 100_000
const RETURNING = 10_000
const WAITING = 10
const AT_ONCE = 200

const MAX_CPU_US = 20 // 50,000 messages per core-second
const MAX_DELAY_MS = 20
const MAX_START_S = 15
const MAX_RSS_MB = 1500
const MAX_RETURN_S = 10

const support = (name) => join(import.meta.dirname, 'support', name)

async function inDirectory(run) {
  const dir = mkdtempSync(join(process.env.BENCH_DIR ?? tmpdir(), 'hubbub-bench-'))
  process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
  await run(dir)
}

async function startBroker(dir) {
  const broker = start(support('durable-broker.mjs'), dir)
  return { broker, port: await broker.call('port') }
}

/** Sessions that are kept, each with one subscription, and nobody connected with them. */
async function leaveSessions(port, count, nameOf) {
  for (let from = 0; from < count; from += AT_ONCE) {
    const some = Array.from({ length: Math.min(AT_ONCE, count - from) }, (_, i) => nameOf(from + i))
    await Promise.all(
      some.map(async (name) => {
        const wire = await new PersistentWire().open(port, name)
        await wire.subscribe(name)
        await wire.leave()
      }),
    )
    progress('sessions', from + some.length, count)
  }
}

function publishPacket(topic, packetId) {
  return packet(0x32, text(topic), Buffer.from([packetId >> 8, packetId & 0xff]), PAYLOAD)
}

/** Publishes `count` messages, at most `depth` of them unacknowledged. */
function publishAll(wire, topicOf, count, depth) {
  let [sent, acked] = [0, 0]
  return new Promise((resolve) => {
    const send = (some) => {
      const packets = []
      for (let i = 0; i < some && sent < count; i++)
        packets.push(publishPacket(topicOf(sent), (sent++ % 60_000) + 1))
      if (packets.length > 0) wire.send(Buffer.concat(packets))
    }
    wire.onAcks = (acks) => {
      acked += acks
      if (acked === count) resolve()
      else send(acks)
    }
    send(depth)
  })
}

async function publishCase(dir) {
  const { broker, port } = await startBroker(dir)
  await leaveSessions(port, PUBLISHERS, (i) => `away/${i}`)
  const wires = []
  for (let i = 0; i < PUBLISHERS; i++) wires.push(await new PersistentWire().open(port, `publisher-${i}`))
  const round = async (depth) => {
    await broker.call('begin')
    const from = performance.now()
    await Promise.all(
      wires.map((wire, i) => publishAll(wire, () => `away/${i}`, PER_ROUND / PUBLISHERS, depth)),
    )
    const tookS = (performance.now() - from) / 1000
    return { ...(await broker.call('end')), perSecond: PER_ROUND / tookS }
  }
  await round(100)
  for (const depth of DEPTHS) {
    const rounds = []
    for (let i = 0; i < ROUNDS; i++) rounds.push(await round(depth))
    const what = `${PUBLISHERS} publishers, ${depth} unacknowledged each`
    const cpu = show(
      `CPU per message, ${what}`,
      rounds.map(({ cpuUs }) => cpuUs / PER_ROUND),
      'us',
    )
    const delay = show(
      'event-loop delay, 99 %',
      rounds.map(({ delayMs }) => delayMs),
      'ms',
    )
    show(
      'messages in a second of this machine',
      rounds.map(({ perSecond }) => perSecond),
      '/s',
      0,
    )
    if (depth !== BOUND_DEPTH) continue
    bound('CPU per durable message', cpu, MAX_CPU_US, 'us')
    bound('event-loop delay', delay, MAX_DELAY_MS, 'ms')
  }
  await broker.call('stop')
}

async function startCase(dir) {
  const args = [support('fill-storage.mjs'), dir, String(RETAINED), String(SESSIONS)]
  spawnSync(process.execPath, args, { stdio: 'inherit' })
  const rounds = []
  for (let i = 0; i < 3; i++) {
    const { broker } = await startBroker(dir)
    rounds.push(await broker.call('start'))
    await broker.call('stop')
  }
  const { retained, sessions } = rounds[0]
  console.log(`${retained} retained messages and ${sessions} sessions:`)
  const seconds = show(
    'to be ready, Node included',
    rounds.map((one) => one.seconds),
    's',
  )
  show(
    'CPU of all threads for it',
    rounds.map((one) => one.cpuSeconds),
    's',
  )
  const rss = show(
    'resident then',
    rounds.map(({ rssMB }) => rssMB),
    'MB',
    0,
  )
  bound('start', seconds, MAX_START_S, 's')
  bound('memory after the start', rss, MAX_RSS_MB, 'MB')
}

async function returnCase(dir) {
  const { broker, port } = await startBroker(dir)
  const name = (i) => `away/${i}`
  await leaveSessions(port, RETURNING, name)
  const publisher = await new PersistentWire().open(port, 'publisher')
  await publishAll(publisher, (i) => name(i % RETURNING), RETURNING * WAITING, 500)
  await broker.call('begin')
  const from = performance.now()
  let missing = RETURNING * WAITING
  await new Promise((resolve) => {
    let next = 0
    const comeBack = () => {
      if (next === RETURNING) return
      const wire = new PersistentWire()
      wire.onMessage = () => {
        if (--missing === 0) resolve()
      }
      void wire.open(port, name(next++)).then(comeBack)
    }
    for (let i = 0; i < AT_ONCE; i++) comeBack()
  })
  const seconds = (performance.now() - from) / 1000
  const { cpuUs, delayMs } = await broker.call('end')
  bound(`${RETURNING} sessions with ${WAITING} messages each have them`, seconds, MAX_RETURN_S, 's')
  console.log(
    `${(cpuUs / RETURNING).toFixed(0)} us CPU per session, event-loop delay ${delayMs.toFixed(0)} ms (99 %)`,
  )
  await broker.call('stop')
}

const CASES = { publish: publishCase, start: startCase, return: returnCase }
const wanted = process.argv[2]
for (const [name, run] of Object.entries(CASES)) {
  if (wanted !== undefined && wanted !== name) continue
  console.log(`${name}, load average ${loadavg()[0].toFixed(1)}`)
  await inDirectory(run)
}
end()
