/**
 * What MQTT-SN costs the broker: CPU per QoS 0 PUBLISH over UDP with one MQTT subscriber, and memory per connected client
 * over UDP and over DTLS with a pre-shared key:
 * `npm run build && node bench/mqtt-sn.bench.mjs [messages per round] [clients]`. CPU and memory of the broker's process
 * are read from /proc, so a busy machine does not matter. Linux only.
 */
import { spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { freePort } from './support/ports.mjs'

const MESSAGES = Number(process.argv[2] ?? 100_000)
const CLIENTS = Number(process.argv[3] ?? 10_000)
const ROUNDS = 5
const FIRST_CLIENTS = 3000
/** Datagrams before the sender waits for the subscriber: what the kernel has room for. */
const BATCH = 100
const TICKS_PER_SECOND = 100
const DIST = process.env.HUBBUB_DIST ?? join(import.meta.dirname, '..', 'dist')
const PROGRAM = join(DIST, 'cli', 'hubbub.js')
const { loadNative } = await import(pathToFileURL(join(DIST, 'listeners', 'dtls', 'native.js')).href)
const IDENTITY = 'meter'
const KEY = 'a key of sixteen'

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function startBroker() {
  const dir = mkdtempSync(join(tmpdir(), 'mqtt-sn-bench-'))
  const [mqttPort, snPort, dtlsPort] = [await freePort(), await freePort(), await freePort()]
  const limits = { max_connections: 1_000_000, max_conn_rate: 'infinity' }
  const udp = { ...limits, bind: `127.0.0.1:${snPort}` }
  const dtls = {
    ...limits,
    bind: `127.0.0.1:${dtlsPort}`,
    dtls_options: { ciphers: ['PSK-AES128-GCM-SHA256'] },
  }
  writeFileSync(join(dir, 'keys.psk'), `${IDENTITY}:${KEY}\n`)
  const config = {
    node: { data_dir: join(dir, 'data') },
    log: { level: 'warn' },
    listeners: { tcp: { default: { bind: `127.0.0.1:${mqttPort}` } } },
    psk_authentication: { enable: true, init_file: 'keys.psk' },
    gateway: {
      mqttsn: {
        predefined: [{ id: 1, topic: 'bench' }],
        listeners: { udp: { default: udp }, dtls: { default: dtls } },
      },
    },
  }
  writeFileSync(join(dir, 'hubbub.yaml'), JSON.stringify(config))
  const args = ['--expose-gc', PROGRAM, 'start', '--config', join(dir, 'hubbub.yaml')]
  const child = spawn(process.execPath, args, { stdio: 'inherit', cwd: dir })
  const stop = () => {
    child.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  }
  return { pid: child.pid, mqttPort, snPort, dtlsPort, stop }
}

async function subscriber(port, onBytes) {
  for (let attempt = 0; ; attempt++) {
    const socket = connect({ port, host: '127.0.0.1' })
    try {
      await once(socket, 'connect')
      // CONNECT of 3.1.1 as `s`, SUBSCRIBE to `bench`
      socket.write(Buffer.from('100d00044d51545404020000000173820a0001000562656e636800', 'hex'))
      await once(socket, 'data')
      await wait(200)
      socket.on('data', (chunk) => onBytes(chunk.length))
      return socket
    } catch (error) {
      if (attempt === 100) throw error
      await wait(100)
    }
  }
}

function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

function rssBytes(pid) {
  return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) * 1024
}

async function snSocket() {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return socket
}

const connectFrame = (id) => Buffer.from([6 + id.length, 4, 4, 1, 0, 0, ...Buffer.from(id)])

async function login(socket, port, id) {
  socket.setMaxListeners(0)
  const frame = connectFrame(id)
  for (let attempt = 0; attempt < 50; attempt++) {
    const answered = once(socket, 'message')
    socket.send(frame, port, '127.0.0.1')
    if ((await Promise.race([answered, wait(200)])) !== undefined) return
  }
  throw new Error('not let in')
}

