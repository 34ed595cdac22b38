// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the placeholders are what is tested
import { expect, type Mock, test, vi } from 'vitest'
import { AuthzCache } from '../../authz/cache.ts'
import { AuthzChain, type ChainOptions } from '../../authz/chain.ts'
import { parseAcl } from '../../authz/json-rule.ts'
import type { Source, SourceAnswer } from '../../authz/source.ts'
import { HookBus } from '../../hooks/bus.ts'
import type { Authorization } from '../../hooks/hookpoints.ts'
import type { Action, Rule } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { BrokerError } from '../../model/errors.ts'
import { silentLogger } from '../../model/log.ts'
import { clientOf, recordingLog } from '../authn/fixtures.ts'

const PUBLISH: Action = { kind: 'publish', qos: 1, retain: false }
const SUBSCRIBE: Action = { kind: 'subscribe', qos: 1 }
const DEFAULT: Authorization = { result: 'allow', from: 'default' }

interface SpiedSource extends Source {
  readonly authorize: Mock<Source['authorize']>
}

const source = (type: string, authorize: Source['authorize'] | SourceAnswer): SpiedSource => ({
  type,
  authorize: vi.fn(typeof authorize === 'function' ? authorize : () => authorize),
  close() {},
})
const failing = (type: string, isAsync = false): Source =>
  source(type, () => {
    const error = new BrokerError('BACKEND_FAILED', 'down')
    if (isAsync) return Promise.reject(error)
    throw error
  })

function start(
  sources: Source[],
  options: Partial<ChainOptions> & { isCached?: boolean; now?: () => number } = {},
  log = silentLogger,
) {
  const now = options.now ?? (() => 0)
  const cache = options.isCached
    ? new AuthzCache({ maxTopics: 32, ttlMs: 60_000, excludes: [] }, now)
    : undefined
  const chain = new AuthzChain(
    sources,
    { noMatch: 'deny', ignoreBackendFailures: false, ...options },
    cache,
    now,
    log,
  )
  const bus = new HookBus()
  bus.put('client.authorize', 'authz', chain.authorize, { priority: 960 })
  const ask = (client: Partial<ClientInfo> | ClientInfo = {}, action = PUBLISH, topic = 't') =>
    bus.fold(
      'client.authorize',
      DEFAULT,
      'key' in client ? (client as ClientInfo) : clientOf(client),
      action,
      topic,
    )
  return { chain, bus, ask }
}

test.each<[string, SourceAnswer[], Authorization]>([
  ['the first yes', ['ignore', 'allow', 'deny'], { result: 'allow', from: 's1' }],
  ['the first no', ['deny', 'allow'], { result: 'deny', from: 's0' }],
  ['nobody', ['ignore', 'ignore'], { result: 'deny', from: 'default' }],
  ['no sources', [], { result: 'deny', from: 'default' }],
])('%s decides', async (_, answers, expected) => {
  const sync = start(answers.map((answer, n) => source(`s${n}`, answer)))
  expect(sync.ask()).toEqual(expected)
  const slow = start(answers.map((answer, n) => source(`s${n}`, async () => answer)))
  expect(await slow.ask()).toEqual(expected)
  const mixed = start(answers.map((answer, n) => source(`s${n}`, n % 2 === 0 ? async () => answer : answer)))
  expect(await mixed.ask()).toEqual(expected)
})

test('a superuser may do everything and nobody is asked', () => {
  const no = source('s', 'deny')
  const { chain, ask } = start([no], { isCached: true })
  expect(ask({ isSuperuser: true })).toEqual({ result: 'allow', from: 'superuser' })
  expect(no.authorize).not.toHaveBeenCalled()
  expect(chain.counters).toMatchObject({ total: 1, superuser: 1, allow: 1, cacheMiss: 0 })
})

test('rules that came with the login are asked first', () => {
  const yes = source('s', 'allow')
  const { ask } = start([yes])
  const acl = parseAcl([{ permission: 'deny', action: 'all', topic: 'secret/#' }])
  expect(ask({ acl }, SUBSCRIBE, 'secret/x')).toEqual({ result: 'deny', from: 'acl' })
  expect(yes.authorize).not.toHaveBeenCalled()
  expect(ask({ acl }, SUBSCRIBE, 'x')).toEqual({ result: 'allow', from: 's' })
})

