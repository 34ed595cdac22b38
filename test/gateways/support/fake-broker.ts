import type {
  Client,
  Connected,
  Delivery,
  Receiver,
  Refused,
  SessionOptions,
  Will,
} from '../../../broker/broker.ts'
import type { Login } from '../../../model/access.ts'
import type { MaybePromise } from '../../../model/async.ts'
import type { ClientInfo } from '../../../model/client-info.ts'
import type { DisconnectReason } from '../../../model/disconnect-reason.ts'
import type { Message, QoS } from '../../../model/message.ts'
import { renderMountpoint } from '../../../model/mountpoint.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import type { Subscription } from '../../../model/subscription.ts'
import { isValidFilter, parseShared, topicMatches } from '../../../model/topic.ts'

/** A broker in memory, just good enough to talk to: no sessions, no retained messages, no groups of shared subscribers. */
export class FakeBroker {
  readonly clients: FakeClient[] = []
  readonly published: Message[] = []
  readonly logins: Login[] = []
  /** Every answer comes as a promise. */
  isAsync = false
  refusal: ReasonCode | undefined
  /** Attributes that authentication gives. */
  attributes: ReadonlyMap<string, string> = new Map()
  /** Filters and topics that may not be used, and the code that is answered. */
  readonly denied = new Map<string, ReasonCode>()

  connect(login: Login, options: SessionOptions, receiver: Receiver): MaybePromise<Connected | Refused> {
    this.logins.push(login)
    return this.answer<Connected | Refused>(() => {
      if (this.refusal !== undefined) return { kind: 'refused', reason: this.refusal, properties: {} }
      const older = this.clients.find((one) => one.info.key === login.client.key && !one.isClosed)
      older?.receiver.end('discarded')
      login.client.attributes = this.attributes
      login.client.mountpoint = renderMountpoint(login.mountpoint ?? '', login.client)
      const client = new FakeClient(this, login.client, options, receiver)
      this.clients.push(client)
      return { kind: 'connected', client, sessionPresent: false, properties: {} }
    })
  }

  /** What somebody else publishes, with its full topic. */
  publish(message: Message): void {
    this.published.push(message)
    for (const client of this.clients) client.offer(message)
  }

  answer<T>(value: () => T): MaybePromise<T> {
    return this.isAsync ? Promise.resolve().then(value) : value()
  }

  /** The client that logged in last. */
  get client(): FakeClient {
    return this.clients.at(-1) as FakeClient
  }
}

export class FakeClient implements Client {
  readonly info: ClientInfo
  readonly options: SessionOptions
  readonly receiver: Receiver
  readonly subscriptions = new Map<string, Subscription>()
  readonly acknowledged: number[] = []
  readonly closings: DisconnectReason[] = []
  /** QoS 0 messages lost because the peer was congested. */
  dropped = 0
  drains = 0
  isStarted = false
  will: Will | undefined
  readonly #broker: FakeBroker
  readonly #inflight = new Set<number>()
  readonly #queue: Delivery[] = []
  #lastPacketId = 0

  constructor(broker: FakeBroker, info: ClientInfo, options: SessionOptions, receiver: Receiver) {
    this.#broker = broker
    this.info = info
    this.options = options
    this.receiver = receiver
    this.will = options.will
  }

  get waitingCount(): number {
    return this.#queue.length
  }

  setWill(will: Will | undefined): boolean {
    this.will = will
    return true
  }

  get isClosed(): boolean {
    return this.closings.length > 0
  }

  start(): void {
    this.isStarted = true
  }

  mayPublish(topic: string): MaybePromise<boolean> {
    return this.#broker.answer(() => !this.#broker.denied.has(topic))
  }

  publish(message: Message): MaybePromise<ReasonCode> {
    return this.#broker.answer(() => {
      const denied = this.#broker.denied.get(message.topic)
      if (denied !== undefined) return denied
      message.topic = this.info.mountpoint + message.topic
      this.#broker.publish(message)
      return ReasonCode.Success
    })
  }

  subscribe(subscriptions: readonly Subscription[]): MaybePromise<ReasonCode[]> {
    return this.#broker.answer(() =>
      subscriptions.map((one) => {
        const denied = this.#broker.denied.get(one.filter)
        if (denied !== undefined) return denied
        if (!isValidFilter(one.filter)) return ReasonCode.TopicFilterInvalid
        this.subscriptions.set(one.filter, one)
        return one.qos as ReasonCode
      }),
    )
  }

  unsubscribe(filters: readonly string[]): MaybePromise<ReasonCode[]> {
    return this.#broker.answer(() =>
      filters.map((filter) =>
        this.subscriptions.delete(filter) ? ReasonCode.Success : ReasonCode.NoSubscriptionExisted,
      ),
    )
  }

  offer(message: Message): void {
    if (this.isClosed || !this.isStarted) return
    const matched = [...this.subscriptions.values()].filter(({ filter }) =>
      topicMatches(this.info.mountpoint + (parseShared(filter)?.filter ?? filter), message.topic),
    )
    if (matched.length === 0) return
    const granted = Math.max(...matched.map((one) => one.qos))
    const qos = Math.min(granted, message.qos) as QoS
    const subscriptionIds = matched.map((one) => one.identifier)
    const delivery: Delivery = { message, qos, retain: false, dup: false, packetId: 0, subscriptionIds }
    if (qos > 0) {
      this.#queue.push(delivery)
      this.#pump()
    } else if (this.receiver.congested) this.dropped++
    else this.receiver.deliver(delivery)
  }

  acked(packetId: number): boolean {
    if (!this.#inflight.delete(packetId)) return false
    this.acknowledged.push(packetId)
    this.#pump()
    return true
  }

  received(): boolean {
    return false
  }

  completed(): boolean {
    return false
  }

  drained(): void {
    this.drains++
  }

  unmounted(topic: string): string {
    return topic.slice(this.info.mountpoint.length)
  }

  close(reason: DisconnectReason): void {
    this.closings.push(reason)
  }

  #pump(): void {
    while (this.#inflight.size < this.options.receiveMaximum) {
      const delivery = this.#queue.shift()
      if (delivery === undefined) return
      const packetId = ++this.#lastPacketId
      this.#inflight.add(packetId)
      if (!this.receiver.deliver({ ...delivery, packetId })) this.#inflight.delete(packetId)
    }
  }
}
