/**
 * The conversation with one NATS client.
 *
 *     INFO ->   <- CONNECT, then PUB, SUB, ... in any order
 *
 * Where nobody has to say who it is, operations before CONNECT are those of an anonymous client. An error
 * that closes the connection is thrown as a peer's fault; `failed` makes -ERR of it.
 */
import type { Client, Connected, Delivery, Receiver } from '../../broker/broker.ts'
import type { Pace } from '../../listeners/pace.ts'
import { andThen, isPromise, type MaybePromise } from '../../model/async.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { BrokerError, faultOf } from '../../model/errors.ts'
import { ReasonCode, reasonName } from '../../model/reason-codes.ts'
import type { Subscription } from '../../model/subscription.ts'
import { Deadline } from '../../model/timers.ts'
import type { GatewayContext, ListenerSettings } from '../gateway.ts'
import type { Connection, StreamChannel } from '../stream-connection.ts'
import type { NatsOptions } from './config.ts'
import { Deliveries, type DeliveryCounters } from './deliveries.ts'
import { type NatsDecoder, type NatsFrame, UNAUTHORIZED } from './frame.ts'
import { Heartbeat } from './heartbeat.ts'
import { ConnectPacket, infoLine, parseConnect, type ServerInfo } from './info.ts'
import type { InternalVerdict } from './internal-authn.ts'
import { loginOf } from './login.ts'
import { type MessageWriter, noRespondersMessage } from './message.ts'
import type { PacketCounters } from './packet-counters.ts'
import type { Permissions } from './permissions.ts'
import { messageOfPublish } from './publish.ts'
import {
  AUTHENTICATION_TIMEOUT,
  farewellText,
  INVALID_PUBLISH_SUBJECT,
  INVALID_QUEUE,
  INVALID_SUBJECT,
  NEEDS_HEADERS,
  publishFailure,
  Replies,
  SLOW_CONSUMER,
  subscribeFailure,
  TOO_MANY_SUBSCRIPTIONS,
  UNKNOWN_PROTOCOL,
} from './replies.ts'
import { type Subject, subjectMatches } from './subject.ts'
import { type Feed, type NatsSubscription, Subscriptions } from './subscriptions.ts'
import type { TurnClock } from './turn-clock.ts'

/** What a channel shares with the others of its gateway, and what is known of its peer. */
export interface ChannelParts {
  readonly options: NatsOptions
  readonly context: GatewayContext
  readonly listener: ListenerSettings
  readonly writer: MessageWriter
  readonly counters: DeliveryCounters
  readonly received: PacketCounters
  readonly decoder: NatsDecoder
  readonly clock: TurnClock
  readonly info: ServerInfo
  /** INFO has been sent already, before TLS. */
  readonly isGreeted: boolean
  readonly onClosed: (channel: NatsChannel) => void
}

/** Who is logged in, and how. */
interface Peer {
  readonly client: Client
  readonly deliveries: Deliveries
  readonly permissions: Permissions | undefined
  readonly isAnonymous: boolean
}

/** Window of deliveries that verbose clients are sent: they are acknowledged at once. */
const RECEIVE_MAXIMUM = 65_535
const SESSION = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: RECEIVE_MAXIMUM }

export class NatsChannel implements StreamChannel<NatsFrame>, Receiver {
  readonly #connection: Connection
  readonly #parts: ChannelParts
  readonly #replies: Replies
  readonly #subscriptions = new Subscriptions()
  readonly #idle: Deadline
  #packet = new ConnectPacket()
  #peer: Peer | undefined
  #heartbeat: Heartbeat | undefined
  #loginEnds: Deadline | undefined
  /** Retained messages are held back until the peer has read what it was sent. */
  #holdsRetained = false

  constructor(connection: Connection, parts: ChannelParts) {
    const { context, info, options, isGreeted } = parts
    this.#connection = connection
    this.#parts = parts
    this.#replies = new Replies(connection, context.counters)
    parts.decoder.awaitsLogin = info.auth_required
    this.#idle = new Deadline(options.idleTimeoutMs, () => this.#idled())
    if (!isGreeted) this.#replies.text(infoLine(info))
  }