test('rules of the old format deny what they do not allow', () => {
  const { ask } = start([source('s', 'allow')])
  const acl = parseAcl({ pub: ['p/${clientid}'] })
  expect(ask({ acl }, PUBLISH, 'p/c1')).toMatchObject({ result: 'allow' })
  expect(ask({ acl }, PUBLISH, 'q')).toEqual({ result: 'deny', from: 'acl' })
})

test('when the login has expired its rules deny everything, even what the cache knows', () => {
  let now = 0
  const { ask } = start([], { isCached: true, now: () => now })
  const client = clientOf({ acl: parseAcl({ all: ['#'] }), authExpiresAtMs: 1000 })
  expect(ask(client)).toMatchObject({ result: 'allow' })
  now = 999
  expect(ask(client)).toEqual({ result: 'allow', from: 'cache' })
  now = 1000
  expect(ask(client)).toEqual({ result: 'deny', from: 'expired' })
  expect(ask(client, SUBSCRIBE)).toEqual({ result: 'deny', from: 'expired' })
})

test('sources see the checked topic', () => {
  const s = source('s', 'allow')
  const { ask } = start([s])
  void ask({}, SUBSCRIBE, '$share/g/a/#')
  void ask({}, PUBLISH, '$delayed/5/b')
  expect(s.authorize.mock.calls.map(([, , topic]) => topic)).toEqual(['a/#', 'b'])
})

test.each([false, true])(
  'a source that fails is passed over and told of once (rejecting: %s)',
  async (isAsync) => {
    const { log, lines } = recordingLog()
    const { chain, ask } = start([failing('db', isAsync), source('s', 'allow')], {}, log)
    for (let n = 0; n < 3; n++) expect(await ask()).toEqual({ result: 'allow', from: 's' })
    expect(lines).toEqual([
      { level: 'warn', fields: { source: 'db' }, text: expect.stringContaining('down') },
    ])
    expect(chain.links[0]?.counters).toEqual({ total: 3, allow: 0, deny: 0, nomatch: 0, ignore: 3 })
  },
)

test('a source that works again says so', () => {
  const { log, lines } = recordingLog()
  let isUp = false
  const flaky = source('db', () => {
    if (!isUp) throw new BrokerError('BACKEND_TIMEOUT', 'slow')
    return 'allow'
  })
  const { ask } = start([flaky], {}, log)
  void ask()
  isUp = true
  void ask()
  void ask()
  expect(lines.map(({ level }) => level)).toEqual(['warn', 'info'])
})

test.each([false, true])(
  'a failure never turns into a yes, unless the config says so (rejecting: %s)',
  async (isAsync) => {
    const safe = start([failing('db', isAsync)], { noMatch: 'allow' })
    expect(await safe.ask()).toEqual({ result: 'deny', from: 'source_failed' })
    const lax = start([failing('db', isAsync)], { noMatch: 'allow', ignoreBackendFailures: true })
    expect(await lax.ask()).toEqual({ result: 'allow', from: 'default' })
  },
)

test('what was answered while a source failed is not remembered', async () => {
  const s = source('s', 'allow')
  const { chain, ask } = start([failing('db'), s], { isCached: true })
  const client = clientOf()
  void ask(client)
  void ask(client)
  expect(s.authorize).toHaveBeenCalledTimes(2)
  expect(chain.counters).toMatchObject({ cacheHit: 0, cacheMiss: 2 })
})

test('publishing is remembered per topic, QoS and retain; subscribing never is', async () => {
  const s = source('s', async (): Promise<SourceAnswer> => 'allow')
  const { chain, ask } = start([s], { isCached: true })
  const client = clientOf()
  await ask(client)
  expect(ask(client)).toEqual({ result: 'allow', from: 'cache' })
  await ask(client, { ...PUBLISH, retain: true } as Action)
  await ask(client, PUBLISH, 'other')
  for (let n = 0; n < 2; n++) await ask(client, SUBSCRIBE)
  expect(s.authorize).toHaveBeenCalledTimes(5)
  expect(chain.counters).toMatchObject({ total: 6, allow: 6, matchedAllow: 5, cacheHit: 1, cacheMiss: 3 })
})

