/** A whole broker in a process of its own, with ways to fill it that need no sockets. Storage is memory. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../dist/config/load.js'
import { configSchema } from '../../dist/config/schema.js'
import { Hubbub } from '../../dist/main.js'
import { arrivingClient } from '../../dist/model/client-info.js'
import { tuneEngine } from '../../dist/model/engine.js'
import { Message } from '../../dist/model/message.js'
import { createLog } from '../../dist/observability/log.js'
import { serve } from './child.mjs'
import { progress } from './figures.mjs'

const dir = mkdtempSync(join(tmpdir(), 'hubbub-bench-'))
process.on('exit', () => rmSync(dir, { recursive: true, force: true }))
let port = 0
const stream = {
  write: (line) => {
    const { msg, listener, address } = JSON.parse(line)
    if (msg === 'listening' && listener === 'tcp:default') port = address.port
  },
}
const schema = configSchema()
const overrides = {
  allow_anonymous: true,
  retainer: { max_retained_messages: 0 }, // the broker has some of its own
  node: { data_dir: dir },
  listeners: { tcp: { default: { bind: '127.0.0.1:0' } } },
  ...('storage' in schema.properties ? { storage: { type: 'memory' } } : {}),
}
const { config } = loadConfig({ schema, file: undefined, env: {}, overrides })
tuneEngine() // as `hubbub start` does
const broker = await Hubbub.start(config, dir, createLog({ level: 'info', format: 'json', stream }))
const { hub } = broker
const { router } = hub.kernel

let delivered = 0
const receiver = {
  congested: false,
  deliver: () => {
    delivered++
    return true
  },
  release() {},
  end() {},
}
const clients = []

async function login(clientId) {
  const here = {
    listenerId: 'tcp:default',
    peer: { host: '127.0.0.1', port: 50_000 },
    local: { port },
    certificate: undefined,
  }
  const client = arrivingClient(here, {
    key: clientId,
    clientId,
    username: undefined,
    protocol: 'mqtt',
    protocolName: 'MQTT',
    protocolVersion: '5',
    gateway: undefined,
    keepAliveSeconds: 60,
    cleanStart: true,
    connectedAtMs: 0,
  })
  const options = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 65_535 }
  const answer = await hub.connect({ client, password: undefined, enableAuthn: true }, options, receiver)
  if (answer.kind !== 'connected') throw new Error(`refused: ${answer.reason}`)
  answer.client.start()
  return answer.client
}

function subscription(filter) {
  return { filter, qos: 0, noLocal: false, retainAsPublished: false, retainHandling: 0, identifier: 0 }
}

function heapBytes() {
  global.gc()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

const turn = () => new Promise((resolve) => setImmediate(resolve))

/** Of one filter in four each kind: `+` near the end, no wildcard, `#`, `+` in the middle. */
function filterOf(client, i) {
  const device = `site/${client}/device/${i}`
  return [`${device}/+/state`, `${device}/alarm/state`, `${device}/#`, `site/${client}/+/${i}/x/state`][i % 4]
}

serve({
  port: () => port,
  delivered: () => delivered,
  cpu: () => {
    const { user, system } = process.cpuUsage()
    return user + system
  },

  /** @returns bytes and microseconds per subscription, without what the clients themselves take */
  async subscribe(clientCount, perClient) {
    for (let c = 0; c < clientCount; c++) clients.push(await login(`client-${c}`))
    const before = heapBytes()
    let tookMs = 0
    for (const [c, client] of clients.entries()) {
      const from = performance.now()
      for (let i = 0; i < perClient; i++) await client.subscribe([subscription(filterOf(c, i))])
      tookMs += performance.now() - from
      progress(`${clientCount * perClient} subscriptions`, c + 1, clientCount)
      await turn()
    }
    const count = clientCount * perClient
    return { bytes: (heapBytes() - before) / count, us: (tookMs * 1000) / count }
  },

  /** Nanoseconds for one look-up, and how many targets there were. */
  route(topics, rounds) {
    let targets = 0
    const from = process.hrtime.bigint()
    for (let round = 0; round < rounds; round++)
      for (const topic of topics) targets += router.route(topic).targets.length
    return { ns: Number(process.hrtime.bigint() - from) / (topics.length * rounds), targets }
  },

  /** Microseconds for a subscribe and an unsubscribe while many routes are cached. */
  async change(filter, topics, count) {
    for (let i = 0; i < 3; i++) for (const topic of topics) router.route(topic)
    const from = performance.now()
    for (let i = 0; i < count; i++) {
      await clients[0].subscribe([subscription(filter)])
      await clients[0].unsubscribe([filter])
    }
    return ((performance.now() - from) * 1000) / count
  },

  /** 100 x 1000 x 10 topics of four levels and one other. @returns bytes per message */
  async retain(payloadBytes) {
    const publisher = await login('retaining')
    const before = heapBytes()
    const [groups, devices, kinds] = [100, 1000, 10]
    const payload = Buffer.alloc(payloadBytes, 'x')
    const retain = (topic) => {
      const chunk = Buffer.from(Buffer.concat([Buffer.from(topic), payload])) // as from a socket: not ours to keep
      const name = chunk.toString('latin1', 0, topic.length)
      const message = Message.of(name, chunk, 0, true, undefined, publisher.info, Date.now(), topic.length)
      return publisher.publish(message)
    }
    for (let group = 0; group < groups; group++) {
      for (let device = 0; device < devices; device++)
        for (let kind = 0; kind < kinds; kind++) await retain(`fleet/${group}/${device}/k${kind}`)
      progress('retained messages', group + 1, groups)
      await turn()
    }
    await retain('fleet/50/500/rare')
    return (heapBytes() - before) / hub.kernel.storage.retainedCount
  },
  retainedCount: () => hub.kernel.storage.retainedCount,
  heapMB: () => heapBytes() / 2 ** 20,
})
