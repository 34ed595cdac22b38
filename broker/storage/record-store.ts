import type { TableName } from './storage.ts'

/**
 * Kinds of records. `sessions` holds everything that hangs on a session under its key as owner, so that it
 * lies together: see session-records.ts.
 */
export type RecordKind = 'meta' | 'sessions' | 'messages' | 'retained' | 'wills' | 'node_wills' | TableName

/** Where a record is. */
export interface RecordPlace {
  readonly table: RecordKind
  /** The key of the session it belongs to, '' for records that belong to none. May hold any character. */
  readonly owner: string
  /** May hold any character. */
  readonly id: string
}

/** A record as it comes back. */
export interface StoredRecord extends RecordPlace {
  readonly value: Buffer
}

/** A change of one record. */
export interface RecordWrite extends RecordPlace {
  /** Table, owner and id in one string, different for every record and in their order: see record-key.ts. */
  readonly key: string
  /** Undefined takes the record away; there need not be one. */
  readonly value: Uint8Array | undefined
}

/** What a durable storage needs of the place its records are kept in: a directory, a server. */
export interface RecordStore {
  /** For messages to the operator: the directory, or the server's address without credentials. */
  readonly place: string
  /** Part of what was in there was lost, and the log says so: true after an `open` that had to mend it. */
  readonly wasRepaired: boolean

  /**
   * Opens what is there, or makes a new place.
   * @throws BrokerError STORAGE_FAILED
   */
  open(): Promise<void>
  /** Whether there is nothing at all, not even what somebody else has put there. */
  isEmpty(): Promise<boolean>
  /**
   * Writes all of them or none, in their order. Resolves when they are safe: synced, or answered by the server.
   * Called again only after it has settled. After a rejection nobody knows what was written; the same
   * changes come again.
   */
  commit(writes: readonly RecordWrite[]): Promise<void>
  /**
   * All records of a table, as they were when the first are asked for. Those of an owner come one after the
   * other, with their ids in ascending order of code points.
   */
  scan(table: RecordKind): AsyncIterable<readonly StoredRecord[]>
  /** Safe to call twice, and when it is not open. */
  close(): Promise<void>
}
