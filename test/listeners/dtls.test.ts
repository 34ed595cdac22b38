import { execFileSync } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test, vi } from 'vitest'
import type { DatagramTransport } from '../../listeners/datagram.ts'
import { createDatagramListener } from '../../listeners/datagram-listeners.ts'
import type { DtlsOptions } from '../../listeners/datagram-options.ts'
import type { DtlsListener } from '../../listeners/dtls/dtls-listener.ts'
import { loadNative, type NativeContext } from '../../listeners/dtls/native.ts'
import { type Logger, silentLogger } from '../../model/log.ts'
import { type Certs, issueCert, makeCerts } from '../support/certs.ts'
import { Random } from '../support/random.ts'
import { DtlsProbe, dtlsOptions, Echo, listenDatagrams, UdpProbe } from './datagram-support.ts'

let certs: Certs
let withServerCert: Partial<DtlsOptions>
let mutual: Partial<DtlsOptions>

beforeAll(() => {
  certs = makeCerts()
  withServerCert = { certfile: certs.serverCert, keyfile: certs.serverKey }
  mutual = { ...withServerCert, cacertfile: certs.ca, verifyPeer: true, failIfNoPeerCert: true }
})

/** A client that checks the server, and shows a certificate where it has one. */
function clientWith(cert?: string, key?: string): NativeContext {
  const own = cert === undefined || key === undefined ? {} : { cert: read(cert), key: read(key) }
  return DtlsProbe.context({ ca: read(certs.ca), verify: 'require', ...own })
}

const read = (path: string) => readFileSync(path, 'utf8')
const KEYS = new Map([['meter-7', Buffer.from('secret of meter-7')]])
const pskLookup = (identity: string) => KEYS.get(identity)
const meter7 = () => DtlsProbe.psk('meter-7', 'secret of meter-7')

test('a peer with a checked server certificate echoes; its transport says who and where', async (t) => {
  const echo = new Echo()
  const { listener, port } = await listenDatagrams(t, dtlsOptions(withServerCert), echo.serve)
  const client = await DtlsProbe.open(t, port, clientWith())
  await client.opened
  expect(await client.ask('hello')).toBe('hello')
  expect(echo.peers[0]).toMatchObject({
    kind: 'dtls',
    listenerId: 'echo:dtls:test',
    peer: { host: '127.0.0.1', port: client.socket.address().port },
    local: { host: '127.0.0.1', port },
    certificate: undefined,
    pskIdentity: undefined,
    bytesReceived: 5,
    bytesSent: 5,
  })
  expect(client.info).toMatchObject({ protocol: 'DTLSv1.2', cipher: 'ECDHE-ECDSA-AES128-GCM-SHA256' })
  expect(listener.counters).toMatchObject({ current: 1, accepted: 1, failedHandshakes: 0 })
})

test('a goodbye of either side ends it', async (t) => {
  const echo = new Echo()
  const { listener, port } = await listenDatagrams(t, dtlsOptions({}), echo.serve, { pskLookup })
  const [ann, bob] = [await DtlsProbe.open(t, port, meter7()), await DtlsProbe.open(t, port, meter7())]
  await Promise.all([ann.opened, bob.opened])
  ann.close()
  await echo.has('closed', 1)
  expect(echo.closed).toEqual([{ kind: 'peer_closed' }])
  listener.closeAll()
  expect(await bob.ended).toBe('closed')
  expect(echo.closed[1]).toEqual({ kind: 'local' })
  expect(listener.counters.current).toBe(0)
})

test('a small MTU cuts the certificate into pieces that fit', async (t) => {
  const { port } = await listenDatagrams(
    t,
    dtlsOptions({ ...withServerCert, mtuBytes: 296 }),
    new Echo().serve,
  )
  const sizes: number[] = []
  const client = await DtlsProbe.open(t, port, clientWith())
  client.socket.on('message', ({ length }) => sizes.push(length))
  await client.opened
  expect(Math.max(...sizes)).toBeLessThanOrEqual(296)
  expect(sizes.length).toBeGreaterThan(3)
  expect(await client.ask('hello')).toBe('hello')
})

test('with verify_peer the certificate of the client is known to the gateway', async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, dtlsOptions(mutual), echo.serve)
  const client = await DtlsProbe.open(t, port, clientWith(certs.clientCert, certs.clientKey))
  expect(await client.opened.then(() => client.ask('hello'))).toBe('hello')
  const { raw } = new X509Certificate(read(certs.clientCert))
  expect(echo.peers[0]?.certificate).toEqual({ subject: 'CN=meter-7,O=Example', commonName: 'meter-7', raw })
})

