/**
 * A subscribe that matches 100,000 of 1,000,000 retained messages, while another client pings: how long it
 * waits, how long the delivery takes, and what it costs: `npm run bench:retained [part of a case's name]`. Broker and pinging client
 * are processes of their own. Exits with 1 if the longest wait is beyond the bound in most rounds.
 */
import { join } from 'node:path'
import { start } from './support/child.mjs'
import { bound, end, show } from './support/figures.mjs'
import { Wire } from './support/wire.mjs'

const MAX_PING_MS = 50
const ROUNDS = 9
const IDLE_MS = 1000
const PAYLOAD_BYTES = 64
const PUBLISH = 0x30
/** What the slow reader takes, and how often. */
const SLOW_BYTES = 65_536
const SLOW_PAUSE_MS = 5

const support = (name) => join(import.meta.dirname, 'support', name)

const CASES = [
  { name: '100,000 of 1,000,000, read fast', filter: 'fleet/+/+/k3', matches: 100_000 },
  { name: '100,000 of 1,000,000, read slowly', filter: 'fleet/+/+/k3', matches: 100_000, isSlow: true },
  {
    name: '100,000 of 1,000,000, ten clients at once',
    filter: 'fleet/+/+/k3',
    matches: 100_000,
    readers: 10,
  },
  { name: 'one of 1,000,000 behind wildcards', filter: '+/+/+/rare', matches: 1 },
]

/** Takes what has come and looks away for a while. */
function readSlowly({ socket }) {
  let taken = 0
  socket.on('data', (chunk) => {
    taken += chunk.length
    if (taken < SLOW_BYTES) return
    taken = 0
    socket.pause()
    setTimeout(() => socket.resume(), SLOW_PAUSE_MS)
  })
}

async function run(broker, pinger, port, { filter, matches, isSlow, readers = 1 }) {
  const wires = []
  for (let i = 0; i < readers; i++) wires.push(await Wire.open(port, `reader-${i}`))
  if (isSlow) for (const wire of wires) readSlowly(wire)
  await pinger.call('take')
  const [cpuBefore, from] = [await broker.call('cpu'), performance.now()]
  await Promise.all(
    wires.map((wire) => Promise.all([wire.packets(PUBLISH, matches), wire.subscribe(filter)])),
  )
  const tookMs = performance.now() - from
  const cpuUs = (await broker.call('cpu')) - cpuBefore
  const waits = await pinger.call('take')
  for (const wire of wires) {
    await wire.ping()
    if (wire.counts.get(PUBLISH) !== matches) throw new Error(`${wire.counts.get(PUBLISH)} have come`)
    wire.close()
  }
  return { tookMs, cpuUs: cpuUs / (matches * readers), longestMs: Math.max(0, ...waits) }
}

const broker = start(support('broker.mjs'))
const bytes = await broker.call('retain', PAYLOAD_BYTES)
const count = await broker.call('retainedCount')
console.log(
  `${count} retained messages of ${PAYLOAD_BYTES} bytes: ${bytes.toFixed(0)} bytes of heap and buffers each`,
)
const port = await broker.call('port')
const pinger = start(support('pinger.mjs'))
await pinger.call('start', port)

const wanted = process.argv[2] ?? ''
const idle = []
for (let i = 0; i < ROUNDS; i++) {
  await pinger.call('take')
  await new Promise((resolve) => setTimeout(resolve, IDLE_MS))
  idle.push(Math.max(...(await pinger.call('take'))))
}
show('longest ping in a second in which nothing else happens: what this machine adds', idle, 'ms')
for (const one of CASES.filter(({ name }) => name.includes(wanted))) {
  const rounds = []
  for (let i = 0; i < ROUNDS; i++) rounds.push(await run(broker, pinger, port, one))
  const all = (name) => rounds.map((figures) => figures[name])
  console.log(one.name)
  const longestMs = show('longest ping', all('longestMs'), 'ms')
  show('until all have come', all('tookMs'), 'ms', 0)
  if (one.matches > 1) show('CPU per message delivered', all('cpuUs'), 'us')
  bound(`longest ping, ${one.name}`, longestMs, MAX_PING_MS, 'ms')
}
end()