async function publishing(broker) {
  let bytes = 0
  let wake = () => {}
  const reader = await subscriber(broker.mqttPort, (length) => {
    bytes += length
    wake()
  })
  const sender = await snSocket()
  await login(sender, broker.snPort, 'sender')
  const frame = Buffer.from([71, 0x0c, 0x01, 0, 1, 0, 0, ...Buffer.alloc(64, 'x')])
  const frameBytes = 2 + 2 + 5 + 64
  const run = async (count) => {
    for (let sent = 0; sent < count; sent += BATCH) {
      for (let i = 0; i < BATCH; i++) sender.send(frame, broker.snPort, '127.0.0.1')
      // Datagrams may be lost on the way in: half of a batch is enough to go on.
      const goal = bytes + BATCH * frameBytes * 0.5
      let isLate = false
      const late = setTimeout(() => {
        isLate = true
        wake()
      }, 50)
      while (bytes < goal && !isLate) await new Promise((resolve) => (wake = resolve))
      clearTimeout(late)
    }
    await wait(200)
  }
  await run(MESSAGES)
  const results = []
  for (let round = 0; round < ROUNDS; round++) {
    const [cpu, before] = [cpuSeconds(broker.pid), bytes]
    await run(MESSAGES)
    results.push(((cpuSeconds(broker.pid) - cpu) * 1e6) / ((bytes - before) / frameBytes))
  }
  reader.destroy()
  sender.close()
  results.sort((a, b) => a - b)
  const [low, median, high] = [results[0], results[ROUNDS >> 1], results[ROUNDS - 1]].map((n) => n.toFixed(2))
  console.log(`${median} us CPU per PUBLISH QoS 0 to an MQTT subscriber (${low} to ${high})`)
}

/** Resolves once CONNACK has come through the association. */
function secureLogin(native, context, socket, port, id) {
  return new Promise((resolve, reject) => {
    const session = native.createSession(context, '')
    let state = 0
    const send = (out) => {
      for (const datagram of out) socket.send(datagram, port, '127.0.0.1')
    }
    const feed = (datagram) => {
      const [out, data, was] = [[], [], state]
      state = native.feed(session, datagram, out, data)
      if (was === 0 && state === 1) native.write(session, connectFrame(id), out)
      send(out)
      if (state > 1) reject(new Error(`a client failed: ${native.error(session)}`))
      if (data.length === 0) return
      clearInterval(timer)
      resolve(session)
    }
    const again = () => {
      const out = []
      if (state === 0) native.retransmit(session, out)
      else native.write(session, connectFrame(id), out)
      send(out)
    }
    const timer = setInterval(again, 500)
    socket.on('message', feed)
    feed(null)
  })
}

async function secureClients(broker) {
  const native = loadNative()
  const ciphers = 'PSK-AES128-GCM-SHA256'
  const context = native.createContext({
    server: false,
    ciphers,
    identity: IDENTITY,
    pskKey: Buffer.from(KEY),
  })
  await clients(broker, 'DTLS', (socket, id) => secureLogin(native, context, socket, broker.dtlsPort, id))
}

const plainClients = (broker) => clients(broker, 'UDP', (socket, id) => login(socket, broker.snPort, id))

async function clients(broker, kind, enter) {
  let before = 0
  const sessions = []
  const sockets = []
  // The first ones pay for what all share.
  for (let i = -FIRST_CLIENTS; i < CLIENTS; i++) {
    if (i === 0) before = rssBytes(broker.pid)
    const socket = await snSocket()
    sockets.push(socket)
    sessions.push(await enter(socket, `device-${i}`))
  }
  await wait(3000)
  const each = (rssBytes(broker.pid) - before) / CLIENTS / 1024
  console.log(`${each.toFixed(2)} KB resident memory per client, ${CLIENTS} clients over ${kind}`)
  for (const socket of sockets) socket.close()
}

for (const what of [publishing, plainClients, secureClients]) {
  const broker = await startBroker()
  try {
    await wait(1500)
    await what(broker)
  } finally {
    broker.stop()
  }
}
process.exit(0)
