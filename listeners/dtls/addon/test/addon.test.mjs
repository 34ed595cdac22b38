/** The addon alone, in memory and on any Node: `node --test test/addon.test.mjs`. Its listener is tested with Hubbub. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

const native = createRequire(import.meta.url)('../lib/index.cjs')
const KEY = Buffer.from('secret of meter-7')
const PEER = '192.0.2.7|5684'
const FUZZ_MS = Number(process.env.FUZZ_MS ?? 1500)

const pem = certificate()
const server = native.createContext({
  ...pem,
  psk: (identity) => (identity === 'meter-7' ? KEY : undefined),
  ciphers: 'ALL:@SECLEVEL=0',
  mtu: 500,
})
const clients = {
  psk: native.createContext({
    server: false,
    identity: 'meter-7',
    pskKey: KEY,
    ciphers: 'PSK-AES128-GCM-SHA256',
  }),
  cert: native.createContext({
    server: false,
    ca: pem.cert,
    verify: 'require',
    ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256',
  }),
}

void test('a handshake in memory, with a pre-shared key and with a certificate', () => {
  for (const context of Object.values(clients)) {
    const pair = new Pair(context)
    pair.run()
    assert.deepEqual([pair.states.client, pair.states.server], [1, 1])
    const out = []
    assert.equal(native.write(pair.client, Buffer.from('hello'), out), 5)
    const data = []
    native.feed(pair.server, out[0], [], data)
    assert.deepEqual(data.map(String), ['hello'])
    pair.end()
  }
})

void test('what was agreed on is told', () => {
  const pair = new Pair(clients.psk)
  pair.run()
  const info = native.info(pair.server)
  assert.deepEqual(
    [info.protocol, info.cipher, info.pskIdentity, info.resumed, info.peerCertificates],
    ['DTLSv1.2', 'PSK-AES128-GCM-SHA256', 'meter-7', false, undefined],
  )
  pair.end()
})

void test('lost datagrams are sent again', (_t, done) => {
  const pair = new Pair(clients.psk)
  pair.toServer.length = 0
  const waitMs = native.timeout(pair.client)
  assert.ok(waitMs > 500 && waitMs <= 1000, `${waitMs} ms`)
  assert.equal(native.retransmit(pair.client, pair.toServer), 0)
  setTimeout(() => {
    assert.equal(native.retransmit(pair.client, pair.toServer), 1)
    assert.equal(pair.toServer.length, 1)
    pair.end()
    done()
  }, waitMs + 10)
})

void test('a wrong call throws and nothing else', () => {
  const session = native.createSession(server, PEER)
  native.destroy(session)
  const wrong = [
    () => native.feed(session, null, [], []),
    () => native.destroy(session),
    () => native.feed({}, null, [], []),
    () => native.feed(server, null, [], []),
    () => native.write(undefined, KEY, []),
    () => native.listen(native.createSession(server, PEER), 'text', [], PEER),
    () => native.feed(native.createSession(server, PEER), {}, [], []),
    () => native.createSession(session, PEER),
    () => native.createContext({ ciphers: 'ROT13' }),
    () => native.createContext({ cert: 'no', key: 'no' }),
    () => native.createContext({ ca: 'no' }),
  ]
  for (const call of wrong) assert.throws(call, String(call))
  const handshaking = native.createSession(server, PEER)
  assert.equal(native.write(handshaking, KEY, []), -1)
})

void test('a look-up that throws knows nobody', () => {
  const throwing = native.createContext({
    ciphers: 'PSK',
    psk() {
      throw new Error('no database')
    },
  })
  const pair = new Pair(clients.psk, throwing)
  pair.run()
  assert.equal(pair.states.server, 3)
  pair.end()
})

void test('datagrams lost, doubled, overtaken, cut and changed crash nothing, and memory stays as it was', async () => {
  const random = generator(1)
  const until = Date.now() + FUZZ_MS
  let pairs = 0
  let settled
  while (Date.now() < until) {
    const chaos = pairs % 4 === 0 ? 0 : random() * 0.3
    const pair = new Pair(pairs % 2 === 0 ? clients.psk : clients.cert)
    pair.run(random, chaos)
    if (chaos === 0) assert.deepEqual([pair.states.client, pair.states.server], [1, 1], `pair ${pairs}`)
    // Half of them are left to the garbage collector, which works between turns.
    if (random() < 0.5) pair.end()
    if (++pairs % 50 === 0) await new Promise(setImmediate)
    if (settled === undefined && Date.now() > until - FUZZ_MS / 2) settled = process.memoryUsage().rss
  }
  assert.ok(pairs > 20, `${pairs} pairs`)
  const growth = (process.memoryUsage().rss - settled) / 2 ** 20
  assert.ok(growth < 150, `${growth} MiB more after ${pairs} pairs`)
})

/** A client and a server that exchange datagrams in memory. */
class Pair {
  toServer = []
  toClient = []
  states = { client: 0, server: 0 }
  #isListening = true

  constructor(clientContext, serverContext = server) {
    this.client = native.createSession(clientContext, '')
    this.server = native.createSession(serverContext, PEER)
    native.feed(this.client, null, this.toServer, [])
  }

  run(random = () => 0, chaos = 0) {
    for (let step = 0; step < 60 && this.toServer.length + this.toClient.length > 0; step++) {
      const isForServer = this.toServer.length > 0 && (random() < 0.5 || this.toClient.length === 0)
      const queue = isForServer ? this.toServer : this.toClient
      const at = random() < chaos ? Math.floor(random() * queue.length) : 0
      const datagram = disturbed(queue.splice(at, 1)[0], queue, random, chaos)
      if (datagram === undefined) continue
      if (isForServer) this.#serve(datagram)
      else if (this.states.client < 2)
        this.states.client = native.feed(this.client, datagram, this.toServer, [])
    }
  }

  end() {
    native.shutdown(this.client, [])
    native.destroy(this.client)
    native.destroy(this.server)
  }

  #serve(datagram) {
    if (!this.#isListening) {
      if (this.states.server < 2) this.states.server = native.feed(this.server, datagram, this.toClient, [])
      return
    }
    this.#isListening = native.listen(this.server, datagram, this.toClient, PEER) === 0
    if (!this.#isListening) this.states.server = native.feed(this.server, null, this.toClient, [])
  }
}

function disturbed(datagram, queue, random, chaos) {
  if (random() >= chaos) return datagram
  const kind = random()
  if (kind < 0.2) return undefined
  if (kind < 0.4) queue.push(Buffer.from(datagram))
  if (kind < 0.4) return datagram
  if (kind < 0.6) return Buffer.from(datagram.subarray(0, Math.floor(random() * datagram.length)))
  const changed = Buffer.from(datagram)
  for (let i = 0; i < 4; i++) changed[Math.floor(random() * changed.length)] ^= 1 << Math.floor(random() * 8)
  return changed
}

/** Numbers from 0 to 1, the same ones each time (xorshift32). */
function generator(seed) {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

function certificate() {
  const dir = mkdtempSync(join(tmpdir(), 'dtls-'))
  const [key, cert] = [join(dir, 'key.pem'), join(dir, 'cert.pem')]
  const kind = [
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-subj',
    '/CN=localhost',
  ]
  execFileSync('openssl', ['req', '-x509', ...kind, '-keyout', key, '-out', cert], { stdio: 'ignore' })
  const pair = { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') }
  rmSync(dir, { recursive: true })
  return pair
}
