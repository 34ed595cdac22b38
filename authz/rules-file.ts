/**
 * Files of rules for the built-in database. JSON as EMQX's API takes and gives it: a list, or `{ "data": [...] }`, of
 * `{ "username": ..., "rules": [...] }`, `{ "clientid": ..., "rules": [...] }` or `{ "rules": [...] }` (for all). CSV with
 * the columns of the table `mqtt_acl`, one rule a line, in their order.
 */
import { readFile } from 'node:fs/promises'
import { extname } from 'node:path'
import { parseCsv } from '../model/csv.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { RulesOf } from './built-in-rules.ts'
import type { Subject } from './built-in-table.ts'
import { type RuleItem, readRuleItem, readRuleItems } from './rule-item.ts'

const REQUIRED = ['permission', 'action', 'topic']
/** What a table for SQL queries has and rules here do not. */
const LEFT_OUT = ['id']
/** EMQX's table has another name for it. */
const IP_COLUMN = 'ipaddress'

/** @throws BrokerError CONFIG_INVALID naming file and place */
export async function readRulesFile(path: string): Promise<RulesOf[]> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    throw wrong(`cannot read the rules in ${path}: ${messageOf(error)}`)
  }
  try {
    return extname(path).toLowerCase() === '.csv' ? rulesFromCsv(text) : rulesFromJson(text)
  } catch (error) {
    throw wrong(`${path}: ${messageOf(error)}`)
  }
}

/** @throws BrokerError CONFIG_INVALID naming the entry */
export function rulesFromJson(text: string): RulesOf[] {
  const subjects = new Map<string, RulesOf>()
  for (const [index, entry] of entriesIn(text).entries()) {
    const found = at(`entry ${index + 1}`, () => entryOf(entry))
    const key = keyOf(found.subject)
    if (subjects.has(key)) throw wrong(`entry ${index + 1}: it has had rules already`)
    subjects.set(key, found)
  }
  return [...subjects.values()]
}

/** @throws BrokerError CONFIG_INVALID naming the line */
export function rulesFromCsv(text: string): RulesOf[] {
  const [header, ...rows] = parseCsv(text)
  const names = (header?.fields ?? []).map((name) => name.trim())
  const missing = REQUIRED.find((name) => !names.includes(name))
  if (missing !== undefined) throw wrong(`line 1: the header has no ${missing}`)
  const subjects = new Map<string, { subject: Subject; rules: RuleItem[] }>()
  for (const { line, fields } of rows) {
    const { subject, rule } = at(`line ${line}`, () => rowOf(names, fields))
    const key = keyOf(subject)
    const known = subjects.get(key) ?? { subject, rules: [] }
    known.rules.push(rule)
    subjects.set(key, known)
  }
  return [...subjects.values()]
}

function entriesIn(text: string): unknown[] {
  let value: unknown
  try {
    value = JSON.parse(text.startsWith('\uFEFF') ? text.slice(1) : text)
  } catch (error) {
    throw wrong(`not JSON: ${messageOf(error)}`)
  }
  if (Array.isArray(value)) return value
  if (!isFields(value)) throw wrong('expected a list of { username or clientid, rules }')
  return Array.isArray(value.data) ? value.data : [value]
}

function entryOf(entry: unknown): RulesOf {
  if (!isFields(entry)) throw wrong('expected an object')
  const { username, clientid, rules, ...others } = entry
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw wrong(`unexpected ${JSON.stringify(unknown)}`)
  // Rules that somebody lost the name to must not become rules for all.
  if (clientid === '' || username === '') throw wrong('username and clientid must not be empty')
  return { subject: subjectOf(clientid ?? '', username ?? ''), rules: readRuleItems(rules) }
}

/** What is empty is not there. */
function rowOf(names: readonly string[], fields: readonly string[]): { subject: Subject; rule: RuleItem } {
  if (fields.length !== names.length) throw wrong(`expected ${names.length} fields, found ${fields.length}`)
  const pairs = names
    .map((name, index): [string, string] => [name === IP_COLUMN ? 'ipaddr' : name, fields[index] ?? ''])
    .filter(([name, value]) => value !== '' && value !== 'NULL' && !LEFT_OUT.includes(name))
  const { clientid = '', username = '', ...rule } = Object.fromEntries(pairs)
  return { subject: subjectOf(clientid, username), rule: readRuleItem(withRetain(rule)) }
}

/** Tables have 0 and 1 for it. */
function withRetain(rule: Readonly<Record<string, string>>): Record<string, unknown> {
  const { retain } = rule
  return retain === '0' || retain === '1' ? { ...rule, retain: Number(retain) } : rule
}

function subjectOf(clientid: unknown, username: unknown): Subject {
  if (typeof clientid !== 'string' || typeof username !== 'string')
    throw wrong('username and clientid must be text')
  if (clientid !== '' && username !== '')
    throw wrong(
      'rules are of a clientid or of a username: for both, make a rule of one with a pattern of the other',
    )
  if (clientid !== '') return { kind: 'clientid', id: clientid }
  return username === '' ? { kind: 'all' } : { kind: 'username', id: username }
}

function keyOf(subject: Subject): string {
  return subject.kind === 'all' ? '' : `${subject.kind} ${subject.id}`
}

function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Says where in the file `work` failed. */
function at<T>(place: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw wrong(`${place}: ${messageOf(error)}`)
  }
}

function wrong(why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', why)
}
