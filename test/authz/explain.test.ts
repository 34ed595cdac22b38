import { expect, test } from 'vitest'
import { AuthzChain, type ChainOptions } from '../../authz/chain.ts'
import { explainAction } from '../../authz/explain.ts'
import { parseAcl } from '../../authz/json-rule.ts'
import { ConditionalSource, preconditionOf } from '../../authz/precondition.ts'
import type { Source } from '../../authz/source.ts'
import type { Action } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { BrokerError } from '../../model/errors.ts'
import { clientOf, recordingLog } from '../authn/fixtures.ts'

const PUBLISH: Action = { kind: 'publish', qos: 0, retain: false }
const OPTIONS: ChainOptions = { noMatch: 'allow', ignoreBackendFailures: false }

const saying = (type: string, authorize: Source['authorize']): Source => ({ type, authorize, close() {} })

async function explain(
  sources: Source[],
  client: Partial<ClientInfo> = {},
  options: Partial<ChainOptions> = {},
  topic = 't',
) {
  const { log, lines } = recordingLog()
  const all = { ...OPTIONS, ...options }
  const chain = new AuthzChain(sources, all, undefined, Date.now, log)
  const surroundings = { log, nowMs: 1000 }
  const explained = await explainAction(chain, all, clientOf(client), PUBLISH, topic, surroundings)
  return { ...explained, chain, lines }
}

test('every source says what it makes of the action, and nothing is counted', async () => {
  const away = () => Promise.reject(new BrokerError('BACKEND_FAILED', 'http is away'))
  const { steps, result, chain, lines } = await explain([
    saying('file', () => 'ignore'),
    saying('http', away),
    saying('redis', () => 'deny'),
    saying('ldap', () => 'allow'),
  ])
  expect(result).toBe('deny')
  expect(steps).toEqual([
    { who: 'file', outcome: 'ignore', detail: 'none of its rules fits', tookMs: expect.any(Number) },
    { who: 'http', outcome: 'failed', detail: 'http is away', tookMs: expect.any(Number) },
    { who: 'redis', outcome: 'deny', detail: undefined, tookMs: expect.any(Number) },
    { who: 'ldap', outcome: 'skipped', detail: 'the answer is there already' },
  ])
  expect(chain.counters.total).toBe(0)
  for (const { counters } of chain.links) expect(counters.total).toBe(0)
  expect(lines).toEqual([])
})

test('where no source decides it is no_match, unless one has failed', async () => {
  const ignores = saying('file', () => 'ignore')
  const fails = saying('http', () => {
    throw new Error('surprise')
  })
  expect(await explain([ignores])).toMatchObject({
    result: 'allow',
    steps: [{}, { who: 'no_match', outcome: 'allow' }],
  })
  expect(await explain([], {}, { noMatch: 'deny' })).toMatchObject({
    result: 'deny',
    steps: [{ who: 'no_match' }],
  })
  const { steps, result, lines } = await explain([fails, ignores])
  expect(result).toBe('deny')
  expect(steps).toMatchObject([
    { outcome: 'failed', detail: 'a fault of the broker: its log has more' },
    {},
    { who: 'ignore_backend_failures', outcome: 'deny' },
  ])
  expect(lines).toMatchObject([{ level: 'error' }])
  expect(await explain([fails], {}, { ignoreBackendFailures: true })).toMatchObject({ result: 'allow' })
})

test('superusers are asked nothing, and rules of the login go first', async () => {
  const denies = saying('file', () => 'deny')
  expect(await explain([denies], { isSuperuser: true })).toMatchObject({
    result: 'allow',
    steps: [{ who: 'superuser', outcome: 'allow' }],
  })
  const acl = parseAcl([{ permission: 'allow', action: 'publish', topic: 't' }])
  expect(await explain([denies], { acl })).toMatchObject({
    result: 'allow',
    steps: [{ who: 'rules of the login', outcome: 'allow' }],
  })
  expect(await explain([denies], { acl }, {}, 'other')).toMatchObject({
    result: 'deny',
    steps: [{ who: 'rules of the login', outcome: 'ignore' }, { who: 'file' }],
  })
  expect(await explain([denies], { acl, authExpiresAtMs: 999 })).toMatchObject({
    result: 'deny',
    steps: [{ who: 'rules of the login', detail: 'the login has expired' }],
  })
})

test('a precondition that does not hold is told', async () => {
  const source = new ConditionalSource(
    saying('file', () => 'deny'),
    preconditionOf("str_eq(topic, 'other')"),
  )
  expect(await explain([source])).toMatchObject({
    result: 'allow',
    steps: [{ who: 'file', outcome: 'skipped', detail: 'its precondition does not give true' }, {}],
  })
})

test('sources see the topic that rules are about', async () => {
  const topics: string[] = []
  const source = saying('file', (_client, _action, topic) => {
    topics.push(topic)
    return 'allow'
  })
  await explain([source], { mountpoint: 'm/' }, {}, '$delayed/5/t')
  await explain([source], { mountpoint: 'm/' }, { includeMountpoint: true }, 't')
  expect(topics).toEqual(['t', 'm/t'])
})
