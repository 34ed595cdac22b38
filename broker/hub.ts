import type { Fold, HookBus } from '../hooks/bus.ts'
import type { Authorization, PublishDecision } from '../hooks/hookpoints.ts'
import type { Login, Permission } from '../model/access.ts'
import { andThen, isPromise, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import type { Logger } from '../model/log.ts'
import type { Message, QoS } from '../model/message.ts'
import { PayloadSlab } from '../model/payload-slab.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import type { Subscription } from '../model/subscription.ts'
import type { Challenge, Connected, Receiver, Refused, SessionWish } from './broker.ts'
import type { HubClient } from './client.ts'
import type { ClientLimits } from './client-limits.ts'
import { Kernel } from './kernel.ts'
import { logIn, refuse } from './logging-in.ts'
import type { Batch, Sight } from './message-run.ts'
import { Metrics } from './metrics.ts'
import { beginsWithDollar } from './reserved-topics.ts'
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

/** How often a node tells the others that it lives. */
const HEARTBEAT_MS = 15_000

/**
 * The broker: the client table with everything that is published through it. How a client gets in is in
 * `logging-in.ts`, what becomes of its session in `session-table.ts`, what it may and does then in `client.ts`.
 */
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
  /** What outlives the process; undefined = nothing does. */
  readonly durable: DurableStore | undefined
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
    this.durable = storage.durable
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

  /** From the call of `stop` on: nobody comes in any more. */
  get isStopping(): boolean {
    return this.#isStopping
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
    // Nothing may come to a session that has ended.
    this.kernel.run.settle()
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
      answer.kind === 'challenge' ? refuse(this, login, ReasonCode.BadAuthenticationMethod) : answer,
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
    return logIn(this, login, wish, receiver)
  }

  /** Hooks, retaining and routing of an authorized message with its full topic. */
  publish(message: Message): MaybePromise<ReasonCode> {
    this.metrics.messagesPublish++
    const { publishing } = this
    if (!publishing.isUsed) return this.#route(message)
    if (beginsWithDollar(message)) return this.follow(publishing.fold(message as PublishDecision), message)
    return publishing.isUsedByAll ? this.follow(publishing.foldPlain(message), message) : this.#route(message)
  }

  /** Does with a message what `message.publish` hooks have decided. */
  follow(decision: MaybePromise<PublishDecision>, message: Message): MaybePromise<ReasonCode> {
    return isPromise(decision) ? this.#routeLater(decision, message) : this.#routeIf(decision, message)
  }

  /** Begins a run of packets at QoS 0 of a client with the first one, `bytes[start..end)`. @returns see `MessageRun` */
  beginPackets(client: HubClient, first: Sight, isV5: boolean, start: number, end: number): boolean {
    if (!this.#takesRuns(client, first, 0)) return false
    const { maxTopicLevels } = this.limitsOf(client.info)
    return this.kernel.run.beginPackets(first, client.info, maxTopicLevels, isV5, start, end)
  }

  /** Begins a run of messages at QoS 1 of a client with the first one. @returns see `MessageRun` */
  beginMessages(client: HubClient, first: Sight, batch: Batch): boolean {
    const { used } = this.hooks
    // What changes an answer, or makes one wait, is asked for each.
    if (used['message.puback'] || this.durable?.refusal !== undefined) return false
    // Hooks that do something as a message comes to one client do it before the next message is looked at.
    if (used['message.delivered'] || used['delivery.completed'] || used['delivery.dropped']) return false
    if (!this.#takesRuns(client, first, 1)) return false
    const { maxTopicLevels } = this.limitsOf(client.info)
    return this.kernel.run.beginMessages(first, client.info, maxTopicLevels, batch)
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

  /** Not where each message is changed, or somebody has to be asked about each. */
  #takesRuns(client: HubClient, { topic, known }: Sight, qos: QoS): boolean {
    const { messageExpiryMs } = this.limitsOf(client.info)
    if (client.info.mountpoint !== '' || messageExpiryMs !== Number.POSITIVE_INFINITY) return false
    return known?.isDollar === false && client.isKnownToPublish(topic, qos)
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

  async #routeLater(decision: Promise<PublishDecision>, message: Message): Promise<ReasonCode> {
    return this.#routeIf(await decision, message)
  }

  #routeIf(decision: PublishDecision, message: Message): MaybePromise<ReasonCode> {
    if (decision === message) return this.#route(message)
    // Whoever took it off the way may have kept it, as delayed messages are.
    if (decision === 'drop') {
      message.stored = this.durable?.unsafe
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
    if (this.durable?.refusal !== undefined && message.qos > 0 && isForKeeps(message, route)) {
      this.metrics.messagesDroppedQuotaExceeded++
      return ReasonCode.QuotaExceeded
    }
    // [MQTT-3.3.1-8] without RETAIN nothing is stored or taken away
    const count = message.retain ? this.kernel.retain(message) : this.kernel.dispatch(message, route)
    if (isPromise(count)) return count.then(codeOf)
    return codeOf(count)
  }
}

/** Whether an acknowledgement of the message would promise that it outlives the process. */
function isForKeeps(message: Message, { targets, groups }: Route): boolean {
  return message.retain || groups.length > 0 || targets.some(({ session }) => session.mirror !== undefined)
}

function codeOf(count: number): ReasonCode {
  return count === 0 ? ReasonCode.NoMatchingSubscribers : ReasonCode.Success
}
