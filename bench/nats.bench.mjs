/**
 * What a delivery to a NATS client costs the broker, in microseconds of CPU: `npm run build && node bench/nats.bench.mjs
 * [seconds per round]`. 64 bytes, QoS 0 (verbose off), over raw sockets from this process; the broker is a process
 * of its own whose time is read from /proc, so a busy machine does not matter. If nats-server is installed it is
 * measured too, in turn with Hubbub. Linux only.
 */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from './support/ports.mjs'

const SECONDS = Number(process.argv[2] ?? 3)
const ROUNDS = 5
const PAYLOAD = 'x'.repeat(64)
/** PUBs in one write, and how many may be on their way per publisher. */
const BATCH = 100
const WINDOW = 2000
/** CPU time in /proc/<pid>/stat is counted in these. */
const TICKS_PER_SECOND = 100

const PROGRAM = join(process.env.HUBBUB_DIST ?? join(import.meta.dirname, '..', 'dist'), 'cli', 'hubbub.js')

const SERVERS = [
  {
    name: 'Hubbub',
    command(port, dir) {
      const config = {
        node: { data_dir: join(dir, 'data') },
        log: { level: 'warn' },
        gateway: { nats: { listeners: { tcp: { default: { bind: `127.0.0.1:${port}` } } } } },
      }
      writeFileSync(join(dir, 'hubbub.yaml'), JSON.stringify(config))
      return [process.execPath, [PROGRAM, 'start', '--config', join(dir, 'hubbub.yaml')]]
    },
  },
  {
    name: 'nats-server',
    command: (port) => ['nats-server', ['-a', '127.0.0.1', '-p', String(port)]],
  },
]

/** Each publisher has a subject of its own with so many subscribers. */
const CASES = [
  { name: 'pairs, 10 to 10', publishers: 10, subscribers: 1 },
  { name: 'fan-out, 1 to 50', publishers: 1, subscribers: 50 },
]

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

/** A client that is logged in, and subscribed where `subscribe` says so. @param onBytes - called with how many bytes have come */
async function client(port, subscribe = '', onBytes = () => {}) {
  for (let attempt = 0; ; attempt++) {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    try {
      await new Promise((resolve, reject) => {
        socket.once('error', reject)
        socket.once('data', resolve) // INFO
      })
    } catch (error) {
      if (attempt === 100) throw error
      await wait(100)
      continue
    }
    const pong = new Promise((resolve) => socket.once('data', resolve))
    socket.write(`CONNECT {"verbose":false,"pedantic":false,"headers":true}\r\n${subscribe}PING\r\n`)
    await pong
    socket.on('error', () => {})
    socket.on('data', (chunk) => onBytes(chunk.length))
    return socket
  }
}

/** @returns what stops the load and says how many deliveries there were, and one that says it in between */
async function startLoad(port, { publishers, subscribers }) {
  const sockets = []
  let delivered = 0
  let isRunning = true
  for (let p = 0; p < publishers; p++) {
    const subject = `bench.room.${p}`
    const frameBytes = `MSG ${subject} 1 64\r\n${PAYLOAD}\r\n`.length
    const batch = Buffer.from(`PUB ${subject} 64\r\n${PAYLOAD}\r\n`.repeat(BATCH))
    const got = Array.from({ length: subscribers }, () => 0)
    let sent = 0
    let socket
    const pump = () => {
      while (isRunning && sent - Math.min(...got) / frameBytes < WINDOW) {
        socket.write(batch)
        sent += BATCH
      }
    }
    for (let s = 0; s < subscribers; s++) {
      const subscriber = await client(port, `SUB ${subject} 1\r\n`, (bytes) => {
        got[s] += bytes
        delivered += bytes / frameBytes
        pump()
      })
      sockets.push(subscriber)
    }
    socket = await client(port)
    sockets.push(socket)
    pump()
  }
  await wait(500)
  return {
    delivered: () => delivered,
    stop() {
      isRunning = false
      for (const socket of sockets) socket.destroy()
    },
  }
}

function cpuSeconds(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
}

async function measure(server, which) {
  const dir = mkdtempSync(join(tmpdir(), 'nats-bench-'))
  const port = await freePort()
  const [command, args] = server.command(port, dir)
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'ignore'], cwd: dir })
  const failed = new Promise((resolve) => child.once('error', () => resolve('failed')))
  if ((await Promise.race([failed, wait(100)])) === 'failed') return undefined
  try {
    const load = await startLoad(port, which)
    const [cpu, delivered] = [cpuSeconds(child.pid), load.delivered()]
    await wait(SECONDS * 1000)
    const count = load.delivered() - delivered
    const micros = ((cpuSeconds(child.pid) - cpu) * 1e6) / count
    load.stop()
    return { micros, perSecond: count / SECONDS }
  } finally {
    child.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  }
}

for (const which of CASES) {
  const results = SERVERS.map(({ name }) => ({ name, micros: [], perSecond: [] }))
  for (let round = 0; round < ROUNDS; round++) {
    for (const [i, server] of SERVERS.entries()) {
      const result = await measure(server, which)
      if (result === undefined) continue
      results[i].micros.push(result.micros)
      results[i].perSecond.push(result.perSecond)
    }
  }
  for (const { name, micros, perSecond } of results) {
    if (micros.length === 0) {
      console.log(`        not installed  ${which.name}, ${name}`)
      continue
    }
    const [fastest, median, slowest] = [0, micros.length >> 1, micros.length - 1].map((at) =>
      micros.toSorted((a, b) => a - b)[at].toFixed(3),
    )
    const rate = Math.round(perSecond.toSorted((a, b) => a - b)[perSecond.length >> 1])
    console.log(`${median} us CPU per delivery (${fastest} to ${slowest}), ${rate}/s  ${which.name}, ${name}`)
  }
}
