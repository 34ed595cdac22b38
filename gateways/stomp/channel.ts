/**
 * The conversation with one STOMP peer.
 *
 *     CONNECT -> CONNECTED, then SEND, SUBSCRIBE, ... in any order, DISCONNECT
 *
 * A protocol violation is thrown as a peer's fault; `failed` turns it into the ERROR frame
 * that STOMP wants before the connection is closed.
 */
import type { Client, Connected, Delivery, Receiver, Traffic } from '../../broker/broker.ts'
import type { Pace } from '../../listeners/pace.ts'
import { andThen, isPromise, type MaybePromise } from '../../model/async.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { BrokerError, faultOf } from '../../model/errors.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { Subscription } from '../../model/subscription.ts'
import type { GatewayContext, ListenerSettings } from '../gateway.ts'
import type { Connection, StreamChannel } from '../stream-connection.ts'
import type { TurnClock } from '../turn-clock.ts'
import type { StompOptions } from './config.ts'
import { Deliveries } from './deliveries.ts'
import type { StompDecoder, StompFrame } from './frame.ts'
import type { StompVersion } from './headers.ts'
import { agreeHeartbeat, Heartbeat, type HeartbeatAgreement } from './heartbeat.ts'
import { type LoginSource, loginOf, negotiateVersion } from './login.ts'
import { required, Sends, violated } from './message.ts'
import type { MessageWriter } from './message-writer.ts'
import type { ReceivedCounters } from './received-counters.ts'
import { farewellText, publishFailure, Replies, refusalText, subscribeFailure } from './replies.ts'
import type { AckMode, StompSubscription } from './subscriptions.ts'
import { Transactions } from './transactions.ts'

const SERVER = 'hubbub-stomp/1.2'
const SUPPORTED = '1.0,1.1,1.2'
const LF = Buffer.from('\n')

/** What a channel shares with the others of its gateway. */
export interface ChannelParts {
  readonly options: StompOptions
  readonly context: GatewayContext
  readonly listener: ListenerSettings
  readonly clock: TurnClock
  readonly received: ReceivedCounters
  readonly writer: MessageWriter
  /** Told the agreed version. */
  readonly decoder: StompDecoder
  readonly onClosed: (channel: StompChannel) => void
}

/** Who is logged in, and how. */
interface Established {
  readonly client: Client
  readonly version: StompVersion
  readonly sends: Sends
  readonly deliveries: Deliveries
  readonly heartbeat: Heartbeat
}

export class StompChannel implements StreamChannel<StompFrame>, Receiver {
  readonly #connection: Connection
  readonly #parts: ChannelParts
  readonly #replies: Replies
  readonly #transactions: Transactions
  #peer: Established | undefined
  /** The frame being handled: an ERROR names its receipt. */
  #current: StompFrame | undefined

  constructor(connection: Connection, parts: ChannelParts) {
    this.#connection = connection
    this.#parts = parts
    this.#replies = new Replies(connection, parts.context.counters)
    this.#transactions = new Transactions(parts.options.transactions)
  }

