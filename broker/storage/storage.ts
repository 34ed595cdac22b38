import type { Readable } from 'node:stream'
import type { MaybePromise } from '../../model/async.ts'
import type { Message } from '../../model/message.ts'

/** Walks the retained messages that match a filter, as fast as their reader takes them. */
export interface RetainedCursor {
  /** The next one that has not expired, undefined at the end. */
  next(): MaybePromise<Message | undefined>
}

/** A will as it waits for its client to disappear; what Aedes' sweep for dead nodes publishes. */
export interface StoredWill {
  topic: string
  payload: Uint8Array
  qos: number
  retain: boolean
  /** Set by the storage. */
  clientId?: string
  brokerId?: string
}

/**
 * What is to outlive the process. So far the hub keeps retained messages here; sessions and
 * wills it keeps itself. It is Aedes' persistence contract (its kernel calls `setup`, `streamWill`
 * and `delWill`, its abstract test suite holds for every implementation) with what that
 * contract lacks. Values come back at once where nothing has to be waited for.
 */
export interface Storage {
  setup(broker: object): Promise<void>
  destroy(): Promise<void>

  /**
   * Replaces the topic's retained message; an empty payload takes it away.
   * @param expiresAtMs - Unix time in ms from which on it is not found any more; Infinity = never
   */
  storeRetained(message: Message, expiresAtMs: number): MaybePromise<void>
  retained(filter: string): RetainedCursor
  hasRetained(topic: string): boolean
  readonly retainedCount: number
  /** Takes away retained messages whose time is over. */
  dropExpired(nowMs: number): void

  putWill(client: { id: string }, will: StoredWill): MaybePromise<void>
  delWill(client: { id: string }): MaybePromise<StoredWill | undefined>
  /** Wills of nodes that are not in `brokers`. */
  streamWill(brokers: Record<string, number>): Readable
}
