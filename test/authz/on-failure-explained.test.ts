import { expect, test } from 'vitest'
import { AuthnChain } from '../../authn/chain.ts'
import { AuthnChains } from '../../authn/chains.ts'
import { explainLogin } from '../../authn/explain.ts'
import { AuthzChain, type ChainOptions } from '../../authz/chain.ts'
import { explainAction } from '../../authz/explain.ts'
import type { Source } from '../../authz/source.ts'
import { BrokerError } from '../../model/errors.ts'
import { silentLogger } from '../../model/log.ts'
import { ALLOW, clientOf, loginOf, saying } from '../authn/fixtures.ts'

const fail = () => {
  throw new BrokerError('BACKEND_FAILED', 'down')
}

test('what is told of a login is what would happen where a failure is a no', async () => {
  const parts = [
    { authenticator: saying('db', fail), timeoutMs: 1000, deniesOnFailure: true },
    { authenticator: saying('next', ALLOW), timeoutMs: 1000 },
  ]
  const chains = new AuthnChains([new AuthnChain('mqtt:global', parts, silentLogger)])
  const { verdict, steps } = await explainLogin(chains, loginOf(), silentLogger)

  expect(verdict).toEqual({ kind: 'deny', reason: 0x88 })
  expect(steps.map(({ outcome }) => outcome)).toEqual(['failed', 'skipped'])
})

test('and so it is of an action', async () => {
  const sources: Source[] = [
    { type: 'db', authorize: fail, close() {} },
    { type: 'next', authorize: () => 'allow', close() {} },
  ]
  const options: ChainOptions = {
    noMatch: 'allow',
    ignoreBackendFailures: true,
    denyOnFailure: new Set(['db']),
  }
  const chain = new AuthzChain(sources, options, undefined, () => 0, silentLogger)
  const action = { kind: 'publish', qos: 0, retain: false } as const
  const surroundings = { log: silentLogger, nowMs: 0 }
  const { result, steps } = await explainAction(chain, options, clientOf(), action, 't', surroundings)

  expect(result).toBe('deny')
  expect(steps.map(({ outcome }) => outcome)).toEqual(['failed', 'skipped'])
})
