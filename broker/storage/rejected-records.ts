import { appendFile, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import type { GroupCommit } from './group-commit.ts'
import type { RecordKind, StoredRecord } from './record-store.ts'

/** How much of them waits in memory to be written to the file. */
const MAX_WAITING = 1000
/** Of all these files together: a disk must not fill up with what nobody looks at. */
const MAX_FILES_BYTES = 256 * 1024 * 1024

/**
 * Records that could not be understood. They are moved into a file of one JSON line each, with the value in base64, so
 * that the broker can start and nothing is thrown away.
 */
export class RejectedRecords {
  readonly #prefix: string
  readonly #path: string
  readonly #maxBytes: number
  readonly #changes: GroupCommit
  readonly #log: Logger
  readonly #counts = new Map<RecordKind, number>()
  #isEmpty = true
  /** Of all files; undefined = not looked at yet. */
  #bytes: number | undefined
  #isFull = false
  #waiting: { record: StoredRecord; why: string }[] = []

  /**
   * @param prefix - path of the file without its end, e.g. `<data_dir>/store`
   * @param maxBytes - of all files that begin so
   */
  constructor(prefix: string, changes: GroupCommit, log: Logger, maxBytes = MAX_FILES_BYTES) {
    this.#prefix = `${prefix}.rejected-`
    this.#path = `${this.#prefix}${fileStamp(new Date())}.jsonl`
    this.#maxBytes = maxBytes
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
    if (waiting.length === 0 || this.#isFull) return
    this.#bytes ??= await bytesOfFiles(this.#prefix)
    const lines: string[] = []
    for (const one of waiting) {
      const line = lineOf(one)
      const bytes = Buffer.byteLength(line)
      if (this.#bytes + bytes > this.#maxBytes) {
        this.#isFull = true
        break
      }
      this.#bytes += bytes
      lines.push(line)
    }
    try {
      if (lines.length > 0) await appendFile(this.#path, lines.join(''), { mode: 0o600 })
    } catch (error) {
      this.#log.error(
        { file: this.#path, error },
        'records that could not be read stay where they are: the file for them cannot be written',
      )
      return
    }
    for (const { record } of waiting.slice(0, lines.length))
      this.#changes.delete(record.table, record.owner, record.id)
    if (this.#isFull) {
      this.#log.error(
        { files: `${this.#prefix}*`, bytes: this.#bytes },
        'records that could not be read stay where they are: move these files away to make room for them',
      )
    }
  }
}

async function bytesOfFiles(prefix: string): Promise<number> {
  const directory = dirname(prefix)
  const names = await readdir(directory).catch((): string[] => [])
  const files = names.filter((name) => name.startsWith(basename(prefix)))
  const sizes = files.map((name) =>
    stat(join(directory, name)).then(
      ({ size }) => size,
      () => 0,
    ),
  )
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0)
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