test('a client without a certificate, or with one of a foreign CA, is refused and told so', async (t) => {
  const echo = new Echo()
  const { listener, port } = await listenDatagrams(t, dtlsOptions(mutual), echo.serve)
  const nobody = await DtlsProbe.open(t, port, clientWith())
  const stranger = await DtlsProbe.open(t, port, clientWith(certs.strangerCert, certs.strangerKey))
  expect(await nobody.ended).toMatch(/alert/)
  expect(await stranger.ended).toMatch(/alert/)
  expect(echo.peers).toEqual([])
  expect(listener.counters).toMatchObject({ current: 0, failedHandshakes: 2 })
})

test('without fail_if_no_peer_cert a client may have none, but not a foreign one', async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, dtlsOptions({ ...mutual, failIfNoPeerCert: false }), echo.serve)
  const nobody = await DtlsProbe.open(t, port, clientWith())
  await nobody.opened
  const stranger = await DtlsProbe.open(t, port, clientWith(certs.strangerCert, certs.strangerKey))
  expect(await stranger.ended).toMatch(/alert/)
  expect(echo.peers.map(({ certificate }) => certificate)).toEqual([undefined])
})

test('depth bounds the certificates between a client and its CA; partial_chain trusts one of them', async (t) => {
  const issuer = { cert: certs.ca, key: certs.caKey }
  const middle = issueCert(certs.dir, 'middle', { subject: '/CN=Middle', issuer, ca: true })
  const leaf = issueCert(certs.dir, 'leaf', { subject: '/CN=deep', issuer: middle })
  const chain = join(certs.dir, 'chain.pem')
  writeFileSync(chain, read(leaf.cert) + read(middle.cert))
  const outcome = async (options: Partial<DtlsOptions>, cert: string) => {
    const { port } = await listenDatagrams(t, dtlsOptions({ ...mutual, ...options }), new Echo().serve)
    const client = await DtlsProbe.open(t, port, clientWith(cert, leaf.key))
    return Promise.race([client.ended, client.opened.then(() => client.ask('in'))])
  }
  expect(await outcome({ depth: 1 }, chain)).toBe('in')
  expect(await outcome({ depth: 0 }, chain)).toMatch(/alert/)
  expect(await outcome({ cacertfile: middle.cert }, leaf.cert)).toMatch(/alert/)
  expect(await outcome({ cacertfile: middle.cert, partialChain: true }, leaf.cert)).toBe('in')
})

test('an encrypted key needs its password, and a wrong one is an error instead of a question', () => {
  const keyfile = join(certs.dir, 'locked.key')
  const args = ['pkey', '-in', certs.serverKey, '-aes128', '-passout', 'pass:open sesame', '-out', keyfile]
  execFileSync('openssl', args)
  const make = (password?: string) =>
    createDatagramListener(dtlsOptions({ ...withServerCert, keyfile, password }), () => {}, silentLogger)
  expect(make('open sesame').running).toBe(false)
  expect(() => make()).toThrow(/dtls_options\.keyfile: .*locked\.key: /)
  expect(() => make('wrong')).toThrow(/dtls_options\.keyfile: /)
})

test.each([
  { name: 'a missing file', options: { certfile: '/nowhere.pem' }, says: /certfile: cannot read \/nowhere/ },
  {
    name: 'no certificate',
    options: { certfile: undefined, keyfile: undefined },
    says: /certfile and keyfile are/,
  },
  { name: 'half a pair', options: { keyfile: undefined }, says: /certfile and keyfile need each other/ },
  { name: 'a text that is no PEM', options: { certfile: import.meta.filename }, says: /is not a PEM file/ },
  { name: 'unknown ciphers', options: { ciphers: ['ROT13'] }, says: /dtls_options\.ciphers: ROT13: / },
  { name: 'verification without a CA', options: { verifyPeer: true }, says: /needs a cacertfile/ },
  {
    name: 'a demand without a question',
    options: { failIfNoPeerCert: true },
    says: /needs verify: verify_peer/,
  },
])('$name is an error of the configuration', ({ options, says }) => {
  const make = () =>
    createDatagramListener(dtlsOptions({ ...withServerCert, ...options }), () => {}, silentLogger)
  expect(make).toThrow(says)
  expect(make).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
})

