import type { Readable } from 'node:stream'
import type { MaybePromise } from '../../model/async.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import type { Message } from '../../model/message.ts'
import type { ReasonCode } from '../../model/reason-codes.ts'
import type { Subscription } from '../../model/subscription.ts'
import type { Will } from '../broker.ts'
import type { DeliveryState, SessionDelivery } from '../delivery.ts'
import type { RecordStore } from './record-store.ts'

/** Walks the retained messages that match a filter, as fast as their reader takes them. */
export interface RetainedCursor {
  /** The next one that has not expired, undefined at the end. */
  next(): MaybePromise<Message | undefined>
}

/** A will as Aedes keeps it for its sweep for dead nodes. */
export interface StoredWill {
  topic: string
  payload: Uint8Array
  qos: number
  retain: boolean
  /** Set by the storage. */
  clientId?: string
  brokerId?: string
}

/** What of a client info has a meaning after its connection: who it was, for hooks, lists and its mountpoint. */
export type StoredClient = Pick<
  ClientInfo,
  | 'key'
  | 'clientId'
  | 'username'
  | 'protocol'
  | 'protocolName'
  | 'protocolVersion'
  | 'gateway'
  | 'listener'
  | 'zone'
  | 'mountpoint'
  | 'isBridge'
  | 'isSuperuser'
  | 'keepAliveSeconds'
  | 'cleanStart'
  | 'connectedAtMs'
> & { peerHost: string; attributes: [name: string, value: string][] }

/** A session without what hangs on it. */
export interface SessionRecord {
  readonly client: StoredClient
  /** How long it outlives its connection, in ms; Infinity = for ever. */
  readonly expiryIntervalMs: number
  /** Unix time in ms since which nobody is connected with it; undefined = somebody was when this was written. */
  readonly disconnectedAtMs: number | undefined
}

/** A delivery as it comes back. */
export interface StoredDelivery {
  readonly message: Message
  readonly qos: 0 | 1 | 2
  readonly retain: boolean
  readonly subscriptionIds: readonly number[] | undefined
  /** The shared group whose copy it is. */
  readonly group: { readonly name: string; readonly filter: string } | undefined
  /** 0 = it has never been sent. */
  readonly packetId: number
  readonly state: DeliveryState
  /** What the storage knows it by: goes into `SessionDelivery.kept`. */
  readonly kept: unknown
}

/** A will that waits: for its client to disappear, or for its delay to pass. */
export interface WaitingWill {
  readonly will: Will
  /** Unix time in ms at which it is published; undefined while its client is connected. */
  readonly dueAtMs: number | undefined
  /** The client has said goodbye: it is for the session's next connection. */
  readonly isKept?: boolean | undefined
}

/** A session as it comes back after a restart. */
export interface StoredSession {
  readonly record: SessionRecord
  readonly subscriptions: readonly Subscription[]
  /** In the order in which they were added. */
  readonly deliveries: readonly StoredDelivery[]
  /** Inbound QoS 2 packet ids that wait for PUBREL, with the Unix time in ms they came at. */
  readonly incoming: readonly (readonly [packetId: number, sinceMs: number])[]
}

/**
 * Mirrors the sessions that outlive their connection. Calls only note what has changed: it is
 * written with the next batch, see `DurableStore.unsafe`.
 */
export interface SessionStore {
  /**
   * What was there when the storage was opened, session by session. Can be read once, after `setup` and before
   * anything is noted: it is read from the store while it is asked for.
   */
  load(): AsyncIterable<StoredSession>
  save(record: SessionRecord): void
  /** The session has ended. Its subscriptions, deliveries and packet ids are taken away one by one before this. */
  remove(key: string): void
  subscribed(key: string, subscription: Subscription): void
  unsubscribed(key: string, filter: string): void
  /**
   * A delivery waits or is in flight: it is kept until `dropped`. One that goes from a session to another is added
   * there before it is dropped here, as changes are written in their order.
   */
  added(key: string, delivery: SessionDelivery): void
  /** It has got a packet id, or the peer has answered PUBREC. */
  changed(key: string, delivery: SessionDelivery): void
  /** Acknowledged, expired, or given up. If it was never written, it never will be. */
  dropped(key: string, delivery: SessionDelivery): void
  received(key: string, packetId: number, sinceMs: number): void
  released(key: string, packetId: number): void
}

