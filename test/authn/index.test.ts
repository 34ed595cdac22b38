import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Type from 'typebox'
import { expect, onTestFinished, test } from 'vitest'
import { type AuthenticationConfig, authentication, authenticatorList } from '../../authn/config.ts'
import { Authn, type AuthnConfig } from '../../authn/index.ts'
import { loadConfig } from '../../config/load.ts'
import { HookBus } from '../../hooks/bus.ts'
import type { Login, Verdict } from '../../model/access.ts'
import { silentLogger } from '../../model/log.ts'
import { ALLOW, builtIn, IGNORE, loginOf, NOT_AUTHORIZED, temporaryDir, WRONG_PASSWORD } from './fixtures.ts'

const ANONYMOUS: Verdict = { kind: 'allow', principal: { isSuperuser: false, isAnonymous: true } }

async function start(config: AuthnConfig, dataDir = temporaryDir()) {
  const authn = await Authn.create(config, { log: silentLogger, dataDir, configDir: dataDir })
  onTestFinished(() => authn.close())
  const bus = new HookBus()
  authn.attach(bus)
  const login = (fields?: Parameters<typeof loginOf>[0]) =>
    bus.fold('client.authenticate', IGNORE, loginOf(fields))
  return { authn, bus, login, dataDir }
}

test('without authenticators everybody is let in as anonymous', async () => {
  const { login } = await start({})
  expect(login()).toEqual(ANONYMOUS)
  expect(login({ client: { username: undefined }, password: undefined })).toEqual(ANONYMOUS)
})

test('authenticators that are all switched off are none', async () => {
  const { login } = await start({ global: [builtIn({ enable: false })] })
  expect(login()).toEqual(ANONYMOUS)
})

test('with an authenticator strangers and anonymous clients are not let in', async () => {
  const { authn, login } = await start({ global: [builtIn()] })
  await authn.users('mqtt:global')?.add({ userId: 'ann', password: 'secret' })
  expect(login()).toEqual(ALLOW)
  expect(login({ password: Buffer.from('wrong') })).toEqual(WRONG_PASSWORD)
  expect(login({ client: { username: 'bob' } })).toEqual(NOT_AUTHORIZED)
  expect(login({ client: { username: undefined }, password: undefined })).toEqual(NOT_AUTHORIZED)
  expect(login({ authMethod: 'SCRAM-SHA-256' })).toEqual({ kind: 'deny', reason: 0x8c })
})

test('a listener may skip authentication, or refuse clients without a name at once', async () => {
  const { login } = await start({ global: [builtIn()] })
  expect(login({ enableAuthn: false, client: { username: 'bob' } })).toEqual(ANONYMOUS)
  for (const username of [undefined, '']) {
    expect(login({ enableAuthn: 'quick_deny_anonymous', client: { username } })).toEqual(NOT_AUTHORIZED)
  }
  const open = await start({})
  expect(open.login({ enableAuthn: 'quick_deny_anonymous', client: { username: '' } })).toEqual(
    NOT_AUTHORIZED,
  )
  expect(open.login({ enableAuthn: 'quick_deny_anonymous' })).toEqual(ANONYMOUS)
  // The name is in the data of the method.
  expect(
    login({ enableAuthn: 'quick_deny_anonymous', authMethod: 'SCRAM-SHA-256', client: { username: '' } }),
  ).toEqual({ kind: 'deny', reason: 0x8c })
})

test('a definite answer ends the hooks, else a later one may decide', async () => {
  const { authn, bus, login } = await start({ global: [builtIn()] })
  await authn.users('mqtt:global')?.add({ userId: 'ann', password: 'secret' })
  const seen: Verdict[] = []
  bus.add('client.authenticate', 'exhook', (verdict) => {
    seen.push(verdict)
    return { stop: ALLOW }
  })
  expect(login({ password: Buffer.from('wrong') })).toEqual(WRONG_PASSWORD)
  expect(seen).toEqual([])
  expect(login({ client: { username: 'bob' } })).toEqual(ALLOW)
  expect(seen).toEqual([NOT_AUTHORIZED])
})

test('where nobody is configured a later hook may still refuse, and an earlier answer stays', async () => {
  const later = await start({})
  later.bus.add('client.authenticate', 'exhook', () => ({ stop: NOT_AUTHORIZED }))
  expect(later.login()).toEqual(NOT_AUTHORIZED)
  const earlier = await start({})
  earlier.bus.add('client.authenticate', 'first', () => ({ ok: WRONG_PASSWORD }), { priority: 1000 })
  expect(earlier.login()).toEqual(WRONG_PASSWORD)
})

