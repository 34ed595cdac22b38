import type { Authenticator } from './authn/authenticator.ts'
import type { Authn } from './authn/index.ts'
import type { Authz } from './authz/index.ts'
import type { BackendReport } from './model/explanation.ts'

/** How authenticators and sources are doing, in the order in which they are asked. */
export function backendReports(authn: Pick<Authn, 'chains'>, authz: Pick<Authz, 'chain'>): BackendReport[] {
  const authenticators = [...authn.chains].flatMap(({ name: chain, links }) =>
    links.map(({ authenticator, counters }): BackendReport => {
      const { total, success, failed, nomatch } = counters
      const answers = { total, allow: success, deny: failed, none: nomatch }
      return { kind: 'authenticator', chain, id: authenticator.id, answers, ...stateOf(authenticator) }
    }),
  )
  const sources = authz.chain.links.map(({ source, counters }): BackendReport => {
    const { total, allow, deny, nomatch, ignore } = counters
    const answers = { total, allow, deny, none: nomatch + ignore }
    return { kind: 'source', chain: undefined, id: source.type, answers, ...stateOf(source) }
  })
  return [...authenticators, ...sources]
}

/** An authenticator or a source. */
type Backed = Pick<Authenticator, 'status' | 'calls'>

function stateOf({ status, calls }: Backed): Pick<BackendReport, 'state' | 'lastError' | 'calls'> {
  return { state: status?.state, lastError: status?.lastError, calls: calls && callsOf(calls) }
}

function callsOf(counters: NonNullable<Backed['calls']>): NonNullable<BackendReport['calls']> {
  const { total, failed, timeouts, dropped, waiting, latencyMs } = counters
  return { total, failed, timeouts, dropped, waiting, latencyMs: Math.round(latencyMs * 10) / 10 }
}