test('a key that belongs to another certificate is an error, and a reload with it changes nothing', async (t) => {
  const { listener, port } = await listenDatagrams(t, dtlsOptions(withServerCert), new Echo().serve)
  const client = await DtlsProbe.open(t, port, clientWith())
  await client.opened
  expect(() => listener.update(dtlsOptions({ ...withServerCert, keyfile: certs.clientKey }))).toThrow(
    /keyfile/,
  )
  expect(await client.ask('still here')).toBe('still here')
  const second = await DtlsProbe.open(t, port, clientWith())
  await second.opened

  const renewed = issueCert(certs.dir, 'renewed', {
    subject: '/CN=renewed',
    issuer: { cert: certs.ca, key: certs.caKey },
    hosts: true,
  })
  listener.update(dtlsOptions({ certfile: renewed.cert, keyfile: renewed.key }))
  expect(await client.ask('and still')).toBe('and still')
  const third = await DtlsProbe.open(t, port, clientWith())
  await third.opened
  expect(new X509Certificate(third.info.peerCertificates?.[0] ?? '').subject).toBe('CN=renewed')
})

test('a pre-shared key is enough, with the suites of small devices and with forward secrecy', async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, dtlsOptions(), echo.serve, { pskLookup })
  for (const cipher of ['PSK-AES128-CCM8', 'PSK-AES128-GCM-SHA256', 'ECDHE-PSK-AES128-CBC-SHA256']) {
    const context = DtlsProbe.psk('meter-7', 'secret of meter-7', `${cipher}:@SECLEVEL=0`)
    const client = await DtlsProbe.open(t, port, context)
    await client.opened
    expect(await client.ask('hello')).toBe('hello')
    expect(client.info.cipher).toBe(cipher)
    expect(echo.peers.at(-1)?.pskIdentity).toBe('meter-7')
  }
})

test('an unknown identity is refused', async (t) => {
  const echo = new Echo()
  const { listener, port } = await listenDatagrams(t, dtlsOptions(), echo.serve, { pskLookup })
  const client = await DtlsProbe.open(t, port, DtlsProbe.psk('nobody', 'guess'))
  expect(await client.ended).toMatch(/alert/)
  expect(echo.peers).toEqual([])
  expect(listener.counters).toMatchObject({ current: 0, failedHandshakes: 1 })
})

test('a wrong key never opens, and its handshake ends with handshake_timeout', async (t) => {
  const echo = new Echo()
  const options = dtlsOptions({ handshakeTimeoutMs: 300 })
  const { listener, port } = await listenDatagrams(t, options, echo.serve, { pskLookup })
  await DtlsProbe.open(t, port, DtlsProbe.psk('meter-7', 'guess'))
  await vi.waitFor(() => expect((listener as DtlsListener).halfOpen).toBe(1))
  await vi.waitFor(() => expect(listener.counters).toMatchObject({ current: 0, failedHandshakes: 1 }), 2000)
  expect((listener as DtlsListener).halfOpen).toBe(0)
  expect(echo.peers).toEqual([])
})

test('keys may come from somewhere slow, and two that wait do not get mixed up', async (t) => {
  const asked = new Map<string, (key: Buffer | undefined) => void>()
  const slow = (identity: string) =>
    new Promise<Buffer | undefined>((resolve) => asked.set(identity, resolve))
  const echo = new Echo()
  const { port } = await listenDatagrams(t, dtlsOptions(), echo.serve, { pskLookup: slow })
  const ann = await DtlsProbe.open(t, port, DtlsProbe.psk('ann', 'key of ann'))
  const bob = await DtlsProbe.open(t, port, DtlsProbe.psk('bob', 'key of bob', 'ECDHE-PSK-AES128-CBC-SHA256'))
  const eve = await DtlsProbe.open(t, port, DtlsProbe.psk('eve', 'key of ann'))
  await vi.waitFor(() => expect(asked.size).toBe(3))
  asked.get('eve')?.(undefined)
  asked.get('bob')?.(Buffer.from('key of bob'))
  asked.get('ann')?.(Buffer.from('key of ann'))
  await Promise.all([ann.opened, bob.opened])
  expect(await ann.ask('a')).toBe('a')
  expect(await bob.ask('b')).toBe('b')
  expect(await eve.ended).toMatch(/alert/)
  expect(new Set(echo.peers.map(({ pskIdentity }) => pskIdentity))).toEqual(new Set(['ann', 'bob']))
})

test('a look-up that fails, or throws, knows nobody', async (t) => {
  for (const broken of [() => Promise.reject(new Error('no database')), () => void JSON.parse('{')]) {
    const { listener, port } = await listenDatagrams(
      t,
      dtlsOptions({ handshakeTimeoutMs: 200 }),
      new Echo().serve,
      {
        pskLookup: broken as () => undefined,
      },
    )
    await DtlsProbe.open(t, port, meter7())
    await vi.waitFor(() => expect(listener.counters.failedHandshakes).toBe(1), 2000)
  }
})

