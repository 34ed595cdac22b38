/**
 * Hubbub with storage in memory, windows as wide as other brokers', and everything else as it comes:
 * `hubbub-server.mjs <JSON of brokers.mjs>`. With a port in place of that it is what --broker starts, from another working
 * copy, to compare two versions.
 */
import { mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { loadConfig } from '../../dist/config/load.js'
import { configSchema } from '../../dist/config/schema.js'
import { Hubbub } from '../../dist/main.js'
import { tuneEngine } from '../../dist/model/engine.js'
import { createLog } from '../../dist/observability/log.js'
import { answerFigures } from './figures-server.mjs'

const { dir, ports, cert, access, watchesDelays, inflight } = taskOf(JSON.parse(process.argv[2]))
const at = (port) => ({ default: { bind: `127.0.0.1:${port}` } })
const secure = { bind: `127.0.0.1:${ports.tls}`, ssl_options: { certfile: cert?.cert, keyfile: cert?.key } }
const MAX_PAYLOAD_BYTES = 1_000_000
/** A few rules that do not match come first, as they would in a real file. */
const RULES = `
{deny, {username, {re, "^guest"}}, subscribe, ["#"]}.
{allow, {ipaddr, "192.0.2.0/24"}, all, ["fleet/#"]}.
{allow, {clientid, "supervisor"}, all, ["#"]}.
{allow, all, all, ["bench/#"]}.
{deny, all}.`
/** Elsewhere: the rules that come with it. */
const FROM_FILE = { authorization: { sources: [{ type: 'file', rules: RULES }], no_match: 'deny' } }
const AUTHORIZATIONS = {
  rules: FROM_FILE,
  looks: FROM_FILE,
  none: { authorization: { sources: [] } },
}

const overrides = {
  node: { data_dir: dir },
  storage: { type: 'memory' },
  mqtt: { max_inflight: inflight, max_awaiting_rel: inflight },
  listeners: {
    tcp: at(ports.tcp),
    ws: at(ports.ws),
    ...(cert === undefined ? {} : { ssl: { default: secure } }),
  },
  gateway: { stomp: { listeners: { tcp: at(ports.stomp) } }, nats: { listeners: { tcp: at(ports.nats) } } },
  ...AUTHORIZATIONS[access],
}
tuneEngine() // as `hubbub start` does
const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
const log = createLog({ level: 'error', format: 'json', stream: process.stderr })
await Hubbub.start(config, dir, log, ({ hooks }) => {
  if (access === 'rules') hooks.add('message.publish', 'bench', dropLarge)
  if (access === 'looks') hooks.add('message.publish', 'bench', dropLarge, { keepsNothing: true })
})
answerFigures(watchesDelays)

/** What a plugin might do with each message; drops none of these. */
function dropLarge({ payloadLength }) {
  return payloadLength > MAX_PAYLOAD_BYTES ? { stop: 'drop' } : undefined
}

function taskOf(given) {
  if (typeof given !== 'number') return given
  const ports = { tcp: given, ws: 0, stomp: 0, nats: 0 }
  return { dir: mkdtempSync(join(tmpdir(), 'hubbub-bench-')), ports, inflight: 65_535 }
}
