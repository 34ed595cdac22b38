import type { Authorization } from '../hooks/hookpoints.ts'
import type { Action } from '../model/access.ts'
import { isPromise, type MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import { Message, type QoS } from '../model/message.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import type { Subscription } from '../model/subscription.ts'
import { Deadline } from '../model/timers.ts'
import type { Client, Receiver, Will } from './broker.ts'
import type { Hub } from './hub.ts'
import type { Session } from './session.ts'
import { subscribe, unsubscribe } from './subscribing.ts'

/** One object per possible action, so that a check allocates nothing. Publish: index qos * 2 + retain. */
const PUBLISH_ACTIONS: readonly Action[] = ([0, 1, 2] as const).flatMap((qos) => [
  { kind: 'publish', qos, retain: false } as const,
  { kind: 'publish', qos, retain: true } as const,
])
const SUBSCRIBE_ACTIONS: readonly Action[] = ([0, 1, 2] as const).map((qos) => ({ kind: 'subscribe', qos }))

const BY_SUPERUSER: Authorization = { result: 'allow', from: 'superuser' }

/** A connected client: its session, its receiver, and the way its messages take through the broker. */
export class HubClient implements Client {
  readonly info: ClientInfo
  readonly session: Session
  will: Will | undefined
  readonly #hub: Hub
  readonly #receiver: Receiver
  readonly #receiveMaximum: number
  #isStarted = false
  #isClosed = false
  readonly #loginEnds: Deadline | undefined

  constructor(
    hub: Hub,
    session: Session,
    receiver: Receiver,
    receiveMaximum: number,
    will: Will | undefined,
  ) {
    this.info = session.info
    this.session = session
    this.will = will
    this.#hub = hub
    this.#receiver = receiver
    this.#receiveMaximum = receiveMaximum
    const { authExpiresAtMs } = this.info
    if (authExpiresAtMs !== undefined) {
      this.#loginEnds = new Deadline(authExpiresAtMs - Date.now(), () => this.end('connection_expired'))
    }
  }

  /** Its login has been answered. */
  get isStarted(): boolean {
    return this.#isStarted
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  start(): void {
    if (this.#isClosed) return
    this.#isStarted = true
    this.session.attach(this.#receiver, this.#receiveMaximum)
  }

  publish(message: Message): MaybePromise<ReasonCode> {
    const allowed = this.mayPublish(message.topic, message.qos, message.retain)
    if (isPromise(allowed)) return allowed.then((yes) => this.#publishIf(yes, message))
    return this.#publishIf(allowed, message)
  }

  mayPublish(topic: string, qos: QoS, retain: boolean): MaybePromise<boolean> {
    return this.authorize(PUBLISH_ACTIONS[qos * 2 + (retain ? 1 : 0)] as Action, topic)
  }

  subscribe(subscriptions: readonly Subscription[]): MaybePromise<ReasonCode[]> {
    return subscribe(this.#hub, this, subscriptions)
  }

  unsubscribe(filters: readonly string[]): MaybePromise<ReasonCode[]> {
    return unsubscribe(this.#hub, this, filters)
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
    this.#loginEnds?.clear()
    this.session.detach()
    this.#hub.disconnected(this, reason)
  }

  /** The broker's side ends it: the peer is told, the table entry is gone when this returns. */
  end(reason: DisconnectReason): void {
    if (this.#isClosed) return
    this.close(reason)
    try {
      this.#receiver.end(reason)
    } catch (error) {
      // Whoever ends it is mostly somebody else's turn: another login, the API, the broker that stops.
      this.#hub.log.error({ client: this.info.key, error }, 'a connection could not be ended')
    }
  }

  /** May this client do it? Superusers may; without hooks everybody may. `topic` is without mountpoint. */
  authorize(action: Action, topic: string): MaybePromise<boolean> {
    const { hooks, noMatch } = this.#hub
    if (this.info.isSuperuser) return this.#decided(action, topic, BY_SUPERUSER)
    if (!hooks.used['client.authorize']) return true
    const answer = hooks.fold('client.authorize', noMatch, this.info, action, topic)
    if (isPromise(answer)) return answer.then((authorization) => this.#decided(action, topic, authorization))
    return this.#decided(action, topic, answer)
  }

  authorizeSubscribe(subscription: Subscription): MaybePromise<boolean> {
    return this.authorize(SUBSCRIBE_ACTIONS[subscription.qos] as Action, subscription.filter)
  }

  /** Publishes the will as if the client did so now: authorization and hooks have their say [MQTT-3.1.2-8]. */
  publishWill(will: Will): void {
    const { topic, payload, qos, retain, properties } = will
    // [MQTT-3.1.2-14] [MQTT-3.1.2-15] retained or not, as the will says
    const message = new Message(topic, payload, qos, retain, properties, this.info, Date.now())
    const published = this.publish(message)
    if (isPromise(published)) {
      published.catch((error: unknown) =>
        this.#hub.log.error({ client: this.info.key, error }, 'will not published'),
      )
    }
  }

  #decided(action: Action, topic: string, authorization: Authorization): boolean {
    const { hooks } = this.#hub
    if (hooks.used['client.check_authz_complete']) {
      hooks.run('client.check_authz_complete', this.info, action, topic, authorization)
    }
    if (authorization.result === 'allow') return true
    const { clientId, username } = this.info
    this.#hub.log.debug(
      { clientid: clientId, username, action, topic, source: authorization.from },
      'access denied',
    )
    if (this.#hub.options.denyAction === 'disconnect') this.end('not_authorized')
    return false
  }

  #publishIf(allowed: boolean, message: Message): MaybePromise<ReasonCode> {
    if (!allowed) return ReasonCode.NotAuthorized
    const { mountpoint } = this.info
    if (mountpoint !== '') message.topic = mountpoint + message.topic
    return this.#hub.publish(message)
  }
}