test('a listener that ends while a key is looked up is over at once', async (t) => {
  let listener: DtlsListener | undefined
  const during = () => {
    listener?.closeAll()
    return Buffer.from('secret of meter-7')
  }
  const running = await listenDatagrams(t, dtlsOptions(), new Echo().serve, { pskLookup: during })
  listener = running.listener as DtlsListener
  await DtlsProbe.open(t, running.port, meter7())
  await vi.waitFor(() => expect(running.listener.counters).toMatchObject({ current: 0, failedHandshakes: 1 }))
})

test('certificates and pre-shared keys on one listener', async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, dtlsOptions(withServerCert), echo.serve, { pskLookup })
  const [ann, bob] = [await DtlsProbe.open(t, port, clientWith()), await DtlsProbe.open(t, port, meter7())]
  await Promise.all([ann.opened, bob.opened])
  expect(echo.peers.map(({ pskIdentity }) => pskIdentity)).toContain('meter-7')
  expect(echo.peers.map(({ pskIdentity }) => pskIdentity)).toContain(undefined)
})

test('a client that starts anew on the same port takes the place of its old self', async (t) => {
  const echo = new Echo()
  const { listener, port } = await listenDatagrams(t, dtlsOptions(), echo.serve, { pskLookup })
  const { socket } = await UdpProbe.open(t, port)
  for (let round = 1; round <= 3; round++) {
    socket.removeAllListeners('message')
    const client = new DtlsProbe(socket, port, meter7())
    await client.opened
    expect(await client.ask(`round ${round}`)).toBe(`round ${round}`)
    client.vanish()
  }
  expect(echo.peers.map(({ isOpen }) => isOpen)).toEqual([false, false, true])
  expect(echo.closed).toEqual([{ kind: 'peer_closed' }, { kind: 'peer_closed' }])
  expect(listener.counters).toMatchObject({ current: 1, accepted: 3 })
})

test('hellos of the past and garbage do nothing to an open association', async (t) => {
  const { listener, port } = await listenDatagrams(t, dtlsOptions(), new Echo().serve, { pskLookup })
  const probe = await UdpProbe.open(t, port)
  const sent: Buffer[] = []
  const send = probe.socket.send.bind(probe.socket)
  probe.socket.send = ((datagram: Buffer, ...rest: [number, string]) => {
    sent.push(Buffer.from(datagram))
    send(datagram, ...rest)
  }) as never
  const client = new DtlsProbe(probe.socket, port, meter7())
  t.onTestFinished(() => client.vanish())
  await client.opened
  const random = new Random(3)
  for (const datagram of sent.slice()) send(datagram, port, '127.0.0.1')
  for (let i = 0; i < 200; i++) send(random.bytes(1 + random.int(300)), port, '127.0.0.1')
  // A new hello without a cookie: only whoever gets our answer may go on.
  const stranger = Buffer.from(sent[0] as Buffer)
  stranger[30] = (stranger[30] as number) ^ 0xff
  send(stranger, port, '127.0.0.1')
  expect(await client.ask('still here')).toBe('still here')
  expect(listener.counters).toMatchObject({ current: 1, accepted: 1 })
})

test('garbage, and a cookie from another address, make no association', async (t) => {
  const { listener, port } = await listenDatagrams(t, dtlsOptions(withServerCert), new Echo().serve)
  const random = new Random(4)
  const flooder = await UdpProbe.open(t, port)
  for (let i = 0; i < 500; i++) {
    const datagram = random.bytes(1 + random.int(300))
    // Half of them begin like a ClientHello.
    if (i % 2 === 0 && datagram.length > 14) datagram.set([22, 0xfe, 0xfd, 0, 0], 0)
    if (i % 2 === 0 && datagram.length > 14) datagram[13] = 1
    await flooder.send(datagram)
  }
  const thief = await UdpProbe.open(t, port)
  const honest = await UdpProbe.open(t, port)
  const send = honest.socket.send.bind(honest.socket)
  let hellos = 0
  honest.socket.send = ((datagram: Buffer, ...rest: [number, string]) => {
    // The second hello has the cookie.
    if (++hellos === 2) void thief.send(datagram)
    else send(datagram, ...rest)
  }) as never
  const client = new DtlsProbe(honest.socket, port, clientWith())
  t.onTestFinished(() => client.vanish())
  // Answered with another cookie, not with a handshake.
  expect((await thief.next())[13]).toBe(3)
  expect(listener.counters).toMatchObject({ current: 0, accepted: 0 })
})

