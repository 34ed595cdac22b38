/**
 * A record's table, owner and id as one string: a letter for the table, the owner, U+0000, the id. Owners and ids may
 * hold any character, so U+0000 and U+0001 are escaped with U+0001, as are surrogates without their other half:
 * these have no UTF-8 form, two of them would become one key. Sorted as UTF-8, keys are in the order of table, owner
 * and id.
 */
import type { RecordKind, RecordPlace } from './record-store.ts'

/** The letters are in the stores: never change one, never use one again. */
const LETTERS: Record<RecordKind, string> = {
  bans: 'b',
  delayed: 'd',
  messages: 'm',
  node_wills: 'n',
  overrides: 'o',
  retained: 'r',
  rules: 'u',
  sessions: 's',
  users: 'a',
  wills: 'w',
  meta: '!',
}

const KINDS = new Map(Object.entries(LETTERS).map(([kind, letter]) => [letter, kind as RecordKind]))

const ESCAPE = '\u0001'
/** Control characters are seen together with the two that matter. */
const SPECIAL = /\p{Cc}|\p{Surrogate}/gu

export function recordKey(table: RecordKind, owner: string, id: string): string {
  return `${LETTERS[table]}${escaped(owner)}\0${escaped(id)}`
}

/** Where all keys of a table begin, and the first key behind them. */
export function keyRange(table: RecordKind): { gte: string; lt: string } {
  const letter = LETTERS[table]
  return { gte: letter, lt: String.fromCharCode(letter.charCodeAt(0) + 1) }
}

/** @returns undefined if `recordKey` cannot have made it */
export function parseKey(key: string): RecordPlace | undefined {
  const table = tableOf(key)
  const end = key.indexOf('\0')
  if (table === undefined || end < 0) return undefined
  return { table, owner: unescaped(key.slice(1, end)), id: unescaped(key.slice(end + 1)) }
}

/** The table of a key, undefined if there is none of that letter. */
export function tableOf(key: string): RecordKind | undefined {
  return KINDS.get(key.charAt(0))
}

function escaped(text: string): string {
  SPECIAL.lastIndex = 0
  return SPECIAL.test(text) ? text.replace(SPECIAL, escapeOf) : text
}

function escapeOf(character: string): string {
  const code = character.charCodeAt(0)
  if (code <= 1) return ESCAPE + code
  return code < 0xd800 ? character : `${ESCAPE}2${code.toString(16)}`
}

function unescaped(text: string): string {
  if (!text.includes(ESCAPE)) return text
  const [start = '', ...rest] = text.split(ESCAPE)
  return start + rest.map(unescapedPart).join('')
}

/** @param part - what stands behind an escape character, up to the next one */
function unescapedPart(part: string): string {
  if (part.startsWith('2')) return String.fromCharCode(Number.parseInt(part.slice(1, 5), 16)) + part.slice(5)
  return (part.startsWith('0') ? '\0' : ESCAPE) + part.slice(1)
}
