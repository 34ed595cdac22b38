import { expect, test } from 'vitest'
import type { Authenticator } from '../../authn/authenticator.ts'
import { AuthnChain } from '../../authn/chain.ts'
import { AuthnChains } from '../../authn/chains.ts'
import { explainLogin } from '../../authn/explain.ts'
import { loginExpression } from '../../authn/precondition.ts'
import type { Login, Verdict } from '../../model/access.ts'
import { BrokerError } from '../../model/errors.ts'
import { silentLogger } from '../../model/log.ts'
import { ALLOW, IGNORE, loginOf, recordingLog, saying, WRONG_PASSWORD } from './fixtures.ts'

const ANONYMOUS: Verdict = { kind: 'allow', principal: { isSuperuser: false, isAnonymous: true } }
const DENIED: Verdict = { kind: 'deny', reason: 0x87 }

function chainOf(name: string, ...authenticators: Authenticator[]): AuthnChain {
  const parts = authenticators.map((authenticator) => ({ authenticator, timeoutMs: 1000 }))
  return new AuthnChain(name, parts, silentLogger)
}

const explain = (chains: AuthnChain[], login: Login = loginOf()) =>
  explainLogin(new AuthnChains(chains), login, silentLogger)

test('everybody in the chain says what it makes of the login, and how long that took', async () => {
  const away = () => Promise.reject(new BrokerError('BACKEND_FAILED', 'b is away'))
  const chain = chainOf(
    'mqtt:global',
    saying('a', IGNORE),
    saying('b', away),
    saying('c', WRONG_PASSWORD),
    saying('d', ALLOW),
  )
  expect(await explain([chain])).toEqual({
    chain: 'mqtt:global',
    steps: [
      { who: 'a', outcome: 'ignore', detail: 'does not know the client', tookMs: expect.any(Number) },
      { who: 'b', outcome: 'failed', detail: 'b is away', tookMs: expect.any(Number) },
      { who: 'c', outcome: 'deny', detail: 'bad_user_name_or_password', tookMs: expect.any(Number) },
      { who: 'd', outcome: 'skipped', detail: 'the answer is there already' },
    ],
    verdict: WRONG_PASSWORD,
  })
})

test('nothing is counted, and a failure is not said to anybody else', async () => {
  const { log, lines } = recordingLog()
  const broken = saying('b', () => {
    throw new BrokerError('BACKEND_FAILED', 'away')
  })
  const parts = [broken, saying('a', ALLOW)].map((authenticator) => ({ authenticator, timeoutMs: 1000 }))
  const chain = new AuthnChain('mqtt:global', parts, log)
  await explainLogin(new AuthnChains([chain]), loginOf(), log)
  for (const { counters, isFailing } of chain.links) {
    expect(counters).toEqual({ total: 0, success: 0, failed: 0, nomatch: 0 })
    expect(isFailing).toBe(false)
  }
  expect(lines).toEqual([])
})

test('what an unforeseen error says is for the log, as it may quote the password', async () => {
  const { log, lines } = recordingLog()
  const bug = saying('a', () => Promise.reject(new Error('cannot read secret')))
  const { steps, verdict } = await explainLogin(
    new AuthnChains([chainOf('mqtt:global', bug)]),
    loginOf(),
    log,
  )
  expect(steps[0]).toMatchObject({ outcome: 'failed', detail: 'a fault of the broker: its log has more' })
  expect(lines).toMatchObject([{ level: 'error', fields: { who: 'a', stack: expect.any(String) } }])
  expect(verdict).toEqual(DENIED)
})

test('one that takes too long has failed', async () => {
  const part = { authenticator: saying('slow', () => new Promise<Verdict>(() => {})), timeoutMs: 1 }
  const { steps } = await explain([new AuthnChain('mqtt:global', [part], silentLogger)])
  expect(steps).toMatchObject([
    { who: 'slow', outcome: 'failed', detail: 'slow did not answer within 1 ms' },
    { who: 'mqtt:global', outcome: 'deny', detail: 'nobody in this chain knows the client' },
  ])
})

test('a precondition that does not give true is told with its text', async () => {
  const precondition = loginExpression("str_eq(listener, 'tcp:other')", 'precondition')
  const parts = [
    { authenticator: saying('a', ALLOW), timeoutMs: 1000, precondition },
    {
      authenticator: saying('b', ALLOW),
      timeoutMs: 1000,
      precondition: loginExpression('json_value(1, 2)', 'p'),
    },
  ]
  const { steps, verdict } = await explain([new AuthnChain('mqtt:global', parts, silentLogger)])
  expect(steps).toMatchObject([
    {
      who: 'a',
      outcome: 'skipped',
      detail: "its precondition does not give true: str_eq(listener, 'tcp:other')",
    },
    { who: 'b', outcome: 'skipped' },
    { outcome: 'deny' },
  ])
  expect(verdict).toEqual(DENIED)
})

test('the chain of the listener goes before that of the gateway, and that is another than the one for MQTT', async () => {
  const chains = ['tcp:own', 'stomp:global', 'mqtt:global'].map((name) => chainOf(name, saying('a', ALLOW)))
  const at = async (listener: string, gateway?: string) =>
    (await explain(chains, loginOf({ client: { listener, gateway } }))).chain
  expect(await at('tcp:own')).toBe('tcp:own')
  expect(await at('tcp:default')).toBe('mqtt:global')
  expect(await at('stomp:tcp:default', 'stomp')).toBe('stomp:global')
  expect(await at('nats:tcp:default', 'nats')).toBeUndefined()
})

test('where nobody is asked it says why', async () => {
  const chain = chainOf('mqtt:global', saying('a', WRONG_PASSWORD))
  expect(await explain([])).toMatchObject({
    steps: [{ who: 'authentication', outcome: 'allow' }],
    verdict: ANONYMOUS,
  })
  expect(await explain([chain], loginOf({ enableAuthn: false }))).toMatchObject({
    steps: [{ who: 'enable_authn', outcome: 'allow' }],
    verdict: ANONYMOUS,
  })
  const stranger = loginOf({ enableAuthn: 'quick_deny_anonymous', client: { username: undefined } })
  expect(await explain([chain], stranger)).toMatchObject({
    steps: [{ who: 'enable_authn', outcome: 'deny' }],
    verdict: DENIED,
  })
})

test('what comes with a yes is told, but not the password that it may be made of', async () => {
  const principal = {
    isSuperuser: true,
    clientId: 'c2',
    zone: 'z',
    attributes: new Map([
      ['tenant', 't1'],
      ['token', 'x-secret-y'],
    ]),
    acl: [],
    expiresAtMs: 1000,
  }
  const { steps } = await explain([chainOf('mqtt:global', saying('a', { kind: 'allow', principal }))])
  expect(steps[0]?.detail).toBe(
    'superuser, client id c2, zone z, client_attrs.tenant = t1, client_attrs.token = ******, 0 rules of its own, until 1970-01-01T00:00:01.000Z',
  )
})

test('a chain that is replaced stays open until the test has its answer', async () => {
  let answer = (_: Verdict) => {}
  let isClosed = false
  const slow: Authenticator = {
    id: 'slow',
    authenticate: () => new Promise((resolve) => (answer = resolve)),
    close: () => void (isClosed = true),
  }
  const chain = chainOf('mqtt:global', slow)
  const explained = explain([chain])
  expect(chain.isIdle).toBe(false)
  const retired = chain.retire()
  expect(isClosed).toBe(false)
  answer(ALLOW)
  expect((await explained).verdict).toEqual(ALLOW)
  await retired
  expect(isClosed).toBe(true)
})
