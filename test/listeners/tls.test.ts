import { X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { copyFileSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { createListener } from '../../listeners/listener.ts'
import type { ListenerOptions } from '../../listeners/options.ts'
import type { TlsOptions } from '../../listeners/tls-options.ts'
import { silentLogger } from '../../model/log.ts'
import { type Certs, issueCert, makeCerts } from '../support/certs.ts'
import { dial, echo, LOOPBACK, listen, read, readAll, tcpOptions, tlsOptions } from './support.ts'

let certs: Certs
beforeAll(() => {
  certs = makeCerts()
})
afterAll(() => rmSync(certs.dir, { recursive: true }))

const secure = (changes: Partial<TlsOptions> = {}): ListenerOptions => {
  const tls = tlsOptions({ certfile: certs.serverCert, keyfile: certs.serverKey, ...changes })
  return tcpOptions({ id: 'ssl:test', kind: 'tls', tls })
}
const mutual = (changes: Partial<TlsOptions> = {}) =>
  secure({ verifyPeer: true, cacertfile: certs.ca, ...changes })

const client = (): ConnectionOptions => ({
  cert: readFileSync(certs.clientCert),
  key: readFileSync(certs.clientKey),
})
const stranger = (): ConnectionOptions => ({
  cert: readFileSync(certs.strangerCert),
  key: readFileSync(certs.strangerKey),
})

async function dialTls(t: TestContext, port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port, host: LOOPBACK, ca: readFileSync(certs.ca), ...options })
  t.onTestFinished(() => void socket.destroy())
  await once(socket, 'secureConnect')
  return socket
}

/** Whether the echo answers: a TLS 1.3 client learns only after its handshake that it is refused. */
async function isServed(t: TestContext, port: number, options: ConnectionOptions = {}): Promise<boolean> {
  try {
    const socket = await dialTls(t, port, options)
    socket.on('error', () => {})
    const answer = read(socket, 4)
    socket.write('ping')
    return String(await answer) === 'ping'
  } catch {
    return false
  }
}

test('bytes go through TLS both ways, also large ones', async (t) => {
  const { port } = await listen(t, secure(), echo)
  const socket = await dialTls(t, port)
  const big = Buffer.alloc(3_000_000, 5)
  const answer = read(socket, big.length)
  socket.write(big)
  expect((await answer).equals(big)).toBe(true)
})

test('end reaches the peer after the last bytes, and the transport says who closed', async (t) => {
  const { port, next } = await listen(t, secure())
  const socket = await dialTls(t, port)
  const probe = await next()
  const all = readAll(socket)
  probe.transport.outbox.append(Buffer.from('bye'))
  probe.transport.end()
  expect(String(await all)).toBe('bye')
  expect(await probe.closed).toEqual({ kind: 'local' })
})

test('a peer that leaves is noticed', async (t) => {
  const { listener, port, next } = await listen(t, secure())
  const socket = await dialTls(t, port)
  const probe = await next()
  socket.end()
  expect(await probe.closed).toEqual({ kind: 'peer_closed' })
  await expect.poll(() => listener.counters.current).toBe(0)
  expect(listener.counters.failedHandshakes).toBe(0)
})

test.for([
  { verify: 'verify_none', who: 'nobody', served: true },
  { verify: 'verify_none', who: 'client', served: true },
  { verify: 'verify_none', who: 'stranger', served: true },
  { verify: 'verify_peer', who: 'nobody', served: true },
  { verify: 'verify_peer', who: 'client', served: true },
  { verify: 'verify_peer', who: 'stranger', served: false },
  { verify: 'fail_if_no_peer_cert', who: 'nobody', served: false },
  { verify: 'fail_if_no_peer_cert', who: 'client', served: true },
  { verify: 'fail_if_no_peer_cert', who: 'stranger', served: false },
])('$verify: $who is served: $served', async ({ verify, who, served }, t) => {
  const options =
    verify === 'verify_none' ? secure() : mutual({ failIfNoPeerCert: verify === 'fail_if_no_peer_cert' })
  const identity = who === 'client' ? client() : who === 'stranger' ? stranger() : {}
  const { port } = await listen(t, options, echo)
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const offer = { ...identity, minVersion: version, maxVersion: version }
    expect(await isServed(t, port, offer), version).toBe(served)
  }
})

