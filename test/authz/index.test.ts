// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Type from 'typebox'
import { expect, onTestFinished, test } from 'vitest'
import { type AuthorizationConfig, authorization } from '../../authz/config.ts'
import { Authz } from '../../authz/index.ts'
import { readRuleItem } from '../../authz/rule-item.ts'
import { loadConfig } from '../../config/load.ts'
import { HookBus } from '../../hooks/bus.ts'
import type { Action } from '../../model/access.ts'
import { silentLogger } from '../../model/log.ts'
import { clientOf, temporaryDir } from '../authn/fixtures.ts'
import { HttpService } from '../support/http-server.ts'

const PUBLISH: Action = { kind: 'publish', qos: 0, retain: false }
const SUBSCRIBE: Action = { kind: 'subscribe', qos: 0 }

function load(text: string): AuthorizationConfig {
  const file = join(temporaryDir(), 'hubbub.yaml')
  writeFileSync(file, text)
  return loadConfig({ schema: Type.Object({ authorization }), file, env: {} }).config.authorization
}

async function start(config: AuthorizationConfig, configDir = temporaryDir()) {
  const authz = await Authz.create(config, { log: silentLogger, configDir, now: () => 0 })
  onTestFinished(() => authz.close())
  const bus = new HookBus()
  authz.attach(bus)
  const client = clientOf({ peerHost: '10.0.0.1' })
  const ask = (topic: string, action = PUBLISH) =>
    bus.fold('client.authorize', authz.initial, client, action, topic)
  return { authz, ask, bus, client, configDir }
}

test('config: the defaults', () => {
  expect(load('')).toEqual({
    no_match: 'allow',
    deny_action: 'ignore',
    ignore_backend_failures: false,
    include_mountpoint: false,
    cache: { enable: true, max_size: 32, ttl: 60_000, excludes: [] },
    sources: [{ type: 'file', enable: true, on_failure: 'ignore', precondition: '' }],
  })
})

test.each([
  ['{ no_match: maybe }', /no_match/],
  ['{ deny_action: shout }', /deny_action/],
  ['{ sources: [{ type: oracle }] }', /type/],
  ['{ sources: [{ type: file, colour: red }] }', /colour/],
  ['{ cache: { max_size: 0 } }', /max_size/],
  ['{ cache: { ttl: soon } }', /ttl/],
])('config: %s is refused with its path', (text, path) => {
  expect(() => load(`authorization: ${text}`)).toThrow(path)
})

test('without any file the built-in rules hold', async () => {
  const { authz, ask } = await start(load(''))
  expect(ask('a/b')).toEqual({ result: 'allow', from: 'file' })
  expect(ask('#', SUBSCRIBE)).toEqual({ result: 'deny', from: 'file' })
  expect(ask('$share/g/#', SUBSCRIBE)).toEqual({ result: 'deny', from: 'file' })
  expect(authz.denyAction).toBe('ignore')
})

test('acl.conf beside the config file is read without being named', async () => {
  const dir = temporaryDir()
  writeFileSync(join(dir, 'acl.conf'), '{deny, all, publish, ["a"]}.')
  const { ask } = await start(load('authorization: { no_match: deny }'), dir)
  expect(ask('a')).toEqual({ result: 'deny', from: 'file' })
  expect(ask('b')).toEqual({ result: 'deny', from: 'default' })
})

test('rules may stand in the config itself', async () => {
  const { ask } = await start(
    load(`authorization: { sources: [{ type: file, rules: '{deny, all, all, ["a"]}.' }] }`),
  )
  expect(ask('a')).toMatchObject({ result: 'deny' })
  expect(ask('b')).toEqual({ result: 'allow', from: 'default' })
})

test('a reload reads the file again and drops what was remembered', async () => {
  const dir = temporaryDir()
  const file = join(dir, 'rules.conf')
  writeFileSync(file, '{allow, all, publish, ["a"]}.')
  const { authz, ask } = await start(
    load('authorization: { no_match: deny, sources: [{ type: file, path: rules.conf }] }'),
    dir,
  )
  expect(ask('a')).toMatchObject({ result: 'allow' })
  writeFileSync(file, '{deny, all}.')
  expect(ask('a')).toEqual({ result: 'allow', from: 'cache' })
  await authz.reload()
  expect(ask('a')).toEqual({ result: 'deny', from: 'file' })
})

test('what was remembered of a client is dropped when it has authenticated again', async () => {
  const dir = temporaryDir()
  writeFileSync(join(dir, 'rules.conf'), '{allow, all, publish, ["a"]}.')
  const { ask, bus, client } = await start(
    load('authorization: { no_match: deny, sources: [{ type: file, path: rules.conf }] }'),
    dir,
  )
  expect(ask('a')).toMatchObject({ from: 'file' })
  expect(ask('a')).toMatchObject({ from: 'cache' })
  bus.run('client.check_authn_complete', client, 0, false)
  expect(ask('a')).toMatchObject({ from: 'file' })
})