/** Wills of this node's clients, whatever becomes of their sessions. */
export interface WillStore {
  /** What was there when the storage was opened: their clients are gone with the process. */
  load(): AsyncIterable<readonly [client: StoredClient, will: WaitingWill]>
  save(client: StoredClient, will: WaitingWill): void
  remove(key: string): void
}

/** Durable things of one kind that belong to somebody else: delayed messages, bans, users. */
export interface RecordTable {
  /** What was there when the storage was opened, in the order of the keys. */
  load(): AsyncIterable<readonly [key: string, value: Uint8Array]>
  put(key: string, value: Uint8Array): void
  delete(key: string): void
}

export type TableName = 'delayed' | 'bans' | 'users' | 'rules' | 'overrides'

/** What a storage has that does not forget with the process. Calls only note what has changed; see `unsafe`. */
export interface DurableStore {
  readonly sessions: SessionStore
  readonly wills: WillStore
  table(name: TableName): RecordTable
  /**
   * All of it as it is kept, for copies: what is noted and not safe yet is not in there. Who writes here does so
   * beside the caches above, so only while nothing else uses the storage.
   */
  readonly records: Pick<RecordStore, 'place' | 'scan' | 'commit'>

  /**
   * Settles when everything noted up to now is safe (written and synced, or answered by the server), undefined
   * when it is already. Promises of later calls never settle before those of earlier ones. Rejects with
   * STORAGE_FAILED when the batch could not be written: it stays noted and is tried again until it can be. Rejects
   * with INTERNAL when a bug keeps one of its records from being written at all.
   */
  readonly unsafe: Promise<void> | undefined
  /** Why nothing can be made safe now: QuotaExceeded for a full disk, ServerUnavailable; undefined when it can. */
  readonly refusal: ReasonCode | undefined
}

/**
 * What is to outlive the process. It is Aedes' persistence contract (its kernel calls `setup`, `streamWill`
 * and `delWill`, its abstract test suite holds for every implementation) with what that contract lacks.
 *
 * A storage keeps in memory what has to be looked up while messages pass, and writes behind it: changes
 * are collected and written in one batch, then the next ones are. Nothing is acknowledged before the
 * batch it depends on is safe.
 */
export interface Storage {
  /** Undefined: it forgets with the process. */
  readonly durable: DurableStore | undefined

  /**
   * Makes it usable: all retained messages are there when it resolves, the rest is there to be loaded. The second
   * call waits for the first.
   * @param node - the name of the broker, which may be the only one to use the place
   * @throws BrokerError STORAGE_FAILED, CONFIG_INVALID
   */
  open(node: string): Promise<void>
  /** Aedes calls it when the broker starts. Opens it first if nobody has. */
  setup(broker: object): Promise<void>
  /** Writes what is left and closes. Safe to call twice. */
  destroy(): Promise<void>

  /**
   * Replaces the topic's retained message; an empty payload takes it away. Found at once, safe with `unsafe`.
   * @param expiresAtMs - Unix time in ms from which on it is not found any more; Infinity = never
   */
  storeRetained(message: Message, expiresAtMs: number): MaybePromise<void>
  /** @param pause - to be waited for where looking for the next one takes long, so that others get their turn */
  retained(filter: string, pause?: () => Promise<void>): RetainedCursor
  hasRetained(topic: string): boolean
  readonly retainedCount: number
  /** Takes away retained messages whose time is over. */
  dropExpired(nowMs: number): void

  putWill(client: { id: string }, will: StoredWill): MaybePromise<void>
  delWill(client: { id: string }): MaybePromise<StoredWill | undefined>
  /** Wills of nodes that are not in `brokers`. */
  streamWill(brokers: Record<string, number>): Readable
}