test('the transport carries the certificate of its peer', async (t) => {
  const { port, next } = await listen(t, mutual())
  await dialTls(t, port, client())
  const { certificate } = (await next()).transport
  expect(certificate).toMatchObject({ subject: 'CN=meter-7,O=Example', commonName: 'meter-7' })
  expect(new X509Certificate(certificate?.raw as Buffer).subject).toBe('CN=meter-7\nO=Example')
})

test('a chain longer than depth is refused', async (t) => {
  const ca = { cert: certs.ca, key: certs.caKey }
  const middle = issueCert(certs.dir, 'middle', { subject: '/CN=Middle', issuer: ca, ca: true })
  const leaf = issueCert(certs.dir, 'leaf', { subject: '/CN=leaf', issuer: middle })
  const chain = {
    cert: readFileSync(leaf.cert, 'utf8') + readFileSync(middle.cert, 'utf8'),
    key: readFileSync(leaf.key),
  }
  const shallow = await listen(t, mutual({ depth: 0 }), echo)
  const deep = await listen(t, mutual({ depth: 1 }), echo)

  expect(await isServed(t, shallow.port, client())).toBe(true)
  expect(await isServed(t, shallow.port, chain)).toBe(false)
  expect(await isServed(t, deep.port, chain)).toBe(true)
})

test('a client that is checked never resumes a session', async (t) => {
  const { port } = await listen(t, mutual({ reuseSessions: true, sessionTickets: 'stateless' }), echo)
  expect(await resumed(t, port, client())).toBe(false)
})

test.for([
  { option: 'session ids', tls: { reuseSessions: true }, resumes: true },
  { option: 'tickets', tls: { sessionTickets: 'stateless' } as const, resumes: true },
  { option: 'neither', tls: {}, resumes: false },
])('with $option sessions are resumed: $resumes, also after a reload', async ({ tls, resumes }, t) => {
  const { listener, port } = await listen(t, secure(tls), echo)
  expect(await resumed(t, port, {}, () => listener.update(secure(tls)))).toBe(resumes)
})

test('new certificates are served after an update, and nobody is dropped', async (t) => {
  const certfile = join(certs.dir, 'live.pem')
  const keyfile = join(certs.dir, 'live.key')
  copyFileSync(certs.serverCert, certfile)
  copyFileSync(certs.serverKey, keyfile)
  const { listener, port } = await listen(t, secure({ certfile, keyfile }), echo)
  const old = await dialTls(t, port)
  const issuer = { cert: certs.ca, key: certs.caKey }
  const renewed = issueCert(certs.dir, 'renewed', { subject: '/CN=renewed', issuer, hosts: true })
  copyFileSync(renewed.cert, certfile)
  copyFileSync(renewed.key, keyfile)

  listener.update(secure({ certfile, keyfile }))

  expect((await dialTls(t, port)).getPeerCertificate().subject.CN).toBe('renewed')
  old.write('still here')
  expect(String(await read(old, 10))).toBe('still here')
})

test('a broken certificate is refused at reload, and the old one stays', async (t) => {
  const { listener, port } = await listen(t, secure(), echo)
  const broken = join(certs.dir, 'broken.pem')
  writeFileSync(broken, '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n')
  expect(() => listener.update(secure({ certfile: broken }))).toThrow(`ssl_options.certfile: ${broken}`)
  expect(await isServed(t, port)).toBe(true)
})

test('PEM text works like a path', async (t) => {
  const text = (path: string) => readFileSync(path, 'utf8')
  const { port } = await listen(
    t,
    secure({ certfile: text(certs.serverCert), keyfile: text(certs.serverKey) }),
    echo,
  )
  expect(await isServed(t, port)).toBe(true)
})

