/**
 * What DTLS costs the server, per core-second of its process: `npm run build && node bench/dtls.bench.mjs`.
 * The listener runs in a child process, the load in this one, over loopback; so the rates in the left column are
 * those of both together, and the ones per core-second are the server's alone.
 */
import { execFileSync, fork } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createDatagramListener } from '../dist/listeners/datagram-listeners.js'
import { loadNative } from '../dist/listeners/dtls/native.js'
import { silentLogger } from '../dist/model/log.js'

const HOST = '127.0.0.1'
const KEY = Buffer.from('00112233445566778899aabbccddeeff', 'hex')
const ROUNDS = 5
const AT_A_TIME = 32
const native = loadNative()

if (process.argv[2] === 'server') await serve(JSON.parse(process.argv[3]))
else await measureAll()

async function serve({ kind, ciphers, certfile, keyfile }) {
  const options = {
    id: 'bench:dtls:default',
    kind,
    bind: { host: HOST, port: 0 },
    maxConnections: Number.POSITIVE_INFINITY,
    maxConnRate: { count: Number.POSITIVE_INFINITY, perMs: 1000 },
    accessRules: [],
    udp: { recbufBytes: 4 << 20, sndbufBytes: 4 << 20, reuseAddress: false },
    dtls: {
      certfile,
      keyfile,
      versions: ['dtlsv1.2'],
      ciphers,
      depth: 10,
      honorCipherOrder: true,
      handshakeTimeoutMs: 15_000,
      reuseSessions: false,
      sessionTickets: 'disabled',
      mtuBytes: 1200,
    },
  }
  const echo = (transport) => {
    transport.handler = {
      onDatagram(datagram) {
        transport.keep()
        transport.send(datagram)
      },
      onClose() {},
    }
  }
  const pskLookup = certfile === undefined ? () => KEY : undefined
  const listener = createDatagramListener(options, echo, silentLogger, { pskLookup })
  await listener.start()
  process.on('message', () => process.send({ cpu: process.cpuUsage(), rss: process.memoryUsage().rss }))
  process.on('disconnect', () => process.exit())
  process.send({ port: listener.address().port })
}

