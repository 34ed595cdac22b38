import type { HookBus } from '../hooks/bus.ts'
import type { DeliveryDropReason } from '../hooks/hookpoints.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { Logger } from '../model/log.ts'
import type { Message, QoS } from '../model/message.ts'
import type { PayloadSlab } from '../model/payload-slab.ts'
import type { Receiver } from './broker.ts'
import type { SessionLimits } from './client-limits.ts'
import { qos0Delivery, SessionDelivery } from './delivery.ts'
import { HookedDeliveries, type HookedTarget } from './hooked-deliveries.ts'
import { IncomingIds } from './incoming-ids.ts'
import { Inflight } from './inflight.ts'
import type { MessageQueue } from './message-queue.ts'
import { countDropped, countSent, type Metrics } from './metrics.ts'
import { type PriorityQueue, queueFor } from './priority-queue.ts'
import { type PacedCursor, REPLAY_BATCH, RetainedReplays } from './retained-replays.ts'
import { mergeTargets, type SubscriptionEntry, type Target } from './routing/route.ts'
import type { SessionContext } from './session-context.ts'
import type { SessionMirror } from './session-mirror.ts'

/**
 * What outlives a connection: subscriptions, unacknowledged and waiting deliveries,
 * inbound QoS 2 ids. While a receiver is attached it hands deliveries on, else it queues them.
 */
export class Session {
  readonly key: string
  /** Who is, or was last, connected with it. */
  info: ClientInfo
  /** By filter, as the client wrote it. */
  readonly subscriptions = new Map<string, SubscriptionEntry>()
  readonly incoming: IncomingIds
  /** Told of every change; undefined for sessions that end with their connection or with the process. */
  readonly mirror: SessionMirror | undefined
  /** How long it outlives its connection; Infinity = for ever. */
  expiryIntervalMs = 0
  /** Its subscriptions that messages are routed by. Owned by the router. */
  routedCount = 0
  /** Deliveries that its connections were handed, those that were sent again too. */
  sentCount = 0
  /** Deliveries lost to this client, for any reason. */
  droppedCount = 0
  /** Of those, the ones that its queue, or its connection, had no room for. */
  overflowCount = 0

  readonly limits: SessionLimits
  readonly #hooks: HookBus
  readonly #log: Logger
  readonly #metrics: Metrics
  readonly #slab: PayloadSlab
  readonly #queue: MessageQueue | PriorityQueue
  readonly #inflight = new Inflight()
  /** Of `#inflight`, those that a new connection has not been sent again yet. */
  #unsent: SessionDelivery[] = []
  #receiver: Receiver | undefined
  #window = 1
  /** Retained messages of new subscriptions; most sessions never have any. */
  #replays: RetainedReplays | undefined
  /** Made with the first delivery that has hooks to go through. */
  #hooked: HookedDeliveries | undefined
  /** Deliveries that wait until their packet ids are safe. */
  #heldCount = 0

  constructor(info: ClientInfo, shared: SessionContext, mirror?: SessionMirror) {
    this.key = info.key
    this.info = info
    this.mirror = mirror
    this.incoming = new IncomingIds(mirror)
    this.limits = shared.limits
    this.#hooks = shared.hooks
    this.#log = shared.log
    this.#metrics = shared.metrics
    this.#slab = shared.slab
    this.#queue = queueFor(shared.limits)
  }

  get isOnline(): boolean {
    return this.#receiver !== undefined
  }

  get inflightCount(): number {
    return this.#inflight.size
  }

  get queueLength(): number {
    return this.#queue.length
  }

  /** What has not been handed to the receiver. */
  get waitingCount(): number {
    const replays = this.#replays?.isWaiting === true ? 1 : 0
    const hooked = this.#hooked?.count ?? 0
    return this.#queue.length + this.#unsent.length + this.#heldCount + hooked + replays
  }

  /** Takes a receiver: sends again what was unacknowledged, in order [MQTT-4.4.0-1], then what waits. */
  attach(receiver: Receiver, receiveMaximum: number): void {
    this.#receiver = receiver
    this.#window = Math.min(receiveMaximum, this.limits.maxInflight) // [MQTT-4.9.0-1]
    this.#unsent = this.#inflight.inOrder() // [MQTT-4.8.2-4] those of shared groups too
    this.#pump()
  }

  /** The connection is gone; from now on messages are queued. */
  detach(): void {
    this.#receiver = undefined
  }