test('half a handshake each of many clients costs a bounded number of associations', async (t) => {
  const { listener } = await listenDatagrams(t, dtlsOptions({}, { maxConnections: 5000 }), new Echo().serve, {
    pskLookup,
  })
  const native = loadNative()
  const context = meter7()
  // In memory: the answers go to the client that asked, which goes on until its cookie is accepted.
  const inside = listener as unknown as {
    dispatch(key: string, datagram: Buffer, from: object): void
    send(datagram: Buffer, to: { port: number }): boolean
  }
  let answers: Buffer[] = []
  inside.send = (datagram) => answers.push(datagram) > 0
  const begin = (port: number, address = '127.0.0.1') => {
    const client = native.createSession(context, '')
    const from = { address, port }
    let out: Buffer[] = []
    native.feed(client, null, out, [])
    for (let step = 0; step < 2; step++) {
      answers = []
      for (const datagram of out) inside.dispatch(`${address}|${port}`, datagram, from)
      out = []
      for (const answer of answers) native.feed(client, answer, out, [])
    }
    native.destroy(client)
  }
  for (let port = 1; port <= 1500; port++) begin(port)
  expect((listener as DtlsListener).halfOpen).toBe(1024)
  expect(listener.counters).toMatchObject({ current: 1024, failedHandshakes: 476 })
  // Whoever has more than its share gives way itself; somebody else takes the place of the oldest.
  const { halfOpenOf } = listener as DtlsListener
  for (let i = 0; i < 12; i++) begin(i + 1, '127.0.0.2')
  for (let port = 1501; port <= 2600; port++) begin(port)
  expect(halfOpenOf.get('127.0.0.2')).toBe(12)
  begin(13, '127.0.0.2')
  expect(halfOpenOf.get('127.0.0.2')).toBe(12)
  expect((listener as DtlsListener).halfOpen).toBe(1024)
  listener.closeAll()
  expect(listener.counters.current).toBe(0)
})

test('access rules and limits hold for handshakes too', async (t) => {
  const refused = await listenDatagrams(t, dtlsOptions({}, { accessRules: ['deny all'] }), new Echo().serve, {
    pskLookup,
  })
  await DtlsProbe.open(t, refused.port, meter7())
  await vi.waitFor(() => expect(refused.listener.counters.refusedByRule).toBe(1))

  const full = await listenDatagrams(t, dtlsOptions({}, { maxConnections: 1 }), new Echo().serve, {
    pskLookup,
  })
  const first = await DtlsProbe.open(t, full.port, meter7())
  await first.opened
  await DtlsProbe.open(t, full.port, meter7())
  await vi.waitFor(() => expect(full.listener.counters.refusedByLimit).toBe(1))
  expect(await first.ask('hello')).toBe('hello')
})

test('health checks are answered in the clear', async (t) => {
  const healthCheck = { request: Buffer.from('alive?'), reply: Buffer.from('yes') }
  const { port } = await listenDatagrams(t, dtlsOptions({}, { healthCheck }), new Echo().serve, { pskLookup })
  expect(await (await UdpProbe.open(t, port)).ask('alive?')).toBe('yes')
})

test('the largest record there is goes both ways, and nothing larger is sent', async (t) => {
  const transports: DatagramTransport[] = []
  const { port } = await listenDatagrams(
    t,
    dtlsOptions(),
    (transport) => {
      transports.push(transport)
      transport.handler = { onDatagram: (datagram) => void transport.send(datagram), onClose() {} }
    },
    { pskLookup },
  )
  const client = await DtlsProbe.open(t, port, meter7())
  await client.opened
  const large = Buffer.alloc(16_384, 'x')
  client.send(large)
  expect((await client.next()).equals(large)).toBe(true)
  expect(transports[0]?.maxDatagramBytes).toBe(16_384)
  expect(transports[0]?.send(Buffer.alloc(16_385))).toBe(false)
  expect(transports[0]?.send(Buffer.alloc(0))).toBe(false)
})

test('where there is no addon the listener says why, and starting it is no error', async () => {
  const said: object[] = []
  const log: Logger = { ...silentLogger, error: (fields) => said.push(fields), child: () => log }
  const without = () => {
    throw new Error('DTLS is not available for plan9-mips')
  }
  const listener = createDatagramListener(dtlsOptions(), () => {}, log, { loadNative: without })
  await listener.start()
  expect(said).toEqual([{ listener: 'echo:dtls:test', error: 'DTLS is not available for plan9-mips' }])
  expect([listener.running, listener.address(), listener.counters.current]).toEqual([false, undefined, 0])
  listener.update(dtlsOptions())
  await listener.stop()
  await listener.drained(new AbortController().signal)
  listener.closeAll()
})
