/**
 * The conversation with one client that is logged in.
 *
 *     connected -> asleep (DISCONNECT with duration) <-> awake (PINGREQ) -> gone
 *
 * A datagram may be forged, doubled or late, so none of them may hurt a session: what makes no sense is ignored.
 */
import type { Client, Delivery, Receiver } from '../../broker/broker.ts'
import type { DatagramHandler, DatagramTransport } from '../../listeners/datagram.ts'
import { andThen, isPromise, type MaybePromise } from '../../model/async.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { hasWildcard, isValidFilter, isValidTopicName, parseShared } from '../../model/topic.ts'
import { codeOf } from './codes.ts'
import {
  Code,
  type ConnectFrame,
  decodeFrame,
  encodeByte,
  encodeEmpty,
  encodeId,
  encodeSuback,
  encodeTopicAck,
  type Frame,
  type PublishFrame,
  type SubscribeFrame,
  shortName,
  TopicKind,
  Type,
} from './frame.ts'
import { Outgoing } from './outgoing.ts'
import { isSameDevice } from './same-device.ts'
import type { Place, Shared, SnSession } from './state.ts'
import { MovingTraffic } from './traffic.ts'
import { updateWillMessage, updateWillTopic } from './will.ts'

/** Datagrams kept while an earlier one is being handled; more are refused as congestion. */
const MAX_UNREAD = 64
/** §6.11, §6.14: one and a half times what the client has announced. */
const TOLERANCE = 1.5

/** For so long a CONNECT that repeats the last one is a late copy of it, not a client that has begun anew. */
const COPY_MS = 1000

export class SnChannel implements DatagramHandler, Receiver {
  readonly clientId: string
  readonly congested = false
  readonly traffic: MovingTraffic
  session: SnSession | undefined
  readonly #shared: Shared
  readonly #place: Place
  readonly #wishes: ConnectFrame
  #transport: DatagramTransport
  #client: Client | undefined
  #outgoing: Outgoing | undefined
  #state: 'new' | 'connected' | 'asleep' | 'awake' | 'gone' = 'new'
  #startedAtMs = 0
  #heardAtMs = 0
  #sleepMs = 0
  #isBusy = false
  #unread: Frame[] | undefined

  constructor(clientId: string, place: Place, shared: Shared, wishes: ConnectFrame) {
    this.clientId = clientId
    this.#place = place
    this.#transport = place.transport
    this.traffic = new MovingTraffic(place.transport)
    this.#shared = shared
    this.#wishes = wishes
  }

  get sleeps(): boolean {
    return this.#state === 'asleep' || this.#state === 'awake'
  }

  /** CONNACK has been sent. */
  start(client: Client, session: SnSession, isResumed: boolean): void {
    const { channels, context, options } = this.#shared
    this.#client = client
    this.session = session
    this.#state = 'connected'
    this.#startedAtMs = context.now()
    this.#heardAtMs = this.#startedAtMs
    channels.set(this.clientId, this)
    const names = isResumed && options.resumesTopics ? [...(session.names ?? [])] : []
    if (names.length + session.unsent.length > 0) this.#out(client, session).resume(names, session.unsent)
    session.unsent = []
    this.#outgoing?.pump()
    client.start()
  }

