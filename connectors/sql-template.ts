import { BrokerError } from '../model/errors.ts'
import type { SqlStatement } from './connector.ts'
import { namesIn, parsePieces, type Template, type TemplateRules } from './template.ts'

export type Dialect = 'mysql' | 'postgresql'

/** A statement with its values beside it: see `SqlConnector.query`. */
export interface SqlTemplate extends SqlStatement, Template<string[]> {}

/** What a stretch of a statement is, and where it ends. */
interface Token {
  readonly kind: 'text' | 'literal' | 'comment' | 'end'
  readonly text: string
}

const COMMON = String.raw`(?<comment>/\*[^]*?(?:\*/|$)|--[^\n]*)`
const TOKENS: Readonly<Record<Dialect, RegExp>> = {
  mysql: new RegExp(
    String.raw`${COMMON}|(?<hash>#[^\n]*)|(?<literal>'(?:[^'\\]|\\[^]|'')*'|"(?:[^"\\]|\\[^]|"")*"|${'`[^`]*`'})|(?<end>;)`,
    'g',
  ),
  postgresql: new RegExp(
    String.raw`${COMMON}|(?<literal>(?<![\w$])[eE]'(?:[^'\\]|\\[^]|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|(?<![\w$])\$(?<tag>[A-Za-z_]\w*|)\$[^]*?\$\k<tag>\$)|(?<end>;)`,
    'g',
  ),
}

/** Quotes around nothing but a placeholder: EMQX takes them for part of it. */
const QUOTED = /^(?:"(\$\{[^}"]*\})"|'(\$\{[^}']*\})')$/

/**
 * A statement whose placeholders are parameters: the server gets text and values apart.
 * @throws BrokerError CONFIG_INVALID for several statements, a placeholder inside a longer text or a comment,
 *   and parameters that are no placeholders
 */
export function compileSql(sql: string, dialect: Dialect, rules: TemplateRules): SqlTemplate {
  const pieces = tokens(sql, dialect).flatMap((token) => piecesOf(token, dialect, rules))
  const texts = ['']
  const places: string[] = []
  for (const piece of pieces) {
    if ('text' in piece) texts[texts.length - 1] += piece.text
    else {
      places.push(piece.name)
      texts.push('')
    }
  }
  const mark = (index: number) => (dialect === 'mysql' ? '?' : `$${index}`)
  const text = texts.map((part, i) => (i === 0 ? part : mark(i) + part)).join('')
  return {
    text: text.trim(),
    pieces: texts,
    names: namesIn(pieces),
    render: (values) => places.map((name) => values(name) ?? ''),
  }
}

function piecesOf({ kind, text }: Token, dialect: Dialect, rules: TemplateRules) {
  const quoted = QUOTED.exec(text)
  const inner = quoted?.[1] ?? quoted?.[2]
  const pieces = parsePieces(inner ?? text, rules)
  const hasPlaces = pieces.some((piece) => 'name' in piece)
  if (kind === 'literal' && !hasPlaces) return pieces
  if (kind === 'literal' && inner === undefined) throw invalid(`has a placeholder inside ${text}: use CONCAT`)
  if (kind === 'comment' && hasPlaces) throw invalid('has a placeholder in a comment')
  if (kind === 'text' && hasParameter(pieces, dialect)) throw invalid('has parameters of its own')
  return pieces
}

/** A lone `?` or `$1` would get a value that was meant for a placeholder. */
function hasParameter(pieces: readonly object[], dialect: Dialect): boolean {
  const own = dialect === 'mysql' ? /\?/ : /(?<!\w)\$\d/
  return pieces.some((piece) => 'text' in piece && own.test(String(piece.text)))
}

function tokens(sql: string, dialect: Dialect): Token[] {
  const found: Token[] = []
  const text = (part: string) => part !== '' && found.push({ kind: 'text', text: part })
  let from = 0
  for (const match of sql.matchAll(TOKENS[dialect])) {
    const { literal, end } = match.groups ?? {}
    text(sql.slice(from, match.index))
    from = match.index + match[0].length
    if (end !== undefined) {
      if (sql.slice(from).trim() !== '') throw invalid('is more than one statement')
      return found
    }
    found.push({ kind: literal === undefined ? 'comment' : 'literal', text: match[0] })
  }
  text(sql.slice(from))
  const rest = found.findLast((token) => token.kind === 'text' && /['"`]/.test(token.text))
  if (rest !== undefined) throw invalid('has quotes that do not end')
  return found
}

function invalid(why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `the SQL statement ${why}`)
}