test('a reload of a broken file names it and keeps the rules', async () => {
  const dir = temporaryDir()
  writeFileSync(join(dir, 'acl.conf'), '{deny, all}.')
  const { authz, ask } = await start(load(''), dir)
  writeFileSync(join(dir, 'acl.conf'), '{allow, all}.\n{allow, }.')
  await expect(authz.reload()).rejects.toThrow(`${join(dir, 'acl.conf')}: line 2`)
  expect(ask('a')).toMatchObject({ result: 'deny' })
})

test.each([
  [`{ sources: [{ type: file, path: none.conf }] }`, /none\.conf/],
  [`{ sources: [{ type: file, rules: 'x' }] }`, /authorization rules: line 1/],
  [`{ sources: [{ type: file, path: a, rules: b }] }`, /not both/],
  [`{ sources: [{ type: file }, { type: file }] }`, /file twice/],
  [`{ cache: { excludes: ['a/#/b'] } }`, /excludes/],
])('%s stops the start', async (text, why) => {
  await expect(start(load(`authorization: ${text}`))).rejects.toThrow(why)
})

test('switched off, a source is not asked', async () => {
  const { ask } = await start(load(`authorization: { sources: [{ type: file, enable: false }] }`))
  expect(ask('#', SUBSCRIBE)).toEqual({ result: 'allow', from: 'default' })
})

test('a new config replaces the old; a bad one changes nothing', async () => {
  const { authz, ask } = await start(load(''))
  await expect(
    authz.update(load('authorization: { sources: [{ type: file, path: none }] }')),
  ).rejects.toThrow(/none/)
  expect(ask('a')).toMatchObject({ result: 'allow' })
  await authz.update(
    load('authorization: { no_match: deny, deny_action: disconnect, sources: [], cache: { enable: false } }'),
  )
  expect(ask('a')).toEqual({ result: 'deny', from: 'default' })
  expect(authz.denyAction).toBe('disconnect')
  expect(authz.cache).toBeUndefined()
})

test('rules of the built-in database hold from the moment they change, and outlive a new config', async () => {
  const built = load('authorization: { no_match: deny, sources: [{ type: built_in_database }] }')
  const { authz, ask } = await start(built)
  expect(ask('a')).toEqual({ result: 'deny', from: 'default' })
  await authz.rules.add(
    { kind: 'username', id: 'ann' },
    readRuleItem({ permission: 'allow', action: 'all', topic: 'a' }),
  )
  expect(ask('a')).toEqual({ result: 'allow', from: 'built_in_database' })
  expect(ask('a')).toMatchObject({ from: 'cache' })
  await authz.update(load('authorization: { no_match: deny, sources: [] }'))
  expect(ask('a')).toEqual({ result: 'deny', from: 'default' })
  await authz.update(built)
  expect(ask('a')).toEqual({ result: 'allow', from: 'built_in_database' })
  await authz.rules.delete({ kind: 'username', id: 'ann' })
  expect(ask('a')).toEqual({ result: 'deny', from: 'default' })
})

test('what is being decided while the config changes is decided by the old one', async () => {
  const service = await HttpService.start()
  onTestFinished(() => service.stop())
  let answer: (() => void) | undefined
  const asked = new Promise<void>((resolve) => {
    service.respond = () =>
      new Promise((respond) => {
        answer = () => respond({ status: 204 })
        resolve()
      })
  })
  const source = `{ type: http, method: get, url: '${service.url}' }`
  const { authz, ask } = await start(load(`authorization: { no_match: deny, sources: [${source}] }`))
  const pending = ask('a')
  await asked
  await authz.update(load('authorization: { no_match: deny, sources: [] }'))
  expect(ask('a')).toEqual({ result: 'deny', from: 'default' })
  answer?.()
  expect(await pending).toEqual({ result: 'allow', from: 'http' })
})

test('a source whose precondition does not give true is not asked', async () => {
  const { ask } = await start(
    load(`authorization:
  no_match: deny
  sources:
    - { type: file, rules: '{allow, all}.', precondition: "str_eq(action, 'publish')" }
`),
  )
  expect(ask('a')).toEqual({ result: 'allow', from: 'file' })
  expect(ask('a', SUBSCRIBE)).toEqual({ result: 'deny', from: 'default' })
})

test('a precondition that fails is no yes', async () => {
  const { ask } = await start(
    load(`authorization:
  no_match: allow
  sources:
    - { type: file, rules: '{deny, all}.', precondition: "json_value(username, 'a')" }
`),
  )
  expect(ask('a')).toEqual({ result: 'deny', from: 'source_failed' })
})

