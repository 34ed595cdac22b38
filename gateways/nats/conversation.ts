/**
 * What has been said so far between the gateway and one NATS client: what it wished for in CONNECT, who it is, what
 * it subscribed to. `channel.ts` says which file carries on with which operation; all of them work on this.
 */
import type { Client } from '../../broker/broker.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import type { GatewayContext, ListenerSettings } from '../gateway.ts'
import type { Connection } from '../stream-connection.ts'
import type { TurnClock } from '../turn-clock.ts'
import type { NatsOptions } from './config.ts'
import type { Deliveries, DeliveryCounters } from './deliveries.ts'
import type { NatsDecoder } from './frame.ts'
import { ConnectPacket, infoLine, type ServerInfo } from './info.ts'
import type { MessageWriter } from './message.ts'
import type { Permissions } from './permissions.ts'
import { farewellText, Replies } from './replies.ts'
import { Subscriptions } from './subscriptions.ts'
import { TimeLimits } from './time-limits.ts'

/** What a conversation shares with the others of its gateway, and what is known of its peer. */
export interface ConversationParts {
  readonly options: NatsOptions
  readonly context: GatewayContext
  readonly listener: ListenerSettings
  readonly writer: MessageWriter
  readonly counters: DeliveryCounters
  readonly decoder: NatsDecoder
  readonly clock: TurnClock
  readonly info: ServerInfo
}

/** Who is logged in, and how. */
export interface Peer {
  readonly client: Client
  readonly deliveries: Deliveries
  readonly permissions: Permissions | undefined
  readonly isAnonymous: boolean
}

/** Its `timeLimits` are to be cleared when the connection is over. */
export class Conversation {
  readonly connection: Connection
  readonly parts: ConversationParts
  readonly replies: Replies
  readonly subscriptions = new Subscriptions()
  readonly timeLimits: TimeLimits
  /** The last CONNECT, or what holds until there is one. */
  packet = new ConnectPacket()
  /** Undefined until somebody has logged in, under a name or without, and after the end. */
  peer: Peer | undefined

  constructor(connection: Connection, parts: ConversationParts) {
    this.connection = connection
    this.parts = parts
    this.replies = new Replies(connection, parts.context.counters)
    this.timeLimits = new TimeLimits(this)
  }

  /** Only who is verbose wants to be told. */
  ok(): void {
    if (this.packet.verbose) this.replies.ok()
  }

  /** Tells the peer why, where NATS has words for it, and ends the connection. */
  end(reason: DisconnectReason): void {
    const text = farewellText(reason)
    if (reason === 'server_shutting_down') this.replies.text(infoLine({ ...this.parts.info, ldm: true }))
    if (text !== undefined) this.replies.error(text)
    this.connection.end(reason)
  }
}
