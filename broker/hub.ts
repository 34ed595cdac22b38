import type { HookBus } from '../hooks/bus.ts'
import type { Authorization, ConnectDecision, PublishDecision } from '../hooks/hookpoints.ts'
import type { Login, Permission, Verdict } from '../model/access.ts'
import { andThen, isPromise, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import type { Logger } from '../model/log.ts'
import type { Message, QoS } from '../model/message.ts'
import { renderMountpoint } from '../model/mountpoint.ts'
import { PayloadSlab } from '../model/payload-slab.ts'
import { ReasonCode, reasonName } from '../model/reason-codes.ts'
import type { Subscription } from '../model/subscription.ts'
import { Deadline } from '../model/timers.ts'
import type { Connected, Receiver, Refused, SessionOptions } from './broker.ts'
import { HubClient } from './client.ts'
import { Kernel, TableEntry } from './kernel.ts'
import { Retainer, type RetainerOptions } from './retainer.ts'
import { ExclusiveTopics } from './routing/exclusive.ts'
import { Router } from './routing/router.ts'
import type { SharingOptions } from './routing/shared-groups.ts'
import { Session, type SessionContext, type SessionLimits } from './session.ts'
import type { Storage } from './storage/storage.ts'
import { removeEntry, subscribeUnasked } from './subscribing.ts'
import { DelayedWills, willDelayMs } from './wills.ts'

/** Limits and policies of the whole broker, whatever a client speaks. */
export interface HubOptions {
  nodeName: string
  session: SessionLimits
  /** Levels of a topic or filter. */
  maxTopicLevels: number
  /** Highest QoS granted to subscribers and taken from publishers. */
  maxQos: QoS
  wildcardSubscription: boolean
  sharedSubscription: boolean
  sharing: SharingOptions
  retainer: RetainerOptions
  /** Whether `$exclusive/<topic>` may be subscribed to. */
  exclusiveSubscription: boolean
  /** Of messages that bring no expiry of their own; Infinity = they do not expire. */
  messageExpiryMs: number
  /** Per client. */
  maxSubscriptions: number
  /** Connected and kept ones together. */
  maxSessions: number
  /** What becomes of a client that does what it may not. */
  denyAction: 'ignore' | 'disconnect'
  /** The answer of access control when no rule matches. */
  noMatch: Permission
}

/** How often a node tells the others that it lives. */
const HEARTBEAT_MS = 15_000
const ANONYMOUS: Verdict = { kind: 'allow', principal: { isSuperuser: false, isAnonymous: true } }
const NOT_AUTHORIZED: Verdict = { kind: 'deny', reason: ReasonCode.NotAuthorized }

/** The broker: logins, sessions, and the client table with everything that is published through it. */
export class Hub {
  readonly kernel: Kernel
  readonly hooks: HookBus
  readonly log: Logger
  readonly exclusive = new ExclusiveTopics()
  options: HubOptions
  noMatch: Authorization
  readonly #sessions = new Map<string, Session>()
  #sessionContext: SessionContext
  /** Of sessions without a connection, by key. */
  readonly #expiries = new Map<string, Deadline>()
  readonly #wills = new DelayedWills()
  #isStopping = false
  #stopped: Promise<void> | undefined

  constructor(options: HubOptions, storage: Storage, hooks: HookBus, log: Logger) {
    this.options = options
    this.hooks = hooks
    this.log = log
    this.noMatch = { result: options.noMatch, from: 'default' }
    this.#sessionContext = { limits: options.session, hooks, log, slab: new PayloadSlab() }
    const router = new Router(options.sharing)
    this.kernel = new Kernel({
      nodeName: options.nodeName,
      router,
      storage,
      retainer: new Retainer(storage, options.retainer, log),
      hooks,
      heartbeatMs: HEARTBEAT_MS,
    })
    this.kernel.on('error', (error) => log.error({ error }, 'the kernel failed'))
  }

  /** Takes new options. Sessions that exist keep their window and queue. */
  update(options: HubOptions): void {
    this.options = options
    this.kernel.router.share(options.sharing)
    this.kernel.retainer.update(options.retainer)
    this.noMatch = { result: options.noMatch, from: 'default' }
    this.#sessionContext = { ...this.#sessionContext, limits: options.session }
  }

  async start(): Promise<void> {
    await this.kernel.listen()
  }

  /**
   * Ends every connection with "server shutting down" and the kernel with its timers. Wills are published
   * now, those that wait for their delay too; sessions stay as they are. Safe to call twice.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  get clientCount(): number {
    return this.kernel.connectedClients
  }

  get sessionCount(): number {
    return this.#sessions.size
  }

  *clients(): Generator<HubClient> {
    for (const entry of Object.values(this.kernel.clients)) yield entry.client
  }

  client(key: string): HubClient | undefined {
    return this.kernel.clientOf(key)
  }

  session(key: string): Session | undefined {
    return this.#sessions.get(key)
  }

  /** Subscribes a client without asking anybody. @returns undefined if it is not connected any more */
  subscribe(info: ClientInfo, subscriptions: readonly Subscription[]): ReasonCode[] | undefined {
    const client = this.client(info.key)
    return client?.info === info ? subscribeUnasked(this, client, subscriptions) : undefined
  }

  /** Ends a client's connection and its session. @returns false if nobody has that key. */
  kick(key: string): boolean {
    const client = this.client(key)
    client?.end('kicked')
    const session = this.#sessions.get(key)
    if (session !== undefined) this.#terminate(session, 'kicked')
    return client !== undefined || session !== undefined
  }

  /**
   * Logs a client in: `client.connect` hooks, authentication, takeover, session.
   * The caller sends its answer and then calls `client.start()`.
   */
  connect(login: Login, options: SessionOptions, receiver: Receiver): MaybePromise<Connected | Refused> {
    return andThen(this.#admit(login), (refusal) => {
      if (refusal !== undefined) return this.#refuse(login, refusal)
      const client = this.#open(login, options, receiver)
      if (client === undefined) return this.#refuse(login, ReasonCode.QuotaExceeded)
      const answer = this.hooks.fold('client.connack', {}, login.client, ReasonCode.Success)
      return andThen(answer, (properties) => ({ kind: 'connected', ...client, properties }))
    })
  }

  /** Hooks, retaining and routing of an authorized message with its full topic. */
  publish(message: Message): MaybePromise<ReasonCode> {
    if (!this.hooks.used['message.publish']) return this.#route(message)
    const decision = this.hooks.fold('message.publish', message as PublishDecision)
    if (isPromise(decision)) return decision.then((decided) => this.#routeIf(decided, message))
    return this.#routeIf(decision, message)
  }

  /** A client's connection has ended: its table entry goes, its will is published, its session kept or ended. */
  disconnected(client: HubClient, reason: DisconnectReason): void {
    const { session, info } = client
    const entry = this.kernel.clients[info.key]
    if (entry?.client === client) this.kernel.unregisterClient(entry)
    this.hooks.run('client.disconnected', info, reason)
    // [MQTT-4.1.0-1] not before its connection ends; [MQTT-3.1.2-6 (3.1.1)] with it
    const isOver = session.expiryIntervalMs === 0 || reason === 'kicked' || reason === 'discarded'
    this.#settleWill(client, reason, isOver)
    if (isOver) return this.#terminate(session, reason)
    this.hooks.run(reason === 'takenover' ? 'session.takenover' : 'session.disconnected', info)
    // A hook may have kicked it just now.
    if (this.#isStopping || this.#sessions.get(info.key) !== session) return
    this.#expiries.get(info.key)?.clear()
    // [MQTT-3.1.2-23] kept for so long, [MQTT-4.1.0-2] and no longer
    this.#expiries.set(
      info.key,
      new Deadline(session.expiryIntervalMs, () => this.#terminate(session, 'expired')),
    )
  }

  async #stop(): Promise<void> {
    this.#isStopping = true
    this.#wills.publishAll()
    for (const client of this.clients()) client.end('server_shutting_down')
    for (const deadline of this.#expiries.values()) deadline.clear()
    await new Promise<void>((resolve) => this.kernel.close(resolve))
    this.kernel.retainer.close()
    await this.kernel.storage.destroy()
  }

  /** Hooks and authentication. @returns why not, or undefined for yes. */
  #admit(login: Login): MaybePromise<ReasonCode | undefined> {
    if (this.#isStopping) return ReasonCode.ServerShuttingDown
    mount(login)
    const start: ConnectDecision = { properties: login.properties ?? {} }
    return andThen(this.hooks.fold('client.connect', start, login.client), (decision) => {
      if ('refused' in decision) return decision.refused
      login.properties = decision.properties
      return andThen(this.#authenticate(login), (verdict) => this.#judge(login, verdict))
    })
  }

  /** Nobody can have an opinion: yes. Nobody who was asked has one: no. */
  #authenticate(login: Login): MaybePromise<Verdict> {
    if (!this.hooks.has('client.authenticate')) return ANONYMOUS
    return andThen(this.hooks.fold('client.authenticate', { kind: 'ignore' }, login), (verdict) =>
      verdict.kind === 'ignore' ? NOT_AUTHORIZED : verdict,
    )
  }

  /** Puts what authentication knows into the client info. */
  #judge(login: Login, verdict: Verdict): ReasonCode | undefined {
    const { client } = login
    if (verdict.kind !== 'allow') {
      const reason = verdict.kind === 'deny' ? verdict.reason : ReasonCode.NotAuthorized
      this.hooks.run('client.check_authn_complete', client, reason, false)
      return reason
    }
    const { principal } = verdict
    this.hooks.run('client.check_authn_complete', client, ReasonCode.Success, principal.isAnonymous === true)
    client.isSuperuser = principal.isSuperuser
    client.acl = principal.acl
    client.authExpiresAtMs = principal.expiresAtMs
    if (principal.attributes !== undefined)
      client.attributes = new Map([...client.attributes, ...principal.attributes])
    mount(login)
    return this.#tooLate(login)
  }

  /** Others may have been asked for long: who has left meanwhile takes over nobody, who stops lets nobody in. */
  #tooLate(login: Login): ReasonCode | undefined {
    if (this.#isStopping) return ReasonCode.ServerShuttingDown
    return login.signal?.aborted === true ? ReasonCode.UnspecifiedError : undefined
  }

  #refuse(login: Login, reason: ReasonCode): MaybePromise<Refused> {
    const { clientId, username, listener, peerHost } = login.client
    this.log.info(
      { clientid: clientId, username, listener, peerhost: peerHost, reason: reasonName(reason) },
      'login refused',
    )
    const answer = this.hooks.fold('client.connack', {}, login.client, reason)
    return andThen(answer, (properties) => ({ kind: 'refused', reason, properties }))
  }

  /** Takes over or makes the session. From here on nothing waits, so no other login can come in between. */
  #open(
    login: Login,
    options: SessionOptions,
    receiver: Receiver,
  ): { client: HubClient; sessionPresent: boolean } | undefined {
    const { client: info } = login
    // [MQTT-3.1.4-3] the older connection goes first, or both would get this session's messages
    this.client(info.key)?.end(options.cleanStart ? 'discarded' : 'takenover')
    // [MQTT-3.1.3-2] a session is known by its client id
    const existing = this.#sessions.get(info.key)
    // [MQTT-3.1.4-4] [MQTT-3.1.2-4] anew, [MQTT-3.1.2-5] taken up, [MQTT-3.1.2-6] or made
    if (existing !== undefined && options.cleanStart) this.#terminate(existing, 'discarded')
    const resumed = options.cleanStart ? undefined : existing
    if (resumed === undefined && this.#sessions.size >= this.options.maxSessions) return undefined
    const session = resumed ?? new Session(info, this.#sessionContext)
    session.info = info
    session.expiryIntervalMs = options.expiryIntervalMs
    this.#sessions.set(info.key, session)
    this.#wills.cancel(info.key) // [MQTT-3.1.3-9]
    this.#expiries.get(info.key)?.clear()
    this.#expiries.delete(info.key)
    // [MQTT-3.1.2-7] the will goes with it
    const client = new HubClient(this, session, receiver, options.receiveMaximum, options.will)
    this.kernel.registerClient(new TableEntry(client))
    this.hooks.run(resumed === undefined ? 'session.created' : 'session.resumed', info)
    this.hooks.run('client.connected', info)
    return { client, sessionPresent: resumed !== undefined }
  }

  /** [MQTT-3.1.2-8], [MQTT-3.14.4-3]: a clean goodbye forgets the will, everything else publishes it now or later. */
  #settleWill(client: HubClient, reason: DisconnectReason, isOver: boolean): void {
    const { will, info, session } = client
    // A login that was not answered yet has nothing to leave behind.
    // [MQTT-3.1.2-12 (3.1.1)] none without a will, [MQTT-3.1.2-10] and none after a goodbye.
    if (will === undefined || reason === 'normal' || !client.isStarted) return
    const publish = () => client.publishWill(will)
    const delayMs = isOver || this.#isStopping ? 0 : willDelayMs(will, session.expiryIntervalMs)
    if (delayMs === 0) publish()
    else if (reason !== 'takenover') this.#wills.schedule(info.key, delayMs, publish) // taken over: it is back already
  }

  #terminate(session: Session, reason: DisconnectReason): void {
    if (this.#sessions.get(session.key) !== session) return
    this.#sessions.delete(session.key)
    this.#expiries.get(session.key)?.clear()
    this.#expiries.delete(session.key)
    for (const entry of session.subscriptions.values()) removeEntry(this, entry)
    const shared = session.sharedDeliveries()
    session.clear()
    for (const { group, message } of shared) {
      const member = group?.pick(message)
      member?.session.offer(message, member)
    }
    this.#wills.publishNow(session.key)
    if (reason === 'discarded') this.hooks.run('session.discarded', session.info)
    else this.hooks.run('session.terminated', session.info, reason)
  }

  #routeIf(decision: PublishDecision, message: Message): MaybePromise<ReasonCode> {
    if (decision === 'drop') return ReasonCode.NoMatchingSubscribers
    if (decision !== 'disconnect') return this.#route(decision)
    // By the time its will is published, another one may be connected with its key.
    const publisher = this.client(message.from)
    if (publisher?.info === message.publisher) publisher?.end('hook')
    return ReasonCode.ImplementationSpecificError
  }

  #route(message: Message): MaybePromise<ReasonCode> {
    const route = this.kernel.router.route(message.topic)
    if (route.levels > this.options.maxTopicLevels) return ReasonCode.TopicNameInvalid
    const { messageExpiryMs } = this.options
    if (messageExpiryMs !== Number.POSITIVE_INFINITY && message.expiresAtMs === 0)
      message.expiresAtMs = message.timestampMs + messageExpiryMs
    // [MQTT-3.3.1-8] without RETAIN nothing is stored or taken away
    const count = message.retain ? this.kernel.retain(message) : this.kernel.dispatch(message, route)
    if (isPromise(count)) return count.then(codeOf)
    return codeOf(count)
  }
}

/** Before authentication, which sees it, and again after it, which may have changed what it is made of. */
function mount({ client, mountpoint }: Login): void {
  if (mountpoint !== undefined) client.mountpoint = renderMountpoint(mountpoint, client)
}

function codeOf(count: number): ReasonCode {
  return count === 0 ? ReasonCode.NoMatchingSubscribers : ReasonCode.Success
}