test.each([
  [`{ type: file, precondition: 'str_eq(' }`, /precondition/],
  [`{ type: redis, server: 'x:1', cmd: 'GET a' }`, /authorization source redis.*cmd/],
  [`{ type: http, method: get, url: 'ftp://x' }`, /authorization source http.*url/],
])('%s stops the start and is named', async (source, why) => {
  await expect(start(load(`authorization: { sources: [${source}] }`))).rejects.toThrow(why)
})

test('rules may be about topics with the mountpoint before them', async () => {
  const { authz, client } = await start(
    load(`authorization:
  no_match: deny
  include_mountpoint: true
  sources:
    - { type: file, rules: '{allow, all, all, ["site-1/a/#"]}.' }
`),
  )
  const at = { ...client, mountpoint: 'site-1/' }
  const decide = (topic: string, action: Action) => authz.authorize(authz.initial, at, action, topic)
  expect(decide('a/b', PUBLISH)).toMatchObject({ stop: { result: 'allow' } })
  expect(decide('$share/g/a/#', SUBSCRIBE)).toMatchObject({ stop: { result: 'allow' } })
  expect(decide('b', PUBLISH)).toMatchObject({ ok: { result: 'deny' } })
})

test.each([
  ['ignore', { result: 'allow', from: 'file' }],
  ['deny', { result: 'deny', from: 'source_failed' }],
])('on_failure %s of a source that is down', async (onFailure, expected) => {
  const { ask } = await start(
    load(`
authorization:
  sources:
    - { type: http, method: post, url: 'http://127.0.0.1:1/', on_failure: ${onFailure} }
    - { type: file, rules: '{allow, all}.' }
`),
  )
  expect(await ask('a')).toEqual(expected)
})

test('EMQX’s name of the directory of its files is that of the config file', async () => {
  const dir = temporaryDir()
  writeFileSync(join(dir, 'own.conf'), '{deny, all}.')
  const { ask } = await start(
    load("authorization: { sources: [{ type: file, path: '${EMQX_ETC_DIR}/own.conf' }] }"),
    dir,
  )
  expect(ask('a')).toEqual({ result: 'deny', from: 'file' })
})

test('what holds for every topic is asked anew after a reload, and when a client has authenticated again', async () => {
  const { authz, bus, client, configDir } = await start(load(''))
  const fold = bus.foldAt('client.authorize')
  const ask = (topic: string) =>
    fold.known?.(1, authz.initial, client, PUBLISH, topic) ?? fold.fold(authz.initial, client, PUBLISH, topic)
  const rules = (text: string) => writeFileSync(join(configDir, 'acl.conf'), text)
  expect(ask('a')).toMatchObject({ result: 'allow' })
  rules('{deny, {username, "blocked"}, all, all}. {allow, all}.')
  await authz.reload()
  expect(ask('a')).toMatchObject({ result: 'allow' })
  client.username = 'blocked'
  bus.run('client.check_authn_complete', client, 0, false)
  expect(ask('a')).toEqual({ result: 'deny', from: 'file' })
  rules('{deny, all, publish, ["a"]}. {allow, all}.')
  await authz.reload()
  expect([ask('a'), ask('b')]).toMatchObject([{ result: 'deny' }, { result: 'allow' }])
})

test('answers for every topic count as those of their source', async () => {
  const { authz, bus, client } = await start(load(''))
  const { known } = bus.foldAt('client.authorize')
  for (let i = 0; i < 3; i++) void known?.(1, authz.initial, client, PUBLISH, `a/${i}`)
  expect(authz.chain.links[0]?.counters).toMatchObject({ total: 3, allow: 3, deny: 0 })
  expect(authz.counters).toMatchObject({ total: 3, matchedAllow: 3, allow: 3, cacheMiss: 0 })
})

test('where the topic does not matter the answer is known without asking, and counts the same', async () => {
  const { authz, bus, client } = await start(load(''))
  const { known } = bus.foldAt('client.authorize')
  expect(known?.(1, authz.initial, client, PUBLISH, 'a')).toEqual({ result: 'allow', from: 'file' })
  expect(authz.counters).toMatchObject({ total: 1, matchedAllow: 1, allow: 1 })
  expect(authz.chain.links[0]?.counters).toMatchObject({ total: 1, allow: 1 })
  // Filters are looked at one by one, as are the rules of a login, and superusers.
  expect(known?.(1, authz.initial, client, SUBSCRIBE, 'a')).toBeUndefined()
  expect(known?.(1, authz.initial, { ...client, acl: [] }, PUBLISH, 'a')).toBeUndefined()
  expect(known?.(1, authz.initial, { ...client, isSuperuser: true }, PUBLISH, 'a')).toBeUndefined()
  expect(authz.counters.total).toBe(1)
})

