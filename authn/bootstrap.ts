/**
 * Files of users as existing deployments have them: CSV with a header, or a JSON array of
 * objects with the same names. `plain`: `user_id,password,is_superuser`; `hash`:
 * `user_id,password_hash,salt,is_superuser`.
 */
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { parseCsv } from '../model/csv.ts'
import { BrokerError, messageOf } from '../model/errors.ts'

export type UserFileType = 'plain' | 'hash'

export interface ImportedUser {
  readonly userId: string
  readonly isSuperuser: boolean
  readonly secret: { kind: 'plain'; password: string } | { kind: 'hash'; hash: string; salt: string }
  /** `line 7`, `user 3`: for messages. */
  readonly where: string
}

const COLUMNS = {
  plain: { required: ['user_id', 'password'], optional: ['is_superuser', 'namespace'] },
  hash: { required: ['user_id', 'password_hash'], optional: ['salt', 'is_superuser', 'namespace'] },
} as const

type Fields = ReadonlyMap<string, string>

/** @throws BrokerError CONFIG_INVALID naming file and line (CSV) or user (JSON) */
export async function readUsersFile(path: string, type: UserFileType): Promise<ImportedUser[]> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `cannot read the users in ${path}: ${messageOf(error)}`)
  }
  try {
    return parseUsers(text, extname(path).toLowerCase() === '.json' ? 'json' : 'csv', type)
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `${path}: ${messageOf(error)}`)
  }
}

/** @throws BrokerError CONFIG_INVALID naming the line (CSV) or the number of the user (JSON) */
export function parseUsers(text: string, format: 'csv' | 'json', type: UserFileType): ImportedUser[] {
  const users = format === 'csv' ? fromCsv(text, type) : fromJson(text, type)
  const seen = new Map<string, string>()
  for (const { userId, where } of users) {
    const before = seen.get(userId)
    if (before !== undefined) throw wrong(where, `user ${JSON.stringify(userId)} was at ${before} already`)
    seen.set(userId, where)
  }
  return users
}

function fromCsv(text: string, type: UserFileType): ImportedUser[] {
  const [header, ...rows] = parseCsv(text)
  const { required, optional } = COLUMNS[type]
  if (header === undefined) throw wrong('line 1', `expected the header ${required.join(',')},is_superuser`)
  const names = header.fields.map((name) => name.trim())
  const known: readonly string[] = [...required, ...optional]
  const missing = required.find((name) => !names.includes(name))
  if (missing !== undefined) throw wrong(`line ${header.line}`, `the header has no ${missing}`)
  const unknown = names.find((name, index) => !known.includes(name) || names.indexOf(name) !== index)
  if (unknown !== undefined)
    throw wrong(`line ${header.line}`, `unexpected column ${JSON.stringify(unknown)}`)

  return rows.map(({ line, fields }) => {
    if (fields.length !== names.length) {
      throw wrong(`line ${line}`, `expected ${names.length} fields, found ${fields.length}`)
    }
    return userOf(new Map(names.map((name, index) => [name, fields[index] ?? ''])), type, `line ${line}`)
  })
}

function fromJson(text: string, type: UserFileType): ImportedUser[] {
  let list: unknown
  try {
    list = JSON.parse(text.startsWith('\uFEFF') ? text.slice(1) : text)
  } catch (error) {
    // The parser's own message may quote passwords.
    const line = lineOfError(text, error)
    throw new BrokerError('CONFIG_INVALID', `${line === undefined ? '' : `line ${line}: `}not JSON`)
  }
  if (!Array.isArray(list)) throw new BrokerError('CONFIG_INVALID', 'expected a JSON array of users')
  return list.map((entry: unknown, index) =>
    userOf(fieldsOf(entry, type, `user ${index + 1}`), type, `user ${index + 1}`),
  )
}

function fieldsOf(entry: unknown, type: UserFileType, where: string): Fields {
  if (typeof entry !== 'object' || entry === null || Array.isArray(entry))
    throw wrong(where, 'expected an object')
  const known: readonly string[] = [...COLUMNS[type].required, ...COLUMNS[type].optional]
  const fields = new Map<string, string>()
  for (const [name, value] of Object.entries(entry) as [string, unknown][]) {
    if (!known.includes(name)) throw wrong(where, `unexpected field ${JSON.stringify(name)}`)
    if (typeof value === 'string') fields.set(name, value)
    else if (typeof value === 'boolean' && name === 'is_superuser') fields.set(name, String(value))
    else throw wrong(where, `${name} must be text`)
  }
  return fields
}

function userOf(fields: Fields, type: UserFileType, where: string): ImportedUser {
  const userId = need(fields, 'user_id', where)
  if ((fields.get('namespace') ?? '') !== '') throw wrong(where, 'namespaces are not supported')
  return {
    userId,
    isSuperuser: fields.get('is_superuser') === 'true',
    secret:
      type === 'plain'
        ? { kind: 'plain', password: need(fields, 'password', where) }
        : { kind: 'hash', hash: need(fields, 'password_hash', where), salt: fields.get('salt') ?? '' },
    where,
  }
}

function need(fields: Fields, name: string, where: string): string {
  const value = fields.get(name)
  if (value === undefined || value === '') throw wrong(where, `${name} is missing or empty`)
  return value
}

function lineOfError(text: string, error: unknown): number | undefined {
  const position = /at position (\d+)/.exec(messageOf(error))?.[1]
  return position === undefined ? undefined : text.slice(0, Number(position)).split('\n').length
}

function wrong(where: string, why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `${where}: ${why}`)
}