  handle(frame: StompFrame): MaybePromise<void> {
    this.#current = frame
    const { known, unknown } = this.#parts.received
    const counter = known.get(frame.command) ?? unknown
    counter.value++
    const handled = this.#dispatch(frame)
    if (isPromise(handled)) return handled.then(() => this.#forget())
    this.#forget()
  }

  charge(frame: StompFrame, pace: Pace): void {
    if (frame.command === 'SEND') pace.message(frame.body.length)
    else if (frame.command === 'SUBSCRIBE') pace.subscribe()
  }

  failed(error: unknown): void {
    const isFrameError =
      error instanceof BrokerError && (error.code === 'FRAME_MALFORMED' || error.code === 'FRAME_TOO_LARGE')
    if (isFrameError) {
      // Before the login the peer may not speak STOMP at all: it is told nothing.
      if (this.#peer !== undefined) this.#replies.error(`Frame error: ${error.message}`)
    } else {
      const isPeerFault = error instanceof BrokerError && faultOf(error) === 'peer'
      this.#replies.error(isPeerFault ? error.message : 'Internal error', this.#current)
    }
  }

  closed(): void {
    this.#peer?.heartbeat.stop()
    this.#peer = undefined
    this.#transactions.clear()
    this.#parts.onClosed(this)
  }

  get traffic(): Traffic {
    return this.#connection.transport
  }

  get congested(): boolean {
    return this.#connection.transport.outbox.congested
  }

  deliver(delivery: Delivery): boolean {
    return this.#peer === undefined || this.#peer.deliveries.send(delivery)
  }

  /** Nothing here is subscribed with QoS 2, so there is no second step. */
  release(): void {}

  end(reason: DisconnectReason): void {
    const text = farewellText(reason, this.#current)
    if (text !== undefined) this.#replies.error(text, reason === 'not_authorized' ? this.#current : undefined)
    this.#connection.end(reason)
  }

  /** The body of the last frame must not keep its network chunk alive on an idle connection. */
  #forget(): void {
    this.#current = undefined
  }

  #dispatch(frame: StompFrame): MaybePromise<void> {
    if (this.#peer !== undefined) return this.#converse(this.#peer, frame)
    if (frame.command === 'CONNECT' || frame.command === 'STOMP') return this.#connect(frame)
    throw violated('Not connected')
  }

  #converse(peer: Established, frame: StompFrame): MaybePromise<void> {
    switch (frame.command) {
      case 'SEND':
        return this.#send(peer, frame)
      case 'SUBSCRIBE':
        return this.#subscribe(peer, frame)
      case 'UNSUBSCRIBE':
        return this.#unsubscribe(peer, frame)
      case 'ACK':
      case 'NACK':
        return this.#answer(peer, frame)
      case 'BEGIN':
        return this.#begin(frame)
      case 'COMMIT':
        return this.#commit(peer, frame)
      case 'ABORT':
        return this.#abort(frame)
      case 'DISCONNECT':
        this.#replies.receipt(frame)
        return this.#connection.end('normal')
      case 'CONNECT':
      case 'STOMP':
        throw violated('Already connected')
      default:
        throw violated(`Unknown command ${frame.command}`)
    }
  }

  // CONNECT

  #connect(frame: StompFrame): MaybePromise<void> {
    const version = negotiateVersion(frame.headers.get('accept-version'))
    if (version === undefined) {
      this.#loginFailed('Login Failed: Supported protocol versions < 1.2')
      return
    }
    const headers = version === '1.0' ? frame.headers.unpadded() : frame.headers
    const heartbeat = agreeHeartbeat(headers.get('heart-beat'))
    const { options, context, listener } = this.#parts
    const source: LoginSource = {
      transport: this.#connection.transport,
      listener,
      options,
      context,
      signal: this.#connection.signal,
    }
    const login = loginOf(headers, version, heartbeat, source)
    const session = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: options.maxUnacked }
    return andThen(context.connect(login, session, this), (outcome) => {
      if (outcome.kind === 'refused') this.#loginFailed(`Login Failed: ${refusalText(outcome.reason)}`)
      else this.#connected(outcome, version, heartbeat)
    })
  }

  #connected({ client }: Connected, version: StompVersion, agreed: HeartbeatAgreement): void {
    if (!this.#connection.login(client)) return
    const { context, decoder, writer } = this.#parts
    decoder.version = version
    this.#replies.version = version
    this.#replies.connected([
      ['server', SERVER],
      ['version', version],
      ['heart-beat', `${agreed.sendEveryMs},${agreed.expectEveryMs}`],
      ['session', client.info.clientId],
    ])
    const { outbox } = this.#connection.transport
    const deliveries = new Deliveries(client, version, outbox, writer, context.counters)
    const sends = new Sends(client.info)
    this.#peer = { client, version, sends, deliveries, heartbeat: this.#startHeartbeat(agreed) }
    client.start()
  }

  #startHeartbeat(agreed: HeartbeatAgreement): Heartbeat {
    const connection = this.#connection
    const { transport } = connection
    return new Heartbeat(agreed, {
      bytesReceived: () => transport.bytesReceived,
      isDeaf: () => connection.isPaused,
      beat() {
        // To a peer that does not read, one more byte says nothing.
        if (!transport.outbox.congested) transport.outbox.append(LF)
      },
      silent: () => connection.end('keepalive_timeout'),
    })
  }

  #loginFailed(text: string): void {
    this.#replies.error(text, this.#current, [['version', SUPPORTED]])
    this.#connection.end('not_authorized')
  }

  // SEND, ACK, NACK, alone or in a transaction

  #send(peer: Established, frame: StompFrame): MaybePromise<void> {
    const transaction = frame.headers.get('transaction')
    if (transaction !== undefined) return this.#keepSend(peer, transaction, frame)
    const code = this.#publish(peer, frame)
    if (isPromise(code)) return code.then((settled) => this.#sent(frame, settled))
    return this.#sent(frame, code)
  }

  #publish({ client, sends }: Established, frame: StompFrame): MaybePromise<ReasonCode> {
    return client.publish(sends.messageOf(frame, this.#parts.clock.now()))
  }

  #sent(frame: StompFrame, code: ReasonCode): void {
    const failure = failureOf(frame, code)
    if (failure === undefined) this.#replies.receipt(frame)
    else this.#refuse(failure)
  }

  #answer({ version, deliveries }: Established, frame: StompFrame): void {
    const { headers, command } = frame
    if (command === 'NACK' && version === '1.0') throw violated('Unknown command NACK')
    const transaction = headers.get('transaction')
    if (transaction !== undefined) return this.#keep(transaction, frame)
    this.#settle(deliveries, frame)
    this.#replies.receipt(frame)
  }

  /** NACK counts as answered too: there is no queue that the message could go back to. */
  #settle(deliveries: Deliveries, frame: StompFrame): void {
    const answered = deliveries.answer(frame.headers.get('id') ?? required(frame, 'message-id'))
    this.#parts.context.counters.add(frame.command === 'ACK' ? 'messages.acked' : 'messages.nacked', answered)
  }

  // Transactions

  /** Authorized at once, so that a COMMIT does not stop halfway for it; and again at COMMIT, as rights may change. */
  #keepSend({ client, sends }: Established, transaction: string, frame: StompFrame): MaybePromise<void> {
    const { topic, qos, retain } = sends.messageOf(frame, this.#parts.clock.now())
    return andThen(client.mayPublish(topic, qos, retain), (allowed) => {
      if (allowed) this.#keep(transaction, frame)
      else this.#sent(frame, ReasonCode.NotAuthorized)
    })
  }

  #keep(transaction: string, frame: StompFrame): void {
    const kept = this.#transactions.add(transaction, frame)
    if (kept === 'not_found') this.#notFound(transaction)
    else if (kept === 'too_many') throw violated('Too many frames in transactions')
  }

  #begin(frame: StompFrame): void {
    const transaction = required(frame, 'transaction')
    const begun = this.#transactions.begin(transaction)
    if (begun === 'too_many') throw violated('Too many transactions')
    if (begun === 'already_open')
      this.#replies.error(`Transaction ${transaction} already started`, this.#current)
    else this.#replies.receipt(frame)
  }

  #commit(peer: Established, frame: StompFrame): MaybePromise<void> {
    const transaction = required(frame, 'transaction')
    const frames = this.#transactions.take(transaction)
    if (frames === undefined) return this.#notFound(transaction)
    return andThen(this.#execute(peer, frames, 0), (failure) => {
      if (failure !== undefined) return this.#refuse(`Execute transaction ${transaction} failed: ${failure}`)
      for (const one of frames) this.#replies.receipt(one)
      this.#replies.receipt(frame)
    })
  }

  /** Does the frames from `from` on, one after the other. @returns why it stopped, undefined when all are done */
  #execute(peer: Established, frames: readonly StompFrame[], from: number): MaybePromise<string | undefined> {
    for (let i = from; i < frames.length; i++) {
      const frame = frames[i] as StompFrame
      const code = this.#apply(peer, frame)
      if (isPromise(code)) {
        return code.then((settled) => failureOf(frame, settled) ?? this.#execute(peer, frames, i + 1))
      }
      const failure = failureOf(frame, code)
      if (failure !== undefined) return failure
    }
    return undefined
  }

  #apply(peer: Established, frame: StompFrame): MaybePromise<ReasonCode> {
    if (frame.command === 'SEND') return this.#publish(peer, frame)
    this.#settle(peer.deliveries, frame)
    return ReasonCode.Success
  }

  #abort(frame: StompFrame): void {
    const transaction = required(frame, 'transaction')
    if (this.#transactions.take(transaction) === undefined) this.#notFound(transaction)
    else this.#replies.receipt(frame)
  }

  /** One of the three errors after which the connection goes on, as in EMQX. */
  #notFound(transaction: string): void {
    this.#replies.error(`Transaction ${transaction} not found`, this.#current)
  }

  // SUBSCRIBE, UNSUBSCRIBE

  #subscribe({ client, version, deliveries }: Established, frame: StompFrame): MaybePromise<void> {
    const { subscriptions } = deliveries
    const destination = required(frame, 'destination')
    const id = version === '1.0' ? frame.headers.get('id') : required(frame, 'id')
    const ack = ackModeOf(frame)
    if (id !== undefined && subscriptions.hasId(id)) throw violated(`Subscription id ${id} is in used`)
    if (subscriptions.hasDestination(destination))
      throw violated(`Topic ${destination} already in subscribed`)
    if (subscriptions.size >= this.#parts.options.maxSubscriptions) throw violated('Too many subscriptions')
    const subscription = subscriptions.add(id, destination, ack)
    return andThen(client.subscribe([wishOf(subscription)]), ([code = ReasonCode.UnspecifiedError]) => {
      if (code < 0x80) return this.#replies.receipt(frame)
      deliveries.forget(subscription)
      this.#refuse(subscribeFailure(destination, code))
    })
  }

  #unsubscribe({ client, version, deliveries }: Established, frame: StompFrame): MaybePromise<void> {
    const id = version === '1.0' ? frame.headers.get('id') : required(frame, 'id')
    const destination = id === undefined ? required(frame, 'destination') : undefined
    const subscription = deliveries.subscriptions.find(id, destination)
    // Unknown ids are harmless: the end is reached.
    if (subscription === undefined) return this.#replies.receipt(frame)
    return andThen(client.unsubscribe([subscription.destination]), () => {
      deliveries.forget(subscription)
      this.#replies.receipt(frame)
    })
  }

  /** The peer may not, or the broker cannot: it is told, and closed. */
  #refuse(text: string): void {
    this.#replies.error(text, this.#current)
    this.#connection.end('not_authorized')
  }
}

function ackModeOf(frame: StompFrame): AckMode {
  const mode = frame.headers.get('ack') ?? 'auto'
  if (mode === 'auto' || mode === 'client' || mode === 'client-individual') return mode
  throw violated(`Invalid ack mode ${mode}`)
}

/** With acknowledgements the broker waits for them, which is what QoS 1 is. */
function wishOf({ destination, ack, identifier }: StompSubscription): Subscription {
  return {
    filter: destination,
    qos: ack === 'auto' ? 0 : 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 1,
    identifier,
  }
}

/** Why a frame was not done; undefined if it was. */
function failureOf(frame: StompFrame, code: ReasonCode): string | undefined {
  return code < 0x80 ? undefined : publishFailure(frame.headers.get('destination') ?? '', code)
}
