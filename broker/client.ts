import type { Action } from '../model/access.ts'
import { isPromise, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import type { Message, QoS } from '../model/message.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import type { Subscription } from '../model/subscription.ts'
import { Deadline } from '../model/timers.ts'
import { isAllowed, isKnownToPublish, publishing, subscribing } from './authorizing.ts'
import type { Client, Receiver, SessionOptions, Traffic, Will } from './broker.ts'
import type { Hub } from './hub.ts'
import { countReceived } from './metrics.ts'
import { isReserved } from './reserved-topics.ts'
import { Retries } from './retries.ts'
import type { Session } from './session.ts'
import { subscribe, unsubscribe } from './subscribing.ts'

/** A connected client: its session, its receiver, and the way its messages take through the broker. */
export class HubClient implements Client {
  readonly info: ClientInfo
  readonly session: Session
  will: Will | undefined
  readonly keepsWill: boolean
  readonly hasStats: boolean
  /** Messages that it has published, whatever became of them. */
  receivedCount = 0
  /** From authenticating again to its success. Its will is not published meanwhile. */
  isReauthenticating = false
  readonly #hub: Hub
  readonly #receiver: Receiver
  readonly #receiveMaximum: number
  readonly #retryIntervalMs: number
  /** What its session counted before it came. */
  readonly #sentBefore: number
  readonly #droppedBefore: number
  #retries: Retries | undefined
  #isStarted = false
  #isClosed = false
  #loginEnds: Deadline | undefined

  constructor(hub: Hub, session: Session, receiver: Receiver, options: SessionOptions) {
    const { receiveMaximum, will, keepsWill, hasStats, retryIntervalMs } = options
    this.info = session.info
    this.session = session
    this.will = will
    this.keepsWill = keepsWill === true
    this.hasStats = hasStats !== false
    this.#sentBefore = session.sentCount
    this.#droppedBefore = session.droppedCount
    this.#retryIntervalMs = retryIntervalMs ?? Number.POSITIVE_INFINITY
    this.#hub = hub
    this.#receiver = receiver
    this.#receiveMaximum = receiveMaximum
    this.#loginEnds = this.#armLogin()
  }

  /** Its login has been answered. */
  get isStarted(): boolean {
    return this.#isStarted
  }

  get waitingCount(): number {
    return this.session.waitingCount
  }

  /** Messages that it was sent, those that were sent again too. */
  get sentCount(): number {
    return this.session.sentCount - this.#sentBefore
  }

  /** Messages for it that were lost while it was connected. */
  get droppedCount(): number {
    return this.session.droppedCount - this.#droppedBefore
  }

  get traffic(): Traffic | undefined {
    return this.#receiver.traffic
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** It has authenticated again: its login ends when the new verdict says. */
  renewed(): void {
    this.isReauthenticating = false
    this.#loginEnds?.clear()
    this.#loginEnds = this.#armLogin()
  }

  start(): void {
    if (this.#isClosed) return
    this.#isStarted = true
    // What was published before is for who was away.
    this.#hub.kernel.run.settle()
    this.session.attach(this.#receiver, this.#receiveMaximum)
    if (this.#retryIntervalMs !== Number.POSITIVE_INFINITY && !this.#isClosed)
      this.#retries = new Retries(this.session, this.#retryIntervalMs)
  }

  publish(message: Message): MaybePromise<ReasonCode> {
    const code = this.accept(message)
    if (isPromise(code)) return whenStoredLater(message, code)
    return message.stored === undefined ? code : whenStored(message.stored, code)
  }

  /** As `publish`, but does not wait for the storage: `message.stored` has to settle before it is acknowledged. */
  accept(message: Message): MaybePromise<ReasonCode> {
    this.receivedCount++
    countReceived(this.#hub.metrics, message.qos)
    const allowed = this.mayPublish(message.topic, message.qos, message.retain)
    return isPromise(allowed) ? this.#publishLater(allowed, message) : this.#publishIf(allowed, message)
  }

  /** Whether it is known that it may publish to that topic, so that nobody has to be asked about each message of a run. */
  isKnownToPublish(topic: string, qos: QoS): boolean {
    return isKnownToPublish(this.#hub, this.info, publishing(qos, false), topic, 0)
  }

  /** So many messages were published, as it was known that it may. */
  published(topic: string, qos: QoS, count: number): void {
    this.receivedCount += count
    countReceived(this.#hub.metrics, qos, count)
    isKnownToPublish(this.#hub, this.info, publishing(qos, false), topic, count)
  }

  mayPublish(topic: string, qos: QoS, retain: boolean): MaybePromise<boolean> {
    return this.authorize(publishing(qos, retain), topic)
  }

  subscribe(subscriptions: readonly Subscription[]): MaybePromise<ReasonCode[]> {
    return subscribe(this.#hub, this, subscriptions)
  }

  unsubscribe(filters: readonly string[]): MaybePromise<ReasonCode[]> {
    return unsubscribe(this.#hub, this, filters)
  }

  setWill(will: Will | undefined): MaybePromise<boolean> {
    if (this.#isClosed) return false
    this.will = will
    return this.#hub.sessions.willChanged(this)
  }

  acked(packetId: number): boolean {
    return this.session.acked(packetId)
  }

  received(packetId: number): boolean {
    return this.session.received(packetId)
  }

  completed(packetId: number): boolean {
    return this.session.completed(packetId)
  }

  drained(): void {
    if (!this.#isClosed) this.session.drained()
  }

  unmounted(topic: string): string {
    const { mountpoint } = this.info
    return mountpoint !== '' && topic.startsWith(mountpoint) ? topic.slice(mountpoint.length) : topic
  }

  close(reason: DisconnectReason): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#hub.kernel.run.settle()
    this.#loginEnds?.clear()
    this.#retries?.close()
    this.session.detach()
    this.#hub.disconnected(this, reason)
  }

  /** The broker's side ends it: the peer is told, the table entry is gone when this returns. */
  end(reason: DisconnectReason, serverReference?: string): void {
    if (this.#isClosed) return
    this.close(reason)
    try {
      this.#receiver.end(reason, serverReference)
    } catch (error) {
      // Whoever ends it is mostly somebody else's turn: another login, the API, the broker that stops.
      this.#hub.log.error({ client: this.info.key, error }, 'a connection could not be ended')
    }
  }

  /** May it do this? Where access rules say so, it is ended if it may not. `topic` is without mountpoint. */
  authorize(action: Action, topic: string): MaybePromise<boolean> {
    const allowed = isAllowed(this.#hub, this.info, action, topic)
    return isPromise(allowed) ? this.#obeysLater(allowed) : this.#obeys(allowed)
  }

  authorizeSubscribe(subscription: Subscription): MaybePromise<boolean> {
    return this.authorize(subscribing(subscription.qos), subscription.filter)
  }

  async #obeysLater(allowed: Promise<boolean>): Promise<boolean> {
    return this.#obeys(await allowed)
  }

  #obeys(allowed: boolean): boolean {
    if (!allowed && this.#hub.options.denyAction === 'disconnect') this.end('not_authorized')
    return allowed
  }

  #armLogin(): Deadline | undefined {
    const { authExpiresAtMs } = this.info
    if (authExpiresAtMs === undefined) return undefined
    return new Deadline(authExpiresAtMs - Date.now(), () => this.end('connection_expired'))
  }

  async #publishLater(allowed: Promise<boolean>, message: Message): Promise<ReasonCode> {
    return this.#publishIf(await allowed, message)
  }

  #publishIf(allowed: boolean, message: Message): MaybePromise<ReasonCode> {
    if (!allowed) return ReasonCode.NotAuthorized
    const { mountpoint } = this.info
    if (mountpoint !== '') message.topic = mountpoint + message.topic
    // Not even hooks are to take it for the broker's own.
    if (isReserved(message.topic)) return ReasonCode.NotAuthorized
    return this.#hub.publish(message)
  }
}

/** @returns QuotaExceeded if it is not kept; it may have reached who is connected. */
function whenStored(stored: Promise<void>, code: ReasonCode): Promise<ReasonCode> {
  return stored.then(
    () => code,
    () => ReasonCode.QuotaExceeded,
  )
}

async function whenStoredLater(message: Message, pending: Promise<ReasonCode>): Promise<ReasonCode> {
  const code = await pending
  return message.stored === undefined ? code : whenStored(message.stored, code)
}
