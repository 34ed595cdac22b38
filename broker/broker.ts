/**
 * What connections, gateways, API and plugins talk to. A connection logs in with
 * `connect`, gets a `Client` to publish and subscribe with, and is told through
 * its `Receiver` what to send to the peer.
 */
import type { PropertyBag } from '../hooks/hookpoints.ts'
import type { MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import type { Message, MessageProperties, QoS } from '../model/message.ts'
import type { ReasonCode } from '../model/reason-codes.ts'
import type { Subscription } from '../model/subscription.ts'

/** Published by the broker when a connection ends other than by a clean goodbye (MQTT 5.0 §3.1.2.5). */
export interface Will {
  topic: string
  payload: Uint8Array
  qos: QoS
  retain: boolean
  delaySeconds: number
  properties: MessageProperties | undefined
}

export interface SessionOptions {
  /** Drop an existing session of this client and start anew. */
  cleanStart: boolean
  /** How long the session outlives the connection; 0 = not at all, Infinity = for ever. */
  expiryIntervalMs: number
  /** Most unacknowledged QoS 1 and 2 deliveries the peer takes at a time, 1 to 65535. */
  receiveMaximum: number
  will?: Will
  /**
   * The will is the session's (MQTT-SN 1.2 §6.3): published when the connection is lost, but not when the client is kicked,
   * discarded or taken over. A session that outlives a goodbye keeps it for a next connection that brings none. Default: no.
   */
  keepsWill?: boolean
  /** What is unacknowledged for this long is sent again while the peer is connected; undefined = never. */
  retryIntervalMs?: number
  /** Operators can look at its statistics. Default: yes. */
  hasStats?: boolean
}

/** The same, or a function that says it once `client.connect` hooks have set `Login.properties`. */
export type SessionWish = SessionOptions | (() => SessionOptions)

/** One message on its way to one client. Handed to a receiver, which must not change it. */
export interface Delivery {
  readonly message: Message
  /** Of this delivery: the lower one of published and granted. */
  readonly qos: QoS
  /** As the subscriber is to see it. */
  readonly retain: boolean
  readonly dup: boolean
  /** 1 to 65535 for QoS 1 and 2: give it back in `acked`, `received`, `completed`. 0 for QoS 0. */
  readonly packetId: number
  /** Identifiers of all subscriptions of this client that matched, undefined when none had one. */
  readonly subscriptionIds: readonly number[] | undefined
}

/** Bytes that a connection has carried so far. A transport is one. */
export interface Traffic {
  readonly bytesReceived: number
  readonly bytesSent: number
}

/** The connection as its client sees it. */
export interface Receiver {
  /** For statistics; undefined where nobody counts. */
  readonly traffic?: Traffic | undefined
  /** True while a QoS 0 delivery would have to be dropped because the peer does not read. */
  readonly congested: boolean
  /**
   * Sends a message to the peer. Must not block: encode and put it in the outbox.
   * @returns false if the peer cannot take it (larger than it allows): nothing was sent, it counts as done.
   */
  deliver(delivery: Delivery): boolean
  /**
   * Bytes that it can be handed with `relay` now, 0 if it needs messages: for peers that get PUBLISH packets as they came.
   * @param isV5 - whether the packets are of MQTT 5
   */
  relayRoom?(isV5: boolean): number
  /** Sends `count` whole PUBLISH packets at QoS 0, no more bytes than `relayRoom` has told, by an outbox or from a copy. */
  relay?(bytes: Uint8Array, start: number, end: number, count: number): void
  /** QoS 2, second step again after a reconnect: the peer is to be asked to complete `packetId`. */
  release(packetId: number): void
  /**
   * Kicked, taken over, expired, server stopping: tell the peer if its protocol can, and close.
   * @param serverReference - where to connect instead, of `use_another_server` and `server_moved`
   */
  end(reason: DisconnectReason, serverReference?: string): void
}

export interface Connected {
  kind: 'connected'
  client: Client
  /** An existing session was taken up. */
  sessionPresent: boolean
  /** What `client.connack` hooks want the answer to carry, where the protocol can. */
  properties: PropertyBag
  /** Last word of an enhanced authentication. */
  authData?: Uint8Array | undefined
}

/** A refusal is a value, not a throw. */
export interface Refused {
  kind: 'refused'
  reason: ReasonCode
  properties: PropertyBag
}

/** The client has to answer first (MQTT 5.0 §4.12). Nothing is kept of one that does not: just forget it. */
export interface Challenge<Outcome> {
  kind: 'challenge'
  data: Uint8Array | undefined
  /** Call it once, with what the client says to `data`. */
  answer(data: Uint8Array | undefined): MaybePromise<Outcome | Challenge<Outcome>>
}

/** How asking for admission ended. `data` is for the client, `properties` are for the answer of a refusal. */
export type Admission =
  | { kind: 'admitted'; data: Uint8Array | undefined }
  | { kind: 'barred'; reason: ReasonCode; properties?: PropertyBag | undefined }

/** One entry of the client table, whatever it speaks. */
export interface Client {
  readonly info: ClientInfo
  /** What is published when its connection is lost. */
  readonly will: Will | undefined
  /** Deliveries that the receiver has not been given yet: for the window, a hook or the storage, or retained ones. */
  readonly waitingCount: number
  /** The answer to the login is on its way: from now on the receiver is given deliveries. Call it once. */
  start(): void
  /**
   * Authorizes, runs hooks, retains and routes. `message.topic` is the client's own, without mountpoint.
   * @returns Success, NoMatchingSubscribers, NotAuthorized, TopicNameInvalid, QuotaExceeded, ...
   *   If access rules say disconnect, the receiver's `end` was called before this returns.
   */
  publish(message: Message): MaybePromise<ReasonCode>
  /**
   * Whether `publish` would be allowed now, for protocols that gather first and publish later. Like it, it
   * ends the receiver where access rules say so.
   */
  mayPublish(topic: string, qos: QoS, retain: boolean): MaybePromise<boolean>
  /** @returns per subscription, in order, the granted QoS or why not. Retained messages follow in a later turn. */
  subscribe(subscriptions: readonly Subscription[]): MaybePromise<ReasonCode[]>
  /** @returns per filter, in order, Success or NoSubscriptionExisted. */
  unsubscribe(filters: readonly string[]): MaybePromise<ReasonCode[]>
  /**
   * Replaces the will, for protocols in which that can be done; undefined takes it back.
   * @returns false if it is not kept, when the storage takes nothing now
   */
  setWill(will: Will | undefined): MaybePromise<boolean>
  /** QoS 1: done. QoS 2: refused by the peer. False if the id is unknown. */
  acked(packetId: number): boolean
  /** QoS 2, first answer of the peer. False if the id is unknown. */
  received(packetId: number): boolean
  /** QoS 2, done. False if the id is unknown. */
  completed(packetId: number): boolean
  /** The receiver can take more: called after `congested` has ended. */
  drained(): void
  /** The topic as the client knows it: without its mountpoint. */
  unmounted(topic: string): string
  /** The connection has ended. Publishes the will unless `reason` is `normal`. Safe to call twice. */
  close(reason: DisconnectReason): void
}
