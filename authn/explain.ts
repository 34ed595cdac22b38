/**
 * What each authenticator makes of a login that is none: nobody is let in, and nothing is counted by the chain. Backends
 * are really asked.
 */
import type { Login, Principal, Verdict } from '../model/access.ts'
import { isPromise, withDeadline } from '../model/async.ts'
import { type ExplainedStep, failureOf, since } from '../model/explanation.ts'
import type { Logger } from '../model/log.ts'
import { ReasonCode, reasonName } from '../model/reason-codes.ts'
import { type AuthnChain, type Link, UNAVAILABLE } from './chain.ts'
import type { AuthnChains } from './chains.ts'
import { isTrueFor } from './precondition.ts'

export interface ExplainedLogin {
  readonly chain: string | undefined
  readonly steps: readonly ExplainedStep[]
  readonly verdict: Extract<Verdict, { kind: 'allow' | 'deny' }>
}

const ANONYMOUS = { kind: 'allow', principal: { isSuperuser: false, isAnonymous: true } } as const
const NOT_AUTHORIZED = { kind: 'deny', reason: ReasonCode.NotAuthorized } as const

/** As `Authn.authenticate` decides, with everybody's answer. @param login - with a password or without, of no method */
export async function explainLogin(chains: AuthnChains, login: Login, log: Logger): Promise<ExplainedLogin> {
  const chain = chains.chainFor(login.client)
  if (login.enableAuthn === false)
    return atOnce('enable_authn', 'allow', 'is false at this listener: nobody is asked', ANONYMOUS)
  if (login.enableAuthn === 'quick_deny_anonymous' && !login.client.username)
    return atOnce(
      'enable_authn',
      'deny',
      'is quick_deny_anonymous, and there is no user name',
      NOT_AUTHORIZED,
    )
  if (chain === undefined)
    return atOnce(
      'authentication',
      'allow',
      'no authenticator is enabled here: everybody is let in',
      ANONYMOUS,
    )
  return chain.hold(askAll(chain, login, log))
}

function atOnce(
  who: string,
  outcome: 'allow' | 'deny',
  detail: string,
  verdict: ExplainedLogin['verdict'],
): ExplainedLogin {
  return { chain: undefined, steps: [{ who, outcome, detail }], verdict }
}

async function askAll(chain: AuthnChain, login: Login, log: Logger): Promise<ExplainedLogin> {
  const steps: ExplainedStep[] = []
  let verdict: ExplainedLogin['verdict'] | undefined
  for (const link of chain.links) {
    if (verdict !== undefined) {
      steps.push({ who: link.authenticator.id, outcome: 'skipped', detail: 'the answer is there already' })
      continue
    }
    const [step, answer] = await ask(link, login, log)
    steps.push(step)
    if (answer.kind === 'allow' || answer.kind === 'deny') verdict = answer
    // Who named no method is not to be challenged [MQTT-4.12.0-6].
    else if (answer.kind === 'continue') verdict = NOT_AUTHORIZED
  }
  if (verdict === undefined)
    steps.push({ who: chain.name, outcome: 'deny', detail: 'nobody in this chain knows the client' })
  return { chain: chain.name, steps, verdict: verdict ?? NOT_AUTHORIZED }
}

async function ask(
  { authenticator, precondition, timeoutMs, deniesOnFailure }: Link,
  login: Login,
  log: Logger,
): Promise<[ExplainedStep, Verdict]> {
  const who = authenticator.id
  const ignore: Verdict = { kind: 'ignore' }
  const failure = deniesOnFailure === true ? UNAVAILABLE : ignore
  if (precondition !== undefined) {
    const holds = isTrueFor(precondition, login, log)
    const what = holds === undefined ? 'failed' : 'does not give true'
    if (holds !== true)
      return [
        { who, outcome: 'skipped', detail: `its precondition ${what}: ${precondition.source}` },
        holds === undefined ? failure : ignore,
      ]
  }
  const startMs = performance.now()
  const deadline = new AbortController()
  try {
    const answer = authenticator.authenticate(login, deadline.signal)
    const verdict = isPromise(answer)
      ? await withDeadline(answer, timeoutMs, who, () => deadline.abort())
      : answer
    return [{ who, ...describe(verdict, login), tookMs: since(startMs) }, verdict]
  } catch (error) {
    const detail = failureOf(error, who, log)
    return [{ who, outcome: 'failed', detail, tookMs: since(startMs) }, failure]
  }
}

function describe(verdict: Verdict, login: Login): Pick<ExplainedStep, 'outcome' | 'detail'> {
  switch (verdict.kind) {
    case 'allow':
      return { outcome: 'allow', detail: describePrincipal(verdict.principal, login) }
    case 'deny':
      return { outcome: 'deny', detail: reasonName(verdict.reason) }
    case 'ignore':
      return { outcome: 'ignore', detail: whyIgnored(login) }
    case 'continue':
      return { outcome: 'deny', detail: 'wants to challenge a client that named no authentication method' }
  }
}

function whyIgnored({ password }: Login): string {
  return password === undefined ? 'has no opinion; there was no password' : 'does not know the client'
}

/** Attributes may be made of the password, so one that holds it is not shown. */
function describePrincipal(principal: Principal, { password }: Login): string | undefined {
  const secret = password === undefined ? '' : Buffer.from(password).toString()
  const shown = (value: string) => (secret !== '' && value.includes(secret) ? '******' : value)
  const { isSuperuser, username, clientId, zone, attributes, acl, expiresAtMs } = principal
  const parts = [
    isSuperuser ? 'superuser' : undefined,
    username === undefined ? undefined : `user name ${username}`,
    clientId === undefined ? undefined : `client id ${shown(clientId)}`,
    zone === undefined ? undefined : `zone ${zone}`,
    ...[...(attributes ?? [])].map(([name, value]) => `client_attrs.${name} = ${shown(value)}`),
    acl === undefined ? undefined : `${acl.length} rules of its own`,
    expiresAtMs === undefined ? undefined : `until ${new Date(expiresAtMs).toISOString()}`,
  ].filter((part) => part !== undefined)
  return parts.length === 0 ? undefined : parts.join(', ')
}
