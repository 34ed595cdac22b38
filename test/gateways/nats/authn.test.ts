import { createPrivateKey, createPublicKey, sign } from 'node:crypto'
import { nkeys } from '@nats-io/transport-node'
import { hash as hashBcrypt } from '@node-rs/bcrypt'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { withSafeBinds } from '../../../assemble.ts'
import { loadConfig } from '../../../config/load.ts'
import { configSchema } from '../../../config/schema.ts'
import { checkUserJwt } from '../../../gateways/nats/jwt.ts'
import { isSignedBy, readNkey } from '../../../gateways/nats/nkey.ts'
import { type NatsPeer, natsBed } from '../support/nats-peer.ts'

const USER = 'UB4G32YJ2GVZG3KTC3Z7BLIU3PXPJC2Y4QF6SNJUN2XIF3M3E3NDEUCZ'
const OPERATOR = 'OB43KVROR7TFJ6KAPCYRF2FJROTZAH4FHLTJLPWX4DRZCC5NASLGIT25'
const ACCOUNT = 'ADT7CYVBBPWFLGX6UGK6JXHIJNUVNDK5FSYJMPVUI3AGQXRLC7ZPAOJZ'
const userKey = keyOf(Buffer.from('cd2a384953589f9823f40f22c427e23c6f6d004f48943cefb58b76e7d70c9e74', 'hex'))
const operatorKey = keyOf(Buffer.from(Array.from({ length: 32 }, (_, i) => i + 1)))
const accountKey = keyOf(Buffer.from(Array.from({ length: 32 }, (_, i) => i + 33)))
const NOW = 1_800_000_000
/** A signing key of the account. */
const signer = nkeys.createAccount()
const SIGNER = signer.getPublicKey()

function keyOf(seed: Buffer) {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}

function jwtOf(
  claims: object,
  key: typeof userKey | typeof signer,
  header: object = { typ: 'JWT', alg: 'ed25519-nkey' },
): string {
  const body = [header, claims]
    .map((part) => Buffer.from(JSON.stringify(part)).toString('base64url'))
    .join('.')
  const bytes = Buffer.from(body)
  const signature = 'getPublicKey' in key ? Buffer.from(key.sign(bytes)) : sign(null, bytes, key)
  return `${body}.${signature.toString('base64url')}`
}

const account = (nats: object = {}) => jwtOf({ iss: OPERATOR, sub: ACCOUNT, nats }, operatorKey)
const user = (claims: object = {}, key = accountKey) => jwtOf({ iss: ACCOUNT, sub: USER, ...claims }, key)
const trustOf = (jwt = account()) => ({ operators: new Set([OPERATOR]), accounts: new Map([[ACCOUNT, jwt]]) })
const HERE = { host: '10.1.2.3', isWebSocket: false }
const check = (jwt: string, trust = trustOf(), from = HERE) => checkUserJwt(jwt, trust, NOW * 1000, from)
const reasonOf = (jwt: string, trust = trustOf(), from = HERE) => {
  const answer = check(jwt, trust, from)
  return answer.kind === 'refused' ? answer.reason : answer.kind
}

/** Answers the nonce of INFO. */
function login(peer: NatsPeer, fields: object, key = userKey): string {
  const sig = sign(null, Buffer.from(String(peer.info.nonce)), key).toString('base64url')
  return peer.send(`CONNECT ${JSON.stringify({ sig, ...fields })}`).said()
}

const REFUSED = "-ERR 'Authorization Violation'|"

describe('NKeys', () => {
  test('are read in both cases and by kind', () => {
    const key = readNkey(USER.toLowerCase(), 'user')
    expect(key).toMatchObject({ kind: 'key', text: USER })
    const raw = createPublicKey(userKey).export({ format: 'der', type: 'spki' }).subarray(12)
    expect(key.kind === 'key' && Buffer.from(key.key).equals(raw)).toBe(true)
    expect([readNkey(OPERATOR, 'operator').kind, readNkey(ACCOUNT, 'account').kind]).toEqual(['key', 'key'])
  })

  test.each([
    [OPERATOR, 'invalid_nkey_prefix'],
    [`${USER.slice(0, -1)}A`, 'invalid_nkey_crc'],
    [USER.slice(0, -2), 'invalid_nkey_size'],
    [`${USER.slice(0, -1)}1`, 'invalid_base32_char'],
    ['', 'invalid_nkey_size'],
  ])('%s is %s', (text, problem) => {
    expect(readNkey(text, 'user')).toEqual({ kind: 'bad', problem })
  })

  test('verify signatures, and nothing that is none', () => {
    const key = readNkey(USER, 'user')
    if (key.kind !== 'key') throw new Error('no key')
    const signature = Buffer.from(
      '7lpnHFJpqXOszg5K6oDV0X6Xhyw5njNO4agkQjHBKf7gClN-s-kFv8b-A3yC9leu0E-3A0BFaTvPsvA9stW8BQ',
      'base64url',
    )
    expect(isSignedBy(key.key, Buffer.from('test-nonce'), signature)).toBe(true)
    expect(isSignedBy(key.key, Buffer.from('other'), signature)).toBe(false)
    expect(isSignedBy(key.key, Buffer.from('test-nonce'), signature.subarray(1))).toBe(false)
  })
})

