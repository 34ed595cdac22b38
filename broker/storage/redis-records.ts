/**
 * Records in Redis: one hash for each table, `<prefix>:<table>`, and for the table of sessions one for each
 * session, `<prefix>:sessions:{<owner>}`. Fields are ids, as record-key.ts escapes them.
 */
import type { ChainableCommander, Redis } from 'ioredis'
import { BrokerError } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { parseKey, recordKey } from './record-key.ts'
import type { RecordKind, RecordStore, RecordWrite, StoredRecord } from './record-store.ts'
import type { RedisOptions } from './redis-config.ts'
import { placeOf, RedisConnection } from './redis-connection.ts'
import { checkDurability } from './redis-durability.ts'
import { decodeJournal, encodeJournal } from './redis-journal.ts'
import { RedisLease } from './redis-lease.ts'

/** Records, and keys, that are asked for at a time. */
const CHUNK = 250
/** Sessions that are read at the same time. */
const OWNERS_AT_ONCE = 50

/** What a batch changes in one hash. */
interface HashChanges {
  readonly puts: (string | Buffer)[]
  readonly deletes: string[]
}

/** Who keeps retained messages current between nodes. */
export interface RetainedWatcher {
  /** A retained message was read. */
  read(topic: string): void
  /** What to tell other nodes together with a batch. */
  newsOf(writes: readonly RecordWrite[]): [channel: string, text: string] | undefined
}

export class RedisRecords implements RecordStore {
  readonly place: string
  readonly wasRepaired = false
  readonly #options: RedisOptions
  readonly #log: Logger
  #connection: RedisConnection | undefined
  #lease: RedisLease | undefined
  /** The node that is to be the only one that writes. */
  #claimant: string | undefined
  #watcher: RetainedWatcher | undefined
  /** The batch that was noted, and of which a part may be missing. */
  #unfinished: Buffer | undefined

  constructor(options: RedisOptions, log: Logger) {
    this.place = placeOf(options)
    this.#options = options
    this.#log = log
  }

  /** To be called before `open`: then no other node may write under the same prefix while this one is open. */
  claimFor(node: string): void {
    this.#claimant = node
  }

  watchRetained(watcher: RetainedWatcher): void {
    this.#watcher = watcher
  }