test('every chain has its own users', async () => {
  const { authn, login, dataDir } = await start({
    global: builtIn(),
    gateways: new Map([['stomp', [builtIn()]]]),
    listeners: new Map<string, AuthenticationConfig>([
      ['tcp:inside', [builtIn()]],
      ['stomp:tcp:shop', builtIn()],
    ]),
  })
  const clients: [chain: string, client: Partial<Login['client']>][] = [
    ['mqtt:global', { listener: 'tcp:default' }],
    ['tcp:inside', { listener: 'tcp:inside' }],
    ['stomp:global', { listener: 'stomp:tcp:default', gateway: 'stomp' }],
    ['stomp:tcp:shop', { listener: 'stomp:tcp:shop', gateway: 'stomp' }],
  ]
  for (const [chain] of clients) await authn.users(chain)?.add({ userId: chain, password: 'secret' })
  for (const [own] of clients) {
    for (const [chain, client] of clients) {
      expect(login({ client: { ...client, username: own } })).toEqual(own === chain ? ALLOW : NOT_AUTHORIZED)
    }
  }
  expect(existsSync(join(dataDir, 'authn', 'stomp.tcp.shop.json'))).toBe(true)
  expect(login({ client: { listener: 'coap:udp:default', gateway: 'coap' } })).toEqual(ANONYMOUS)
})

test('a new config replaces the old; a bad one changes nothing', async () => {
  const { authn, login, dataDir } = await start({ global: [builtIn()] })
  await authn.users('mqtt:global')?.add({ userId: 'ann', password: 'secret' })
  const bad = authn.update({
    global: [builtIn()],
    listeners: new Map([['tcp:x', builtIn({ bootstrap_file: 'none' })]]),
  })
  await expect(bad).rejects.toThrow(/none/)
  expect(login()).toEqual(ALLOW)
  await authn.update({ global: [builtIn({ user_id_type: 'clientid' })] })
  expect(login()).toEqual(NOT_AUTHORIZED)
  await authn.update({})
  expect(login()).toEqual(ANONYMOUS)
  expect(existsSync(join(dataDir, 'authn', 'mqtt.global.json'))).toBe(true)
})

test('an authenticator twice in a chain, or one there is not, is refused', async () => {
  await expect(start({ global: [builtIn(), builtIn()] })).rejects.toThrow(
    /password_based:built_in_database twice/,
  )
  await expect(start({ global: [{ ...builtIn(), backend: 'abacus' }] })).rejects.toThrow(
    /password_based:abacus/,
  )
})

function load(text: string, env: NodeJS.ProcessEnv = {}) {
  const file = join(temporaryDir(), 'hubbub.yaml')
  writeFileSync(file, text)
  const schema = Type.Object({ authentication }, { additionalProperties: false })
  return authenticatorList(loadConfig({ schema, file, env }).config.authentication)
}

test('config: nothing, one or a list, with defaults filled in and units read', () => {
  expect(load('')).toEqual([])
  const one = 'mechanism: password_based, backend: built_in_database'
  const expected = builtIn({ password_hash_algorithm: { name: 'sha256', salt_position: 'prefix' } })
  expect(load(`authentication: { ${one}, password_hash_algorithm: { name: sha256 } }`)).toEqual([expected])
  expect(
    load(`authentication: [{ ${one}, timeout: 3s, password_hash_algorithm: { name: bcrypt } }]`),
  ).toEqual([builtIn({ timeout: 3000, password_hash_algorithm: { name: 'bcrypt', salt_rounds: 10 } })])
  expect(
    load(`authentication: [{ ${one}, password_hash_algorithm: { name: sha256 } }]`, {
      HUBBUB__AUTHENTICATION__1__ENABLE: 'false',
    }),
  ).toEqual([{ ...expected, enable: false }])
})

test.each([
  ['mechanism: magic', /mechanism/],
  ['mechanism: password_based, backend: abacus, password_hash_algorithm: { name: plain }', /backend/],
  ['mechanism: password_based, backend: built_in_database', /password_hash_algorithm/],
  ['mechanism: password_based, backend: built_in_database, password_hash_algorithm: { name: rot13 }', /name/],
  [
    'mechanism: password_based, backend: built_in_database, password_hash_algorithm: { name: bcrypt, salt_rounds: 31 }',
    /salt_rounds/,
  ],
  [
    'mechanism: password_based, backend: built_in_database, password_hash_algorithm: { name: pbkdf2 }',
    /mac_fun|iterations/,
  ],
  [
    'mechanism: password_based, backend: built_in_database, password_hash_algorithm: { name: plain }, colour: red',
    /colour/,
  ],
])('config: refused with its path: %s', (text, path) => {
  expect(() => load(`authentication: [{ ${text} }]`)).toThrow(path)
  expect(() => load(`authentication: { ${text} }`)).toThrow(path)
})