async function measureAll() {
  const dir = mkdtempSync(join(tmpdir(), 'dtls-bench-'))
  const own = (name) => ({ certfile: join(dir, `${name}.pem`), keyfile: join(dir, `${name}.key`) })
  const make = (name, ...key) => {
    const { certfile, keyfile } = own(name)
    const args = [
      'req',
      '-x509',
      ...key,
      '-nodes',
      '-subj',
      '/CN=localhost',
      '-keyout',
      keyfile,
      '-out',
      certfile,
    ]
    execFileSync('openssl', args, { stdio: 'ignore' })
  }
  make('ecdsa', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1')
  make('rsa', '-newkey', 'rsa:2048')
  const psk = (cipher) => ({ kind: 'dtls', ciphers: [cipher] })
  const cert = (name) => ({ kind: 'dtls', ciphers: [], ...own(name) })
  const cases = {
    'ECDSA P-256': cert('ecdsa'),
    'RSA 2048': cert('rsa'),
    'PSK-AES128-CCM8': psk('PSK-AES128-CCM8'),
    'PSK-AES128-GCM': psk('PSK-AES128-GCM-SHA256'),
  }
  console.log(
    `node ${process.version}, ${native.opensslVersion}; median of ${ROUNDS} rounds (slowest - fastest)`,
  )
  console.log(`\nfull handshakes with cookie, ${AT_A_TIME} at a time`)
  for (const [name, server] of Object.entries(cases)) await report(name, server, handshakes)
  console.log('\necho of 64 bytes, 50 peers, 8 datagrams under way each')
  await report('UDP', { kind: 'udp' }, echoes)
  for (const [name, server] of Object.entries(cases)) await report(name, server, echoes)
  await idle(psk('PSK-AES128-GCM-SHA256'))
  rmSync(dir, { recursive: true })
}

/** Runs `load` in rounds; it answers how much it did. */
async function report(name, options, load) {
  const server = await start(options)
  await load(server, 0.3)
  const rounds = []
  for (let i = 0; i < ROUNDS; i++) {
    const before = await server.stat()
    const began = performance.now()
    const count = await load(server, 1)
    const seconds = (performance.now() - began) / 1000
    const after = await server.stat()
    const cpu = (after.cpu.user + after.cpu.system - before.cpu.user - before.cpu.system) / 1e6
    rounds.push({ perSecond: count / seconds, perCore: count / cpu })
  }
  server.stop()
  const text = (field) => {
    const values = rounds.map((round) => Math.round(round[field])).sort((a, b) => a - b)
    return `${values[ROUNDS >> 1]} (${values[0]} - ${values.at(-1)})`
  }
  console.log(
    `${name.padEnd(18)}${text('perSecond').padEnd(28)}/s   ${text('perCore').padEnd(28)}per core-second`,
  )
}

async function start(options) {
  const child = fork(process.argv[1], ['server', JSON.stringify(options)])
  const [{ port }] = await once(child, 'message')
  const stat = async () => {
    const answer = once(child, 'message')
    child.send('stat')
    return (await answer)[0]
  }
  const context = native.createContext({
    server: false,
    ciphers: 'ALL:@SECLEVEL=0',
    ...(options.certfile === undefined && { identity: 'meter-7', pskKey: KEY }),
    ...(options.certfile !== undefined && { ca: readFileSync(options.certfile, 'utf8'), verify: 'require' }),
  })
  return { port, kind: options.kind, context, stat, stop: () => child.disconnect() }
}

async function handshakes(server, seconds) {
  const until = performance.now() + seconds * 1000
  let count = 0
  const one = async () => {
    while (performance.now() < until) {
      const client = await connect(server)
      client.close()
      count++
    }
  }
  await Promise.all(Array.from({ length: AT_A_TIME }, one))
  return count
}

async function echoes(server, seconds) {
  const message = Buffer.alloc(64, 7)
  const peers = await Promise.all(Array.from({ length: 50 }, () => connect(server)))
  let count = 0
  let isOver = false
  for (const peer of peers) {
    peer.onMessage = () => {
      count++
      if (!isOver) peer.send(message)
    }
    for (let i = 0; i < 8; i++) peer.send(message)
  }
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
  isOver = true
  for (const peer of peers) peer.close()
  return count
}

async function idle(options) {
  const server = await start(options)
  const before = await server.stat()
  const peers = []
  for (let i = 0; i < 2000; i++) peers.push(await connect(server))
  const { rss } = await server.stat()
  console.log(
    `\n${peers.length} idle peers: ${((rss - before.rss) / 1024 / peers.length).toFixed(1)} KiB each`,
  )
  for (const peer of peers) peer.close()
  server.stop()
}

/** A client, once it may speak. */
function connect({ kind, port, context }) {
  return kind === 'udp' ? connectPlain(port) : connectSecure(port, context)
}

async function connectPlain(port) {
  const socket = open()
  const peer = {
    onMessage() {},
    send: (message) => socket.send(message, port, HOST),
    close: () => socket.close(),
  }
  socket.on('message', (message) => peer.onMessage(message))
  return peer
}

function connectSecure(port, context) {
  return new Promise((resolve, reject) => {
    const socket = open()
    const session = native.createSession(context, '')
    let state = 0
    let isClosed = false
    const send = (out) => {
      for (const datagram of out) socket.send(datagram, port, HOST)
    }
    const peer = {
      onMessage() {},
      send(message) {
        const out = []
        native.write(session, message, out)
        send(out)
      },
      close() {
        isClosed = true
        const out = []
        native.shutdown(session, out)
        send(out)
        native.destroy(session)
        socket.close()
      },
    }
    const feed = (datagram) => {
      if (isClosed) return
      const [out, data, was] = [[], [], state]
      state = native.feed(session, datagram, out, data)
      send(out)
      if (state > 1) return reject(new Error(`a client failed: ${native.error(session)}`))
      if (was === 0 && state === 1) resolve(peer)
      for (const message of data) if (!isClosed) peer.onMessage(message)
    }
    socket.on('message', feed)
    feed(null)
  })
}

function open() {
  return createSocket({
    type: 'udp4',
    recvBufferSize: 1 << 20,
    lookup: (host, _family, done) => done(null, host, 4),
  })
}
