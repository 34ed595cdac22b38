/**
 * Everything a storage keeps as lines of JSON, the same for every kind of storage:
 *
 *     {"format":"hubbub-data","version":1,"records":1,"node":"hubbub@127.0.0.1","at":"2026-01-31T12:00:00.000Z"}
 *     {"table":"sessions","owner":"meter-7","id":"0","value":"<base64>"}
 *     {"end":2}
 *
 * `owner` is left out where there is none; values are records as the storages write them. `end` counts the lines
 * between: a file without it was cut short.
 */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { BrokerError } from '../../model/errors.ts'
import { FORMAT_VERSION } from './record-format.ts'
import { recordKey } from './record-key.ts'
import type { RecordKind, RecordStore, RecordWrite, StoredRecord } from './record-store.ts'

export const DATA_FORMAT = 'hubbub-data'
export const DATA_VERSION = 1

/**
 * In the order in which they are copied from a broker that runs: a shared message that is gone when its turn comes
 * has been acknowledged by then, one that was not there yet would be missed.
 */
export const DATA_TABLES = [
  'sessions',
  'messages',
  'retained',
  'wills',
  'node_wills',
  'delayed',
  'bans',
  'users',
  'rules',
  'overrides',
] as const satisfies readonly RecordKind[]

export type DataTable = (typeof DATA_TABLES)[number]

/** Records by table. */
export type DataCounts = Map<DataTable, number>

export interface ImportResult {
  readonly written: DataCounts
  /** Were there already, and stay as they are. */
  readonly skipped: DataCounts
}

/** How many lines are joined into one piece of the output. */
const PIECE_LINES = 250
/** Bounds of one write. */
const MAX_BATCH_WRITES = 4096
const MAX_BATCH_BYTES = 4 * 1024 * 1024
/** Line ends to some readers of text, and no special characters to JSON. */
const LINE_SEPARATORS = /[\u2028\u2029]/g

type Place = Pick<RecordStore, 'scan' | 'commit'>

/** Pieces of the file, each of whole lines. @param node - the broker's name */
export async function* exportData(records: Pick<Place, 'scan'>, node: string): AsyncGenerator<string> {
  const at = new Date().toISOString()
  const header = { format: DATA_FORMAT, version: DATA_VERSION, records: FORMAT_VERSION, node, at }
  yield `${JSON.stringify(header)}\n`
  let count = 0
  for (const table of DATA_TABLES) {
    for await (const chunk of records.scan(table)) {
      for (let i = 0; i < chunk.length; i += PIECE_LINES) {
        yield chunk
          .slice(i, i + PIECE_LINES)
          .map(lineOf)
          .join('')
      }
      count += chunk.length
    }
  }
  yield `${JSON.stringify({ end: count })}\n`
}

/**
 * Reads a file to its end before anything is done with it.
 * @returns how many records of each table are in it
 * @throws BrokerError CONFIG_INVALID naming the line
 */
export async function checkDataFile(path: string): Promise<DataCounts> {
  const counts: DataCounts = new Map()
  for await (const { table } of readData(path)) add(counts, table)
  return counts
}

/**
 * Writes what is in a file that `checkDataFile` has approved. Messages come first, so that an end in the middle leaves
 * no session without them; a session is written as one.
 * @param options.replace - take away everything first; else what is there already stays as it is, sessions as a whole
 * @param options.progress - called now and then with the number of records looked at, each twice
 * @throws BrokerError STORAGE_FAILED
 */
export async function importData(
  records: Place,
  path: string,
  options: { replace: boolean; progress?: (done: number) => void },
): Promise<ImportResult> {
  const writer = new Writer(records)
  if (options.replace) await removeAll(records, writer)
  const present = await presentIn(records)
  const result: ImportResult = { written: new Map(), skipped: new Map() }
  let done = 0
  for (const isFirst of [true, false]) {
    for await (const record of readData(path)) {
      if (++done % MAX_BATCH_WRITES === 0) options.progress?.(done)
      if ((record.table === 'messages') !== isFirst) continue
      const isThere = present.has(unitOf(record))
      add(isThere ? result.skipped : result.written, record.table)
      if (!isThere) await writer.put(record)
    }
    await writer.flush()
  }
  return result
}

interface DataRecord extends StoredRecord {
  readonly table: DataTable
}

