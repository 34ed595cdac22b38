import { appendFile } from 'node:fs/promises'
import { messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import type { GroupCommit } from './group-commit.ts'
import type { RecordKind, StoredRecord } from './record-store.ts'

/** How much of them waits in memory to be written to the file. */
const MAX_WAITING = 1000

/**
 * Records that could not be understood. They are moved into a file of one JSON line each, with the value in base64, so
 * that the broker can start and nothing is thrown away.
 */
export class RejectedRecords {
  readonly #path: string
  readonly #changes: GroupCommit
  readonly #log: Logger
  readonly #counts = new Map<RecordKind, number>()
  #isEmpty = true
  #waiting: { record: StoredRecord; why: string }[] = []

  /** @param prefix - path of the file without its end, e.g. `<data_dir>/store` */
  constructor(prefix: string, changes: GroupCommit, log: Logger) {
    this.#path = `${prefix}.rejected-${fileStamp(new Date())}.jsonl`
    this.#changes = changes
    this.#log = log
  }

  /** Whether there was none yet. */
  get isEmpty(): boolean {
    return this.#isEmpty
  }

  /** @param error - why */
  async add(record: StoredRecord, error: unknown): Promise<void> {
    this.#isEmpty = false
    this.#counts.set(record.table, (this.#counts.get(record.table) ?? 0) + 1)
    this.#waiting.push({ record, why: messageOf(error) })
    if (this.#waiting.length >= MAX_WAITING) await this.#write()
  }

  /** Says what was moved, if anything was. @param kept - how many records of which kind were understood */
  async report(kept: object): Promise<void> {
    await this.#write()
    if (this.#counts.size === 0) return
    this.#log.error(
      { rejected: Object.fromEntries(this.#counts), kept, file: this.#path },
      'records of the storage could not be read and were moved into a file',
    )
    this.#counts.clear()
  }

  async #write(): Promise<void> {
    const waiting = this.#waiting
    this.#waiting = []
    if (waiting.length === 0) return
    try {
      await appendFile(this.#path, waiting.map(lineOf).join(''), { mode: 0o600 })
    } catch (error) {
      this.#log.error(
        { file: this.#path, error },
        'records that could not be read stay where they are: the file for them cannot be written',
      )
      return
    }
    for (const { record } of waiting) this.#changes.delete(record.table, record.owner, record.id)
  }
}

/** `YYYYMMDD-HHMMSS` in UTC, as it goes into names of files. */
export function fileStamp(date: Date): string {
  const digits = date.toISOString().replaceAll(/\D/g, '')
  return `${digits.slice(0, 8)}-${digits.slice(8, 14)}`
}

function lineOf({ record, why }: { record: StoredRecord; why: string }): string {
  const { table, owner, id, value } = record
  return `${JSON.stringify({ table, owner, id, why, value: value.toString('base64') })}\n`
}
