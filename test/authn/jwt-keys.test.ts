import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from 'vitest'
import { Authn } from '../../authn/index.ts'
import { HookBus } from '../../hooks/bus.ts'
import { silentLogger } from '../../model/log.ts'
import { issueCert } from '../support/certs.ts'
import { ALLOW, IGNORE, loginOf, NOT_AUTHORIZED, temporaryDir } from './fixtures.ts'
import { authenticatorOf, keyServer, sign, withDefaults } from './jwt-tokens.ts'

const pair = (curve = 'prime256v1') => generateKeyPairSync('ec', { namedCurve: curve })
const [old, current, next, strange] = [pair(), pair(), pair(), pair()]

function jwk(key: KeyObject, fields: object = {}): object {
  return { ...(key.type === 'private' ? createPublicKey(key) : key).export({ format: 'jwk' }), ...fields }
}

const by = ({ privateKey }: { privateKey: KeyObject }, kid?: string) =>
  sign({}, { alg: 'ES256', key: privateKey, ...(kid === undefined ? {} : { kid }) })

async function withKeys(keys: readonly unknown[], fields: object = {}) {
  const server = await keyServer(keys)
  const opened = await authenticatorOf({
    use_jwks: true,
    endpoint: server.url,
    refresh_interval: 300,
    ...fields,
  })
  const logged = (text: string) => opened.lines.filter((line) => line.text.includes(text)).length
  return { ...opened, server, logged }
}

// The network stays as it is; only the broker's clock is ours.
beforeEach(() => void vi.useFakeTimers({ toFake: ['performance', 'setTimeout', 'clearTimeout'] }))
afterEach(() => void vi.useRealTimers())

test('tokens are verified with keys from a URL, by name or with all of them', async () => {
  const { logIn, server } = await withKeys(
    [jwk(old.publicKey, { kid: 'a' }), jwk(current.publicKey, { kid: 'b' })],
    {
      headers: { authorization: 'Bearer of-us' },
    },
  )
  expect(await logIn(await by(current, 'b'))).toEqual(ALLOW)
  expect(logIn(await by(old, 'a'))).toEqual(ALLOW)
  expect(logIn(await by(old))).toEqual(ALLOW)
  expect(logIn(await by(current, 'a'))).toEqual(IGNORE)
  expect(await logIn(await by(strange))).toEqual(IGNORE)
  expect(server.state.headers).toMatchObject({ accept: 'application/json', authorization: 'Bearer of-us' })
})

test('a key that cannot be used does not spoil the others', async () => {
  const edwards = generateKeyPairSync('ed25519')
  const { logIn, logged } = await withKeys([
    null,
    'text',
    {},
    { kty: 'XYZ' },
    { kty: 'oct', k: Buffer.from('known to all').toString('base64url') },
    { kty: 'EC', crv: 'P-256', x: 'AAAA', y: 'AAAA' },
    jwk(generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey),
    jwk(pair('secp256k1').publicKey),
    jwk(generateKeyPairSync('x25519').publicKey),
    jwk(old.publicKey, { use: 'enc' }),
    jwk(old.publicKey, { key_ops: ['encrypt'] }),
    jwk(old.publicKey, { alg: 'RS256' }),
    jwk(current.publicKey, { kid: 'b', alg: 'ES256', use: 'sig' }),
    jwk(edwards.publicKey, { kid: 'e' }),
  ])
  expect(await logIn(await by(current, 'b'))).toEqual(ALLOW)
  expect(logIn(await sign({}, { alg: 'EdDSA', key: edwards.privateKey, kid: 'e' }))).toEqual(ALLOW)
  expect(await logIn(await by(old))).toEqual(IGNORE)
  expect(await logIn(await sign({}, { key: Buffer.from('known to all') }))).toEqual(IGNORE)
  expect(logged('a key for tokens is not used')).toBe(12)
})

test('a new key is fetched when the first token of it comes, and not more often than every 10 s', async () => {
  const { logIn, server } = await withKeys([jwk(current.publicKey, { kid: 'b' })])
  expect(await logIn(await by(current, 'b'))).toEqual(ALLOW)
  server.replace([jwk(next.publicKey, { kid: 'c' })])
  expect(await logIn(await by(next, 'c'))).toEqual(IGNORE)
  expect(server.state.requests).toBe(1)
  vi.advanceTimersByTime(10_000)
  const both = [logIn(await by(next, 'c')), logIn(await by(next, 'c'))]
  expect(await Promise.all(both)).toEqual([ALLOW, ALLOW])
  expect(server.state.requests).toBe(2)
  // What was taken away has no more force.
  expect(await logIn(await by(current, 'b'))).toEqual(IGNORE)
  for (let i = 0; i < 5; i++) expect(await logIn(await by(strange, 'x'))).toEqual(IGNORE)
  expect(server.state.requests).toBe(2)
})

test('keys are fetched again when their time has come', async () => {
  const { logIn, server } = await withKeys([jwk(current.publicKey)])
  expect(await logIn(await by(current))).toEqual(ALLOW)
  server.replace([jwk(next.publicKey)])
  vi.advanceTimersByTime(300_000)
  await expect.poll(async () => logIn(await by(next))).toEqual(ALLOW)
})

