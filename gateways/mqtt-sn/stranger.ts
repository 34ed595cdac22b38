/**
 * A peer that has not logged in: nothing is kept of it but during a login.
 *
 *     CONNECT -> (WILLTOPICREQ, WILLTOPIC, WILLMSGREQ, WILLMSG) -> authentication -> CONNACK -> SnChannel
 */
import type { Connected, Refused, Will } from '../../broker/broker.ts'
import { andThen, isPromise, type MaybePromise } from '../../model/async.ts'
import { messageOf } from '../../model/errors.ts'
import { isValidTopicName } from '../../model/topic.ts'
import { SnChannel } from './channel.ts'
import { refusalCode } from './codes.ts'
import {
  Code,
  type ConnectFrame,
  decodeFrame,
  encodeByte,
  encodeEmpty,
  encodeTopicAck,
  type Frame,
  type PublishFrame,
  shortName,
  TopicKind,
  Type,
} from './frame.ts'
import { loginOf } from './login.ts'
import { type FrameHandler, type Place, type Shared, SnSession } from './state.ts'
import { willOf } from './will.ts'

/** §6.3: what is still to be asked. */
type Stage = 'idle' | 'will_topic' | 'will_message' | 'asking'

export class Stranger implements FrameHandler {
  readonly #place: Place
  readonly #shared: Shared
  /** Who was connected from the same address until now. */
  readonly #previous: SnChannel | undefined
  #stage: Stage = 'idle'
  #connect: ConnectFrame | undefined
  #will: Will | undefined
  #startedAtMs = 0
  #abort: AbortController | undefined

  constructor(place: Place, shared: Shared, previous?: SnChannel) {
    this.#place = place
    this.#shared = shared
    this.#previous = previous
  }

  onDatagram(datagram: Buffer): void {
    const frame = decodeFrame(datagram)
    if (frame === undefined) return this.#noFrame(datagram)
    this.#shared.packets.received(frame.type)
    this.handle(frame)
  }

  onClose(): void {
    this.#abort?.abort()
    this.#previous?.lost(this.#place.transport)
  }

