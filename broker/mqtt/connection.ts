/**
 * One MQTT connection: cuts packets off what arrives, gives each to its handler
 * (handle-*.ts) strictly in order, and writes what its client is to be sent.
 *
 *     connect -> connecting (somebody is being asked) -> connected -> closed
 */
import type { Pace } from '../../listeners/pace.ts'
import type { CloseReason, Transport, TransportHandler } from '../../listeners/transport.ts'
import { MAX_TURN_BYTES, Unread } from '../../listeners/unread.ts'
import { isPromise, type MaybePromise, nextTurn } from '../../model/async.ts'
import { DISCONNECT_CODES, type DisconnectReason } from '../../model/disconnect-reason.ts'
import { faultOf, messageOf } from '../../model/errors.ts'
import type { KnownTopic } from '../../model/known-topic.ts'
import type { MessageHead } from '../../model/message-head.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { Deadline } from '../../model/timers.ts'
import type { Delivery, Receiver, Traffic } from '../broker.ts'
import type { HubClient } from '../client.ts'
import type { Answers } from './answers.ts'
import { CLOSED, reasonFor, refuseOtherThanConnect } from './closing.ts'
import { countPacket } from './count-packet.ts'
import { type DecodedPacket, decodePacket } from './decode.ts'
import { emptyPublish } from './decode-publish.ts'
import { encodePacket, PINGRESP, writeAck } from './encode.ts'
import { frameLength } from './frame.ts'
import { handleAck, handleShortAck } from './handle-acks.ts'
import { type EnhancedAuth, handleAuth, handleUnderWay } from './handle-auth.ts'
import { answerBadConnect, answerFailedConnect, handleConnect } from './handle-connect.ts'
import { handleDisconnect } from './handle-disconnect.ts'
import { handlePublish } from './handle-publish.ts'
import { handleSubscribe, handleUnsubscribe } from './handle-subscribe.ts'
import { MqttError } from './mqtt-error.ts'
import type { MqttContext, MqttListenerSettings, MqttOptions } from './options.ts'
import type { OutboundAliases } from './outbound-aliases.ts'
import { charge } from './pace.ts'
import { PacketType, type ProtocolVersion, type ServerPacket } from './packets.ts'
import { writeDelivery } from './write-delivery.ts'

/** Bytes kept that arrive although reading has stopped: TLS and WebSocket may hand out some more. */
const MAX_UNREAD_BYTES = 1024 * 1024
const PINGREQ_BYTES = 2

export class MqttConnection implements TransportHandler, Receiver {
  readonly transport: Transport
  readonly context: MqttContext
  readonly listener: MqttListenerSettings
  /** Filled again for each PUBLISH. */
  readonly publishPacket = emptyPublish()
  /** Of the last message that was made, of those without properties. */
  lastHead: MessageHead | undefined
  version: ProtocolVersion = 5
  client: HubClient | undefined
  /** Of a client whose CONNECT names an authentication method. */
  auth: EnhancedAuth | undefined
  /** Largest packet the client takes [MQTT-3.1.2-24]. */
  maxPacketBytes = Number.POSITIVE_INFINITY
  /** Request Problem Information [MQTT-3.1.2-29] */
  wantsReasons = true
  /** Topics of the client's aliases, made with its first one. */
  aliases: Map<number, KnownTopic> | undefined
  /** Aliases for the client; undefined = it wants none. */
  outboundAliases: OutboundAliases | undefined
  /** What waits until the storage has it; made with the first answer that has to. */
  answers: Answers | undefined
  /** Where what was handled last ends: one packet, or a run of them. */
  handledTo = 0
  /** Up to here in what was read there is no use in looking for runs. */
  singlyTo = 0
  /** Of what was read, all packets before this were handled and nothing refers to them after this turn. */
  tracelessTo = 0
  leavesNothing = false
  /** Unix time in ms of the chunk at hand, so that a message costs no look at the clock. */
  nowMs = Date.now()
  #state: 'connect' | 'connecting' | 'connected' | 'closed' = 'connect'
  #unread: Unread | undefined
  #isWaiting = false
  #isBackedUp = false
  #isPaced = false
  #hasMountpoint = false
  /** Until CONNECT is whole: for the idle timeout. After CONNACK: for the keep alive. */
  #timer: Deadline
  /** Aborts when the client leaves while others are asked whether it may come in. */
  #login: AbortController | undefined
  #keepAliveMs = 0

