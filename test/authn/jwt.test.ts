import { createHmac, createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { JwtConfig } from '../../authn/jwt/config.ts'
import { compileRules, firstMatch } from '../../authz/rule.ts'
import { issueCert } from '../support/certs.ts'
import { ALLOW, clientOf, IGNORE, temporaryDir, WRONG_PASSWORD } from './fixtures.ts'
import { authenticatorOf, configOf, create, SECRET, SHARED, sign, withDefaults } from './jwt-tokens.ts'

const NOW = 1_800_000_000
const now = () => NOW * 1000

const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 })
const ec = (curve: string) => generateKeyPairSync('ec', { namedCurve: curve })
const pemOf = (key: KeyObject) => key.export({ type: 'spki', format: 'pem' }).toString()
/** Signed, whatever it says. */
const signed = (payload: unknown) => {
  const text = `${base64url({ alg: 'HS256', typ: 'JWT' })}.${base64url(payload)}`
  return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`
}
const base64url = (value: unknown) =>
  Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url')

test('a signed token lets its client in, a token in the user name too', async () => {
  const { logIn } = await authenticatorOf()
  expect(logIn(await sign({}))).toEqual(ALLOW)
  expect(logIn(await sign({}, { alg: 'HS384', key: Buffer.from(SECRET.repeat(2)) }))).toEqual(IGNORE)
  const named = await authenticatorOf({ ...SHARED, from: 'username' })
  const username = await sign({ sub: 'meter-7' })
  expect(named.logIn('anything', { client: { username } })).toEqual(ALLOW)
  expect(named.logIn(username, { client: { username: 'ann' } })).toEqual(IGNORE)
})

test.each(['HS256', 'HS384', 'HS512'])('a secret verifies %s, in base64 too', async (alg) => {
  const secret = Buffer.from(SECRET.repeat(2))
  const { logIn } = await authenticatorOf({
    ...SHARED,
    secret: secret.toString('base64'),
    secret_base64_encoded: true,
  })
  expect(logIn(await sign({}, { alg, key: secret }))).toEqual(ALLOW)
  expect(logIn(await sign({}, { alg, key: Buffer.from(secret.toString('base64')) }))).toEqual(IGNORE)
})

const ED = generateKeyPairSync('ed25519')
const KEYS = [
  ...['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512'].map((alg) => [alg, rsa] as const),
  ['ES256', ec('prime256v1')],
  ['ES384', ec('secp384r1')],
  ['ES512', ec('secp521r1')],
  ['EdDSA', ED],
] as const

test.each(KEYS)('a public key verifies %s, and nothing that somebody else has signed', async (alg, pair) => {
  const { logIn } = await authenticatorOf({ algorithm: 'public-key', public_key: pemOf(pair.publicKey) })
  const token = await sign({ is_superuser: true }, { alg, key: pair.privateKey })
  expect(logIn(token)).toEqual({ kind: 'allow', principal: { isSuperuser: true } })
  const [header = '', , signature = ''] = token.split('.')
  expect(logIn(`${header}.${base64url({ is_superuser: 'true' })}.${signature}`)).toEqual(IGNORE)
  expect(logIn(`${header}.${token.split('.')[1]}.${base64url('x'.repeat(64))}`)).toEqual(IGNORE)
})

test('a public key is never taken for a secret, nor a token without signature for signed', async () => {
  const pem = pemOf(rsa.publicKey)
  const { logIn } = await authenticatorOf({ algorithm: 'public-key', public_key: pem })
  for (const key of [pem, pem.trim(), rsa.publicKey.export({ type: 'spki', format: 'der' })])
    expect(logIn(await sign({}, { key: Buffer.from(key) }))).toEqual(IGNORE)
  const shared = await authenticatorOf()
  const payload = base64url({ is_superuser: true })
  for (const alg of ['none', 'None', 'NONE', 'nOnE', '', 'HS1', 'toString', '__proto__']) {
    const header = base64url({ alg, typ: 'JWT' })
    for (const signature of ['', '.', '.AAAA']) {
      expect(logIn(`${header}.${payload}${signature}`), alg).toEqual(IGNORE)
      expect(shared.logIn(`${header}.${payload}${signature}`), alg).toEqual(IGNORE)
    }
  }
  // Signed with RS256 where only a secret is known.
  expect(shared.logIn(await sign({}, { alg: 'RS256', key: rsa.privateKey }))).toEqual(IGNORE)
})

test('a key takes the algorithm of its curve only', async () => {
  const pair = ec('prime256v1')
  const { logIn } = await authenticatorOf({ algorithm: 'public-key', public_key: pemOf(pair.publicKey) })
  expect(logIn(await sign({}, { alg: 'ES384', key: ec('secp384r1').privateKey }))).toEqual(IGNORE)
  expect(logIn(await sign({}, { alg: 'EdDSA', key: ED.privateKey }))).toEqual(IGNORE)
})

test('a public key comes from a file, or from a certificate', async () => {
  const dir = temporaryDir()
  const { cert, key } = issueCert(dir, 'issuer', { subject: '/CN=issuer' })
  writeFileSync(join(dir, 'issuer.pub'), pemOf(rsa.publicKey))
  const certified = await authenticatorOf({ algorithm: 'public-key', public_key: cert })
  const token = await sign({}, { alg: 'ES256', key: createPrivateKey(readFileSync(key)) })
  expect(certified.logIn(token)).toEqual(ALLOW)
  const filed = await authenticatorOf({ algorithm: 'public-key', public_key: join(dir, 'issuer.pub') })
  expect(filed.logIn(await sign({}, { alg: 'RS256', key: rsa.privateKey }))).toEqual(ALLOW)
})

const weak = generateKeyPairSync('rsa', { modulusLength: 1024 }).publicKey
const koblitz = ec('secp256k1').publicKey

test.each<[string, Partial<JwtConfig>, string | RegExp]>([
  ['no secret', { algorithm: 'hmac-based' }, 'hmac-based needs secret'],
  ['an empty secret', { ...SHARED, secret: '' }, 'secret must not be empty'],
  [
    'a secret not in base64',
    { ...SHARED, secret: `${SECRET}!`, secret_base64_encoded: true },
    'is not base64',
  ],
  ['no algorithm', { secret: SECRET }, 'needs algorithm'],
  ['no public key', { algorithm: 'public-key' }, 'public-key needs public_key'],
  ['no key file', { algorithm: 'public-key', public_key: 'gone.pem' }, /cannot read .*gone\.pem/],
  ['a file that is no key', { algorithm: 'public-key', public_key: '-----BEGIN X-----' }, 'public_key: '],
  ['a short RSA key', { algorithm: 'public-key', public_key: pemOf(weak) }, '2048 bits'],
  ['an unknown curve', { algorithm: 'public-key', public_key: pemOf(koblitz) }, 'P-256'],
  ['no endpoint', { use_jwks: true }, 'use_jwks: true needs endpoint'],
  ['an endpoint that is no URL', { use_jwks: true, endpoint: 'keys.json' }, 'url'],
  ['a time among the claims', { ...SHARED, verify_claims: { exp: '1' } }, 'verify_claims: exp'],
])('%s is a problem of the config', async (_, fields, problem) => {
  const made = create(withDefaults(fields))
  await expect(made).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringMatching(problem),
  })
  await expect(made).rejects.not.toThrow(SECRET)
})

test('the config may say it in several ways', () => {
  const claims = [{ name: 'sub', value: '${username}' }]
  expect(configOf({ verify_claims: claims }).verify_claims).toEqual(claims)
  expect(configOf({ verify_claims: { sub: '${username}' } }).verify_claims).toEqual({ sub: '${username}' })
  expect(() => configOf({ verify_claims: { sub: 1 } })).toThrow('verify_claims')
  expect(() => configOf({ verify_claims: [{ name: 'sub' }] })).toThrow('verify_claims')
  expect(() => configOf({ refresh_interval: 9 })).toThrow('refresh_interval')
  expect(() => configOf({ algorithm: 'none' })).toThrow('algorithm')
})

test('a client without a token is for others, unless it is to be refused', async () => {
  const { logIn } = await authenticatorOf()
  const strict = await authenticatorOf({ ...SHARED, on_missing_jwt: 'deny' })
  for (const token of [undefined, '']) {
    expect(logIn(token)).toEqual(IGNORE)
    expect(strict.logIn(token)).toEqual(WRONG_PASSWORD)
  }
  expect(strict.logIn('a password')).toEqual(IGNORE)
  expect(strict.logIn(await sign({}), { authMethod: 'SCRAM-SHA-256' })).toEqual(IGNORE)
})

test.each<[string, object, object]>([
  [
    'not expired',
    { exp: NOW + 1 },
    { kind: 'allow', principal: { isSuperuser: false, expiresAtMs: (NOW + 1) * 1000 } },
  ],
  ['expired this second', { exp: NOW }, WRONG_PASSWORD],
  ['expired', { exp: NOW - 3600 }, WRONG_PASSWORD],
  ['an expiry as text', { exp: `${NOW - 1}` }, WRONG_PASSWORD],
  ['an expiry with a fraction', { exp: NOW + 0.5 }, { principal: { expiresAtMs: NOW * 1000 + 500 } }],
  ['valid from now on', { nbf: NOW }, ALLOW],
  ['not valid yet', { nbf: NOW + 1 }, WRONG_PASSWORD],
  ['not valid yet, as text', { nbf: `${NOW + 1}` }, WRONG_PASSWORD],
  ['issued in the future, as clocks differ', { iat: NOW + 60 }, ALLOW],
  ['an expiry that is no time', { exp: { $gt: 0 } }, WRONG_PASSWORD],
  ['an expiry that is a word', { exp: 'never' }, WRONG_PASSWORD],
  ['an expiry that is null', { exp: null }, WRONG_PASSWORD],
  ['a start that is no time', { nbf: [1] }, WRONG_PASSWORD],
])('%s', async (_, claims, verdict) => {
  const { logIn } = await authenticatorOf(SHARED, now)
  expect(logIn(signed(claims))).toMatchObject(verdict)
})

test('a token that is not to end the connection ends its rules', async () => {
  let seconds = NOW
  const { logIn } = await authenticatorOf({ ...SHARED, disconnect_after_expire: false }, () => seconds * 1000)
  const verdict = logIn(
    await sign({ exp: NOW + 60, acl: [{ permission: 'allow', action: 'all', topic: '#' }] }),
  )
  if (verdict instanceof Promise || verdict.kind !== 'allow') throw new Error('not let in')
  expect(verdict.principal.expiresAtMs).toBeUndefined()
  const rules = compileRules(verdict.principal.acl ?? [])
  const may = () => firstMatch(rules, clientOf(), { kind: 'publish', qos: 0, retain: false }, 'a/b')
  expect(may()).toBe('allow')
  seconds = NOW + 60
  expect(may()).toBe('deny')
  expect(logIn(await sign({ exp: NOW + 3600 }))).toEqual(ALLOW)
})

test('claims must be as the config says', async () => {
  const wanted = { ...SHARED, verify_claims: { sub: '${username}', dev: 'id-${clientid}', aud: 'mqtt' } }
  const { logIn } = await authenticatorOf(wanted)
  const good = { sub: 'ann', dev: 'id-c1', aud: 'mqtt' }
  expect(logIn(await sign(good))).toEqual(ALLOW)
  expect(logIn(await sign({ ...good, aud: ['http', 'mqtt'] }))).toEqual(ALLOW)
  const bad = [
    { ...good, sub: 'bob' },
    { ...good, dev: 'id-c2' },
    { ...good, aud: ['http'] },
    { sub: 'ann', dev: 'id-c1' },
    { ...good, dev: ['id-c1'] },
  ]
  for (const claims of bad) expect(logIn(await sign(claims))).toEqual(WRONG_PASSWORD)
  const list = await authenticatorOf({ ...SHARED, verify_claims: [{ name: 'level', value: '3' }] })
  expect(list.logIn(await sign({ level: '3' }))).toEqual(ALLOW)
  expect(list.logIn(await sign({ level: 3 }))).toEqual(WRONG_PASSWORD)
  // What every object has is no claim.
  const inherited = await authenticatorOf({ ...SHARED, verify_claims: [{ name: 'constructor', value: '' }] })
  expect(inherited.logIn(await sign({}))).toEqual(WRONG_PASSWORD)
})

test('a token says what its client may do and be', async () => {
  const { logIn } = await authenticatorOf({ ...SHARED, acl_claim_name: 'rules' })
  const token = await sign({
    is_superuser: 1,
    client_attrs: { site: 'north', 'bad name': 'x', level: 3 },
    rules: [{ permission: 'allow', action: 'publish', topic: 't/${clientid}/#', qos: [0, 1], retain: false }],
    acl: 'of somebody else',
  })
  expect(logIn(token)).toMatchObject({
    kind: 'allow',
    principal: {
      isSuperuser: true,
      attributes: new Map([['site', 'north']]),
      acl: [
        { permission: 'allow', action: 'publish', topics: [{ kind: 'filter', text: 't/${clientid}/#' }] },
      ],
    },
  })
  const old = await authenticatorOf()
  const verdict = old.logIn(await sign({ acl: { pub: ['p/#'], sub: ['s/#'] } }))
  expect(verdict).toMatchObject({
    principal: { acl: [{ action: 'publish' }, { action: 'subscribe' }, { permission: 'deny' }] },
  })
})

test.each([
  [{ acl: 'everything' }],
  [{ acl: [{ permission: 'allow' }] }],
  [{ acl: [{ permission: 'allow', action: 'all', topic: 'a/#/b' }] }],
  [{ acl: { publish: 'p/#' } }],
  [{ acl: [{ permission: 'allow', action: 'all', topic: 'a', clientid_re: '(' }] }],
])('rules that cannot be read keep their client out: %j', async (claims) => {
  const { logIn, lines } = await authenticatorOf()
  expect(logIn(await sign(claims))).toEqual(WRONG_PASSWORD)
  expect(lines.at(-1)).toMatchObject({ level: 'debug', text: expect.stringMatching(/^token refused: acl: /) })
})

test('what is no token is passed on, and the log does not repeat it', async () => {
  const { logIn, lines } = await authenticatorOf()
  const good = await sign({ secret: 'of the token' })
  const [header = '', payload = ''] = good.split('.')
  const bad = [
    'password',
    '..',
    'a.b.c',
    `${header}.${payload}`,
    `${header}.${payload}.`,
    `${good}.more`,
    ` ${good}`,
    `${good}\n`,
    `${good}=`,
    `${base64url('"text"')}.${payload}.AAAA`,
    `${base64url('{')}.${payload}.AAAA`,
    `${base64url({ alg: 'HS256', crit: ['exp'] })}.${payload}.AAAA`,
    `${base64url({ alg: ['HS256'] })}.${payload}.AAAA`,
    `${header}.${base64url('['.repeat(30_000))}.AAAA`,
    'a'.repeat(65_535),
    `${'a'.repeat(32_000)}.${'b'.repeat(32_000)}.c`,
    '.'.repeat(65_535),
    `${header}.${'a'.repeat(70_000)}.AAAA`,
    '\0\u00ff\u20ac',
  ]
  const startedAtMs = performance.now()
  for (const token of bad) expect(logIn(token), token.slice(0, 40)).toEqual(IGNORE)
  expect(performance.now() - startedAtMs).toBeLessThan(1000)
  const said = JSON.stringify(lines)
  expect(said).not.toContain(payload)
  expect(said.length).toBeLessThan(bad.length * 200)
})

test('a payload that is signed and no object is no token', async () => {
  const { logIn } = await authenticatorOf()
  for (const payload of ['text', '"text"', '[1]', '1', 'null', '{', ''])
    expect(logIn(signed(payload)), payload).toEqual(IGNORE)
})

test('a token of 64 KB is read like any other', async () => {
  const { logIn } = await authenticatorOf()
  const token = await sign({ padding: 'x'.repeat(48_000) })
  expect(token.length).toBeGreaterThan(64_000)
  expect(logIn(token)).toEqual(ALLOW)
})
