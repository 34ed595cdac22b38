/**
 * The conversation with one NATS client.
 *
 *     INFO ->   <- CONNECT, then PUB, SUB, ... in any order
 *
 * CONNECT, PUB and SUB each have a file (`handle-connect.ts`, ...) that goes on with it, `conversation.ts` has what they
 * share. Where nobody has to say who it is, operations before CONNECT are those of an anonymous client. An error
 * that closes the connection is thrown as a peer's fault; `failed` makes -ERR of it.
 */
import type { Delivery, Receiver, Traffic } from '../../broker/broker.ts'
import type { Pace } from '../../listeners/pace.ts'
import { andThen, isPromise, type MaybePromise } from '../../model/async.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { BrokerError, faultOf } from '../../model/errors.ts'
import type { Connection, StreamChannel } from '../stream-connection.ts'
import { Conversation, type ConversationParts, type Peer } from './conversation.ts'
import type { NatsFrame } from './frame.ts'
import { handleConnect, logInAnonymously } from './handle-connect.ts'
import { handlePublish } from './handle-publish.ts'
import { handleSubscribe, handleUnsubscribe } from './handle-subscribe.ts'
import { infoLine, parseConnect } from './info.ts'
import type { PacketCounters } from './packet-counters.ts'
import { SLOW_CONSUMER } from './replies.ts'

/** Those of the conversation, and what only the channel needs. */
export interface ChannelParts extends ConversationParts {
  readonly received: PacketCounters
  /** INFO has been sent already, before TLS. */
  readonly isGreeted: boolean
  readonly onClosed: (channel: NatsChannel) => void
}

export class NatsChannel implements StreamChannel<NatsFrame>, Receiver {
  readonly #parts: ChannelParts
  readonly #conversation: Conversation
  /** Retained messages are held back until the peer has read what it was sent. */
  #holdsRetained = false

  constructor(connection: Connection, parts: ChannelParts) {
    this.#parts = parts
    this.#conversation = new Conversation(connection, parts)
    parts.decoder.awaitsLogin = parts.info.auth_required
    if (!parts.isGreeted) this.#conversation.replies.text(infoLine(parts.info))
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
    this.#conversation.replies.error(isPeerFault ? error.message : 'Internal Server Error')
  }

  closed(): void {
    this.#conversation.timeLimits.clear()
    this.#conversation.peer = undefined
    this.#parts.onClosed(this)
  }

  get traffic(): Traffic {
    return this.#conversation.connection.transport
  }

  /** Only retained messages wait for a slow peer; for the others there is `max_pending_size`. */
  get congested(): boolean {
    return this.#holdsRetained && this.#conversation.connection.transport.outbox.congested
  }

  deliver(delivery: Delivery): boolean {
    const { peer, connection } = this.#conversation
    if (peer === undefined) return true
    const { outbox } = connection.transport
    if (outbox.congested) {
      if (outbox.unsentBytes > this.#parts.options.maxPendingBytes) return this.#isTooSlow()
      if (delivery.retain) this.#holdsRetained = true
    }
    return peer.deliveries.send(delivery)
  }

  /** Nothing here is subscribed with QoS 2, so there is no second step. */
  release(): void {}

  end(reason: DisconnectReason): void {
    this.#conversation.end(reason)
  }

  #isTooSlow(): false {
    this.#parts.context.counters.add('connections.slow_consumers')
    this.#conversation.replies.error(SLOW_CONSUMER)
    this.#conversation.connection.end('quota_exceeded')
    return false
  }

  #dispatch(frame: NatsFrame): MaybePromise<void> {
    const { peer } = this.#conversation
    // Most of what comes. The rest has closures, which cost their function even where none is made.
    if (frame.op !== 'PUB' || peer === undefined) return this.#dispatchAny(frame)
    this.#parts.received.PUB.value++
    return handlePublish(this.#conversation, peer, frame)
  }

  #dispatchAny(frame: NatsFrame): MaybePromise<void> {
    this.#parts.received[frame.op].value++
    const conversation = this.#conversation
    const { peer } = conversation
    switch (frame.op) {
      case 'PUB':
      case 'HPUB':
        return peer === undefined
          ? this.#anonymously((anonymous) => handlePublish(conversation, anonymous, frame))
          : handlePublish(conversation, peer, frame)
      case 'SUB':
        return peer === undefined
          ? this.#anonymously((anonymous) => handleSubscribe(conversation, anonymous, frame))
          : handleSubscribe(conversation, peer, frame)
      case 'UNSUB':
        return handleUnsubscribe(conversation, frame)
      case 'CONNECT':
        return handleConnect(conversation, this, parseConnect(frame.text))
      case 'PING':
        conversation.timeLimits.alive()
        return conversation.replies.pong()
      case 'PONG':
      case 'IGNORED':
        return conversation.timeLimits.alive()
    }
  }

  /** Runs `operation` for a client that has not said who it is. */
  #anonymously(operation: (peer: Peer) => MaybePromise<void>): MaybePromise<void> {
    return andThen(logInAnonymously(this.#conversation, this), (peer) =>
      peer === undefined ? undefined : operation(peer),
    )
  }
}