  constructor(transport: Transport, context: MqttContext, listener: MqttListenerSettings) {
    this.transport = transport
    this.context = context
    this.listener = listener
    this.#timer = new Deadline(this.options.idleTimeoutMs, () => this.close('idle_timeout'))
    context.newcomers.add(this)
    transport.handler = this
  }

  /** What holds in the zone of its client, or of its listener as long as it has none. */
  get options(): MqttOptions {
    const { zones, options } = this.context
    if (zones === undefined) return options
    return zones.get(this.client?.info.zone ?? this.listener.zone) ?? options
  }

  get isOpen(): boolean {
    return this.#state !== 'closed'
  }

  /** What comes next may be handled in a row with what is at hand. */
  get isReading(): boolean {
    const { pace, outbox } = this.transport
    return this.#state === 'connected' && pace === undefined && !outbox.congested && !this.#isPaused()
  }

  // TransportHandler ------------------------------------------------------------

  onData(bytes: Buffer, start: number, end: number): void {
    // What waits is copied.
    this.leavesNothing = true
    if (this.#state === 'closed') return
    this.nowMs = Date.now()
    let at = start
    while (this.#unread !== undefined && at < end && !this.#isPaused()) {
      at = this.#unread.complete(bytes, at, end)
      this.#readUnread()
    }
    if (at === end || !this.isOpen) return
    if (this.#isPaused()) return this.#keepForLater(bytes.subarray(at, end))
    this.singlyTo = 0
    this.tracelessTo = at
    const to = this.#read(bytes, at, end)
    this.leavesNothing = this.tracelessTo === to
    this.#keep(bytes, to, end)
  }

  onDrain(): void {
    if (this.#state === 'closed') return
    this.client?.drained()
    this.#isBackedUp = false
    this.#goOn()
  }

  onClose(reason: CloseReason): void {
    this.#finish(CLOSED[reason.kind])
  }

  // Receiver --------------------------------------------------------------------

  get traffic(): Traffic {
    return this.transport
  }

  get congested(): boolean {
    return this.transport.outbox.congested
  }

  deliver(delivery: Delivery): boolean {
    const { message } = delivery
    const topic =
      this.#hasMountpoint && this.client !== undefined ? this.client.unmounted(message.topic) : message.topic
    return writeDelivery(this, delivery, topic)
  }

  relayRoom(isV5: boolean): number {
    if (this.#hasMountpoint || this.outboundAliases !== undefined) return 0
    if ((this.version === 5) !== isV5 || this.maxPacketBytes !== Number.POSITIVE_INFINITY) return 0
    return this.transport.outbox.room
  }

  relay(bytes: Uint8Array, start: number, end: number, count: number): void {
    this.context.hub.metrics.packetsPublishSent += count
    this.transport.outbox.relay(bytes, start, end, 0, 0)
  }

  release(packetId: number): void {
    this.context.hub.metrics.packetsPubrelSent++
    writeAck(this.transport.outbox, this.version, PacketType.PUBREL, packetId, ReasonCode.Success)
  }

  /**
   * The broker ends it: an MQTT 5 client is told why, others see the connection close. Nothing comes after
   * DISCONNECT [MQTT-3.14.4-1] but the end [MQTT-3.14.4-2], whether it could be sent or not [MQTT-4.13.2-1].
   */
  end(reason: DisconnectReason, serverReference?: string): void {
    if (this.#state === 'closed') return
    // [MQTT-3.14.0-1] no DISCONNECT before a successful CONNACK
    if (this.#state === 'connected') {
      const properties = serverReference === undefined ? undefined : { serverReference }
      this.send({ type: PacketType.DISCONNECT, code: DISCONNECT_CODES[reason], properties })
    }
    this.#finish(reason)
    this.transport.end()
  }

  // For the handlers --------------------------------------------------------------

  /** @returns false if there was nothing to send: see `encodePacket` */
  send(packet: ServerPacket): boolean {
    const bytes = encodePacket(this.version, packet, this.maxPacketBytes)
    if (bytes.length === 0) return false
    countPacket(this.context.hub.metrics, packet)
    this.transport.outbox.append(bytes)
    return true
  }

  /** Our side ends it, for a reason of ours or for what the client did. */
  close(reason: DisconnectReason): void {
    this.client?.close(reason)
    this.end(reason)
  }

  /** Ends without a DISCONNECT: the client has said goodbye itself, or CONNACK has told it. */
  closeQuietly(reason: DisconnectReason): void {
    this.#finish(reason)
    this.transport.end()
  }

  /** The CONNECT is whole: the client is being authenticated, and that takes its own time. @returns see `Login.signal` */
  connecting(): AbortSignal {
    this.#timer.clear()
    this.context.newcomers.delete(this)
    this.#state = 'connecting'
    this.#login = new AbortController()
    return this.#login.signal
  }

  /** CONNACK is written: the client gets what is for it, and has to keep alive. */
  connected(client: HubClient, keepAliveSeconds: number): void {
    this.#state = 'connected'
    this.#login = undefined
    this.#hasMountpoint = client.info.mountpoint !== ''
    this.#keepAliveMs = keepAliveSeconds * 1000 * this.options.keepAliveMultiplier
    this.#armKeepAlive(this.#keepAliveMs)
    client.start()
  }

  /** What was handled just now began at `start`, and nothing will refer to it after this turn. */
  leftNothing(start: number): void {
    if (this.tracelessTo === start) this.tracelessTo = this.handledTo
  }

  // Reading -------------------------------------------------------------------------

  // Not a getter: reading a private one is a call into the engine each time.
  #isPaused(): boolean {
    return this.#isWaiting || this.#isBackedUp || this.#isPaced
  }

  /**
   * Handles the packets in `bytes[start..end)`, as far as they are whole and nothing makes it wait.
   * @returns where it stopped
   */
  #read(bytes: Buffer, start: number, end: number): number {
    const limit = Math.min(end, start + MAX_TURN_BYTES)
    let at = start
    try {
      // [MQTT-3.1.4-6] nothing after the end, a refusal for one
      while (!this.#isPaused() && this.#state !== 'closed') {
        const length = frameLength(bytes, at, end, this.options.maxPacketBytes) // [MQTT-3.2.2-15]
        if (length <= 0) {
          if (this.#state === 'connect' && at < end) refuseOtherThanConnect(bytes[at] as number)
          break
        }
        this.handledTo = at + length
        const handled = this.#handle(bytes, at, at + length, limit)
        if (this.transport.pace !== undefined) this.#keepPace(this.transport.pace, bytes[at] as number)
        at = this.handledTo
        if (isPromise(handled)) this.#waitFor(handled)
        // What we answer must not pile up while the client does not read: it is heard again when it has.
        else if (this.transport.outbox.congested) this.#backUp()
        else if (at - start >= MAX_TURN_BYTES && at < end) this.#waitFor(nextTurn())
      }
    } catch (error) {
      this.tracelessTo = -1
      this.#fail(error, bytes.subarray(at, end))
    }
    return at
  }

  #handle(bytes: Buffer, start: number, end: number, limit: number): MaybePromise<void> {
    if (this.client === undefined)
      return (this.auth === undefined ? handleConnect : handleUnderWay)(this, bytes, start, end)
    const first = bytes[start] as number
    if (first >> 4 === PacketType.PUBLISH) return handlePublish(this, this.client, bytes, start, end, limit)
    if (end - start === 4) {
      const handled = handleShortAck(this, this.client, first, bytes, start, limit)
      if (handled !== false) {
        this.leftNothing(start)
        return handled
      }
    }
    return this.#handleRarer(this.client, decodePacket(this.version, bytes, start, end))
  }

  // Apart from the others, which the engine makes one piece of code of.
  #handleRarer(client: HubClient, packet: DecodedPacket): MaybePromise<void> {
    switch (packet.type) {
      case PacketType.SUBSCRIBE:
        return handleSubscribe(this, client, packet)
      case PacketType.UNSUBSCRIBE:
        return handleUnsubscribe(this, client, packet)
      case PacketType.PINGREQ:
        this.context.hub.metrics.packetsPingreqReceived++
        this.context.hub.metrics.packetsPingrespSent++
        this.transport.outbox.append(PINGRESP) // [MQTT-3.12.4-1]
        this.context.hub.hooks.run('client.ping', client.info)
        this.leftNothing(this.handledTo - PINGREQ_BYTES)
        return
      case PacketType.DISCONNECT:
        return handleDisconnect(this, client, packet)
      case PacketType.AUTH:
        return handleAuth(this, packet)
      default:
        return handleAck(this, client, packet)
    }
  }

  #readUnread(): void {
    const unread = this.#unread
    if (unread === undefined) return
    this.singlyTo = 0
    const bytes = unread.bytes()
    this.#keep(bytes, this.#read(bytes, 0, bytes.length), bytes.length)
  }

  /** Keeps what could not be handled yet. */
  #keep(bytes: Buffer, from: number, end: number): void {
    if (this.#state === 'closed' || from === end) {
      this.#unread = undefined
      return
    }
    const length = this.#isPaused() ? 0 : frameLength(bytes, from, end, this.options.maxPacketBytes)
    this.#unread ??= new Unread()
    this.#unread.keep(bytes, from, end, length < 0 ? -length : 0)
  }