describe('methods', () => {
  test('a token, plain or as a bcrypt hash', async () => {
    const hash = await hashBcrypt('nats_token', { cost: 4 })
    const plain = natsBed({ internal_authn: [{ type: 'token', token: 'nats_token' }] })
    expect(plain.peer().send('CONNECT {"auth_token":"nats_token","user":"u"}').said()).toBe('+OK|')
    expect(plain.broker.logins[0]).toMatchObject({ enableAuthn: false, client: { username: 'token' } })
    expect(plain.peer().send('CONNECT {"auth_token":"wrong"}').said()).toBe(REFUSED)
    expect(plain.peer().send('CONNECT {"user":"u","pass":"p"}').said()).toBe(REFUSED)
    const hashed = natsBed({ internal_authn: [{ type: 'token', token: hash }] })
    const wrong = hashed.peer().send('CONNECT {"auth_token":"wrong"}')
    const right = hashed.peer().send('CONNECT {"auth_token":"nats_token"}')
    await expect.poll(() => [wrong.isClosed, hashed.broker.logins.length]).toEqual([true, 1])
    expect(right.said()).toBe('+OK|')
  })

  test('an NKey in the list, with a signature of the nonce', () => {
    const bed = natsBed({ internal_authn: [{ type: 'nkey', nkeys: [USER] }] })
    expect(login(bed.peer(), { nkey: USER })).toBe('+OK|')
    expect(bed.broker.logins[0]?.client.username).toBe(USER)
    expect(login(bed.peer(), { nkey: USER }, accountKey)).toBe(REFUSED)
    expect(login(bed.peer(), { nkey: USER, sig: '%%' })).toBe(REFUSED)
    expect(login(bed.peer(), { nkey: USER, sig: '' })).toBe(REFUSED)
    expect(login(bed.peer(), { nkey: 'UCC4GFRRXUUMKTNP67VQTABCLLODTNCNOBIUNUHUAMEFP3OEFH3QD7YB' })).toBe(
      REFUSED,
    )
  })

  test('a method without its credential is passed over if somebody comes after it; a wrong one is not', () => {
    const bed = natsBed({
      internal_authn: [
        { type: 'nkey', nkeys: [USER] },
        { type: 'token', token: 't' },
      ],
    })
    expect(bed.peer().send('CONNECT {"auth_token":"t"}').said()).toBe('+OK|')
    expect(bed.peer({ isGuarded: true }).send('CONNECT {"user":"u","pass":"p"}').said()).toBe('+OK|')
    expect(bed.broker.logins[1]).toMatchObject({ enableAuthn: true, client: { username: 'u' } })
    expect(bed.peer({ isGuarded: true }).send('CONNECT {"auth_token":"x","user":"u"}').said()).toBe(REFUSED)
    expect(bed.peer({ enableAuthn: false }).send('CONNECT {"auth_token":"x"}').said()).toBe('+OK|')
  })

  test('a JWT says who it is, what it may, and until when', () => {
    vi.useFakeTimers({ now: NOW * 1000 })
    onTestFinished(() => void vi.useRealTimers())
    const nats = { pub: { allow: ['a.>'], deny: ['a.secret'] }, sub: { allow: ['a.*'] } }
    const jwt = user({ exp: NOW + 60, nats })
    const resolver = { type: 'memory', resolver_preload: [{ pubkey: ACCOUNT, jwt: account() }] }
    const internal_authn = [{ type: 'jwt', trusted_operators: [OPERATOR], resolver }]
    const bed = natsBed({ internal_authn, default_heartbeat_interval: '5m' })
    const peer = bed.peer()
    expect(login(peer, { jwt, nkey: USER, verbose: false })).toBe('')
    expect(bed.broker.logins[0]?.client.username).toBe(USER)
    peer.send('PUB a.b 0', '', 'PUB a.secret 0', '', 'PUB b 0', '', 'SUB a.b 1', 'SUB a.> 2')
    expect(peer.said().match(/"[^"]+"/g)).toEqual(['"a.secret"', '"b"', '"a.>"'])
    const detours = ['a/secret', '_MQTT.reply.-.YS9zZWNyZXQ', '$delayed.1.a.secret']
    for (const subject of detours) peer.send(`PUB ${subject} 0`, '')
    expect(peer.said().match(/"[^"]+"/g)).toEqual(detours.map((subject) => `"${subject}"`))
    expect(login(bed.peer(), { jwt, nkey: ACCOUNT })).toBe(REFUSED)
    expect(
      bed
        .peer()
        .send(`CONNECT ${JSON.stringify({ jwt })}`)
        .said(),
    ).toBe(REFUSED)
    vi.advanceTimersByTime(59_999)
    expect(peer.isClosed).toBe(false)
    vi.advanceTimersByTime(1)
    expect(peer.isClosed).toBe(true)
    expect(peer.said()).toMatch(/-ERR 'User Authentication Expired'\|$/)
  })

  test('guard listeners as authenticators do: those without either are bound to loopback', () => {
    const overrides = { gateway: { nats: { listeners: { tcp: { default: { bind: '0.0.0.0:4222' } } } } } }
    const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
    expect(withSafeBinds(config).rebound).toEqual(['nats:tcp:default'])
    Object.assign(config.gateway.nats ?? {}, { internal_authn: [{ type: 'token', token: 't' }] })
    expect(withSafeBinds(config).rebound).toEqual([])
  })

  test('keys that are none stop the start, naming the place', () => {
    expect(() => natsBed({ internal_authn: [{ type: 'nkey', nkeys: [USER, ACCOUNT] }] })).toThrow(
      `internal_authn[0]: nkeys[1]: "${ACCOUNT}" is no NKey of kind user: invalid_nkey_prefix`,
    )
    expect(() => natsBed({ internal_authn: [{ type: 'jwt', trusted_operators: [OPERATOR] }] })).toThrow(
      'resolver',
    )
    expect(() => natsBed({ internal_authn: [{ type: 'token', token: 't', cache_ttl: 1 }] })).toThrow(
      'cache_ttl',
    )
  })
})

describe('JWTs', () => {
  test('are good when every signature and time is', () => {
    expect(check(user({ exp: NOW + 1, nbf: NOW }))).toEqual({
      kind: 'valid',
      user: USER,
      expiresAtMs: (NOW + 1) * 1000,
      permissions: undefined,
      isBearer: false,
    })
    const signed = jwtOf({ iss: USER, sub: USER, nats: { issuer_account: ACCOUNT } }, userKey)
    expect(reasonOf(signed)).toBe('jwt_untrusted_signing_key')
  })

  test.each([
    ['a.b', 'invalid_jwt_format'],
    ['%.b.c', 'invalid_jwt_base64'],
    ['e30.e30.e30', 'invalid_jwt_alg'],
    [user({ exp: NOW }), 'jwt_expired'],
    [user({ nbf: NOW + 1 }), 'jwt_not_before'],
    [user({ exp: 'soon' }), 'invalid_jwt_claims'],
    [user({ nats: { pub: { allow: 'a' } } }), 'invalid_jwt_claims'],
    [user({ nats: { pub: 'a' } }), 'invalid_jwt_claims'],
    [user({ nats: { src: 'anywhere' } }), 'invalid_jwt_claims'],
    [user({ nats: { src: ['10.9.0.0/16'] } }), 'jwt_source_not_allowed'],
    [user({ nats: { allowed_connection_types: ['WEBSOCKET'] } }), 'jwt_connection_type_not_allowed'],
    [user({ nats: { times: [{ start: '08:00:00', end: '17:00:00' }] } }), 'jwt_times_not_supported'],
    [user({ sub: ACCOUNT }), 'invalid_jwt_subject'],
    [user({ iss: OPERATOR }), 'jwt_account_not_found'],
    [user({}, userKey), 'invalid_jwt_signature'],
    [jwtOf({ iss: ACCOUNT, sub: USER }, accountKey, { alg: 'none' }), 'invalid_jwt_alg'],
  ])('%#: is refused as %s', (jwt, reason) => {
    expect(reasonOf(jwt)).toBe(reason)
  })

  test('of accounts are checked too', () => {
    expect(reasonOf(user(), trustOf(jwtOf({ iss: ACCOUNT, sub: ACCOUNT }, accountKey)))).toBe(
      'jwt_untrusted_operator',
    )
    expect(reasonOf(user(), trustOf(jwtOf({ iss: OPERATOR, sub: USER }, operatorKey)))).toBe(
      'invalid_jwt_account',
    )
    expect(reasonOf(user(), trustOf(jwtOf({ iss: OPERATOR, sub: ACCOUNT }, accountKey)))).toBe(
      'invalid_jwt_signature',
    )
  })
  test('may say where their user comes from', () => {
    const nats = { src: ['192.168.0.0/16', '10.1.0.0/16'], allowed_connection_types: ['standard'], times: [] }
    expect(reasonOf(user({ nats }))).toBe('valid')
    expect(reasonOf(user({ nats: { src: '192.168.0.0/16,10.1.2.3' } }))).toBe('valid')
    expect(reasonOf(user({ nats }), trustOf(), { host: 'fe80::1', isWebSocket: false })).toBe(
      'jwt_source_not_allowed',
    )
    expect(reasonOf(user({ nats }), trustOf(), { ...HERE, isWebSocket: true })).toBe(
      'jwt_connection_type_not_allowed',
    )
  })

  test('are taken back by the account up to some time, of one user or of all', () => {
    for (const who of [USER, '*']) {
      const trust = trustOf(account({ revocations: { [who]: NOW - 10 } }))
      expect(reasonOf(user({ iat: NOW - 10 }), trust)).toBe('jwt_revoked')
      expect(reasonOf(user(), trust)).toBe('jwt_revoked')
      expect(reasonOf(user({ iat: NOW - 9 }), trust)).toBe('valid')
    }
    expect(reasonOf(user(), trustOf(account({ revocations: { [ACCOUNT]: NOW } })))).toBe('valid')
  })

  test('without permissions of their own give those of the account', () => {
    const trust = trustOf(account({ default_permissions: { pub: { allow: ['a'] }, sub: {} } }))
    for (const nats of [{}, { pub: {}, sub: {} }]) {
      const answer = check(user({ nats }), trust)
      const permissions = answer.kind === 'valid' ? answer.permissions : undefined
      expect([permissions?.mayPublish('a'), permissions?.mayPublish('b')]).toEqual([true, false])
    }
    const own = check(user({ nats: { sub: { deny: ['b'] } } }), trust)
    expect(own.kind === 'valid' && own.permissions?.mayPublish('b')).toBe(true)
  })

  test('of a scoped signing key say what its template says', () => {
    const of = (key: object) =>
      trustOf(account({ signing_keys: [{ kind: 'user_scope', key: SIGNER, ...key }] }))
    const signed = (nats: object = {}) =>
      jwtOf({ iss: SIGNER, sub: USER, nats: { issuer_account: ACCOUNT, ...nats } }, signer)
    const trust = of({ template: { pub: { allow: ['a'] }, src: ['10.0.0.0/8'], bearer_token: true } })
    const answer = check(signed({ bearer_token: false }), trust)
    expect(answer).toMatchObject({ kind: 'valid', isBearer: true })
    expect(answer.kind === 'valid' && answer.permissions?.mayPublish('b')).toBe(false)
    expect(reasonOf(signed(), trust, { host: '1.2.3.4', isWebSocket: false })).toBe('jwt_source_not_allowed')
    expect(reasonOf(signed({ pub: { allow: ['b'] } }), trust)).toBe('jwt_scope_violated')
    expect(reasonOf(signed(), of({ kind: 'other' }))).toBe('jwt_scope_violated')
    const named = of({ template: { pub: { allow: ['{{name()}}.>'] } } })
    expect(reasonOf(signed(), named)).toBe('jwt_template_not_supported')
    expect(reasonOf(signed(), trustOf(account({ signing_keys: [SIGNER] })))).toBe('valid')
    expect(reasonOf(signed())).toBe('jwt_untrusted_signing_key')
  })

  test('may name queue groups with what may be subscribed to', () => {
    const permissions = (sub: object) => {
      const answer = check(user({ nats: { sub } }))
      if (answer.kind !== 'valid' || answer.permissions === undefined) throw new Error('no permissions')
      const { permissions } = answer
      return (...groups: string[]) => groups.map((group) => permissions.maySubscribe('a.b', group))
    }
    expect(permissions({ allow: ['a.*'] })('', 'x')).toEqual([true, true])
    expect(permissions({ allow: ['a.b v1.*'] })('', 'x', 'v1.x')).toEqual([false, false, true])
    expect(permissions({ allow: ['a.b', 'a.* v1'] })('', 'x', 'v1')).toEqual([true, false, true])
    expect(permissions({ deny: ['a.> *.dev'] })('', 'x.dev', 'x')).toEqual([true, false, true])
    expect(permissions({ deny: ['a.>'] })('', 'x')).toEqual([false, false])
  })

  test('of a bearer need no signature, unless the account says so', () => {
    const jwt = user({ nats: { bearer_token: true } })
    const bedOf = (nats: object) => {
      const resolver = { type: 'memory', resolver_preload: [{ pubkey: ACCOUNT, jwt: account(nats) }] }
      return natsBed({ internal_authn: [{ type: 'jwt', trusted_operators: [OPERATOR], resolver }] })
    }
    const connect = `CONNECT ${JSON.stringify({ jwt })}`
    expect(bedOf({}).peer().send(connect).said()).toBe('+OK|')
    expect(
      bedOf({ limits: { disallow_bearer: true } })
        .peer()
        .send(connect)
        .said(),
    ).toBe(REFUSED)
  })
})