test('a no and a no match are remembered too, and later hooks are still asked after a no match', () => {
  const s = source('s', (_client, _action, topic) => (topic === 'no' ? 'deny' : 'ignore'))
  const { chain, bus, ask } = start([s], { isCached: true })
  const client = clientOf()
  for (let n = 0; n < 2; n++) expect(ask(client, PUBLISH, 'no')).toMatchObject({ result: 'deny' })
  for (let n = 0; n < 2; n++) expect(ask(client)).toEqual({ result: 'deny', from: 'default' })
  expect(s.authorize).toHaveBeenCalledTimes(2)
  bus.add('client.authorize', 'exhook', () => ({ stop: { result: 'allow', from: 'exhook' } }))
  expect(ask(client)).toEqual({ result: 'allow', from: 'exhook' })
  expect(ask(client, PUBLISH, 'no')).toEqual({ result: 'deny', from: 'cache' })
  expect(chain.counters).toMatchObject({ nomatch: 3, matchedDeny: 1, deny: 6 })
})

test('what an earlier hook said counts more than the default', () => {
  const { bus, ask } = start([source('s', 'ignore')], { noMatch: 'allow' })
  bus.add('client.authorize', 'first', () => ({ ok: { result: 'deny', from: 'first' } }), { priority: 1000 })
  expect(ask()).toEqual({ result: 'deny', from: 'first' })
})

test('questions asked at the same time do not get in each other’s way', async () => {
  const s = source('s', async (_client, _action, topic) => (Number(topic) % 2 === 0 ? 'allow' : 'deny'))
  const { ask } = start([source('first', async (): Promise<SourceAnswer> => 'ignore'), s], { isCached: true })
  const client = clientOf()
  const results = await Promise.all(Array.from({ length: 200 }, (_, n) => ask(client, PUBLISH, String(n))))
  expect(results.map(({ result }) => result)).toEqual(results.map((_, n) => (n % 2 === 0 ? 'allow' : 'deny')))
})

test.each(['clear', 'forget'] as const)(
  'an answer that was asked for before the cache had to %s is not remembered after it',
  async (way) => {
    const answers: ((answer: SourceAnswer) => void)[] = []
    const slow = source('s', () => new Promise<SourceAnswer>((resolve) => answers.push(resolve)))
    const cache = new AuthzCache({ maxTopics: 32, ttlMs: 60_000, excludes: [] }, () => 0)
    const options: ChainOptions = { noMatch: 'deny', ignoreBackendFailures: false }
    const chain = new AuthzChain([slow], options, cache, () => 0, silentLogger)
    const client = clientOf()
    const asked = chain.authorize(DEFAULT, client, PUBLISH, 't')
    cache[way](client)
    answers[0]?.('allow')

    expect(await asked).toEqual({ stop: { result: 'allow', from: 's' } })
    expect(cache.list(client)).toEqual([])

    const again = chain.authorize(DEFAULT, client, PUBLISH, 't')
    answers[1]?.('deny')
    await again
    expect(cache.list(client)).toMatchObject([{ topic: 't', result: 'deny' }])
  },
)

test.each([false, true])(
  'where its failure is to be a no, the sources behind one that fails are not asked (rejecting: %s)',
  async (isAsync) => {
    const yes = source('s', 'allow')
    const { ask } = start([failing('db', isAsync), yes], {
      noMatch: 'allow',
      ignoreBackendFailures: true,
      denyOnFailure: new Set(['db']),
      isCached: true,
    })
    const client = clientOf()
    for (let n = 0; n < 2; n++) {
      expect(await ask(client)).toEqual({ result: 'deny', from: 'source_failed' })
    }
    expect(yes.authorize).not.toHaveBeenCalled()
  },
)

test('rules of a login that change with the time are asked each time, whatever the sources have said', () => {
  let isOver = false
  const { ask } = start([source('s', 'allow')], { isCached: true })
  const over: Rule = {
    permission: 'deny',
    who: { kind: 'clientid', is: { test: () => isOver } },
    action: 'all',
    topics: [{ kind: 'all' }],
  }
  const client = clientOf({
    acl: [over, ...parseAcl([{ permission: 'allow', action: 'all', topic: 'own' }])],
  })
  expect(ask(client, PUBLISH, 'own')).toEqual({ result: 'allow', from: 'acl' })
  expect(ask(client, PUBLISH, 't')).toEqual({ result: 'allow', from: 's' })
  isOver = true
  for (const topic of ['own', 't'])
    expect(ask(client, PUBLISH, topic)).toEqual({ result: 'deny', from: 'acl' })
})

test('rules of a login with patterns are remembered', () => {
  const { ask } = start([], { isCached: true })
  const acl = parseAcl([{ permission: 'allow', action: 'all', topic: 't', clientid_re: '^c' }])
  const client = clientOf({ acl })
  expect(ask(client)).toEqual({ result: 'allow', from: 'acl' })
  expect(ask(client)).toEqual({ result: 'allow', from: 'cache' })
})
