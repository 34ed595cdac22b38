/**
 * Small expressions of an operator about a client, EMQX's "variform":
 *
 *     expression = 'text' | "text" | number | true | false | name.of.variable
 *                | function(expression, ...) | [expression, ...]
 *
 * No operators, no escapes in texts (see `unescape`), no loops: what one costs is bounded by its own length and
 * by what `MAX_TEXT` and `MAX_ITEMS` allow in between. A variable that is not there is the empty text.
 */
import { BrokerError, messageOf } from './errors.ts'
import {
  FUNCTIONS,
  type FunctionEntry,
  isTrue,
  MAX_ITEMS,
  MAX_TEXT,
  toText,
  type Value,
} from './expression-functions.ts'
import { Pattern } from './pattern.ts'

export type { Value }

/** @returns undefined for a variable that is not known, or that the client has not */
export type Variables = (name: string) => Value | undefined

/** A step towards a value; throws an Error that says what did not fit. */
type Step = (variables: Variables) => Value

/** Characters of an expression; its nesting is bounded too, so that reading one needs little stack. */
const MAX_SOURCE = 8192
const MAX_DEPTH = 32

export class Expression {
  readonly source: string
  readonly #step: Step

  /** @throws BrokerError CONFIG_INVALID, with what is wrong and where */
  constructor(source: string) {
    this.source = source
    if (source.length > MAX_SOURCE) {
      throw new BrokerError('CONFIG_INVALID', `an expression has at most ${MAX_SOURCE} characters`)
    }
    this.#step = new Reader(source).whole()
  }

  /**
   * The value as text, '' for nothing.
   * @throws Error if a value is not what a function takes, or gets too large: the expression has failed
   */
  render(variables: Variables): string {
    return toText(this.#step(variables))
  }
}

const BLANK = /\s*/y
const NUMBER = /-?\d+(?:\.\d+)?/y
const TEXT = /'[^']*'|"[^"]*"/y
const NAME = /[A-Za-z_][\w-]*(?:\.[\w-]+)*/y

/** Reads from left to right; `#at` is the next character. */
class Reader {
  readonly #source: string
  #at = 0
  #depth = 0

  constructor(source: string) {
    this.#source = source
  }

  whole(): Step {
    const step = this.#value()
    if (this.#at < this.#source.length) throw this.#wrong('nothing more')
    return step
  }

  #value(): Step {
    if (++this.#depth > MAX_DEPTH) throw this.#wrong(`at most ${MAX_DEPTH} levels of brackets`)
    const step = this.#list() ?? this.#constant() ?? this.#named()
    this.#depth--
    return step
  }

  #list(): Step | undefined {
    if (!this.#take('[')) return undefined
    const items = this.#until(']')
    return (variables) => items.map((item) => item(variables))
  }

  #constant(): Step | undefined {
    const text = this.#match(TEXT)
    if (text !== undefined) return constant(text.slice(1, -1))
    const number = this.#match(NUMBER)
    return number === undefined ? undefined : constant(Number(number))
  }

  #named(): Step {
    const from = this.#at
    const name = this.#match(NAME)
    if (name === undefined) throw this.#wrong('a text, a number, a variable or a function')
    if (this.#take('(')) return this.#call(name, from)
    if (name === 'true' || name === 'false') return constant(name === 'true')
    return (variables) => variables(name) ?? ''
  }