  /** Made with the first delivery: a device that only sends needs none. */
  #out(client: Client, { ids }: SnSession): Outgoing {
    const { context, options, slab, watched } = this.#shared
    this.#outgoing ??= new Outgoing({
      ids,
      predefined: options.predefined,
      client,
      options: options.outgoing,
      counters: context.counters,
      slab,
      maxDatagramBytes: this.#transport.maxDatagramBytes,
      send: (datagram) => this.#send(datagram),
      watch: (isWaiting) => void (isWaiting ? watched.add(this) : watched.delete(this)),
      idle: () => this.#fetched(),
      now: () => context.now(),
    })
    if (this.#state === 'asleep') this.#outgoing.pause()
    return this.#outgoing
  }

  // The transport's side

  onDatagram(datagram: Buffer): void {
    const frame = decodeFrame(datagram)
    if (frame === undefined) return this.#shared.context.counters.add('packets.malformed')
    this.#shared.packets.received(frame.type)
    this.handle(frame)
  }

  onClose(): void {
    this.lost(this.#transport)
  }

  /** `transport` has ended. A sleeping client may come back from elsewhere. */
  lost(transport: DatagramTransport): void {
    if (transport === this.#transport && !this.sleeps) this.#close('tcp_closed')
  }

  /** Another client has its address now. */
  displaced(): void {
    if (!this.sleeps) this.#close('tcp_closed')
  }

  isSameDevice(other: DatagramTransport): boolean {
    return isSameDevice(this.#transport, other)
  }

  moveTo(transport: DatagramTransport): void {
    const old = this.#transport
    this.#transport = transport
    this.traffic.moveTo(transport)
    transport.handler = this
    transport.idleTimeoutMs = Number.POSITIVE_INFINITY
    if (old !== transport && old.isOpen && old.handler === this) old.close()
  }

  /** Ends it when it has been silent for too long. */
  tick(nowMs: number): void {
    const limitMs = this.sleeps ? this.#sleepMs : this.#wishes.seconds * 1000
    if (limitMs > 0 && nowMs - this.#heardAtMs > limitMs * TOLERANCE) this.end('keepalive_timeout')
  }

  retry(nowMs: number): void {
    if (this.#state === 'awake' && this.#outgoing?.isIdle !== false) return this.#fetched()
    if (this.#outgoing?.tick(nowMs) !== false) return
    // It has fallen asleep again, or will ask again; when it is lost, its sleep says.
    if (this.#state === 'awake') this.#sleep()
    else this.end('keepalive_timeout')
  }

  // The broker's side

  deliver(delivery: Delivery): boolean {
    if (this.#client === undefined || this.session === undefined) return true
    return this.#out(this.#client, this.session).deliver(delivery)
  }

  release(packetId: number): void {
    if (this.#client === undefined || this.session === undefined) return
    this.#out(this.#client, this.session).release(packetId)
  }

  end(reason: DisconnectReason): void {
    if (this.#state === 'gone') return
    // Not to the connection that has taken over.
    const isOurs = this.#transport.isOpen && this.#transport.handler === this
    if (isOurs) this.#send(encodeEmpty(Type.DISCONNECT))
    this.#close(reason)
  }

  // The client's side

  handle(frame: Frame): void {
    if (this.#state === 'gone' || this.#client === undefined) return
    this.#heardAtMs = this.#shared.context.now()
    if (!this.#isBusy) return this.#dispatch(this.#client, frame)
    this.#unread ??= []
    if (this.#unread.length < MAX_UNREAD) this.#unread.push(frame)
    else this.#refuse(frame, Code.Congestion)
  }

  #dispatch(client: Client, frame: Frame): void {
    const handled = this.#converse(client, frame)
    if (!isPromise(handled)) return
    this.#isBusy = true
    handled.then(
      () => this.#goOn(),
      (error: unknown) => {
        this.#shared.context.log.error({ client: this.clientId, error }, 'a client could not be served')
        this.end('internal_error')
      },
    )
  }

  #goOn(): void {
    this.#isBusy = false
    while (!this.#isBusy && this.#client !== undefined) {
      const frame = this.#unread?.shift()
      if (frame === undefined) return
      this.#dispatch(this.#client, frame)
    }
  }

  #converse(client: Client, frame: Frame): MaybePromise<void> {
    switch (frame.type) {
      case Type.PUBLISH:
        return this.#publish(client, frame)
      case Type.PUBREL:
        this.session?.released(frame.msgId, this.#shared.context.now())
        return this.#send(encodeId(Type.PUBCOMP, frame.msgId))
      case Type.REGISTER:
        return this.#register(frame.topic, frame.msgId)
      case Type.SUBSCRIBE:
        return this.#subscribe(client, frame)
      case Type.UNSUBSCRIBE:
        return this.#unsubscribe(client, frame)
      case Type.REGACK:
        return this.#outgoing?.regack(frame.topicId, frame.msgId, frame.code)
      case Type.PUBACK:
        return this.#outgoing?.puback(frame.topicId, frame.msgId, frame.code)
      case Type.PUBREC:
        if (this.#outgoing === undefined) return this.#send(encodeId(Type.PUBREL, frame.msgId))
        return this.#outgoing.pubrec(frame.msgId)
      case Type.PUBCOMP:
        return this.#outgoing?.pubcomp(frame.msgId)
      case Type.WILLTOPICUPD:
        return updateWillTopic(client, frame, (datagram) => this.#send(datagram))
      case Type.WILLMSGUPD:
        return updateWillMessage(client, frame.payload, (datagram) => this.#send(datagram))
      default:
        return this.#manage(frame)
    }
  }

  #manage(frame: Frame): void {
    switch (frame.type) {
      case Type.PINGREQ:
        return this.#ping(frame.clientId)
      case Type.DISCONNECT:
        return this.#leave(frame.seconds)
      case Type.CONNECT: {
        if (this.#isCopy(frame)) return this.#send(encodeByte(Type.CONNACK, Code.Accepted))
        // §6.3: any time, for a new session or after sleep.
        const stranger = this.#shared.stranger({ ...this.#place, transport: this.#transport }, this)
        this.#transport.handler = stranger
        return stranger.handle(frame)
      }
      case Type.SEARCHGW:
        return this.#send(encodeByte(Type.GWINFO, this.#shared.options.gatewayId))
      case Type.WILLTOPIC:
      case Type.WILLMSG:
        // Our CONNACK was lost.
        return this.#send(encodeByte(Type.CONNACK, Code.Accepted))
      default:
    }
  }

  /** Else one that has been overtaken by SUBSCRIBE would take the subscription back. */
  #isCopy({ clientId, clean, hasWill, seconds }: ConnectFrame): boolean {
    const { channels, context } = this.#shared
    const last = this.#wishes
    if (this.#state !== 'connected' || channels.get(this.clientId) !== this) return false
    if (context.now() - this.#startedAtMs >= COPY_MS) return false
    const isSame = clientId === last.clientId && clean === last.clean && hasWill === last.hasWill
    return isSame && seconds === last.seconds
  }

  // PUBLISH

  #publish(client: Client, frame: PublishFrame): MaybePromise<void> {
    const { context, options } = this.#shared
    const answer = (code: Code) => this.#send(encodeTopicAck(Type.PUBACK, frame.topicId, frame.msgId, code))
    const qos = frame.qos === -1 ? 0 : frame.qos
    if (frame.qos === -1 && !options.takesQosMinus1) return answer(Code.NotSupported)
    if (frame.kind === TopicKind.Reserved) return answer(Code.NotSupported)
    const topic = this.#topicOf(frame.kind, frame.topicId)
    if (topic === undefined) return answer(Code.InvalidTopicId)
    if (!isValidTopicName(topic)) return answer(Code.NotSupported)
    if (qos === 2) {
      if (frame.dup && this.session?.wasReleased(frame.msgId, context.now()) === true)
        return this.#send(encodeId(Type.PUBREC, frame.msgId))
      const limits = { max: options.maxAwaitingRelease, timeoutMs: options.awaitReleaseTimeoutMs }
      const expected = this.session?.expect(frame.msgId, context.now(), limits)
      if (expected === 'copy') return this.#send(encodeId(Type.PUBREC, frame.msgId))
      if (expected === 'full') return answer(Code.Congestion)
    }
    const { bytes, start, retain } = frame
    const nowMs = context.now()
    const message = Message.of(topic, bytes, qos, retain, undefined, client.info, nowMs, start, bytes.length)
    const published = client.publish(message)
    if (isPromise(published)) return published.then((code) => this.#published(frame, code))
    this.#published(frame, published)
  }

  #published({ qos, topicId, msgId }: PublishFrame, reason: ReasonCode): void {
    if (reason < 0x80) {
      if (qos === 1) this.#send(encodeTopicAck(Type.PUBACK, topicId, msgId, Code.Accepted))
      else if (qos === 2) this.#send(encodeId(Type.PUBREC, msgId))
      return
    }
    if (qos === 2) this.session?.forget(msgId)
    if (qos !== -1) this.#send(encodeTopicAck(Type.PUBACK, topicId, msgId, codeOf(reason)))
  }

  #topicOf(kind: TopicKind, topicId: number): string | undefined {
    if (kind === TopicKind.Short) return shortName(topicId)
    return this.#shared.options.predefined.nameOf(topicId) ?? this.session?.ids.nameOf(topicId)
  }

  // Topics

  #register(name: string, msgId: number): void {
    const topicId = isValidTopicName(name) ? this.#idOf(name) : 0
    const code = topicId === 0 ? Code.NotSupported : Code.Accepted
    this.#send(encodeTopicAck(Type.REGACK, topicId, msgId, code))
  }

  #idOf(name: string): number {
    const { predefined } = this.#shared.options
    return predefined.idOf(name) ?? this.session?.ids.register(name, predefined) ?? 0
  }

  #subscribe(client: Client, frame: SubscribeFrame): MaybePromise<void> {
    const { kind, msgId, qos } = frame
    const refuse = (code: Code) => this.#send(encodeSuback(0, 0, msgId, code))
    if (kind === TopicKind.Reserved || qos === -1) return refuse(Code.NotSupported)
    const filter = kind === TopicKind.Normal ? frame.topic : this.#topicOf(kind, frame.topicId)
    if (filter === undefined) return refuse(Code.InvalidTopicId)
    if (!isValidFilter(filter)) return refuse(Code.NotSupported)
    const name = parseShared(filter)?.filter ?? filter
    const topicId = kind === TopicKind.Short || hasWildcard(name) ? 0 : this.#idOf(name)
    const isNamed = kind !== TopicKind.Short && !hasWildcard(name)
    if (isNamed && topicId === 0) return refuse(Code.NotSupported)
    const retainHandling = 1 as const
    const wish = { filter, qos, noLocal: false, retainAsPublished: false, retainHandling, identifier: 0 }
    return andThen(client.subscribe([wish]), ([code = ReasonCode.UnspecifiedError]) => {
      if (code >= 0x80) return refuse(codeOf(code))
      if (isNamed && this.session !== undefined && this.#shared.options.resumesTopics) {
        this.session.names ??= new Set()
        this.session.names.add(name)
      }
      this.#send(encodeSuback(code as 0 | 1 | 2, topicId, msgId, Code.Accepted))
    })
  }

  #unsubscribe(client: Client, { kind, topic, topicId, msgId }: SubscribeFrame): MaybePromise<void> {
    const filter = kind === TopicKind.Normal ? topic : this.#topicOf(kind, topicId)
    const answer = () => this.#send(encodeId(Type.UNSUBACK, msgId))
    if (filter === undefined) return answer()
    this.session?.names?.delete(parseShared(filter)?.filter ?? filter)
    return andThen(client.unsubscribe([filter]), answer)
  }

  // Keep-alive and sleep

  #ping(clientId: string | undefined): void {
    if (clientId !== undefined && clientId !== this.clientId) {
      const other = this.#shared.channels.get(clientId)
      if (other?.sleeps !== true || !other.isSameDevice(this.#transport)) return
      other.moveTo(this.#transport)
      this.displaced()
      return other.handle({ type: Type.PINGREQ, clientId })
    }
    // §6.14: only the one with the client id is a question for messages.
    if (this.#state !== 'asleep' || clientId === undefined) {
      if (this.#state !== 'awake') this.#send(encodeEmpty(Type.PINGRESP))
      return
    }
    this.#state = 'awake'
    if (this.#outgoing === undefined) this.#fetched()
    else this.#outgoing.wake()
  }

  /** Everything that waited for a client that was awake is out. */
  #fetched(): void {
    if (this.#state !== 'awake') return
    // Behind a hook or the storage: looked at again at the next tick, since not all of it need come.
    if ((this.#client?.waitingCount ?? 0) > 0) return void this.#shared.watched.add(this)
    this.#sleep()
    this.#send(encodeEmpty(Type.PINGRESP))
  }

  #leave(seconds: number | undefined): void {
    this.#send(encodeEmpty(Type.DISCONNECT))
    if (seconds === undefined || seconds === 0) return this.#close('normal')
    this.#sleepMs = seconds * 1000
    this.#sleep()
  }

  #sleep(): void {
    this.#state = 'asleep'
    this.#shared.watched.delete(this)
    this.#outgoing?.pause()
  }

  // Ends

  #refuse(frame: Frame, code: Code): void {
    this.#shared.context.counters.add('packets.congested')
    if (frame.type === Type.PUBLISH && frame.qos > 0)
      this.#send(encodeTopicAck(Type.PUBACK, frame.topicId, frame.msgId, code))
    else if (frame.type === Type.SUBSCRIBE) this.#send(encodeSuback(0, 0, frame.msgId, code))
    else if (frame.type === Type.CONNECT) this.#send(encodeByte(Type.CONNACK, code))
    else if (frame.type === Type.REGISTER) this.#send(encodeTopicAck(Type.REGACK, 0, frame.msgId, code))
  }

  #close(reason: DisconnectReason): void {
    if (this.#state === 'gone') return
    this.#state = 'gone'
    const { channels, context, kept, options, watched } = this.#shared
    watched.delete(this)
    if (channels.get(this.clientId) === this) channels.delete(this.clientId)
    if (this.session !== undefined && !this.#wishes.clean && reason !== 'kicked' && reason !== 'discarded') {
      this.session.unsent = this.#outgoing?.unsent() ?? []
      this.session.endsAtMs = context.now() + options.sessionExpiryMs
      kept.set(this.clientId, this.session)
    }
    const client = this.#client
    this.#client = undefined
    client?.close(reason)
    this.#unread = undefined
    if (this.#transport.isOpen && this.#transport.handler === this) this.#transport.close()
  }

  #send(datagram: Buffer): void {
    this.#shared.packets.sent(datagram)
    this.#transport.send(datagram)
  }
}
