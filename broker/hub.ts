import type { Fold, HookBus } from '../hooks/bus.ts'
import type { Authorization, ConnectDecision, PropertyBag, PublishDecision } from '../hooks/hookpoints.ts'
import type { Login, Permission } from '../model/access.ts'
import { andThen, isPromise, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import type { Logger } from '../model/log.ts'
import type { Message } from '../model/message.ts'
import { renderMountpoint } from '../model/mountpoint.ts'
import { PayloadSlab } from '../model/payload-slab.ts'
import { ReasonCode, reasonName } from '../model/reason-codes.ts'
import type { Subscription } from '../model/subscription.ts'
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
import type { ClientLimits } from './client-limits.ts'
import { Kernel, TableEntry } from './kernel.ts'
import { countAuthenticated, Metrics } from './metrics.ts'
import { Retainer, type RetainerOptions } from './retainer.ts'
import { ExclusiveTopics } from './routing/exclusive.ts'
import type { Route } from './routing/route.ts'
import { Router } from './routing/router.ts'
import type { SharingOptions } from './routing/shared-groups.ts'
import type { Session } from './session.ts'
import { SessionTable } from './session-table.ts'
import { Stats } from './stats.ts'
import type { DurableStore, Storage } from './storage/storage.ts'
import { subscribeUnasked } from './subscribing.ts'

/** Limits and policies of the whole broker, whatever a client speaks. */
export interface HubOptions extends ClientLimits {
  nodeName: string
  /** Of clients whose zone has limits of its own; undefined = none has. */
  zones?: ReadonlyMap<string, ClientLimits>
  sharing: SharingOptions
  retainer: RetainerOptions
  /** Connected and kept ones together. */
  maxSessions: number
  /** What becomes of a client that does what it may not. */
  denyAction: 'ignore' | 'disconnect'
  /** The answer of access control when no rule matches. */
  noMatch: Permission
}

/** A login that has got its session. */
interface Opened {
  client: HubClient
  sessionPresent: boolean
  /** Its session is kept, or one that was kept has ended, or it has a will. */
  changesStorage: boolean
}

/** How often a node tells the others that it lives. */
const HEARTBEAT_MS = 15_000

/** The broker: logins, sessions, and the client table with everything that is published through it. */
export class Hub {
  readonly kernel: Kernel
  readonly hooks: HookBus
  readonly log: Logger
  readonly metrics: Metrics
  readonly stats: Stats
  readonly exclusive = new ExclusiveTopics()
  options: HubOptions
  noMatch: Authorization
  readonly publishing: Fold<'message.publish'>
  readonly authorizing: Fold<'client.authorize'>
  readonly sessions: SessionTable
  readonly #durable: DurableStore | undefined
  #isStopping = false
  #stopped: Promise<void> | undefined

  constructor(
    options: HubOptions,
    storage: Storage,
    hooks: HookBus,
    log: Logger,
    metrics: Metrics = new Metrics(),
  ) {
    this.options = options
    this.hooks = hooks
    this.publishing = hooks.foldAt('message.publish')
    this.authorizing = hooks.foldAt('client.authorize')
    this.log = log
    this.metrics = metrics
    this.noMatch = { result: options.noMatch, from: 'default' }
    this.#durable = storage.durable
    this.sessions = new SessionTable(this, storage.durable, { hooks, log, metrics, slab: new PayloadSlab() })
    const router = new Router(options.sharing)
    this.kernel = new Kernel({
      nodeName: options.nodeName,
      router,
      storage,
      retainer: new Retainer(storage, options.retainer, log, metrics),
      hooks,
      heartbeatMs: HEARTBEAT_MS,
      metrics,
    })
    this.stats = new Stats(this)
    this.kernel.on('error', (error) => log.error({ error }, 'the kernel failed'))
  }

  /** Takes new options. Sessions that exist keep their window and queue. */
  update(options: HubOptions): void {
    this.options = options
    this.kernel.router.share(options.sharing)
    this.kernel.retainer.update(options.retainer)
    this.noMatch = { result: options.noMatch, from: 'default' }
  }

  async start(): Promise<void> {
    await this.kernel.listen()
    await this.sessions.restore()
  }

  /**
   * Ends every connection with "server shutting down" and the kernel with its timers. Wills are published now,
   * those that wait for their delay too unless the storage keeps them; sessions stay as they are. Safe to call twice.
   */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  get clientCount(): number {
    return this.kernel.connectedClients
  }

  get sessionCount(): number {
    return this.sessions.size
  }

  *clients(): Generator<HubClient> {
    for (const entry of Object.values(this.kernel.clients)) yield entry.client
  }

  client(key: string): HubClient | undefined {
    return this.kernel.clientOf(key)
  }

  session(key: string): Session | undefined {
    return this.sessions.get(key)
  }

  /** What holds for a client, or without one for everybody. */
  limitsOf(client: Pick<ClientInfo, 'zone'> | undefined): ClientLimits {
    const { zones } = this.options
    if (zones === undefined || client === undefined) return this.options
    return zones.get(client.zone) ?? this.options
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
    const session = this.sessions.get(key)
    if (session !== undefined) this.sessions.terminate(session, 'kicked')
    return client !== undefined || session !== undefined
  }

  /**
   * Ends a client's connection and tells it where to go: MQTT 5 clients get DISCONNECT with the reason and
   * the server reference (MQTT 5.0 §4.13), others see the connection close. The session stays.
   * @param serverReference - `host:port`, or several with a space between
   * @returns false if nobody is connected with that key
   */
  redirect(
    key: string,
    reason: 'use_another_server' | 'server_moved',
    serverReference: string | undefined,
  ): boolean {
    const client = this.client(key)
    client?.end(reason, serverReference)
    return client !== undefined
  }

  /**
   * Logs a client in: `client.connect` hooks, authentication, takeover, session.
   * The caller sends its answer and then calls `client.start()`.
   */
  connect(login: Login, wish: SessionWish, receiver: Receiver): MaybePromise<Connected | Refused> {
    return andThen(this.connectInSteps(login, wish, receiver), (answer) =>
      answer.kind === 'challenge' ? this.#refuse(login, ReasonCode.BadAuthenticationMethod) : answer,
    )
  }

  /**
   * The same for a protocol whose clients can answer challenges. Those come before anything of the
   * login begins: of a client that does not answer nothing is left.
   */
  connectInSteps(
    login: Login,
    wish: SessionWish,
    receiver: Receiver,
  ): MaybePromise<Connected | Refused | Challenge<Connected | Refused>> {
    return andThen(this.#admit(login), (asked) =>
      concluding(asked, (admission) => this.#enter(login, wish, receiver, admission)),
    )
  }

  /** Hooks, retaining and routing of an authorized message with its full topic. */
  publish(message: Message): MaybePromise<ReasonCode> {
    this.metrics.messagesPublish++
    const { publishing } = this
    if (!publishing.isUsed) return this.#route(message)
    const decision = publishing.fold(message as PublishDecision)
    return isPromise(decision) ? this.#routeLater(decision, message) : this.#routeIf(decision, message)
  }

  /** A client's connection has ended: its table entry goes, its will is published, its session kept or ended. */
  disconnected(client: HubClient, reason: DisconnectReason): void {
    const { session, info } = client
    const entry = this.kernel.clients[info.key]
    if (entry?.client === client) this.kernel.unregisterClient(entry)
    this.metrics.clientDisconnected++
    this.hooks.run('client.disconnected', info, reason)
    // [MQTT-4.1.0-1] not before its connection ends; [MQTT-3.1.2-6 (3.1.1)] with it
    const isOver = session.expiryIntervalMs === 0 || reason === 'kicked' || reason === 'discarded'
    this.sessions.settleWill(client, reason, isOver)
    if (isOver) return this.sessions.terminate(session, reason)
    if (reason === 'takenover') this.metrics.sessionTakenover++
    else this.metrics.sessionDisconnected++
    this.hooks.run(reason === 'takenover' ? 'session.takenover' : 'session.disconnected', info)
    this.sessions.keep(session)
  }

  async #stop(): Promise<void> {
    this.#isStopping = true
    this.sessions.stopping()
    for (const client of this.clients()) client.end('server_shutting_down')
    this.sessions.stopped()
    await new Promise<void>((resolve) => this.kernel.close(resolve))
    this.kernel.retainer.close()
    await this.kernel.storage.destroy()
  }

  /** Hooks and authentication. */
  #admit(login: Login): MaybePromise<Admission | Challenge<Admission>> {
    if (this.#isStopping) return barred(ReasonCode.ServerShuttingDown)
    this.metrics.clientConnect++
    mount(login)
    const start: ConnectDecision = { properties: login.properties ?? {} }
    return andThen(this.hooks.fold('client.connect', start, login.client), (decision) => {
      if ('refused' in decision) return barred(decision.refused, decision.properties)
      login.properties = decision.properties
      this.metrics.clientAuthenticate++
      return andThen(askWho(this.hooks, this.log, login), (asked) =>
        concluding(asked, (verdict) => this.#judge(login, verdict)),
      )
    })
  }

  #enter(
    login: Login,
    wish: SessionWish,
    receiver: Receiver,
    admission: Admission,
  ): MaybePromise<Connected | Refused> {
    if (admission.kind === 'barred') return this.#refuse(login, admission.reason, admission.properties)
    const options = typeof wish === 'function' ? wish() : wish
    const refusal = this.#durable?.refusal
    // Nothing new can be promised now; who has a session already gets on with it.
    if (refusal !== undefined && options.expiryIntervalMs > 0 && this.session(login.client.key) === undefined)
      return this.#refuse(login, refusal)
    const opened = this.#open(login, options, receiver)
    if (opened === undefined) return this.#refuse(login, ReasonCode.QuotaExceeded)
    return andThen(this.#keeping(opened), (isKept) => {
      if (!isKept) {
        opened.client.close('internal_error')
        return this.#refuse(login, ReasonCode.ServerUnavailable)
      }
      this.metrics.clientConnack++
      const answer = this.hooks.fold('client.connack', {}, login.client, ReasonCode.Success)
      const authData = admission.data
      return andThen(answer, (properties) => ({ kind: 'connected', ...opened, properties, authData }))
    })
  }

  /** Waits until a new session, the end of one that was kept, or a will is safe. @returns false if it is not going to be */
  #keeping({ client, sessionPresent, changesStorage }: Opened): MaybePromise<boolean> {
    const { mirror } = client.session
    const unsafe = changesStorage ? this.#durable?.unsafe : undefined
    if (unsafe === undefined || this.#durable?.refusal !== undefined) return true
    return unsafe.then(
      () => true,
      () => sessionPresent || mirror === undefined,
    )
  }

  /** Puts what authentication knows into the client info. */
  #judge(login: Login, decision: Decision): Admission {
    const { client } = login
    if (decision.kind === 'deny') {
      this.metrics.authenticationFailure++
      this.hooks.run('client.check_authn_complete', client, decision.reason, false)
      return barred(decision.reason)
    }
    const { principal, data } = decision
    rename(client, principal, this.options.zones)
    grant(client, principal)
    countAuthenticated(this.metrics, principal.isAnonymous === true)
    this.hooks.run('client.check_authn_complete', client, ReasonCode.Success, principal.isAnonymous === true)
    mount(login)
    const tooLate = this.#tooLate(login)
    return tooLate === undefined ? { kind: 'admitted', data } : barred(tooLate)
  }

  /** Others may have been asked for long: who has left meanwhile takes over nobody, who stops lets nobody in. */
  #tooLate(login: Login): ReasonCode | undefined {
    if (this.#isStopping) return ReasonCode.ServerShuttingDown
    return login.signal?.aborted === true ? ReasonCode.UnspecifiedError : undefined
  }

  #refuse(login: Login, reason: ReasonCode, start: PropertyBag = {}): MaybePromise<Refused> {
    const { clientId, username, listener, peerHost } = login.client
    this.log.info(
      { clientid: clientId, username, listener, peerhost: peerHost, reason: reasonName(reason) },
      'login refused',
    )
    this.metrics.clientConnack++
    const answer = this.hooks.fold('client.connack', start, login.client, reason)
    return andThen(answer, (properties) => ({ kind: 'refused', reason, properties }))
  }

  /** Takes over or makes the session. From here on nothing waits, so no other login can come in between. */
  #open(login: Login, options: SessionOptions, receiver: Receiver): Opened | undefined {
    const { client: info } = login
    // [MQTT-3.1.4-3] the older connection goes first, or both would get this session's messages
    this.client(info.key)?.end(options.cleanStart ? 'discarded' : 'takenover')
    const wasKept = this.session(info.key)?.mirror !== undefined
    const opened = this.sessions.open(info, options)
    if (opened === undefined) return undefined
    const { session, isResumed, will } = opened
    const { receiveMaximum, expiryIntervalMs } = options
    info.terms = { properties: login.properties ?? {}, receiveMaximum, expiryIntervalMs }
    const client = new HubClient(this, session, receiver, options)
    client.will = will
    this.kernel.registerClient(new TableEntry(client))
    if (isResumed) this.metrics.sessionResumed++
    else this.metrics.sessionCreated++
    this.metrics.clientConnected++
    this.stats.sample()
    this.hooks.run(isResumed ? 'session.resumed' : 'session.created', info)
    this.hooks.run('client.connected', info)
    // A will is kept whatever becomes of the session: it is promised from CONNACK on.
    const changesStorage = wasKept || session.mirror !== undefined || options.will !== undefined
    return { client, sessionPresent: isResumed, changesStorage }
  }

  async #routeLater(decision: Promise<PublishDecision>, message: Message): Promise<ReasonCode> {
    return this.#routeIf(await decision, message)
  }

  #routeIf(decision: PublishDecision, message: Message): MaybePromise<ReasonCode> {
    if (decision === message) return this.#route(message)
    // Whoever took it off the way may have kept it, as delayed messages are.
    if (decision === 'drop') {
      message.stored = this.#durable?.unsafe
      return ReasonCode.NoMatchingSubscribers
    }
    if (decision !== 'disconnect') return this.#routeChanged(decision, message)
    // By the time its will is published, another one may be connected with its key.
    const publisher = this.client(message.from)
    if (publisher?.info === message.publisher) publisher?.end('hook')
    return ReasonCode.ImplementationSpecificError
  }

  /** Another message takes the place of the one that was published. */
  #routeChanged(changed: Message, message: Message): MaybePromise<ReasonCode> {
    return andThen(this.#route(changed), (code) => {
      message.stored = changed.stored
      return code
    })
  }

  #route(message: Message): MaybePromise<ReasonCode> {
    const route = this.kernel.router.routeOf(message)
    // A rule or a delay may have brought a client's message here.
    if (route.isReserved) return ReasonCode.NotAuthorized
    const { maxTopicLevels, messageExpiryMs } = this.limitsOf(message.publisher)
    if (route.levels > maxTopicLevels) return ReasonCode.TopicNameInvalid
    if (messageExpiryMs !== Number.POSITIVE_INFINITY && message.expiresAtMs === 0)
      message.expiresAtMs = message.timestampMs + messageExpiryMs
    if (this.#durable?.refusal !== undefined && message.qos > 0 && isForKeeps(message, route)) {
      this.metrics.messagesDroppedQuotaExceeded++
      return ReasonCode.QuotaExceeded
    }
    // [MQTT-3.3.1-8] without RETAIN nothing is stored or taken away
    const count = message.retain ? this.kernel.retain(message) : this.kernel.dispatch(message, route)
    if (isPromise(count)) return count.then(codeOf)
    return codeOf(count)
  }
}

function barred(reason: ReasonCode, properties?: PropertyBag): Admission {
  return { kind: 'barred', reason, properties }
}

/** Before authentication, which sees it, and again after it, which may have changed what it is made of. */
function mount({ client, mountpoint }: Login): void {
  if (mountpoint !== undefined) client.mountpoint = renderMountpoint(mountpoint, client)
}

/** Whether an acknowledgement of the message would promise that it outlives the process. */
function isForKeeps(message: Message, { targets, groups }: Route): boolean {
  return message.retain || groups.length > 0 || targets.some(({ session }) => session.mirror !== undefined)
}

function codeOf(count: number): ReasonCode {
  return count === 0 ? ReasonCode.NoMatchingSubscribers : ReasonCode.Success
}