  handle(frame: NatsFrame): MaybePromise<void> {
    const handled = this.#dispatch(frame)
    if (isPromise(handled)) return handled.then(() => this.#parts.decoder.forget())
  }

  charge(frame: NatsFrame, pace: Pace): void {
    if (frame.op === 'PUB' || frame.op === 'HPUB') pace.message(frame.end - frame.start)
    else if (frame.op === 'SUB') pace.subscribe()
  }

  failed(error: unknown): void {
    const isPeerFault = error instanceof BrokerError && faultOf(error) === 'peer'
    this.#replies.error(isPeerFault ? error.message : 'Internal Server Error')
  }

  closed(): void {
    this.#idle.clear()
    this.#heartbeat?.stop()
    this.#loginEnds?.clear()
    this.#peer = undefined
    this.#parts.onClosed(this)
  }

  /** Only retained messages wait for a slow peer; for the others there is `max_pending_size`. */
  get congested(): boolean {
    return this.#holdsRetained && this.#connection.transport.outbox.congested
  }

  deliver(delivery: Delivery): boolean {
    const peer = this.#peer
    if (peer === undefined) return true
    const { outbox } = this.#connection.transport
    if (outbox.congested) {
      if (outbox.unsentBytes > this.#parts.options.maxPendingBytes) return this.#isTooSlow()
      if (delivery.retain) this.#holdsRetained = true
    }
    return peer.deliveries.send(delivery)
  }

  /** Nothing here is subscribed with QoS 2, so there is no second step. */
  release(): void {}

  end(reason: DisconnectReason): void {
    const text = farewellText(reason)
    if (reason === 'server_shutting_down') this.#replies.text(infoLine({ ...this.#parts.info, ldm: true }))
    if (text !== undefined) this.#replies.error(text)
    this.#connection.end(reason)
  }

  #idled(): void {
    if (this.#parts.info.auth_required) this.#replies.error(AUTHENTICATION_TIMEOUT)
    this.#connection.end('idle_timeout')
  }

  #isTooSlow(): false {
    this.#parts.context.counters.add('connections.slow_consumers')
    this.#replies.error(SLOW_CONSUMER)
    this.#connection.end('quota_exceeded')
    return false
  }

  #dispatch(frame: NatsFrame): MaybePromise<void> {
    // Most of what comes. The rest has closures, which cost their function even where none is made.
    if (frame.op !== 'PUB' || this.#peer === undefined) return this.#dispatchAny(frame)
    this.#parts.received.PUB.value++
    return this.#publish(this.#peer, frame)
  }

  #dispatchAny(frame: NatsFrame): MaybePromise<void> {
    this.#parts.received[frame.op].value++
    switch (frame.op) {
      case 'PUB':
      case 'HPUB':
        return this.#peer === undefined
          ? this.#anonymously((peer) => this.#publish(peer, frame))
          : this.#publish(this.#peer, frame)
      case 'SUB':
        return this.#peer === undefined
          ? this.#anonymously((peer) => this.#subscribe(peer, frame))
          : this.#subscribe(this.#peer, frame)
      case 'UNSUB':
        return this.#unsubscribe(frame)
      case 'CONNECT':
        return this.#connect(parseConnect(frame.text))
      case 'PING':
        this.#alive()
        return this.#replies.pong()
      case 'PONG':
      case 'IGNORED':
        return this.#alive()
    }
  }

  /** A whole operation has come: that is enough where nobody has to log in. */
  #alive(): void {
    if (this.#parts.info.auth_required || this.#heartbeat !== undefined) return
    this.#startHeartbeat()
  }

