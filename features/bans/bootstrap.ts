/** Files of bans: CSV with the header `as,who,reason,by,until,at`, its columns in any order; only `as` and `who` are needed. */
import { readFile } from 'node:fs/promises'
import { parseCsv } from '../../model/csv.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import { BAN_KINDS, type BanKind, type CheckedBan, checkBan } from './ban.ts'
import { parseTime } from './time.ts'

/** A ban, and the line it stands in. */
export interface ReadBan extends CheckedBan {
  readonly line: number
}

const COLUMNS: readonly string[] = ['as', 'who', 'reason', 'by', 'until', 'at']
const REQUIRED: readonly string[] = ['as', 'who']
const BY_FILE = 'bootstrap_file'

/** @throws BrokerError CONFIG_INVALID naming file and line */
export async function readBansFile(path: string, nowMs: number): Promise<ReadBan[]> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `cannot read the bans in ${path}: ${messageOf(error)}`)
  }
  try {
    return parseBans(text, nowMs)
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `${path}: ${messageOf(error)}`)
  }
}

/** @throws BrokerError CONFIG_INVALID naming the line */
export function parseBans(text: string, nowMs: number): ReadBan[] {
  const [header, ...rows] = parseCsv(text)
  if (header === undefined) throw wrong(1, `expected the header ${COLUMNS.join(',')}`)
  const names = header.fields.map((name) => name.trim())
  const missing = REQUIRED.find((name) => !names.includes(name))
  if (missing !== undefined) throw wrong(header.line, `the header has no ${missing}`)
  const unknown = names.find((name, index) => !COLUMNS.includes(name) || names.indexOf(name) !== index)
  if (unknown !== undefined) throw wrong(header.line, `unexpected column ${JSON.stringify(unknown)}`)

  return rows.map(({ line, fields }) => {
    if (fields.length !== names.length) {
      throw wrong(line, `expected ${names.length} fields, found ${fields.length}`)
    }
    try {
      const row = new Map(names.map((name, index) => [name, fields[index] ?? '']))
      return { line, ...banOf((name) => row.get(name) ?? '', nowMs) }
    } catch (error) {
      throw wrong(line, messageOf(error))
    }
  })
}

/** An empty field is as good as none. */
function banOf(field: (name: string) => string, nowMs: number): CheckedBan {
  const [at, until] = [field('at'), field('until')]
  const request = {
    kind: kindOf(field('as')),
    who: field('who'),
    by: field('by') || BY_FILE,
    reason: field('reason'),
    atMs: at === '' ? nowMs : parseTime(at),
    untilMs: until === '' ? Number.POSITIVE_INFINITY : parseTime(until),
  }
  if (request.atMs === Number.POSITIVE_INFINITY) throw new BrokerError('CONFIG_INVALID', 'at must be a time')
  return checkBan(request, nowMs)
}

function kindOf(text: string): BanKind {
  const kind = BAN_KINDS.find((known) => known === text)
  if (kind !== undefined) return kind
  const found = JSON.stringify(text)
  throw new BrokerError('CONFIG_INVALID', `as: expected one of ${BAN_KINDS.join(', ')}, found ${found}`)
}

function wrong(line: number, why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `line ${line}: ${why}`)
}