test.each([
  {
    name: 'no file',
    tls: { certfile: '/nowhere/cert.pem' },
    text: 'ssl_options.certfile: cannot read /nowhere/cert.pem',
  },
  { name: 'no certificate', tls: { certfile: undefined }, text: 'certfile and keyfile are needed' },
  { name: 'no CA', tls: { verifyPeer: true }, text: 'needs a cacertfile' },
  { name: 'no verification', tls: { failIfNoPeerCert: true }, text: 'needs verify: verify_peer' },
  {
    name: 'unknown ciphers',
    tls: { ciphers: ['NONSENSE'], versions: ['tlsv1.2'] as const },
    text: 'ssl_options.ciphers: NONSENSE',
  },
  { name: 'no version', tls: { versions: [] }, text: 'ssl_options.versions' },
])('$name is a config error that names the option', ({ tls, text }) => {
  const create = () => createListener(secure(tls), echo, silentLogger)
  expect(create).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  expect(create).toThrow(text)
})

test('a key that belongs to another certificate is a config error', () => {
  const create = () => createListener(secure({ keyfile: certs.clientKey }), echo, silentLogger)
  expect(create).toThrow('certfile and keyfile')
})

test('versions and ciphers are as told', async (t) => {
  const { port } = await listen(
    t,
    secure({ versions: ['tlsv1.2'], ciphers: ['ECDHE-ECDSA-AES128-GCM-SHA256'] }),
    echo,
  )
  const socket = await dialTls(t, port)
  expect([socket.getProtocol(), socket.getCipher().name]).toEqual([
    'TLSv1.2',
    'ECDHE-ECDSA-AES128-GCM-SHA256',
  ])
  expect(await isServed(t, port, { minVersion: 'TLSv1.3' })).toBe(false)
})

test('a gap between versions stays closed', async (t) => {
  const { port } = await listen(t, secure({ versions: ['tlsv1.3', 'tlsv1.1'] }), echo)
  const old = { minVersion: 'TLSv1.1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT:@SECLEVEL=0' } as const
  expect(await isServed(t, port, old)).toBe(true)
  expect(await isServed(t, port, { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' })).toBe(false)
  expect(await isServed(t, port)).toBe(true)
})

test('TLS 1.3 stays possible when only older ciphers are listed', async (t) => {
  const { port } = await listen(t, secure({ ciphers: ['ECDHE-ECDSA-AES128-GCM-SHA256'] }), echo)
  expect((await dialTls(t, port)).getProtocol()).toBe('TLSv1.3')
})

test('pre-shared keys work without a certificate', async (t) => {
  const psk = {
    certfile: undefined,
    keyfile: undefined,
    versions: ['tlsv1.2'] as const,
    ciphers: ['PSK-AES128-GCM-SHA256'],
  }
  const keys = new Map([['sensor', Buffer.from('secret')]])
  const { port } = await listen(t, secure(psk), echo, { pskLookup: (identity) => keys.get(identity) })
  const offer = (identity: string, key: string): ConnectionOptions => ({
    ciphers: 'PSK-AES128-GCM-SHA256',
    maxVersion: 'TLSv1.2',
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ identity, psk: Buffer.from(key) }),
  })
  expect(await isServed(t, port, offer('sensor', 'secret'))).toBe(true)
  expect(await isServed(t, port, offer('sensor', 'wrong'))).toBe(false)
  expect(await isServed(t, port, offer('nobody', 'secret'))).toBe(false)
})

test('a slow handshake is cut off', async (t) => {
  const { listener, port } = await listen(t, secure({ handshakeTimeoutMs: 50 }))
  const socket = await dial(t, port)
  socket.write(Buffer.from('1603010200', 'hex'))
  await readAll(socket)
  await expect.poll(() => listener.counters).toMatchObject({ current: 0, failedHandshakes: 1 })
})

test('garbage instead of a handshake closes that peer only', async (t) => {
  const { port } = await listen(t, secure(), echo)
  const socket = await dial(t, port)
  socket.write('GET / HTTP/1.1\r\n\r\n')
  await readAll(socket)
  expect(await isServed(t, port)).toBe(true)
})

/** Connects twice, offering the session of the first time. */
async function resumed(
  t: TestContext,
  port: number,
  offer: ConnectionOptions,
  between = () => {},
): Promise<boolean> {
  const version = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2' } as const
  const first = await dialTls(t, port, { ...offer, ...version })
  const session = first.getSession()
  first.end()
  await once(first, 'close')
  between()
  const second = await dialTls(t, port, {
    ...offer,
    ...version,
    ...(session === undefined ? {} : { session }),
  })
  return second.isSessionReused()
}