  #startHeartbeat(): void {
    this.#idle.clear()
    const connection = this.#connection
    const { transport } = connection
    this.#heartbeat ??= new Heartbeat(this.#parts.options.heartbeat, {
      bytesReceived: () => transport.bytesReceived,
      isDeaf: () => connection.isPaused,
      ping: () => {
        // To a peer that does not read, one more line says nothing.
        if (!transport.outbox.congested) this.#replies.ping()
      },
      silent: () => this.end('keepalive_timeout'),
    })
  }

  // CONNECT

  #connect(packet: ConnectPacket): MaybePromise<void> {
    const isRegistered = this.#peer !== undefined && !this.#peer.isAnonymous
    if (!packet.isKnownProtocol) {
      this.#replies.error(UNKNOWN_PROTOCOL)
      return this.#connection.end('protocol_error')
    }
    if (packet.noResponders && !packet.headers) {
      this.#replies.error(NEEDS_HEADERS)
      return isRegistered ? undefined : this.#connection.end('protocol_error')
    }
    if (isRegistered) return this.#replaceOptions(packet)
    const verdict = this.#vouch(packet)
    return andThen(verdict, (answer) => {
      if (answer.kind === 'refused') return this.#loginFailed(answer.reason)
      return andThen(this.#logIn(packet, answer, false), (peer) => {
        if (peer !== undefined && packet.verbose) this.#replies.ok()
      })
    })
  }

  #replaceOptions(packet: ConnectPacket): MaybePromise<void> {
    const { echo, verbose } = this.#packet
    const peer = this.#peer
    this.#packet = packet
    if (peer === undefined) return
    peer.deliveries.headers = packet.headers
    const hasOtherWishes = echo !== packet.echo || verbose !== packet.verbose
    return andThen(hasOtherWishes ? this.#subscribeAgain(peer, 2) : undefined, () => {
      if (packet.verbose) this.#replies.ok()
    })
  }

  #vouch(packet: ConnectPacket): MaybePromise<InternalVerdict> {
    const { listener, options, info, context } = this.#parts
    if (listener.enableAuthn === false) return { kind: 'unasked' }
    const { kind, peer } = this.#connection.transport
    const origin = { host: peer.host, isWebSocket: kind === 'ws' || kind === 'wss' }
    const evidence = { packet, nonce: info.nonce, nowMs: context.now(), origin }
    return options.internalAuthn.check(evidence, listener.isGuarded === true)
  }

  /** Runs `operation` for a client that has not said who it is. */
  #anonymously(operation: (peer: Peer) => MaybePromise<void>): MaybePromise<void> {
    return andThen(this.#logIn(this.#packet, { kind: 'unasked' }, true), (peer) =>
      peer === undefined ? undefined : operation(peer),
    )
  }

  /** @returns undefined if that was refused, and the connection ends */
  #logIn(
    packet: ConnectPacket,
    verdict: Exclude<InternalVerdict, { kind: 'refused' }>,
    isAnonymous: boolean,
  ): MaybePromise<Peer | undefined> {
    const { context } = this.#parts
    const vouched = verdict.kind === 'vouched' ? verdict.username : undefined
    const { transport, signal } = this.#connection
    // What an anonymous client subscribed to, the same peer goes on with under its name.
    this.#peer?.client.close('normal')
    this.#peer = undefined
    const login = loginOf(packet, vouched, { ...this.#parts, transport, signal })
    return andThen(context.connect(login, SESSION, this), (outcome) => {
      if (outcome.kind === 'refused') {
        this.#loginFailed(reasonName(outcome.reason))
        return undefined
      }
      return this.#loggedIn(outcome, packet, verdict, isAnonymous)
    })
  }

  #loggedIn(
    { client }: Connected,
    packet: ConnectPacket,
    verdict: Exclude<InternalVerdict, { kind: 'refused' }>,
    isAnonymous: boolean,
  ): MaybePromise<Peer | undefined> {
    if (!this.#connection.login(client)) return undefined
    const { writer, counters, context, decoder } = this.#parts
    const sink = this.#connection.transport.outbox
    const parts = { client, subscriptions: this.#subscriptions, sink, writer, counters, log: context.log }
    const permissions = verdict.kind === 'vouched' ? verdict.permissions : undefined
    const peer = { client, deliveries: new Deliveries(parts, packet.headers), permissions, isAnonymous }
    this.#peer = peer
    this.#packet = packet
    decoder.awaitsLogin = false
    this.#startHeartbeat()
    if (verdict.kind === 'vouched' && verdict.expiresAtMs !== undefined) {
      const leftMs = verdict.expiresAtMs - context.now()
      this.#loginEnds = new Deadline(leftMs, () => this.end('connection_expired'))
    }
    client.start()
    return andThen(this.#subscribeAgain(peer, 1), () => peer)
  }

  #subscribeAgain({ client }: Peer, retainHandling: 0 | 1 | 2): MaybePromise<void> {
    const { feeds } = this.#subscriptions
    if (feeds.length === 0) return
    return andThen(client.subscribe(feeds.map((feed) => this.#wishOf(feed, retainHandling))), (codes) => {
      for (const [i, code] of codes.entries()) {
        if (code >= 0x80) this.#refuse(feeds[i]?.members ?? [], '', code)
      }
    })
  }

  #loginFailed(reason: string): void {
    const { peer, listenerId } = this.#connection.transport
    this.#parts.context.log.info({ peer, listener: listenerId, reason }, 'login refused')
    this.#replies.error(UNAUTHORIZED)
    this.#connection.end('not_authorized')
  }

  // PUB, HPUB

  #publish(peer: Peer, frame: NatsFrame): MaybePromise<void> {
    const { client, deliveries, permissions } = peer
    const { verbose, pedantic } = this.#packet
    const { subject, text: reply } = frame
    // As a warning: the reference server goes on with it.
    if (pedantic && !subject.isLiteral) this.#replies.error(INVALID_PUBLISH_SUBJECT)
    const message = messageOfPublish(frame, verbose ? 1 : 0, client.info, this.#parts.clock.now())
    if (message === undefined) return this.#notPublished(subject)
    if (permissions !== undefined && !permissions.mayPublish(asRouted(message.topic)))
      return this.#published(subject.text, '', ReasonCode.NotAuthorized)
    if (verbose) deliveries.hold()
    const code = client.publish(message)
    if (code === ReasonCode.Success && !verbose) return
    if (isPromise(code)) return this.#publishedLater(deliveries, subject.text, reply, code)
    this.#published(subject.text, reply, code)
    deliveries.release()
  }

  async #publishedLater(
    deliveries: Deliveries,
    subject: string,
    reply: string,
    code: Promise<ReasonCode>,
  ): Promise<void> {
    this.#published(subject, reply, await code)
    deliveries.release()
  }

  /** Lost in any case, so the client is told in any case. */
  #notPublished(subject: Subject): void {
    const { pedantic } = this.#packet
    if (!pedantic || subject.isLiteral) this.#replies.error(INVALID_PUBLISH_SUBJECT)
    if (pedantic) this.#ok()
  }

  #published(subject: string, reply: string, code: ReasonCode): void {
    if (code >= 0x80) return this.#replies.error(publishFailure(subject, code))
    const { verbose, noResponders } = this.#packet
    if (verbose) this.#replies.ok()
    if (code === ReasonCode.NoMatchingSubscribers && noResponders && reply !== '') this.#noResponders(reply)
  }

  #noResponders(reply: string): void {
    for (const { subject, sid } of this.#subscriptions.all) {
      if (subjectMatches(subject, reply)) return this.#replies.text(noRespondersMessage(reply, sid))
    }
  }

  // SUB, UNSUB

  #subscribe({ client, permissions }: Peer, frame: NatsFrame): MaybePromise<void> {
    const { subject, text: group, sid } = frame
    if (!isSubscribable(subject)) return this.#replies.error(INVALID_SUBJECT)
    if (/[/+#\0]/.test(group)) return this.#replies.error(INVALID_QUEUE)
    // The reference server takes it for the same one.
    if (this.#subscriptions.get(sid) !== undefined) return this.#ok()
    if (this.#subscriptions.size >= this.#parts.options.maxSubscriptions) {
      this.#replies.error(TOO_MANY_SUBSCRIPTIONS)
      return this.#connection.end('quota_exceeded')
    }
    if (permissions !== undefined && !permissions.maySubscribe(asRouted(subject.text), group))
      return this.#replies.error(subscribeFailure(subject.text, group, ReasonCode.NotAuthorized))
    const added = this.#subscriptions.add(sid, subject, group)
    const { feed } = added
    if (feed.members.length > 1) {
      if (group !== '' || !this.#parts.options.deliversRetained) return this.#ok()
      // Once more at the broker, for its own retained messages.
      this.#subscriptions.replayFor(added, client.waitingCount > 0)
    }
    return andThen(
      client.subscribe([this.#wishOf(feed, feed.members.length > 1 ? 0 : 1)]),
      ([code = ReasonCode.UnspecifiedError]) => {
        if (code >= 0x80) this.#refuse([added], group, code)
        else this.#ok()
      },
    )
  }

  #refuse(subscriptions: readonly NatsSubscription[], group: string, code: ReasonCode): void {
    for (const subscription of subscriptions) {
      this.#subscriptions.remove(subscription)
      this.#replies.error(subscribeFailure(subscription.subject, group, code))
    }
  }

  /** A client that wants to be told gets QoS 1, as far as that goes without an acknowledgement in NATS. */
  #wishOf({ filter, identifier }: Feed, retainHandling: 0 | 1 | 2): Subscription {
    return {
      filter,
      qos: this.#packet.verbose ? 1 : 0,
      noLocal: !this.#packet.echo,
      retainAsPublished: false,
      retainHandling: this.#parts.options.deliversRetained ? retainHandling : 2,
      identifier,
    }
  }

  #unsubscribe({ sid, max }: NatsFrame): MaybePromise<void> {
    const subscription = this.#subscriptions.get(sid)
    if (subscription === undefined) return this.#ok()
    if (max > subscription.delivered) {
      subscription.max = max
      return this.#ok()
    }
    if (!this.#subscriptions.remove(subscription) || this.#peer === undefined) return this.#ok()
    return andThen(this.#peer.client.unsubscribe([subscription.feed.filter]), () => this.#ok())
  }

  #ok(): void {
    if (this.#packet.verbose) this.#replies.ok()
  }
}

function isSubscribable(subject: Subject): subject is Subject & { filter: string } {
  return subject.filter !== undefined
}

/** A subject or topic with every separator as a dot. */
function asRouted(text: string): string {
  return text.replaceAll('/', '.')
}