  /** @throws BrokerError STORAGE_FAILED when it is closed */
  get connection(): RedisConnection {
    if (this.#connection === undefined)
      throw new BrokerError('STORAGE_FAILED', `storage ${this.place} is closed`)
    return this.#connection
  }

  /** Does nothing when it is open. @throws BrokerError STORAGE_FAILED, CONFIG_INVALID */
  async open(): Promise<void> {
    if (this.#connection !== undefined) return
    const connection = await RedisConnection.open(this.#options, this.#log)
    this.#connection = connection
    try {
      if (this.#claimant !== undefined) {
        const lease = new RedisLease(connection, this.#leaseKey, this.#claimant, this.place, this.#log)
        await lease.acquire()
        this.#lease = lease
        await this.#finishLast(lease)
      }
      await checkDurability(connection, this.place, this.#log)
    } catch (error) {
      await this.close()
      throw error instanceof BrokerError ? error : this.#failure(connection, error)
    }
  }

  async isEmpty(): Promise<boolean> {
    for await (const keys of this.#keys(`${this.#options.prefix}:*`)) {
      if (keys.some((key) => key !== this.#leaseKey)) return false
    }
    return true
  }

  /** One transaction; in a cluster, where there is none over several keys, with a journal: see docs/decisions/0014. */
  async commit(writes: readonly RecordWrite[]): Promise<void> {
    const { connection } = this
    try {
      await this.#lease?.check()
      if (!connection.isCluster) await this.#commitAtOnce(writes)
      else if (this.#lease === undefined) await this.#apply(writes)
      else await this.#commitWithJournal(writes, this.#lease)
    } catch (error) {
      throw error instanceof BrokerError ? error : this.#failure(connection, error)
    }
  }

  async *scan(table: RecordKind): AsyncGenerator<readonly StoredRecord[]> {
    if (table === 'sessions') yield* this.#scanOwners()
    else yield* this.#scanTable(table)
  }

  /** The values of some records of a table without owners; undefined for those that are not there. */
  async get(table: RecordKind, ids: readonly string[]): Promise<(Buffer | undefined)[]> {
    const fields = ids.map((id) => fieldOf(recordKey(table, '', id)))
    const values = await this.connection.client.hmgetBuffer(this.#hashOf(table, ''), ...fields)
    return values.map((value) => value ?? undefined)
  }

  async close(): Promise<void> {
    const connection = this.#connection
    this.#connection = undefined
    if (connection?.isCluster === true && this.#unfinished === undefined)
      await this.#lease?.forget().catch(() => {}) // to write it again does no harm
    await this.#lease?.release()
    this.#lease = undefined
    connection?.close()
  }

  get #leaseKey(): string {
    return `${this.#options.prefix}:lease`
  }

  /** @param owner - escaped */
  #hashOf(table: RecordKind, owner: string): string {
    const hash = `${this.#options.prefix}:${table}`
    return table === 'sessions' ? `${hash}:{${owner}}` : hash
  }

  #grouped(writes: readonly RecordWrite[]): Map<string, HashChanges> {
    const hashes = new Map<string, HashChanges>()
    for (const { key, table, owner, value } of writes) {
      if (owner !== '' && table !== 'sessions') throw new Error(`records of ${table} have no owners`)
      const hash = this.#hashOf(table, key.slice(1, key.indexOf('\0')))
      let changes = hashes.get(hash)
      if (changes === undefined) hashes.set(hash, (changes = { puts: [], deletes: [] }))
      if (value === undefined) changes.deletes.push(fieldOf(key))
      else changes.puts.push(fieldOf(key), asBuffer(value))
    }
    return hashes
  }

  async #commitAtOnce(writes: readonly RecordWrite[]): Promise<void> {
    const batch = (this.connection.client as Redis).multi()
    for (const [hash, { puts, deletes }] of this.#grouped(writes)) {
      if (puts.length > 0) batch.hset(hash, ...puts)
      if (deletes.length > 0) batch.hdel(hash, ...deletes)
    }
    const news = this.#watcher?.newsOf(writes)
    if (news !== undefined) batch.publish(...news)
    batch.hget(this.#leaseKey, 'token')
    const results = await executed(batch)
    this.#lease?.confirm(results.at(-1))
  }

  /**
   * Its records are on several servers, which know no transaction together: first all of it goes to one place, from where
   * it is written again if this broker ends, or Redis does, before everything is where it belongs.
   */
  async #commitWithJournal(writes: readonly RecordWrite[], lease: RedisLease): Promise<void> {
    // The next batch need not hold all that the last one did.
    if (this.#unfinished !== undefined) await this.#apply(decodeJournal(this.#unfinished))
    this.#unfinished = undefined
    const journal = encodeJournal(writes)
    await lease.note(journal)
    await lease.check() // that may have taken long
    this.#unfinished = journal
    await this.#apply(writes)
    this.#unfinished = undefined
  }

  /** Writes what the last broker may have written a part of. */
  async #finishLast(lease: RedisLease): Promise<void> {
    const journal = await lease.noted()
    if (journal === undefined) return
    const writes = decodeJournal(journal)
    await this.#apply(writes)
    await lease.forget()
    this.#log.info(
      { store: this.place, changes: writes.length },
      'the last batch before a crash was written again',
    )
  }

  /** Puts everything where it belongs, all servers at the same time. */
  async #apply(writes: readonly RecordWrite[]): Promise<void> {
    const { client } = this.connection
    const running: Promise<unknown>[] = []
    for (const [hash, { puts, deletes }] of this.#grouped(writes)) {
      if (puts.length > 0) running.push(client.hset(hash, ...puts))
      if (deletes.length > 0) running.push(client.hdel(hash, ...deletes))
    }
    await settled(running)
    const news = this.#watcher?.newsOf(writes)
    if (news !== undefined) await client.publish(...news)
  }

  /** HSCAN knows no order and may tell a field twice: first all ids, then the values in the order of these. */
  async *#scanTable(table: RecordKind): AsyncGenerator<readonly StoredRecord[]> {
    const { client } = this.connection
    const hash = this.#hashOf(table, '')
    const found: Buffer[] = []
    for (let cursor = '0'; ; ) {
      const [next, entries] = await client.hscanBuffer(hash, cursor, 'COUNT', CHUNK)
      for (let i = 0; i < entries.length; i += 2) found.push(entries[i] as Buffer)
      cursor = next.toString()
      if (cursor === '0') break
    }
    const fields = found
      .sort((a, b) => Buffer.compare(a, b))
      .filter((field, i) => i === 0 || !field.equals(found[i - 1] as Buffer))
    for (let i = 0; i < fields.length; i += CHUNK) {
      const chunk = fields.slice(i, i + CHUNK)
      const values = await client.hmgetBuffer(hash, ...chunk)
      const records = chunk.flatMap((field, j) => recordOf(table, '', field, values[j] ?? undefined))
      if (table === 'retained') for (const { id } of records) this.#watcher?.read(id)
      yield records
    }
  }

  async *#scanOwners(): AsyncGenerator<readonly StoredRecord[]> {
    const prefix = this.#hashOf('sessions', '').slice(0, -1)
    const seen = new Set<string>()
    for await (const keys of this.#keys(`${prefix}*`)) {
      const owners = keys.map((key) => key.slice(prefix.length, -1)).filter((owner) => !seen.has(owner))
      for (const owner of owners) seen.add(owner)
      for (let i = 0; i < owners.length; i += OWNERS_AT_ONCE) {
        const some = owners.slice(i, i + OWNERS_AT_ONCE)
        yield* await Promise.all(some.map((owner) => this.#readOwner(owner)))
      }
    }
  }

  /** @param owner - escaped */
  async #readOwner(owner: string): Promise<StoredRecord[]> {
    const { client } = this.connection
    const records = new Map<string, [field: Buffer, value: Buffer]>()
    for (let cursor = '0'; ; ) {
      const [next, entries] = await client.hscanBuffer(
        this.#hashOf('sessions', owner),
        cursor,
        'COUNT',
        CHUNK,
      )
      for (let i = 0; i < entries.length; i += 2) {
        const field = entries[i] as Buffer
        records.set(field.toString(), [field, entries[i + 1] as Buffer])
      }
      cursor = next.toString()
      if (cursor === '0') break
    }
    return [...records.values()]
      .sort(([a], [b]) => Buffer.compare(a, b))
      .flatMap(([field, value]) => recordOf('sessions', owner, field, value))
  }

  /** Keys that match, some of them perhaps more than once. @param pattern - of SCAN */
  async *#keys(pattern: string): AsyncGenerator<string[]> {
    for (const master of this.connection.masters) {
      let cursor = '0'
      do {
        const [next, keys] = await master.scan(cursor, 'MATCH', pattern, 'COUNT', CHUNK * 4)
        cursor = next
        if (keys.length > 0) yield [...new Set(keys)]
      } while (cursor !== '0')
    }
  }

  /** Without the driver's error as its cause: it carries the arguments of its command. */
  #failure(connection: RedisConnection, error: unknown): BrokerError {
    const previous = (error as { previousErrors?: unknown[] } | undefined)?.previousErrors?.[0]
    return new BrokerError('STORAGE_FAILED', connection.explain(previous ?? error))
  }
}

/** @throws the first error there is: of the connection, of one command, or of the whole transaction */
async function executed(batch: ChainableCommander): Promise<unknown[]> {
  const results = await batch.exec()
  if (results === null) throw new Error('Redis has discarded the transaction')
  return results.map(([error, answer]) => {
    if (error !== null) throw error
    return answer
  })
}

/** Waits for all of them before it rejects for one: what still runs would come behind the next batch. */
async function settled(running: Promise<unknown>[]): Promise<void> {
  for (const result of await Promise.allSettled(running)) {
    if (result.status === 'rejected') throw result.reason
  }
}

/** @param key - of `recordKey` @returns the escaped id */
function fieldOf(key: string): string {
  return key.slice(key.indexOf('\0') + 1)
}

/** @param owner - escaped, as `field` is */
function recordOf(
  table: RecordKind,
  owner: string,
  field: Buffer,
  value: Buffer | undefined,
): StoredRecord | [] {
  if (value === undefined) return []
  const [letter] = recordKey(table, '', '')
  const { owner: realOwner = owner, id = '' } = parseKey(`${letter}${owner}\0${field.toString()}`) ?? {}
  return { table, owner: realOwner, id, value }
}

function asBuffer(value: Uint8Array): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.length)
}
