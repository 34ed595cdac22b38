/**
 * What a publish costs with 1,000 and with 1,000,000 subscriptions of 1,000 clients, for topics that come
 * again and for topics never seen before: `npm run bench:routing [clients] [subscriptions per client]`.
 * Brokers are whole ones in processes of their own, the publisher is a raw socket; subscribers are in process,
 * so that the figure is the publisher's side: reading, routing, offering. Exits with 1 if a bound is broken.
 */
import { join } from 'node:path'
import { start } from './support/child.mjs'
import { bound, end, show } from './support/figures.mjs'
import { publishBytes, Wire } from './support/wire.mjs'

const CLIENTS = Number(process.argv[2] ?? 1000)
const PER_CLIENT = Number(process.argv[3] ?? 1000)
const MAX_RATIO = 3
const ROUNDS = 11
const PER_ROUND = 40_000
const HOT_TOPICS = 1000
const PAYLOAD = Buffer.alloc(64, 'x')
/** As many publishes at a time: sockets buffer less than a round. */
const WINDOW = 2000

let serial = 0

/** Each is matched by one subscription, whose client and number are spread over all. */
function topics(count, perClient) {
  return Array.from({ length: count }, () => {
    const n = serial++
    const device = Math.floor((n * 7919) % perClient) & ~3 // every fourth has a `+` for the last but one level
    return `site/${(n * 31) % CLIENTS}/device/${device}/u${n.toString(36)}/state`
  })
}

async function startSide(perClient) {
  const broker = start(join(import.meta.dirname, 'support', 'broker.mjs'))
  const setup = await broker.call('subscribe', CLIENTS, perClient)
  const wire = await Wire.open(await broker.call('port'), 'publisher')
  const hot = topics(HOT_TOPICS, perClient)
  const count = CLIENTS * perClient
  console.log(
    `${count} subscriptions: ${setup.us.toFixed(1)} us and ${setup.bytes.toFixed(0)} bytes of heap each`,
  )
  return {
    broker,
    wire,
    hot,
    perClient,
    count,
    routed: { cached: [], new: [] },
    published: { cached: [], new: [] },
  }
}

/** CPU microseconds of the broker per publish. */
async function publish({ broker, wire }, names) {
  const packets = names.map((name) => publishBytes(name, PAYLOAD))
  const [cpuBefore, deliveredBefore] = [await broker.call('cpu'), await broker.call('delivered')]
  for (let i = 0; i < PER_ROUND; i += WINDOW) {
    const part = Array.from({ length: WINDOW }, (_, k) => packets[(i + k) % packets.length])
    wire.send(Buffer.concat(part))
    await wire.ping()
  }
  const cpu = (await broker.call('cpu')) - cpuBefore
  const delivered = (await broker.call('delivered')) - deliveredBefore
  if (delivered !== PER_ROUND) throw new Error(`${delivered} of ${PER_ROUND} were delivered`)
  return cpu / PER_ROUND
}

async function round(side, isWarm) {
  const { broker, hot, perClient, routed, published } = side
  const cached = await broker.call('route', hot, 100)
  const fresh = await broker.call('route', topics(PER_ROUND, perClient), 1)
  if (fresh.targets !== PER_ROUND) throw new Error('a topic has no subscriber')
  const cpuCached = await publish(side, hot)
  const cpuFresh = await publish(side, topics(PER_ROUND, perClient))
  if (!isWarm) return
  routed.cached.push(cached.ns)
  routed.new.push(fresh.ns)
  published.cached.push(cpuCached)
  published.new.push(cpuFresh)
}

const sides = [await startSide(1), await startSide(PER_CLIENT)]
for (let i = -3; i < ROUNDS; i++) for (const side of sides) await round(side, i >= 0)

for (const kind of ['cached', 'new']) {
  const ns = sides.map(({ routed, count }) =>
    show(`look-up, ${kind} topic, ${count} subscriptions`, routed[kind], 'ns', 0),
  )
  console.log(`          ratio ${(ns[1] / ns[0]).toFixed(2)}`)
  const us = sides.map(({ published, count }) =>
    show(`publish, ${kind} topic, ${count} subscriptions, CPU`, published[kind], 'us'),
  )
  bound(`publish to ${kind} topics, most subscriptions against fewest`, us[1] / us[0], MAX_RATIO, 'times')
}
const manyCached = topics(20_000, PER_CLIENT)
for (const filter of ['site/1/device/4/u/state', 'site/1/device/4/+/state/x', 'site/+/device/4/#', '#']) {
  const took = []
  for (let i = 0; i < 7; i++) took.push(await sides[1].broker.call('change', filter, manyCached, 500))
  show(`subscribe to ${filter} and back, 20000 routes cached`, took, 'us')
}
end()