  /** One routed message for this client. */
  offer(message: Message, target: Target): void {
    if (target.noLocal && message.from === this.key) return this.#offerNotLocal(message, target)
    const qos = this.#qosOf(message, target)
    const retain = message.retain && target.retainAsPublished // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
    if (qos > 0) {
      return this.#offerReliably(new SessionDelivery(message, qos, retain, target.identifiers, target.group))
    }
    const delivery = qos0Delivery(message, retain, target.identifiers)
    const receiver = this.#receiver
    if (receiver === undefined) {
      if (this.limits.queuesQos0 && this.expiryIntervalMs > 0) this.#enqueue(delivery)
      else this.#drop(delivery, 'qos0_msg')
    } else if (receiver.congested) this.#drop(delivery, 'queue_full')
    else if (this.#queue.qos0Count > 0 || this.#heldCount > 0)
      this.#enqueue(delivery) // [MQTT-4.6.0-6] not past an older one
    else this.#hand(receiver, delivery)
  }

  /** Bytes of packets at QoS 0 that may be relayed to it, 0 if each message is to be offered. @param isV5 - of MQTT 5 */
  relayRoom(isV5: boolean): number {
    const receiver = this.#receiver
    if (receiver?.relayRoom === undefined || receiver.congested) return 0
    if (this.#queue.qos0Count > 0 || this.#heldCount > 0) return 0
    const { used } = this.#hooks
    if (used['message.delivered'] || used['delivery.completed'] || this.#hooked?.isBusy === true) return 0
    return receiver.relayRoom(isV5)
  }

  /** Hands over `count` packets as they came, no more bytes than `relayRoom` has told. */
  relay(bytes: Uint8Array, start: number, end: number, count: number): void {
    const receiver = this.#receiver as Receiver
    try {
      receiver.relay?.(bytes, start, end, count)
      this.sentCount += count
      countSent(this.#metrics, 0, false, count)
    } catch (error) {
      this.#failed(receiver, error)
    }
  }

  /** Hands over the retained messages of a new subscription, from the next turn on and as fast as the client takes them. */
  replay(cursor: PacedCursor, entry: SubscriptionEntry): void {
    this.#replays ??= new RetainedReplays({
      hasRoom: () => this.#replaysNow(),
      offer: (message, by) => this.#offerRetained(message, by),
      failed: (error) =>
        this.#log.error(
          { client: this.key, error },
          'retained messages could not be read for a subscription',
        ),
    })
    this.#replays.add(cursor, entry)
  }

  /** A new subscription replaces one whose retained messages are still being handed over: the rest goes by the new one. */
  continueReplay(replaced: SubscriptionEntry, entry: SubscriptionEntry): void {
    this.#replays?.replace(replaced, entry)
  }

  /**
   * QoS 1 done [MQTT-4.3.2-3], or refused by the peer: nobody else gets it [MQTT-4.8.2-6].
   * @returns false for an unknown id.
   */
  acked(packetId: number): boolean {
    const delivery = this.#inflight.take(packetId)
    if (delivery === undefined) return false
    this.mirror?.dropped(delivery)
    this.#acknowledged(delivery)
    this.#completed(delivery)
    return true
  }

  /** PUBREC. @returns false for an unknown id. */
  received(packetId: number): boolean {
    const delivery = this.#inflight.get(packetId)
    if (delivery === undefined || delivery.qos !== 2) return false
    if (delivery.state !== 'released') this.#acknowledged(delivery)
    delivery.state = 'released' // [MQTT-4.3.3-3] till now, [MQTT-4.3.3-5] PUBREL till PUBCOMP
    this.mirror?.changed(delivery)
    return true
  }

  /** PUBCOMP. @returns false for an unknown id. */
  completed(packetId: number): boolean {
    const delivery = this.#inflight.get(packetId)
    if (delivery === undefined || delivery.state !== 'released') return false
    this.#inflight.delete(packetId)
    this.mirror?.dropped(delivery)
    this.#completed(delivery)
    return true
  }

  drained(): void {
    this.#pump()
  }

  /** Sends again, in order, what is unacknowledged now and was `before`. @returns all that is now */
  retry(before: ReadonlySet<SessionDelivery>): Set<SessionDelivery> {
    const sent = this.#unsent.length > 0 ? [] : this.#inflight.inOrder()
    for (const one of sent) if (before.has(one) && this.#receiver?.congested === false) this.#resend(one)
    return new Set(sent)
  }

  /**
   * Unacknowledged messages of shared groups that other members can take when this session ends: QoS 1
   * in flight, and all that wait. QoS 2 in flight stays with the one it was sent to [MQTT-4.8.2-5].
   */
  sharedDeliveries(): SessionDelivery[] {
    const inflight = this.#inflight.inOrder().filter(({ qos }) => qos === 1)
    return [...inflight, ...this.#queue].filter(({ group }) => group !== undefined)
  }

  /** Takes up what a storage has kept, in the order in which it was added. Before anything else happens to it. */
  restore(deliveries: Iterable<SessionDelivery>): void {
    for (const delivery of deliveries) {
      if (delivery.state !== 'queued') this.#inflight.restore(delivery)
      else {
        const dropped = this.#queue.push(delivery)
        if (dropped !== undefined) this.#drop(dropped, 'queue_full')
      }
    }
  }

  /** Drops everything that waits: the session has ended. Retained messages stay [MQTT-3.1.2-7 (3.1.1)]. */
  clear(): void {
    this.#receiver = undefined
    this.#forget()
    this.#inflight.clear()
    this.#unsent = []
    this.#replays?.clear()
    this.#queue.clear()
  }

  #forget(): void {
    if (this.mirror === undefined) return
    for (const delivery of this.#inflight.inOrder()) this.mirror.dropped(delivery)
    for (const delivery of this.#queue) this.mirror.dropped(delivery)
    this.incoming.clear()
  }

  #qosOf(message: Message, target: Target): QoS {
    if (this.limits.upgradesQos) return Math.max(message.qos, target.qos) as QoS
    return Math.min(message.qos, target.qos) as QoS // [MQTT-3.8.4-8]
  }

  /** The client's own message: only subscriptions without No Local count [MQTT-3.8.3-3]. */
  #offerNotLocal(message: Message, target: Target): void {
    const others = target.parts?.filter((part) => !part.noLocal) ?? []
    if (others.length > 0) this.offer(message, mergeTargets(others))
    else {
      this.#metrics.deliveryDroppedNoLocal++
      this.#hooks.run('delivery.dropped', this.info, message, 'no_local')
    }
  }

  #offerReliably(delivery: SessionDelivery): void {
    // [MQTT-4.6.0-5] [MQTT-4.6.0-6] not past an older one
    if (this.#queue.length === 0 && this.#unsent.length === 0 && this.#hasRoom()) this.#send(delivery)
    else this.#enqueue(delivery) // [MQTT-3.1.2-5 (3.1.1)] for who is away too
  }

  /**
   * The window bounds PUBLISH above QoS 0 [MQTT-3.3.4-9] [MQTT-4.9.0-2] and nothing else [MQTT-3.3.4-10]
   * [MQTT-4.9.0-3].
   */
  #hasRoom(): boolean {
    const receiver = this.#receiver
    return (
      receiver !== undefined &&
      !receiver.congested &&
      this.#inflight.size - this.#unsent.length < this.#window
    )
  }

  #enqueue(delivery: SessionDelivery): void {
    delivery.message.own(this.#slab)
    if (delivery.qos > 0 && delivery.kept === undefined) this.mirror?.added(delivery)
    const dropped = this.#queue.push(delivery)
    if (dropped !== undefined) this.#drop(dropped, 'queue_full')
  }

  /** Gives it a packet id and hands it over; it stays in flight until it is acknowledged. */
  #send(delivery: SessionDelivery): void {
    delivery.state = 'sent'
    delivery.message.own(this.#slab)
    this.#inflight.add(delivery) // [MQTT-4.3.2-1] [MQTT-4.3.3-1]
    const receiver = this.#receiver
    if (this.mirror !== undefined) this.#sendKept(this.mirror, receiver, delivery)
    else if (receiver !== undefined) this.#hand(receiver, delivery)
  }

  /**
   * At QoS 2 the packet id has to be safe before the peer sees it: after a restart another message with this id
   * would count as a copy, and this one with another id as a second message.
   */
  #sendKept(mirror: SessionMirror, receiver: Receiver | undefined, delivery: SessionDelivery): void {
    if (delivery.kept === undefined) mirror.added(delivery)
    else mirror.changed(delivery)
    if (receiver === undefined) return
    // [MQTT-4.6.0-6] nor does one at QoS 1 overtake it
    if (delivery.qos === 1 && this.#heldCount === 0) return this.#hand(receiver, delivery)
    this.#heldCount++
    mirror.whenSafe(() => {
      this.#heldCount--
      // Another connection has sent it by now, or it is gone.
      if (this.#receiver !== receiver) return
      if (this.#inflight.get(delivery.packetId) === delivery) this.#hand(receiver, delivery)
      if (this.#heldCount === 0) this.#pump()
    })
  }

  /** Sends what may be sent now: first again what was in flight, then the queue, then retained messages. */
  #pump(): void {
    while (this.#unsent.length > 0 && this.#hasRoom()) this.#resend(this.#unsent.shift() as SessionDelivery)
    while (this.#unsent.length === 0) {
      const next = this.#queue.peek()
      if (next === undefined || !this.#takesNow(next)) break
      this.#queue.shift()
      const { expiresAtMs } = next.message
      if (expiresAtMs !== 0 && expiresAtMs <= Date.now())
        this.#drop(next, 'expired') // [MQTT-3.3.2-5]
      else if (next.qos > 0) this.#send(next)
      else if (this.#receiver !== undefined) this.#hand(this.#receiver, next)
    }
    this.#replays?.goOn()
  }

  /** Whether the next one of the queue may go, and passes none that waits for its packet id to be safe. */
  #takesNow({ qos }: SessionDelivery): boolean {
    if (qos > 0) return this.#hasRoom()
    return this.#heldCount === 0 && this.#receiver?.congested === false
  }

  #resend(delivery: SessionDelivery): void {
    if (this.#inflight.get(delivery.packetId) !== delivery) return // acknowledged meanwhile
    const receiver = this.#receiver
    if (receiver === undefined) return
    // [MQTT-4.3.3-7] whatever its expiry
    if (delivery.state !== 'released') {
      delivery.dup = true // [MQTT-3.3.1-1]
      this.#hand(receiver, delivery)
      return
    }
    try {
      receiver.release(delivery.packetId) // [MQTT-4.3.3-6] never the PUBLISH again
    } catch (error) {
      this.#failed(receiver, error)
    }
  }

  #hand(receiver: Receiver, delivery: SessionDelivery): void {
    if (this.#hooks.used['message.delivered'] || this.#hooked?.isBusy === true)
      this.#handThroughHooks(receiver, delivery)
    else this.#deliver(receiver, delivery)
  }

  #deliver(receiver: Receiver, delivery: SessionDelivery): void {
    let isTaken: boolean
    try {
      isTaken = receiver.deliver(delivery)
    } catch (error) {
      return this.#failed(receiver, error)
    }
    if (!isTaken) {
      // [MQTT-3.1.2-25] what the peer cannot take counts as delivered
      if (delivery.qos > 0) this.#inflight.delete(delivery.packetId)
      this.#drop(delivery, 'too_large')
      return
    }
    this.sentCount++
    countSent(this.#metrics, delivery.qos, delivery.dup)
    if (delivery.qos === 0 && this.#hooks.used['delivery.completed']) {
      this.#hooks.run('delivery.completed', this.info, delivery.message)
    }
  }

  /** A bug met while serving this peer ends this peer: the publisher and other subscribers know nothing of it. */
  #failed(receiver: Receiver, error: unknown): void {
    this.#log.error({ client: this.key, error }, 'a message could not be handed over, connection closed')
    try {
      receiver.end('internal_error')
    } catch (second) {
      this.#log.error({ client: this.key, error: second }, 'a connection could not be ended')
    }
  }

  #handThroughHooks(receiver: Receiver, delivery: SessionDelivery): void {
    this.#hooked ??= new HookedDeliveries(this.#hooks, this.#hookedTarget())
    this.#hooked.hand(receiver, delivery)
  }

  #hookedTarget(): HookedTarget {
    return {
      info: () => this.info,
      deliver: (receiver, delivery) => {
        if (this.#receiver === receiver) this.#deliver(receiver, delivery)
        // What is in flight, the next connection gets anyway.
        else if (delivery.qos === 0) this.#drop(delivery, 'qos0_msg')
      },
      overflow: (delivery) => this.#drop(delivery, 'queue_full'),
      idle: () => this.#pump(),
      own: (message) => message.own(this.#slab),
    }
  }

  #acknowledged(delivery: SessionDelivery): void {
    this.#metrics.messagesAcked++
    if (this.#hooks.used['message.acked']) this.#hooks.run('message.acked', this.info, delivery.message)
  }

  #completed(delivery: SessionDelivery): void {
    if (this.#hooks.used['delivery.completed']) {
      this.#hooks.run('delivery.completed', this.info, delivery.message)
    }
    if (this.#queue.length > 0 || this.#unsent.length > 0 || this.#replays?.isWaiting === true) this.#pump()
  }

  #drop(delivery: SessionDelivery, reason: DeliveryDropReason): void {
    this.droppedCount++
    if (reason === 'queue_full') this.overflowCount++
    countDropped(this.#metrics, reason)
    this.mirror?.dropped(delivery)
    if (this.#hooks.has('delivery.dropped')) {
      this.#hooks.run('delivery.dropped', this.info, delivery.message, reason)
    }
  }

  /** Only when nothing older waits: for the queue, the window, the outbox or hooks. */
  #replaysNow(): boolean {
    return this.#queue.length === 0 && (this.#hooked?.count ?? 0) < REPLAY_BATCH && this.#hasRoom()
  }

  #offerRetained(message: Message, entry: SubscriptionEntry): void {
    if (this.subscriptions.get(entry.subscription.filter) !== entry) return // unsubscribed meanwhile
    if (entry.noLocal && message.from === this.key) return
    const qos = this.#qosOf(message, entry)
    // [MQTT-3.3.1-8 (3.1.1)] sent because of a new subscription: RETAIN is 1
    const delivery = new SessionDelivery(message, qos, true, entry.identifiers)
    if (qos > 0) this.#offerReliably(delivery)
    else if (this.#receiver !== undefined) this.#hand(this.#receiver, delivery)
  }
}
