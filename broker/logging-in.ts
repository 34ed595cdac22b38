/**
 * The way into the broker, whatever a client speaks:
 *
 *     admit (hooks, authentication) -> judge -> enter -> open (takeover, session, client table) -> keeping
 *
 * Up to `enter` a login may be asked for long and by many: hooks, authenticators, the client itself with its answers
 * to challenges. `open` does everything that others can see, in one go. A refusal is an answer, with hooks and a line
 * in the log.
 */
import type { ConnectDecision, PropertyBag } from '../hooks/hookpoints.ts'
import type { Login } from '../model/access.ts'
import { andThen, type MaybePromise } from '../model/async.ts'
import { renderMountpoint } from '../model/mountpoint.ts'
import { ReasonCode, reasonName } from '../model/reason-codes.ts'
import { askWho, concluding, type Decision, grant, rename } from './authentication.ts'
import type {
  Admission,
  Challenge,
  Connected,
  Receiver,
  Refused,
  SessionOptions,
  SessionWish,
} from './broker.ts'
import { HubClient } from './client.ts'
import type { Hub } from './hub.ts'
import { TableEntry } from './kernel.ts'
import { countAuthenticated } from './metrics.ts'

/** A login that has got its session. */
interface Opened {
  client: HubClient
  sessionPresent: boolean
  /** Its session is kept, or one that was kept has ended, or it has a will. */
  changesStorage: boolean
}

/** The whole way, with the challenges that the client has to answer first. */
export function logIn(
  hub: Hub,
  login: Login,
  wish: SessionWish,
  receiver: Receiver,
): MaybePromise<Connected | Refused | Challenge<Connected | Refused>> {
  return andThen(admit(hub, login), (asked) =>
    concluding(asked, (admission) => enter(hub, login, wish, receiver, admission)),
  )
}

/** @param start - properties of the answer, before hooks have their say */
export function refuse(
  hub: Hub,
  login: Login,
  reason: ReasonCode,
  start: PropertyBag = {},
): MaybePromise<Refused> {
  const { clientId, username, listener, peerHost } = login.client
  hub.log.info(
    { clientid: clientId, username, listener, peerhost: peerHost, reason: reasonName(reason) },
    'login refused',
  )
  hub.metrics.clientConnack++
  const answer = hub.hooks.fold('client.connack', start, login.client, reason)
  return andThen(answer, (properties) => ({ kind: 'refused', reason, properties }))
}

/** Hooks and authentication. */
function admit(hub: Hub, login: Login): MaybePromise<Admission | Challenge<Admission>> {
  if (hub.isStopping) return barred(ReasonCode.ServerShuttingDown)
  const { hooks, metrics } = hub
  metrics.clientConnect++
  mount(login)
  const start: ConnectDecision = { properties: login.properties ?? {} }
  return andThen(hooks.fold('client.connect', start, login.client), (decision) => {
    if ('refused' in decision) return barred(decision.refused, decision.properties)
    login.properties = decision.properties
    metrics.clientAuthenticate++
    return andThen(askWho(hooks, hub.log, login), (asked) =>
      concluding(asked, (verdict) => judge(hub, login, verdict)),
    )
  })
}

/** Puts what authentication knows into the client info. */
function judge(hub: Hub, login: Login, decision: Decision): Admission {
  const { client } = login
  const { hooks, metrics } = hub
  if (decision.kind === 'deny') {
    metrics.authenticationFailure++
    hooks.run('client.check_authn_complete', client, decision.reason, false)
    return barred(decision.reason)
  }
  const { principal, data } = decision
  rename(client, principal, hub.options.zones)
  grant(client, principal)
  countAuthenticated(metrics, principal.isAnonymous === true)
  hooks.run('client.check_authn_complete', client, ReasonCode.Success, principal.isAnonymous === true)
  mount(login)
  const tooLate = whyTooLate(hub, login)
  return tooLate === undefined ? { kind: 'admitted', data } : barred(tooLate)
}

