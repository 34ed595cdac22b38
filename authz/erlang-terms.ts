/**
 * Reads Erlang terms, each ended by a full stop, as far as rule files use them:
 *
 *   term   = atom | text | number | '{' terms '}' | '[' terms ']'
 *   atom   = allow | 'and'            text   = "..." | <<"...">>
 *   number = 0 | -1                   % begins a comment
 */
import { BrokerError } from '../model/errors.ts'

export type Term =
  | { kind: 'atom'; name: string; line: number }
  | { kind: 'text'; text: string; line: number }
  | { kind: 'number'; value: number; line: number }
  | { kind: 'tuple' | 'list'; items: Term[]; line: number }

const MAX_DEPTH = 32

const TOKEN =
  /(?<space>\s+|%[^\n]*)|(?<atom>[a-z][\w@]*|'(?:[^'\\\n]|\\.)*')|(?<text><<"(?:[^"\\]|\\.)*"(?:\/utf8)?>>|"(?:[^"\\]|\\.)*")|(?<number>-?\d+)|(?<stop>\.(?=\s|%|$))|(?<mark>[{}[\],])/suy

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
  ['b', '\b'],
  ['f', '\f'],
  ['v', '\v'],
  ['e', '\u001B'],
  ['s', ' '],
  ['d', '\u007F'],
])

interface Token {
  kind: 'atom' | 'text' | 'number' | 'stop' | 'mark' | 'end'
  text: string
  line: number
}

/** @throws BrokerError CONFIG_INVALID with the line and what was expected there */
export function parseTerms(text: string): Term[] {
  const reader = new TokenReader(text)
  const terms: Term[] = []
  while (reader.peek.kind !== 'end') {
    const term = readTerm(reader, 0)
    if (reader.peek.kind !== 'stop') throw expected('a full stop after the term', reader.peek)
    reader.next()
    terms.push(term)
  }
  return terms
}

/** For messages. */
export function describeTerm(term: Term): string {
  switch (term.kind) {
    case 'atom':
      return term.name
    case 'text':
      return JSON.stringify(term.text)
    case 'number':
      return String(term.value)
    case 'tuple':
      return `a tuple of ${term.items.length}`
    case 'list':
      return 'a list'
  }
}

function readTerm(reader: TokenReader, depth: number): Term {
  const token = reader.next()
  const { line } = token
  switch (token.kind) {
    case 'atom':
      return {
        kind: 'atom',
        name: token.text.startsWith("'") ? unescapeText(token.text.slice(1, -1)) : token.text,
        line,
      }
    case 'text':
      return {
        kind: 'text',
        text: unescapeText(token.text.replace(/^(?:<<)?"|"(?:\/utf8)?(?:>>)?$/gs, '')),
        line,
      }
    case 'number':
      return { kind: 'number', value: Number(token.text), line }
    default: {
      const close = token.text === '{' ? '}' : token.text === '[' ? ']' : undefined
      if (token.kind !== 'mark' || close === undefined) throw expected('a term', token)
      if (depth === MAX_DEPTH) throw expected(`at most ${MAX_DEPTH} levels of nesting`, token)
      return { kind: close === '}' ? 'tuple' : 'list', items: readItems(reader, close, depth + 1), line }
    }
  }
}

function readItems(reader: TokenReader, close: '}' | ']', depth: number): Term[] {
  const items: Term[] = []
  if (reader.skip(close)) return items
  for (;;) {
    items.push(readTerm(reader, depth))
    if (reader.skip(close)) return items
    if (!reader.skip(',')) throw expected(`a comma or ${close}`, reader.peek)
  }
}

class TokenReader {
  peek: Token
  readonly #text: string
  #at = 0
  #line = 1

  constructor(text: string) {
    this.#text = text.startsWith('\uFEFF') ? text.slice(1) : text
    this.peek = this.#read()
  }

  next(): Token {
    const token = this.peek
    if (token.kind !== 'end') this.peek = this.#read()
    return token
  }

  /** Takes the next token if it is this mark. */
  skip(mark: string): boolean {
    if (this.peek.kind !== 'mark' || this.peek.text !== mark) return false
    this.next()
    return true
  }

  #read(): Token {
    while (this.#at < this.#text.length) {
      TOKEN.lastIndex = this.#at
      const match = TOKEN.exec(this.#text)
      const line = this.#line
      if (match === null) throw expected('a term', { kind: 'mark', text: this.#text.charAt(this.#at), line })
      this.#at = TOKEN.lastIndex
      this.#line += match[0].split('\n').length - 1
      const kind = Object.entries(match.groups ?? {}).find(([, found]) => found !== undefined)?.[0]
      if (kind !== 'space') return { kind: kind as Token['kind'], text: match[0], line }
    }
    return { kind: 'end', text: '', line: this.#line }
  }
}

function unescapeText(text: string): string {
  return text.replace(
    /\\(?:x\{([0-9a-f]+)\}|x([0-9a-f]{2})|([0-7]{1,3})|(.))/gis,
    (_, braces, hex, octal, other) => {
      if (other !== undefined) return ESCAPES.get(other) ?? other
      const code = octal === undefined ? Number.parseInt(braces ?? hex, 16) : Number.parseInt(octal, 8)
      return code <= 0x10ffff ? String.fromCodePoint(code) : ''
    },
  )
}

function expected(what: string, found: Token): BrokerError {
  const text = found.kind === 'end' ? 'the end of the file' : JSON.stringify(found.text.slice(0, 40))
  const opened = found.text === '"' || found.text === "'" ? ' that is not closed' : ''
  return new BrokerError('CONFIG_INVALID', `line ${found.line}: expected ${what}, found ${text}${opened}`)
}
