/**
 * Texts of an operator with places for values of a client, EMQX's placeholders:
 *
 *     placeholder = '${' [ '.' ] name '}'        name = letters, digits, '_', '.', '-'
 *     '${$}'      = a dollar sign
 *
 * Each kind of text is compiled once, by what it will become: a value of a client can never be anything but a
 * value there. Placeholders that are not allowed stay as they are written; a value that a client lacks is ''.
 */
import { BrokerError } from '../model/errors.ts'
import type { Values } from './variables.ts'

export interface TemplateRules {
  /** Names of placeholders; `client_attrs.NAME` always is one. */
  readonly allowed: readonly string[]
  /** Called with each placeholder that is not, as it is written: somebody should hear of it. */
  readonly onUnknown?: (placeholder: string) => void
}

export interface Template<T> {
  /** The placeholders in it, each once: what the rendered value depends on. */
  readonly names: readonly string[]
  render(values: Values): T
}

/** A literal, or the place of a value. */
export type Piece = { readonly text: string } | { readonly name: string }

const PLACEHOLDER = /\$\{\.?([\w.$-]+)\}/g
const ATTRIBUTE = 'client_attrs.'

/** Literals and places in order; no two literals behind each other. */
export function parsePieces(text: string, rules: TemplateRules): Piece[] {
  const pieces: Piece[] = []
  let literal = ''
  let from = 0
  for (const match of text.matchAll(PLACEHOLDER)) {
    const [placeholder, name = ''] = match
    literal += text.slice(from, match.index)
    from = match.index + placeholder.length
    if (name === '$') literal += '$'
    else if (isAllowed(name, rules)) {
      if (literal !== '') pieces.push({ text: literal })
      pieces.push({ name })
      literal = ''
    } else {
      rules.onUnknown?.(placeholder)
      literal += placeholder
    }
  }
  literal += text.slice(from)
  if (literal !== '') pieces.push({ text: literal })
  return pieces
}

export function namesIn(pieces: readonly Piece[]): string[] {
  return [...new Set(pieces.flatMap((piece) => ('name' in piece ? [piece.name] : [])))]
}

/** One text, with what `escapeValue` makes of the values. */
export function joinPieces(
  pieces: readonly Piece[],
  values: Values,
  escapeValue: (value: string) => string = wellFormed,
): string {
  let text = ''
  for (const piece of pieces) text += 'text' in piece ? piece.text : escapeValue(values(piece.name) ?? '')
  return text
}

/** Values as they are. */
export function compileText(text: string, rules: TemplateRules): Template<string> {
  return escaping(text, rules, wellFormed)
}

/** A search filter whose values match themselves only (RFC 4515 §3). */
export function compileLdapFilter(text: string, rules: TemplateRules): Template<string> {
  return escaping(text, rules, escapeFilterValue)
}

/** A distinguished name whose values are values of attributes, or parts of them (RFC 4514 §2.4). */
export function compileDn(text: string, rules: TemplateRules): Template<string> {
  return escaping(text, rules, escapeDnValue)
}

export interface CommandTemplate extends Template<string[]> {
  /** As they are written, without quotes. */
  readonly words: readonly string[]
}

/**
 * A command in words, quoted as redis-cli has it; each word stays one argument, whatever comes into it.
 * @throws BrokerError CONFIG_INVALID for quotes that do not end
 */
export function compileCommand(text: string, rules: TemplateRules): CommandTemplate {
  const words = splitWords(text)
  const args = words.map((word) => parsePieces(word, rules))
  return {
    words,
    names: namesIn(args.flat()),
    render: (values) => args.map((arg) => joinPieces(arg, values)),
  }
}

/** A text that UTF-8 can say: half a surrogate pair becomes U+FFFD. */
export function wellFormed(text: string): string {
  return /\p{Surrogate}/u.test(text) ? Buffer.from(text, 'utf8').toString('utf8') : text
}

function escaping(
  text: string,
  rules: TemplateRules,
  escapeValue: (value: string) => string,
): Template<string> {
  const pieces = parsePieces(text, rules)
  return { names: namesIn(pieces), render: (values) => joinPieces(pieces, values, escapeValue) }
}

function isAllowed(name: string, { allowed }: TemplateRules): boolean {
  return allowed.includes(name) || (name.startsWith(ATTRIBUTE) && name.length > ATTRIBUTE.length)
}

function escapeFilterValue(value: string): string {
  return wellFormed(value).replaceAll(/[\\*()\0]/g, hexEscape)
}

/** More than must be: spaces and `#` mean something only at an end, but which end it is depends on the text around. */
function escapeDnValue(value: string): string {
  return wellFormed(value).replaceAll(/[\p{Cc}"#+,;<=>\\]|^ | $/gu, hexEscape)
}

/** Each byte of UTF-8. */
function hexEscape(character: string): string {
  return Buffer.from(character).toString('hex').replaceAll(/../g, '\\$&')
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', b: '\b', a: '\x07' }

/** `a "b c" 'd'` -> a, b c, d. In double quotes `\n`, `\xHH` and so on; in single ones only `\'`. */
function splitWords(text: string): string[] {
  const word = /\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s"']+))(?=\s|$)/gsy
  const words: string[] = []
  const trimmed = text.trimEnd()
  while (word.lastIndex < trimmed.length) {
    const from = word.lastIndex
    const match = word.exec(trimmed)
    if (match === null)
      throw new BrokerError(
        'CONFIG_INVALID',
        `quotes of the command do not fit from character ${from + 1} on`,
      )
    const [, double, single, plain] = match
    words.push(double !== undefined ? unescapeWord(double) : (single?.replaceAll("\\'", "'") ?? plain ?? ''))
  }
  return words
}

function unescapeWord(text: string): string {
  return text.replaceAll(/\\(?:x([\da-fA-F]{2})|(.))/gs, (_, hex: string | undefined, character: string) =>
    hex === undefined ? (ESCAPES[character] ?? character) : String.fromCharCode(Number.parseInt(hex, 16)),
  )
}