/** Others may have been asked for long: who has left meanwhile takes over nobody, who stops lets nobody in. */
function whyTooLate(hub: Hub, login: Login): ReasonCode | undefined {
  if (hub.isStopping) return ReasonCode.ServerShuttingDown
  return login.signal?.aborted === true ? ReasonCode.UnspecifiedError : undefined
}

/** Its session, and the answer once that is safe. */
function enter(
  hub: Hub,
  login: Login,
  wish: SessionWish,
  receiver: Receiver,
  admission: Admission,
): MaybePromise<Connected | Refused> {
  if (admission.kind === 'barred') return refuse(hub, login, admission.reason, admission.properties)
  const options = typeof wish === 'function' ? wish() : wish
  const refusal = hub.durable?.refusal
  // Nothing new can be promised now; who has a session already gets on with it.
  if (refusal !== undefined && options.expiryIntervalMs > 0 && hub.session(login.client.key) === undefined)
    return refuse(hub, login, refusal)
  const opened = open(hub, login, options, receiver)
  if (opened === undefined) return refuse(hub, login, ReasonCode.QuotaExceeded)
  return andThen(keeping(hub, opened), (isKept) => {
    if (!isKept) {
      opened.client.close('internal_error')
      return refuse(hub, login, ReasonCode.ServerUnavailable)
    }
    hub.metrics.clientConnack++
    const answer = hub.hooks.fold('client.connack', {}, login.client, ReasonCode.Success)
    const authData = admission.data
    return andThen(answer, (properties) => ({ kind: 'connected', ...opened, properties, authData }))
  })
}

/** Takes over or makes the session. From here on nothing waits, so no other login can come in between. */
function open(hub: Hub, login: Login, options: SessionOptions, receiver: Receiver): Opened | undefined {
  const { client: info } = login
  // [MQTT-3.1.4-3] the older connection goes first, or both would get this session's messages
  hub.client(info.key)?.end(options.cleanStart ? 'discarded' : 'takenover')
  const wasKept = hub.session(info.key)?.mirror !== undefined
  const opened = hub.sessions.open(info, options)
  if (opened === undefined) return undefined
  const { session, isResumed, will } = opened
  const { receiveMaximum, expiryIntervalMs } = options
  info.terms = { properties: login.properties ?? {}, receiveMaximum, expiryIntervalMs }
  const client = new HubClient(hub, session, receiver, options)
  client.will = will
  hub.kernel.registerClient(new TableEntry(client))
  announce(hub, client, isResumed)
  // A will is kept whatever becomes of the session: it is promised from CONNACK on.
  const changesStorage = wasKept || session.mirror !== undefined || options.will !== undefined
  return { client, sessionPresent: isResumed, changesStorage }
}

function announce({ metrics, stats, hooks }: Hub, { info }: HubClient, isResumed: boolean): void {
  if (isResumed) metrics.sessionResumed++
  else metrics.sessionCreated++
  metrics.clientConnected++
  stats.sample()
  hooks.run(isResumed ? 'session.resumed' : 'session.created', info)
  hooks.run('client.connected', info)
}

/** Waits until a new session, the end of one that was kept, or a will is safe. @returns false if it is not going to be */
function keeping(
  { durable }: Hub,
  { client, sessionPresent, changesStorage }: Opened,
): MaybePromise<boolean> {
  const { mirror } = client.session
  const unsafe = changesStorage ? durable?.unsafe : undefined
  if (unsafe === undefined || durable?.refusal !== undefined) return true
  return unsafe.then(
    () => true,
    () => sessionPresent || mirror === undefined,
  )
}

function barred(reason: ReasonCode, properties?: PropertyBag): Admission {
  return { kind: 'barred', reason, properties }
}

/** Before authentication, which sees it, and again after it, which may have changed what it is made of. */
function mount({ client, mountpoint }: Login): void {
  if (mountpoint !== undefined) client.mountpoint = renderMountpoint(mountpoint, client)
}