  handle(frame: Frame): void {
    if (frame.type === Type.SEARCHGW)
      return this.#send(encodeByte(Type.GWINFO, this.#shared.options.gatewayId))
    if (this.#stage === 'idle') return this.#handleIdle(frame)
    if (this.#shared.context.now() - this.#startedAtMs > this.#shared.options.idleTimeoutMs)
      return this.#end()
    this.#converse(frame)
  }

  #noFrame(datagram: Buffer): void {
    const isFresh = this.#stage === 'idle' && this.#previous === undefined
    if (isFresh && this.#shared.forwarded(this.#place, datagram)) return
    this.#shared.context.counters.add('packets.malformed')
  }

  #handleIdle(frame: Frame): void {
    switch (frame.type) {
      case Type.CONNECT:
        return this.#begin(frame)
      case Type.PUBLISH:
        return frame.qos === -1 ? this.#publish(frame) : this.#unknown()
      case Type.PINGREQ:
        if (frame.clientId === undefined) return this.#unknown()
        return this.#wake(frame.clientId)
      case Type.PUBREL:
      case Type.DISCONNECT:
      case Type.REGISTER:
      case Type.SUBSCRIBE:
      case Type.UNSUBSCRIBE:
      case Type.WILLTOPICUPD:
      case Type.WILLMSGUPD:
        return this.#unknown()
      default: // an answer to nothing
    }
  }

  /** It takes itself for connected: told that it is not, it can connect again. */
  #unknown(): void {
    if (this.#shared.mayAnswerStranger()) this.#send(encodeEmpty(Type.DISCONNECT))
  }

  #publish(frame: PublishFrame): void {
    const { options, anonymous } = this.#shared
    if (!options.takesQosMinus1)
      return this.#send(encodeTopicAck(Type.PUBACK, frame.topicId, frame.msgId, Code.NotSupported))
    let topic: string | undefined
    if (frame.kind === TopicKind.Predefined) topic = options.predefined.nameOf(frame.topicId)
    else if (frame.kind === TopicKind.Short) topic = shortName(frame.topicId)
    if (topic !== undefined && isValidTopicName(topic))
      anonymous.publish(topic, frame, this.#place, this.#shared)
  }

  /** A sleeping device has another address by now. */
  #wake(clientId: string): void {
    const channel = this.#shared.channels.get(clientId)
    if (channel === undefined) return this.#unknown()
    if (!channel.sleeps || !channel.isSameDevice(this.#place.transport)) return
    if (!this.#place.transport.keep()) return
    channel.moveTo(this.#place.transport)
    channel.handle({ type: Type.PINGREQ, clientId })
  }

  #begin(frame: ConnectFrame): void {
    if (frame.protocolId !== 1) return this.#send(encodeByte(Type.CONNACK, Code.NotSupported))
    if (frame.clientId.includes('\0')) return this.#send(encodeByte(Type.CONNACK, Code.NotSupported))
    if (!this.#place.transport.keep(encodeByte(Type.CONNACK, Code.Congestion))) return
    this.#place.transport.idleTimeoutMs = this.#shared.options.idleTimeoutMs
    this.#connect = frame
    this.#startedAtMs = this.#shared.context.now()
    if (frame.hasWill) this.#ask('will_topic')
    else this.#login()
  }

  #converse(frame: Frame): void {
    if (frame.type === Type.CONNECT) {
      // Our question, or this datagram's first copy, was lost.
      if (this.#stage !== 'asking') this.#begin(frame)
      return
    }
    if (this.#stage === 'asking') return // answers follow
    if (frame.type === Type.WILLTOPIC) {
      const will = willOf(frame)
      if (will === 'wrong') return this.#end()
      this.#will = will
      return will === undefined ? this.#login() : this.#ask('will_message')
    }
    if (frame.type !== Type.WILLMSG || this.#stage !== 'will_message' || this.#will === undefined)
      return this.#end()
    this.#will.payload = Buffer.from(frame.payload)
    this.#login()
  }

  #ask(stage: 'will_topic' | 'will_message'): void {
    this.#stage = stage
    this.#send(encodeEmpty(stage === 'will_topic' ? Type.WILLTOPICREQ : Type.WILLMSGREQ))
  }

  #login(): void {
    this.#stage = 'asking'
    const { context, options } = this.#shared
    const frame = this.#connect as ConnectFrame
    this.#abort = new AbortController()
    const login = loginOf({ ...frame, signal: this.#abort.signal }, this.#place, this.#shared)
    const session = {
      cleanStart: frame.clean,
      expiryIntervalMs: frame.clean ? 0 : options.sessionExpiryMs,
      receiveMaximum: 1, // one message in flight
      keepsWill: true, // §6.3: the session's, unless there is another one
      ...(this.#will === undefined ? {} : { will: this.#will }),
    }
    const channel = new SnChannel(login.client.clientId, this.#place, this.#shared, frame)
    const entered = andThen(context.connect(login, session, channel), (outcome) =>
      this.#entered(outcome, channel, frame.hasWill),
    )
    if (isPromise(entered))
      entered.catch((error: unknown) => {
        context.log.error({ error: messageOf(error) }, 'a login failed')
        this.#refuse(Code.Congestion)
      })
  }

  #entered(outcome: Connected | Refused, channel: SnChannel, hasWill: boolean): MaybePromise<void> {
    if (outcome.kind === 'refused') return this.#refuse(refusalCode(outcome.reason))
    const { client } = outcome
    // An empty WILLTOPIC takes back the one that the session has kept.
    if (hasWill && this.#will === undefined && client.will !== undefined)
      return andThen(client.setWill(undefined), () => this.#welcome(outcome, channel))
    this.#welcome(outcome, channel)
  }

  #welcome(outcome: Connected, channel: SnChannel): void {
    const { kept } = this.#shared
    const { transport } = this.#place
    if (!transport.isOpen) return outcome.client.close('tcp_closed')
    const old = kept.get(channel.clientId)
    kept.delete(channel.clientId)
    const session = outcome.sessionPresent ? (old ?? SnSession.forgotten()) : new SnSession()
    if (this.#previous !== undefined && this.#previous.clientId !== channel.clientId)
      this.#previous.displaced()
    transport.handler = channel
    transport.idleTimeoutMs = Number.POSITIVE_INFINITY
    this.#send(encodeByte(Type.CONNACK, Code.Accepted))
    channel.start(outcome.client, session, outcome.sessionPresent)
  }

  #refuse(code: Code): void {
    this.#send(encodeByte(Type.CONNACK, code))
    this.#place.transport.close()
  }

  #end(): void {
    this.#send(encodeEmpty(Type.DISCONNECT))
    this.#place.transport.close()
  }

  #send(datagram: Buffer): void {
    this.#shared.packets.sent(datagram)
    this.#place.transport.send(datagram)
  }
}
