/** The brokers that are compared: how each is started for a scenario, and read. */
import { fork, spawn, spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as wait } from 'node:timers/promises'
import { freePort } from '../support/ports.mjs'
import { temporaryDirectory } from '../support/temporary.mjs'

const HOST = '127.0.0.1'
const PORTS = ['tcp', 'tls', 'ws', 'stomp', 'nats']
const START_PATIENCE_MS = 30_000
const POLL_MS = 50
/** What Linux counts CPU time in, whatever its own clock does. */
const TICKS_PER_SECOND = 100
const MQTT_ONLY = ['mqtt', 'mqtt5', 'shared']
const FULL = ['mqtt', 'tls', 'ws', 'access']

/**
 * @param extra - `commands` and `connections` of the command line, each with a name
 * @returns all that can be used here; `supports` says which scenarios
 */
export function findBrokers({ commands, connections }) {
  const found = [
    {
      name: 'Hubbub',
      supports: [...FULL, 'mqtt5', 'shared', 'bare', 'stomp', 'nats'],
      start: forkServer('hubbub-server.mjs'),
    },
    {
      name: 'Mosquitto',
      supports: [...FULL, 'mqtt5', 'shared'],
      start: startMosquitto,
      isMissing: !isInstalled('mosquitto', '-h'),
    },
    { name: 'Aedes', supports: FULL, start: forkServer('aedes-server.mjs') },
    {
      name: 'nats-server',
      supports: ['nats'],
      start: startNats,
      isMissing: !isInstalled('nats-server', '-v'),
    },
    ...commands.map(({ name, value }) => ({ name, supports: MQTT_ONLY, start: startCommand(value) })),
    ...connections.map(({ name, value }) => ({ name, supports: MQTT_ONLY, start: attachTo(value) })),
  ]
  return found.filter(({ isMissing }) => !isMissing)
}

/** A certificate for the brokers that serve TLS; undefined without the `openssl` command. */
export function makeCertificate() {
  const dir = temporaryDirectory()
  const [cert, key] = [join(dir, 'cert.pem'), join(dir, 'key.pem')]
  const request = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:P-256',
    '-nodes',
    '-days',
    '2',
  ]
  const args = [...request, '-subj', '/CN=localhost', '-keyout', key, '-out', cert]
  return spawnSync('openssl', args, { stdio: 'ignore' }).status === 0 ? { cert, key } : undefined
}

/**
 * CPU seconds of all threads and resident bytes.
 * @returns without what cannot be known here
 */
export async function figuresOf(broker) {
  const own = broker.ask === undefined ? {} : await broker.ask()
  return { ...own, ...fromProc(broker.pid) }
}

function fromProc(pid) {
  if (process.platform !== 'linux' || pid === undefined) return {}
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ')
  const rss = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return {
    cpuSeconds: (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND,
    rssBytes: Number(rss?.[1] ?? 0) * 1024,
  }
}

function isInstalled(command, flag) {
  return spawnSync(command, [flag], { stdio: 'ignore' }).error === undefined
}

async function freePorts() {
  const ports = {}
  for (const name of PORTS) ports[name] = await freePort()
  return ports
}

function running(child, ports, ask) {
  child.on('error', () => {})
  const exited = new Promise((resolve) => child.once('close', resolve))
  const kill = () => child.kill('SIGKILL')
  process.once('exit', kill)
  const stop = async () => {
    process.off('exit', kill)
    kill()
    await exited
  }
  return { host: HOST, ports, pid: child.pid, ask, stop }
}

/** A server of this folder, in Node as it is. */
function forkServer(file) {
  return async (options) => {
    const ports = await freePorts()
    const task = JSON.stringify({ ...options, ports, dir: temporaryDirectory() })
    const child = fork(join(import.meta.dirname, file), [task], {
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    const answer = () =>
      new Promise((resolve, reject) => {
        const ended = (code) => reject(new Error(`${file} ended with ${code}`))
        child.once('close', ended)
        child.once('message', (message) => {
          child.off('close', ended)
          resolve(message)
        })
      })
    const ask = () => {
      const answered = answer()
      child.send('figures', () => {})
      return answered
    }
    const broker = running(child, ports, ask)
    await answer()
    return broker
  }
}

async function startProgram(command, args, ports) {
  const broker = running(spawn(command, args, { stdio: 'ignore' }), ports)
  await accepts(Object.values(ports)[0])
  return broker
}

async function accepts(port, host = HOST) {
  for (const from = performance.now(); performance.now() - from < START_PATIENCE_MS; await wait(POLL_MS)) {
    const socket = connect({ port, host })
    const isOpen = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false))
    })
    socket.destroy()
    if (isOpen) return
  }
  throw new Error(`nothing listens on port ${port}`)
}

/** Without a limit of its queues: with its default it would drop what the load has on its way. */
async function startMosquitto({ cert, access, inflight }) {
  const dir = temporaryDirectory()
  const ports = await freePorts()
  const lines = [
    'persistence false',
    'log_type error',
    `max_inflight_messages ${inflight}`,
    'max_queued_messages 0',
  ]
  lines.push('per_listener_settings false', 'allow_anonymous true', `listener ${ports.tcp} ${HOST}`)
  lines.push(`listener ${ports.ws} ${HOST}`, 'protocol websockets')
  if (cert !== undefined) {
    lines.push(`listener ${ports.tls} ${HOST}`, `certfile ${cert.cert}`, `keyfile ${cert.key}`)
  }
  if (access === 'rules') {
    writeFileSync(join(dir, 'acl'), 'topic read fleet/#\ntopic readwrite bench/#\n')
    lines.push(`acl_file ${join(dir, 'acl')}`)
  }
  // Started by root it changes its user, who must be able to read all this.
  if (process.getuid?.() === 0) lines.push('user root')
  writeFileSync(join(dir, 'mosquitto.conf'), `${lines.join('\n')}\n`)
  return await startProgram('mosquitto', ['-c', join(dir, 'mosquitto.conf')], ports)
}

async function startNats() {
  const { nats } = await freePorts()
  return await startProgram('nats-server', ['-a', HOST, '-p', String(nats)], { nats })
}

/** `{port}` in the command is where it is to listen. */
function startCommand(text) {
  return async () => {
    const { tcp } = await freePorts()
    const [command, ...args] = text.replaceAll('{port}', String(tcp)).match(/"[^"]*"|\S+/g)
    const bare = (word) => word.replace(/^"(.*)"$/, '$1')
    return await startProgram(bare(command), args.map(bare), { tcp })
  }
}

/** One that runs already: host:port, or host:port:pid. */
function attachTo(text) {
  const [host, port, pid] = text.split(':')
  return async () => {
    await accepts(Number(port), host)
    const stop = () => Promise.resolve()
    return { host, ports: { tcp: Number(port) }, pid: pid === undefined ? undefined : Number(pid), stop }
  }
}