async function* readData(path: string): AsyncGenerator<DataRecord> {
  const lines = createInterface({
    input: createReadStream(path, 'utf8'),
    crlfDelay: Number.POSITIVE_INFINITY,
  })
  let number = 0
  let end: number | undefined
  for await (const text of lines) {
    const line = parse(text, ++number)
    if (number === 1) checkHeader(line)
    else if (end !== undefined) throw wrong(number, 'nothing may follow the line with "end"')
    else if (typeof line.end === 'number') end = line.end
    else yield recordOf(line, number)
  }
  if (number === 0) throw wrong(1, 'the file is empty')
  if (end === undefined) throw wrong(number, 'the file was cut short: the line with "end" is missing')
  if (end !== number - 2) throw wrong(number, `expected ${end} records, found ${number - 2}`)
}

function parse(text: string, number: number): Record<string, unknown> {
  try {
    const line: unknown = JSON.parse(text)
    if (typeof line === 'object' && line !== null && !Array.isArray(line))
      return line as Record<string, unknown>
  } catch {
    // The parser's own message quotes the text, which may hold password hashes.
  }
  throw wrong(number, 'not an object in JSON')
}

function checkHeader({ format, version, records }: Record<string, unknown>): void {
  if (format !== DATA_FORMAT) throw wrong(1, `not a file of "hubbub data export": no format ${DATA_FORMAT}`)
  if (version !== DATA_VERSION || records !== FORMAT_VERSION) {
    throw wrong(
      1,
      `written as version ${String(version)} with records of version ${String(records)}, ` +
        `this build reads ${DATA_VERSION} and ${FORMAT_VERSION}`,
    )
  }
}

function recordOf(line: Record<string, unknown>, number: number): DataRecord {
  const { table, owner = '', id, value } = line
  const known = DATA_TABLES.find((one) => one === table)
  if (known === undefined) throw wrong(number, `there is no table ${JSON.stringify(table)}`)
  if (typeof owner !== 'string' || typeof id !== 'string') throw wrong(number, 'owner and id must be text')
  if ((owner !== '') !== (known === 'sessions')) throw wrong(number, `records of ${known}: wrong owner`)
  if (typeof value !== 'string' || !isBase64(value)) throw wrong(number, 'value must be text in base64')
  return { table: known, owner, id, value: Buffer.from(value, 'base64') }
}

function isBase64(text: string): boolean {
  return text.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(text)
}

function lineOf({ table, owner, id, value }: StoredRecord): string {
  const place = owner === '' ? { table, id } : { table, owner, id }
  const line = JSON.stringify({ ...place, value: value.toString('base64') })
  return `${line.replace(LINE_SEPARATORS, (end) => `\\u${end.charCodeAt(0).toString(16)}`)}\n`
}

/** What is there or not as a whole: a session with all that hangs on it, any other record alone. */
function unitOf({ table, owner, id }: StoredRecord): string {
  return recordKey(table, owner, table === 'sessions' ? '' : id)
}

async function presentIn(records: Pick<Place, 'scan'>): Promise<Set<string>> {
  const present = new Set<string>()
  for (const table of DATA_TABLES) {
    for await (const chunk of records.scan(table)) for (const record of chunk) present.add(unitOf(record))
  }
  return present
}

async function removeAll(records: Pick<Place, 'scan'>, writer: Writer): Promise<void> {
  for (const table of DATA_TABLES) {
    for await (const chunk of records.scan(table)) for (const record of chunk) await writer.delete(record)
  }
  await writer.flush()
}

/** Collects writes; those of one session go together. */
class Writer {
  readonly #records: Pick<Place, 'commit'>
  #batch: RecordWrite[] = []
  #bytes = 0

  constructor(records: Pick<Place, 'commit'>) {
    this.#records = records
  }

  async put(record: StoredRecord): Promise<void> {
    await this.#write(record, record.value)
  }

  async delete(record: StoredRecord): Promise<void> {
    await this.#write(record, undefined)
  }

  async flush(): Promise<void> {
    const batch = this.#batch
    this.#batch = []
    this.#bytes = 0
    if (batch.length > 0) await this.#records.commit(batch)
  }

  async #write({ table, owner, id }: StoredRecord, value: Buffer | undefined): Promise<void> {
    const last = this.#batch.at(-1)
    const isFull = this.#batch.length >= MAX_BATCH_WRITES || this.#bytes >= MAX_BATCH_BYTES
    const isSameSession = owner !== '' && last?.owner === owner && last.table === table
    if (isFull && !isSameSession) await this.flush()
    this.#batch.push({ key: recordKey(table, owner, id), table, owner, id, value })
    this.#bytes += value?.length ?? 0
  }
}

function add(counts: DataCounts, table: DataTable): void {
  counts.set(table, (counts.get(table) ?? 0) + 1)
}

function wrong(line: number, why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `line ${line}: ${why}`)
}