  #call(name: string, from: number): Step {
    const entry = FUNCTIONS.get(name)
    const lazy = LAZY.get(name)
    const args = this.#until(')')
    if (lazy !== undefined) return lazy(args)
    if (entry === undefined) throw this.#wrong(`a function: there is no ${name}`, from)
    if (args.length < entry.min || args.length > entry.max)
      throw this.#wrong(`${argumentsOf(entry)} of ${name}, not ${args.length}`, from)
    return entry.kind === 'pattern'
      ? this.#patternCall(name, entry.run, args, from)
      : callOf(name, entry, args)
  }

  /** A pattern is compiled once, and never a peer's: it stands there as a text. */
  #patternCall(
    name: string,
    run: (pattern: Pattern, args: readonly Value[]) => Value,
    [subject, source, ...others]: readonly Step[],
    from: number,
  ): Step {
    const text = source === undefined ? undefined : CONSTANTS.get(source)
    if (subject === undefined || typeof text !== 'string')
      throw this.#wrong(`a text in quotes as the pattern of ${name}`, from)
    const pattern = new Pattern(text)
    return (variables) =>
      bounded(
        name,
        run(
          pattern,
          [subject, ...others].map((arg) => arg(variables)),
        ),
      )
  }

  #until(end: string): Step[] {
    const items: Step[] = []
    if (this.#take(end)) return items
    do items.push(this.#value())
    while (this.#take(','))
    if (!this.#take(end)) throw this.#wrong(`, or ${end}`)
    if (items.length > MAX_ITEMS) throw this.#wrong(`at most ${MAX_ITEMS} items`)
    return items
  }

  #take(mark: string): boolean {
    this.#match(BLANK)
    if (this.#source[this.#at] !== mark) return false
    this.#at++
    this.#match(BLANK)
    return true
  }

  /** Skips blanks on both sides. */
  #match(pattern: RegExp): string | undefined {
    if (pattern !== BLANK) this.#match(BLANK)
    pattern.lastIndex = this.#at
    const [found] = pattern.exec(this.#source) ?? []
    if (found === undefined) return undefined
    this.#at += found.length
    if (pattern !== BLANK) this.#match(BLANK)
    return found
  }

  #wrong(expected: string, at = this.#at): BrokerError {
    return new BrokerError('CONFIG_INVALID', `expected ${expected} at character ${at + 1} of ${this.#source}`)
  }
}

/** What steps that do not depend on anything give. */
const CONSTANTS = new WeakMap<Step, Value>()

function constant(value: Value): Step {
  const step = () => value
  CONSTANTS.set(step, value)
  return step
}

/** These do not look at all of their arguments. */
const LAZY: ReadonlyMap<string, (args: readonly Step[]) => Step> = new Map([
  ['coalesce', coalesce],
  ['coalesce_ne', coalesce],
  ['iif', choose],
])

/** The first that is not empty. One that fails counts as empty: another way to get at a value may follow. */
function coalesce(args: readonly Step[]): Step {
  return (variables) => {
    for (const arg of args) {
      const found = firstOf(attempt(arg, variables))
      if (found !== '') return found
    }
    return ''
  }
}

function attempt(step: Step, variables: Variables): Value {
  try {
    return step(variables)
  } catch {
    return ''
  }
}

/** `coalesce([a, b])` means the same as `coalesce(a, b)`. */
function firstOf(value: Value): Value {
  return Array.isArray(value) ? (value.find((item) => toText(item) !== '') ?? '') : value
}

function choose(args: readonly Step[]): Step {
  const [condition, yes, no] = args
  if (condition === undefined || yes === undefined || no === undefined || args.length > 3)
    throw new BrokerError('CONFIG_INVALID', 'expected 3 arguments of iif')
  return (variables) => (isTrue(condition(variables)) ? yes(variables) : no(variables))
}

function callOf(name: string, entry: FunctionEntry & { kind: 'plain' }, args: readonly Step[]): Step {
  return (variables) => {
    try {
      return bounded(name, entry.run(args.map((arg) => arg(variables))))
    } catch (error) {
      throw new Error(`${name}: ${messageOf(error)}`, { cause: error })
    }
  }
}

function bounded(name: string, value: Value): Value {
  if (typeof value === 'string' && value.length > MAX_TEXT) throw new Error(`${name}: the text is too long`)
  if (Array.isArray(value) && value.length > MAX_ITEMS) throw new Error(`${name}: the list is too long`)
  return value
}

function argumentsOf({ min, max }: FunctionEntry): string {
  if (min === max) return `${min} arguments`
  return max === Number.POSITIVE_INFINITY ? `${min} or more arguments` : `${min} to ${max} arguments`
}