test.each(['allow', 'deny'] as const)(
  'without sources it is %s, which needs no asking and counts the same',
  async (result) => {
    const asked = await start(load(`authorization: { no_match: ${result}, sources: [] }`))
    const { authz, bus, client } = await start(load(`authorization: { no_match: ${result}, sources: [] }`))
    const { known } = bus.foldAt('client.authorize')
    for (const action of [PUBLISH, SUBSCRIBE]) {
      expect(known?.(1, authz.initial, client, action, 'a')).toEqual({ result, from: 'default' })
      expect(asked.ask('a', action)).toEqual({ result, from: 'default' })
    }
    const { cacheMiss, ...counters } = asked.authz.counters
    expect([cacheMiss, authz.counters]).toEqual([1, { ...counters, cacheMiss: 0 }])
    expect(known?.(1, authz.initial, { ...client, acl: [] }, PUBLISH, 'a')).toBeUndefined()
    expect(known?.(1, authz.initial, { ...client, isSuperuser: true }, PUBLISH, 'a')).toBeUndefined()
  },
)

test('what is remembered of a topic is known without asking, and counts the same', async () => {
  const rules = '{deny, all, publish, ["secret/#"]}. {allow, all, publish, ["open/#"]}.'
  const { authz, ask, bus, client } = await start(
    load(`authorization: { sources: [{ type: file, rules: '${rules}' }] }`),
  )
  const { known } = bus.foldAt('client.authorize')
  const topics = ['secret/a', 'open/a', 'other']
  for (const topic of topics) {
    expect(known?.(1, authz.initial, client, PUBLISH, topic), topic).toBeUndefined()
    void ask(topic)
  }
  const { total, allow, deny } = authz.counters
  const again = () => topics.map((topic) => known?.(1, authz.initial, client, PUBLISH, topic))
  // Where no rule matched, later hooks may have a say.
  expect(again()).toEqual([{ result: 'deny', from: 'cache' }, { result: 'allow', from: 'cache' }, undefined])
  expect(authz.counters).toMatchObject({ total: total + 2, cacheHit: 2, allow: allow + 1, deny: deny + 1 })
  expect(topics.slice(0, 2).map((topic) => ask(topic))).toMatchObject([{ from: 'cache' }, { from: 'cache' }])
  expect(authz.counters).toMatchObject({ total: total + 4, cacheHit: 4 })
  authz.chain.forget(client)
  expect(again()).toEqual([undefined, undefined, undefined])
})

test.each([
  ['the same for every topic', ''],
  ['remembered', 'authorization: { sources: [{ type: file, rules: \'{allow, all, publish, ["a"]}.\' }] }'],
  [
    'remembered as a no',
    'authorization: { sources: [{ type: file, rules: \'{deny, all, publish, ["a"]}.\' }] }',
  ],
  ['the default without sources', 'authorization: { no_match: allow, sources: [] }'],
])(
  'an answer that is %s counts as often as it is said to, and not at all if it is only looked at',
  async (_, text) => {
    const { authz, ask, bus, client } = await start(load(text))
    const { known } = bus.foldAt('client.authorize')
    void ask('a')
    const counters = () =>
      [authz.counters, ...authz.chain.links.map((link) => link.counters)].map((one) => grown(one, {}))
    const before = counters()
    const answer = known?.(0, authz.initial, client, PUBLISH, 'a')
    expect(answer).toBeDefined()
    expect(counters()).toEqual(before)

    for (let i = 0; i < 5; i++) expect(known?.(1, authz.initial, client, PUBLISH, 'a')).toBe(answer)
    const five = counters().map((now, i) => grown(now, before[i] ?? {}))
    expect(known?.(5, authz.initial, client, PUBLISH, 'a')).toBe(answer)
    expect(counters().map((now, i) => grown(grown(now, before[i] ?? {}), five[i] ?? {}))).toEqual(five)
    expect(five[0]).toMatchObject({ total: 5 })
  },
)

function grown(now: object, before: object): Record<string, number> {
  const earlier = new Map<string, number>(Object.entries(before))
  return Object.fromEntries(
    Object.entries(now).map(([name, count]: [string, number]) => [name, count - (earlier.get(name) ?? 0)]),
  )
}

test('beside another hook nothing is known before it is asked', async () => {
  const { bus } = await start(load(''))
  const fold = bus.foldAt('client.authorize')
  bus.put('client.authorize', 'other', () => undefined)
  expect(fold.known).toBeUndefined()
  bus.del('client.authorize', 'other')
  expect(fold.known).toBeDefined()
  bus.del('client.authorize', 'authz')
  expect(fold.known).toBeUndefined()
})
