/**
 * Asking who a client is: `client.authenticate` hooks, and the challenges and answers they may want
 * before they say yes or no (MQTT 5.0 §4.12). What an exchange knows is held by whoever waits for the
 * client's answer, so that nothing is left of a client that leaves in the middle.
 */
import type { HookBus } from '../hooks/bus.ts'
import type { Exchange, Login, Principal, Verdict } from '../model/access.ts'
import { andThen, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { ReasonCode, reasonName } from '../model/reason-codes.ts'
import type { Admission, Challenge } from './broker.ts'
import type { HubClient } from './client.ts'
import type { Hub } from './hub.ts'

/** Challenges of one exchange. Known mechanisms need one or two; a client cannot keep us at it for ever. */
export const MAX_CHALLENGES = 8

/** A verdict that ends it. */
export type Decision = Exclude<Verdict, { kind: 'ignore' | 'continue' }>

const ANONYMOUS: Decision = { kind: 'allow', principal: { isSuperuser: false, isAnonymous: true } }
const NOT_AUTHORIZED: Decision = { kind: 'deny', reason: ReasonCode.NotAuthorized }
const METHOD_UNKNOWN: Decision = { kind: 'deny', reason: ReasonCode.BadAuthenticationMethod }

/** Nobody can have an opinion: yes. Nobody who was asked has one: no. */
export function askWho(
  hooks: HookBus,
  log: Logger,
  login: Login,
): MaybePromise<Decision | Challenge<Decision>> {
  if (!hooks.has('client.authenticate')) return login.authMethod === undefined ? ANONYMOUS : METHOD_UNKNOWN
  return andThen(hooks.fold('client.authenticate', { kind: 'ignore' }, login), (verdict) =>
    login.authMethod === undefined ? plain(verdict) : enhanced(verdict, login, log),
  )
}

export function isChallenge<A extends { kind: string }>(outcome: A | Challenge<A>): outcome is Challenge<A> {
  return outcome.kind === 'challenge'
}

/** The same question with what its decision leads to, however many challenges come first. */
export function concluding<A extends { kind: string }, B>(
  outcome: A | Challenge<A>,
  next: (decided: A) => MaybePromise<B>,
): MaybePromise<B | Challenge<B>> {
  if (!isChallenge(outcome)) return next(outcome)
  return {
    kind: 'challenge',
    data: outcome.data,
    answer: (data) => andThen(outcome.answer(data), (later) => concluding(later, next)),
  }
}

/**
 * Asks again who a connected client is (MQTT 5.0 §4.12.1). Until the verdict it stays what it was; then
 * superuser, rules, attributes and end of its login are the new ones. Who is barred is the caller's to end.
 * @param login - of the client's own info, with its authentication method
 */
export function reauthenticate(
  hub: Hub,
  client: HubClient,
  login: Login,
): MaybePromise<Admission | Challenge<Admission>> {
  client.isReauthenticating = true
  hub.metrics.clientAuthenticate++
  return andThen(askWho(hub.hooks, hub.log, login), (asked) =>
    concluding(asked, (decision) => renew(hub, client, decision)),
  )
}

/** Puts what authentication knows into the client info. Attributes are added to those there are. */
export function grant(client: ClientInfo, principal: Principal): void {
  if (principal.username !== undefined) client.username = principal.username
  client.isSuperuser = principal.isSuperuser
  client.acl = principal.acl
  client.authExpiresAtMs = principal.expiresAtMs
  if (principal.attributes !== undefined)
    client.attributes = new Map([...client.attributes, ...principal.attributes])
}

/**
 * The client id and the zone that authentication gives an MQTT client in place of its own; before anything is looked
 * up by them. Clients of gateways keep theirs, as their protocols find them by it.
 * @param zones - those that have options of their own, beside `default`
 */
export function rename(
  client: ClientInfo,
  { clientId, zone }: Principal,
  zones: ReadonlyMap<string, unknown> | undefined,
): void {
  if (client.gateway !== undefined) return
  if (clientId !== undefined) {
    client.clientId = clientId
    client.key = clientId
  }
  if (zone !== undefined && (zone === 'default' || zones?.has(zone) === true)) client.zone = zone
}

/** The mountpoint stays, as the session's subscriptions have it, and nobody becomes somebody else. */
function renew(hub: Hub, client: HubClient, decision: Decision): Admission {
  const { info } = client
  const reason = decision.kind === 'deny' ? decision.reason : ReasonCode.NotAuthorized
  if (decision.kind === 'deny' || client.isClosed || isOther(info, decision.principal)) {
    hub.metrics.authenticationFailure++
    hub.hooks.run('client.check_authn_complete', info, reason, false)
    hub.log.info({ clientid: info.clientId, reason: reasonName(reason) }, 'authenticating again failed')
    return { kind: 'barred', reason }
  }
  grant(info, decision.principal)
  client.renewed()
  hub.metrics.authenticationSuccess++
  hub.hooks.run('client.check_authn_complete', info, ReasonCode.Success, false)
  return { kind: 'admitted', data: decision.data }
}

function isOther(client: ClientInfo, { username, clientId }: Principal): boolean {
  if (clientId !== undefined && client.gateway === undefined && clientId !== client.clientId) return true
  return username !== undefined && username !== client.username
}

/** Who named no method is not to be challenged [MQTT-4.12.0-6]. */
function plain(verdict: Verdict): Decision {
  return verdict.kind === 'ignore' || verdict.kind === 'continue' ? NOT_AUTHORIZED : verdict
}

/** [MQTT-4.12.0-1] a method that nobody has carried out is one that is not supported. */
function enhanced(verdict: Verdict, login: Login, log: Logger): Decision | Challenge<Decision> {
  if (verdict.kind === 'ignore') return METHOD_UNKNOWN
  if (verdict.kind === 'continue') return challenge(verdict, login, log, 1)
  return verdict.kind === 'allow' && verdict.principal.isAnonymous === true ? METHOD_UNKNOWN : verdict
}

function challenge(
  { data, exchange }: Extract<Verdict, { kind: 'continue' }>,
  login: Login,
  log: Logger,
  count: number,
): Challenge<Decision> {
  return {
    kind: 'challenge',
    data,
    answer: (reply) =>
      andThen(ask(exchange, reply, login, log), (verdict) => {
        if (verdict.kind === 'ignore') return NOT_AUTHORIZED // it is too late for anybody else to know the client
        if (verdict.kind !== 'continue') return verdict
        return count < MAX_CHALLENGES ? challenge(verdict, login, log, count + 1) : NOT_AUTHORIZED
      }),
  }
}

/** Like a hook of `client.authenticate`, an exchange that fails is a no. */
function ask(
  exchange: Exchange,
  reply: Uint8Array | undefined,
  login: Login,
  log: Logger,
): MaybePromise<Verdict> {
  const failed = (error: unknown): Verdict => {
    const stack = error instanceof Error ? error.stack : undefined
    log.error({ client: login.client.key, stack }, `authentication exchange failed: ${messageOf(error)}`)
    return NOT_AUTHORIZED
  }
  try {
    const verdict = exchange.next(reply, login.signal ?? new AbortController().signal)
    return verdict instanceof Promise ? verdict.catch(failed) : verdict
  } catch (error) {
    return failed(error)
  }
}
