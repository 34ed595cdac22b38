import { readdir, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { ClassicLevel } from 'classic-level'
import { BrokerError, messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { keyRange, parseKey, tableOf } from './record-key.ts'
import type { RecordKind, RecordStore, RecordWrite, StoredRecord } from './record-store.ts'
import { fileStamp } from './rejected-records.ts'

/** Records that are read at a time. */
const CHUNK = 1000
const CHUNK_BYTES = 1024 * 1024
/** Large enough that most deliveries are gone again before they would be written a second time. */
const WRITE_BUFFER_BYTES = 16 * 1024 * 1024

type Database = ClassicLevel<string, Buffer>

/**
 * Records in a directory of LevelDB. What is damaged is repaired; what cannot be is renamed, and a new
 * directory begun: a broker that starts with less is better than one that does not start.
 */
export class LevelRecords implements RecordStore {
  readonly place: string
  wasRepaired = false
  readonly #log: Logger
  #database: Database | undefined
  /** LevelDB takes nothing more after a failed write, and what it would take could be lost: it is opened anew. */
  #isBroken = false

  constructor(directory: string, log: Logger) {
    this.place = directory
    this.#log = log
  }

  async open(): Promise<void> {
    if (!(await this.#lacksCurrent()) && (await this.#opensWhole())) return this.#reportDropped()
    this.#log.warn({ store: this.place }, 'storage is damaged, repairing it')
    this.wasRepaired = true
    if (await this.#repairs()) return
    const aside = `${this.place}.corrupt-${fileStamp(new Date())}`
    await this.close()
    await rename(this.place, aside)
    this.#log.error({ store: this.place, movedTo: aside }, 'storage cannot be repaired: beginning a new one')
    this.wasRepaired = false
    if (!(await this.#opensWhole())) throw this.#failure('is damaged', undefined)
  }

  async isEmpty(): Promise<boolean> {
    const keys = await this.#opened.keys({ limit: 1 }).all()
    return keys.length === 0
  }

  async commit(writes: readonly RecordWrite[]): Promise<void> {
    if (this.#isBroken) await this.#reopen()
    // A chained batch costs a fifth of an array of operations.
    const batch = this.#opened.batch()
    try {
      for (const { key, value } of writes) {
        if (value === undefined) batch.del(key)
        else batch.put(key, asBuffer(value))
      }
      await batch.write({ sync: true })
    } catch (error) {
      this.#isBroken = true
      throw error
    }
  }

  async *scan(table: RecordKind): AsyncGenerator<readonly StoredRecord[]> {
    const iterator = this.#opened.iterator({ ...keyRange(table), highWaterMarkBytes: CHUNK_BYTES })
    // A thread of its own reads the next ones while these are looked at.
    let next = iterator.nextv(CHUNK)
    try {
      for (let entries = await next; entries.length > 0; entries = await next) {
        next = iterator.nextv(CHUNK)
        next.catch(() => {}) // whoever takes no more need not know
        yield entries.map(([key, value]) => recordOf(key, value, table))
      }
    } finally {
      await next.catch(() => {})
      await iterator.close()
    }
  }

  async close(): Promise<void> {
    const database = this.#database
    this.#database = undefined
    await database?.close()
  }

  get #opened(): Database {
    if (this.#database === undefined)
      throw new BrokerError('STORAGE_FAILED', `storage ${this.place} is closed`)
    return this.#database
  }

  async #reopen(): Promise<void> {
    await this.close()
    this.#database = await this.#connect()
    this.#isBroken = false
  }

  async #connect(): Promise<Database> {
    const database: Database = new ClassicLevel(this.place, {
      keyEncoding: 'utf8',
      valueEncoding: 'buffer',
      writeBufferSize: WRITE_BUFFER_BYTES,
    })
    await database.open()
    return database
  }

  /**
   * @returns false if it is damaged
   * @throws BrokerError STORAGE_FAILED for everything else
   */
  async #opensWhole(): Promise<boolean> {
    try {
      this.#database = await this.#connect()
      await this.#readAll()
      return true
    } catch (error) {
      await this.close()
      if (isDamage(error)) return false
      throw this.#failure(causeOf(error).code === 'LEVEL_LOCKED' ? 'is in use by another process' : '', error)
    }
  }

  /** LevelDB would take the directory for a new one, and remove the tables in it. */
  async #lacksCurrent(): Promise<boolean> {
    const names = await readdir(this.place).catch((): string[] => [])
    return !names.includes('CURRENT') && names.some((name) => /\.(?:ldb|sst|log)$|^MANIFEST-/.test(name))
  }

  async #repairs(): Promise<boolean> {
    try {
      await ClassicLevel.repair(this.place)
    } catch (error) {
      this.#log.warn({ store: this.place, error }, 'storage could not be repaired')
      return false
    }
    if (!(await this.#opensWhole())) return false
    const kept = await this.#count()
    if (kept.size === 0) return false // what it was is worth more to somebody who knows LevelDB
    this.#log.error(
      { store: this.place, kept: Object.fromEntries(kept), lost: join(this.place, 'lost') },
      'storage was repaired: what could not be read is lost',
    )
    return true
  }

  /** So that damage is found before anybody relies on it. */
  async #readAll(): Promise<void> {
    // Without keys and values one call goes to the end, on a thread of LevelDB's.
    const iterator = this.#opened.iterator({ keys: false, values: false })
    try {
      for (let found = await iterator.nextv(CHUNK); found.length > 0; ) found = await iterator.nextv(CHUNK)
    } finally {
      await iterator.close()
    }
  }

  /** @returns records by table */
  async #count(): Promise<Map<string, number>> {
    const counts = new Map<string, number>()
    const keys = this.#opened.keys({ highWaterMarkBytes: CHUNK_BYTES })
    try {
      for (let chunk = await keys.nextv(CHUNK); chunk.length > 0; chunk = await keys.nextv(CHUNK)) {
        for (const key of chunk) {
          const table = tableOf(key) ?? 'unknown'
          counts.set(table, (counts.get(table) ?? 0) + 1)
        }
      }
    } finally {
      await keys.close()
    }
    return counts
  }

  /** LevelDB skips the damaged part of its journal, and tells only its own log. */
  async #reportDropped(): Promise<void> {
    const log = await readFile(join(this.place, 'LOG'), 'utf8').catch(() => '')
    const dropped = [...log.matchAll(/dropping (\d+) bytes/g)].reduce((sum, [, n]) => sum + Number(n), 0)
    if (dropped === 0) return
    this.wasRepaired = true
    this.#log.error(
      { store: this.place, lostBytes: dropped, kept: Object.fromEntries(await this.#count()) },
      'the journal of the storage was damaged: the changes in that part are lost',
    )
  }

  #failure(what: string, error: unknown): BrokerError {
    const why = what === '' ? `cannot be opened: ${messageOf(causeOf(error))}` : what
    return new BrokerError('STORAGE_FAILED', `storage ${this.place} ${why}`, { cause: error })
  }
}

function recordOf(key: string, value: Buffer, table: RecordKind): StoredRecord {
  const place = parseKey(key) ?? { table, owner: '', id: key }
  return { table: place.table, owner: place.owner, id: place.id, value }
}

/** LevelDB's own error, which the opening of the database wraps. */
function causeOf(error: unknown): NodeJS.ErrnoException {
  if (!(error instanceof Error)) return new Error(String(error))
  return error.cause instanceof Error ? error.cause : error
}

/** Wrong checksums, and files that are missing or too short: not what rights, locks and full disks look like. */
function isDamage(error: unknown): boolean {
  const { code, message } = causeOf(error)
  if (code === 'LEVEL_CORRUPTION') return true
  return code === 'LEVEL_IO_ERROR' && /Invalid argument|No such file|truncated/i.test(message)
}

function asBuffer(value: Uint8Array): Buffer {
  return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.length)
}