test('while the URL cannot be fetched the old keys count, but not for ever', async () => {
  const { logIn, server, lines, logged } = await withKeys([jwk(current.publicKey)], { max_fail_count: 3 })
  expect(await logIn(await by(current))).toEqual(ALLOW)
  const broken = [
    [500, 'oops'],
    [200, 'no JSON but my password'],
    [200, '{"keys":[]}'],
  ] as const
  for (const [count, [status, body]] of broken.entries()) {
    expect(logIn(await by(current))).toEqual(ALLOW)
    Object.assign(server.state, { status, body })
    vi.advanceTimersByTime(300_000)
    await expect.poll(() => server.state.requests).toBe(count + 2)
  }
  const token = await by(current)
  await expect.poll(() => logged('too old and no longer used')).toBe(1)
  expect(() => logIn(token)).toThrow('there are no keys to verify tokens with')
  expect(logged('keeping the old ones: status 500')).toBe(1)
  expect(JSON.stringify(lines)).not.toContain('my password')
  Object.assign(server.state, { status: 200, body: JSON.stringify({ keys: [jwk(current.publicKey)] }) })
  vi.advanceTimersByTime(10_000)
  await expect.poll(() => logged('can be fetched again')).toBe(1)
  expect(logIn(token)).toEqual(ALLOW)
})

test('clients with tokens of nobody do not wear the keys out', async () => {
  const { logIn, server } = await withKeys([jwk(current.publicKey, { kid: 'b' })], { max_fail_count: 2 })
  expect(await logIn(await by(current, 'b'))).toEqual(ALLOW)
  server.state.status = 503
  for (let i = 0; i < 4; i++) {
    vi.advanceTimersByTime(10_000)
    expect(await logIn(await by(strange, 'x'))).toEqual(IGNORE)
  }
  expect(server.state.requests).toBe(5)
  expect(logIn(await by(current, 'b'))).toEqual(ALLOW)
})

test('keys come over TLS from a server that is who it must be', async () => {
  const dir = temporaryDir()
  const { cert, key } = issueCert(dir, 'server', { subject: '/CN=localhost', ca: true, hosts: true })
  const pem = { cert: readFileSync(cert, 'utf8'), key: readFileSync(key, 'utf8') }
  const { url } = await keyServer([jwk(current.publicKey)], pem)
  const { ssl } = withDefaults({})
  const trusting = await authenticatorOf({
    use_jwks: true,
    endpoint: url,
    ssl: { ...ssl, enable: true, cacertfile: cert },
  })
  expect(await trusting.logIn(await by(current))).toEqual(ALLOW)
  const careful = await authenticatorOf({ use_jwks: true, endpoint: url, ssl: { ...ssl, enable: true } })
  await expect(async () => careful.logIn(await by(current))).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
  await expect(authenticatorOf({ use_jwks: true, endpoint: url })).rejects.toThrow('ssl.enable')
})

test('a reload while the URL is away loses no keys', async () => {
  const server = await keyServer([jwk(current.publicKey)])
  const config = withDefaults({ use_jwks: true, endpoint: server.url })
  const surroundings = { log: silentLogger, dataDir: '.', configDir: '.' }
  const authn = await Authn.create({ global: [config] }, surroundings)
  onTestFinished(() => authn.close())
  const bus = new HookBus()
  authn.attach(bus)
  const password = Buffer.from(await by(current))
  const logIn = async () => bus.fold('client.authenticate', IGNORE, loginOf({ password }))
  expect(await logIn()).toEqual(ALLOW)
  server.state.status = 503
  await authn.update({ global: [config] })
  await expect.poll(() => server.state.requests).toBe(2)
  expect(await logIn()).toEqual(ALLOW)
})

test('a URL that is away at the start keeps nobody from starting', async () => {
  const { logIn, authenticator } = await authenticatorOf({
    use_jwks: true,
    endpoint: 'http://127.0.0.1:1/keys',
  })
  await expect(async () => logIn(await by(current))).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
  expect(authenticator.status?.state).not.toBe('connected')
  expect(withDefaults({}).max_fail_count).toBe(5)
})

test('keys that a URL has given to one who asks are not for those who ask in another way', async () => {
  const server = await keyServer([jwk(current.publicKey)])
  const asking = (authorization: string) =>
    withDefaults({ use_jwks: true, endpoint: server.url, headers: { authorization } })
  const surroundings = { log: silentLogger, dataDir: '.', configDir: '.' }
  const authn = await Authn.create({ global: [asking('tenant a')] }, surroundings)
  onTestFinished(() => authn.close())
  const bus = new HookBus()
  authn.attach(bus)
  const password = Buffer.from(await by(current))
  const logIn = async () => bus.fold('client.authenticate', IGNORE, loginOf({ password }))
  expect(await logIn()).toEqual(ALLOW)

  server.state.status = 403
  await authn.update({ global: [asking('tenant b')] })
  await expect.poll(() => server.state.requests).toBe(2)

  expect(await logIn()).toEqual(NOT_AUTHORIZED)
})
