/** A broker on durable storage in a process of its own: `durable-broker.mjs <data directory>`. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { loadConfig } from '../../dist/config/load.js'
import { configSchema } from '../../dist/config/schema.js'
import { Hubbub } from '../../dist/main.js'
import { tuneEngine } from '../../dist/model/engine.js'
import { createLog } from '../../dist/observability/log.js'
import { serve } from './child.mjs'

const dir = process.argv[2]
let port = 0
const stream = {
  write: (line) => {
    const { level, msg, listener, address } = JSON.parse(line)
    if (level === 'error') process.stderr.write(line)
    if (msg === 'listening' && listener === 'tcp:default') port = address.port
  },
}
const overrides = {
  node: { data_dir: dir },
  storage: { type: 'level' },
  retainer: { max_retained_messages: 0 },
  mqtt: { max_mqueue_len: 10_000_000 },
  listeners: { tcp: { default: { bind: '127.0.0.1:0' } } },
}
const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
tuneEngine() // as `hubbub start` does
const broker = await Hubbub.start(config, dir, createLog({ level: 'info', format: 'json', stream }))
/** Node's own start included. */
const startedMs = performance.now()
const startUsage = process.cpuUsage()
const delays = monitorEventLoopDelay({ resolution: 1 })
delays.enable()
let cpuBefore = process.cpuUsage()

serve({
  port: () => port,
  start: () => ({
    seconds: startedMs / 1000,
    cpuSeconds: (startUsage.user + startUsage.system) / 1e6,
    rssMB: process.memoryUsage().rss / 1e6,
    retained: broker.hub.kernel.storage.retainedCount,
    sessions: broker.hub.sessionCount,
  }),
  begin() {
    delays.reset()
    cpuBefore = process.cpuUsage()
  },
  /** CPU microseconds of all threads and event-loop delay in milliseconds, since `begin`. */
  end() {
    const { user, system } = process.cpuUsage(cpuBefore)
    return { cpuUs: user + system, delayMs: delays.percentile(99) / 1e6, longestMs: delays.max / 1e6 }
  },
  /** Ends once it has answered. */
  async stop() {
    await broker.stop()
    setTimeout(() => process.exit(0), 50)
  },
})