  #keepForLater(chunk: Buffer): void {
    this.#unread ??= new Unread()
    if (this.#unread.byteLength + chunk.length > MAX_UNREAD_BYTES) return this.close('quota_exceeded')
    this.#unread.append(chunk)
  }

  /** The handler has to ask somebody: the next packet is not looked at before it has its answer. */
  #waitFor(handled: Promise<void>): void {
    this.#isWaiting = true
    this.transport.pause()
    handled.then(
      () => {
        this.#isWaiting = false
        if (this.isOpen && this.transport.outbox.congested) this.#backUp()
        this.#goOn()
      },
      (error: unknown) => {
        this.#isWaiting = false
        this.#fail(error)
      },
    )
  }

  #backUp(): void {
    this.#isBackedUp = true
    this.transport.pause()
  }

  /** A client that has sent more than its rates allow is not heard until it may again. */
  #keepPace(pace: Pace, firstByte: number): void {
    charge(pace, firstByte, this.publishPacket)
    if (!pace.isSpent || !this.isOpen) return
    this.#isPaced = true
    this.transport.pause()
    this.context.hub.metrics.connectionsPaused++
    pace.wait(() => {
      this.#isPaced = false
      this.#goOn()
    })
  }

  #goOn(): void {
    if (this.#state === 'closed' || this.#isPaused()) return
    this.nowMs = Date.now()
    this.#readUnread()
    if (!this.#isPaused() && this.isOpen) this.transport.resume()
  }

  // Ending --------------------------------------------------------------------------

  /**
   * What a peer does wrong is a debug line and its own end [MQTT-4.13.1-1]; anything else is ours and leaves its
   * stack in the log [MQTT-4.8.0-2 (3.1.1)].
   */
  #fail(error: unknown, bytes?: Buffer): void {
    if (this.#state === 'closed') return
    const { transport, context, client } = this
    const fields = { clientid: client?.info.clientId, peer: transport.peer, listener: transport.listenerId }
    if (faultOf(error) === 'peer')
      context.log.debug({ ...fields, error: messageOf(error) }, 'bad packet, connection closed')
    else context.log.error({ ...fields, error }, 'error while serving a connection, closed')
    const code = error instanceof MqttError ? error.reasonCode : ReasonCode.UnspecifiedError
    if (this.#state === 'connect' && bytes !== undefined) answerBadConnect(this, code, bytes)
    if (this.#state === 'connecting') answerFailedConnect(this, error instanceof MqttError ? code : undefined)
    const reason = reasonFor(code)
    client?.close(reason)
    if (this.#state === 'connected') this.send({ type: PacketType.DISCONNECT, code, ...this.#explain(error) })
    this.#finish(reason)
    transport.end()
  }

  #explain(error: unknown) {
    return error instanceof MqttError && this.wantsReasons
      ? { properties: { reasonString: error.message } }
      : {}
  }

  #finish(reason: DisconnectReason): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.context.hub.metrics.connectionsClosed[reason]++
    this.#timer.clear()
    this.context.newcomers.delete(this)
    this.#unread = undefined
    this.#login?.abort()
    this.auth?.close()
    this.client?.close(reason)
  }

  /** [MQTT-3.1.2-22] one and a half times the keep alive without a packet, and the client is gone. */
  #armKeepAlive(delayMs: number): void {
    if (this.#keepAliveMs === 0) return
    this.#timer = new Deadline(delayMs, () => {
      // While we do not read, the client's silence means nothing.
      const leftMs = this.#isPaused() ? this.#keepAliveMs : this.nowMs + this.#keepAliveMs - Date.now()
      if (leftMs <= 0) this.close('keepalive_timeout')
      else this.#armKeepAlive(leftMs)
    })
  }
}
