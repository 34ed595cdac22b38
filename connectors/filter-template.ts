import { BrokerError } from '../model/errors.ts'
import type { MongoFilter } from './connector.ts'
import {
  joinPieces,
  namesIn,
  type Piece,
  parsePieces,
  type Template,
  type TemplateRules,
} from './template.ts'
import type { Values } from './variables.ts'

/** What a text becomes where it stands: itself, part of a pattern, or a constant of an expression, which may be a pattern. */
type Place = 'value' | 'pattern' | 'expression' | 'pattern of an expression'

type Part = (values: Values) => unknown

/** Their texts are programs, or a language of their own. */
const REFUSED = ['$where', '$function', '$accumulator', '$text', '$jsonSchema', '$options']

/** Deeper is not a filter. */
const MAX_DEPTH = 32

/**
 * A MongoDB filter whose texts may hold placeholders. A value of a client is always a text there: it can be no operator,
 * no pattern, and no name of a field.
 * @throws BrokerError CONFIG_INVALID for placeholders in keys, and in operators that run what they get
 */
export function compileFilter(filter: MongoFilter, rules: TemplateRules): Template<MongoFilter> {
  const names = new Set<string>()
  const compiler = new Compiler(rules, names)
  const render = compiler.object(filter, 'value', 0)
  return { names: [...names], render: (values) => render(values) as MongoFilter }
}

class Compiler {
  readonly #rules: TemplateRules
  readonly #names: Set<string>

  constructor(rules: TemplateRules, names: Set<string>) {
    this.#rules = rules
    this.#names = names
  }

  object(object: Readonly<Record<string, unknown>>, place: Place, depth: number): Part {
    const parts = Object.entries(object).map(([key, value]) => {
      if (this.#pieces(key).some((piece) => 'name' in piece))
        throw invalid(`has a placeholder in the key ${key}`)
      if (REFUSED.includes(key) && hasPlaceholder(value, this.#rules))
        throw invalid(`has a placeholder in ${key}`)
      return [key, this.#part(value, placeBelow(key, place), depth + 1)] as const
    })
    return (values) => Object.fromEntries(parts.map(([key, part]) => [key, part(values)]))
  }

  #part(value: unknown, place: Place, depth: number): Part {
    if (depth > MAX_DEPTH) throw invalid('is nested too deeply')
    if (typeof value === 'string') return this.#text(value, place)
    if (Array.isArray(value)) {
      const parts = value.map((one) => this.#part(one, place, depth + 1))
      return (values) => parts.map((part) => part(values))
    }
    if (value !== null && typeof value === 'object' && !(value instanceof Date))
      return this.object(value as Record<string, unknown>, place, depth)
    return () => value
  }

  #text(text: string, place: Place): Part {
    const pieces = this.#pieces(text)
    const names = namesIn(pieces)
    if (names.length === 0) return () => joinPieces(pieces, () => undefined)
    for (const name of names) this.#names.add(name)
    if (place === 'pattern') return (values) => joinPieces(pieces, values, escapePattern)
    // In an expression a text that begins with a dollar sign names a field: of all documents, then.
    if (place === 'expression') return (values) => ({ $literal: joinPieces(pieces, values) })
    if (place === 'pattern of an expression')
      return (values) => ({ $literal: joinPieces(pieces, values, escapePattern) })
    return (values) => joinPieces(pieces, values)
  }

  #pieces(text: string): Piece[] {
    return parsePieces(text, this.#rules)
  }
}

function placeBelow(key: string, place: Place): Place {
  if (key === '$expr') return 'expression'
  if (key === 'regex' && place === 'expression') return 'pattern of an expression'
  return key === '$regex' ? 'pattern' : place
}

function hasPlaceholder(value: unknown, rules: TemplateRules): boolean {
  return parsePieces(JSON.stringify(value) ?? '', { allowed: rules.allowed }).some((piece) => 'name' in piece)
}

function escapePattern(value: string): string {
  return value.replaceAll(/[\\^$.*+?()[\]{}|/#\s-]/g, (character) =>
    /\s/.test(character) ? `[${character}]` : `\\${character}`,
  )
}

function invalid(why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `the filter ${why}`)
}
