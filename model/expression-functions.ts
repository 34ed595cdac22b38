/** The functions of expressions, by name: EMQX's. Texts are counted in characters, never in halves of one. */
import { createHash, randomBytes, randomInt } from 'node:crypto'
import type { Pattern } from './pattern.ts'
import { topicMatches } from './topic.ts'

export type Value = string | number | boolean | Value[]

/** Characters of a text and items of a list, in between too. */
export const MAX_TEXT = 65_536
export const MAX_ITEMS = 1024
const MAX_RANDOM = 1024

export type FunctionEntry = { readonly min: number; readonly max: number } & (
  | { readonly kind: 'plain'; readonly run: (args: readonly Value[]) => Value }
  /** The second argument is a pattern; `args` are the others. */
  | { readonly kind: 'pattern'; readonly run: (pattern: Pattern, args: readonly Value[]) => Value }
)

export function toText(value: Value | undefined): string {
  if (value === undefined) return ''
  if (typeof value === 'string') return value
  return Array.isArray(value) ? value.map(toText).join(', ') : String(value)
}

export function isTrue(value: Value): boolean {
  const text = toText(value)
  return text !== '' && text !== 'false'
}

type Texts = (...texts: string[]) => Value
type Numbers = (...numbers: number[]) => Value

const Any = Number.POSITIVE_INFINITY

const plain = (min: number, max: number, run: (args: readonly Value[]) => Value): FunctionEntry => ({
  kind: 'plain',
  min,
  max,
  run,
})

/** Of texts; a missing one is undefined. */
const text = (min: number, max: number, run: Texts): FunctionEntry =>
  plain(min, max, (args) => run(...args.map(toText)))

const number = (count: number, run: Numbers): FunctionEntry =>
  plain(count, count, (args) => run(...args.map(toNumber)))

const pattern = (
  count: number,
  run: (pattern: Pattern, subject: string, other: string) => Value,
): FunctionEntry => ({
  kind: 'pattern',
  min: count,
  max: count,
  run: (compiled, [subject, other]) => run(compiled, toText(subject), toText(other)),
})

/** Of two: below 0, 0, above 0. */
const order = (a: string, b: string): number => Buffer.compare(Buffer.from(a), Buffer.from(b))

function compared(name: string, entry: (holds: (sign: number) => boolean) => FunctionEntry) {
  const rows: [string, FunctionEntry][] = [
    [`${name}_eq`, entry((sign) => sign === 0)],
    [`${name}_neq`, entry((sign) => sign !== 0)],
    [`${name}_lt`, entry((sign) => sign < 0)],
    [`${name}_lte`, entry((sign) => sign <= 0)],
    [`${name}_gt`, entry((sign) => sign > 0)],
    [`${name}_gte`, entry((sign) => sign >= 0)],
  ]
  return rows
}

const word = (sign: number): string => (sign === 0 ? 'eq' : sign < 0 ? 'lt' : 'gt')

export const FUNCTIONS: ReadonlyMap<string, FunctionEntry> = new Map<string, FunctionEntry>([
  ['lower', text(1, 1, (s = '') => s.toLowerCase())],
  ['upper', text(1, 1, (s = '') => s.toUpperCase())],
  ['trim', text(1, 2, (s = '', set) => trimEnd(trimStart(s, set), set))],
  ['ltrim', text(1, 2, (s = '', set) => trimStart(s, set))],
  ['rtrim', text(1, 2, (s = '', set) => trimEnd(s, set))],
  ['reverse', text(1, 1, (s) => charsOf(s).reverse().join(''))],
  ['strlen', text(1, 1, (s) => charsOf(s).length)],
  ['concat', plain(1, Any, (args) => args.flat(2).map(toText).join(''))],
  [
    'join_to_string',
    plain(1, 2, ([a = '', b]) =>
      listOf(b ?? a)
        .map(toText)
        .join(b === undefined ? ', ' : toText(a)),
    ),
  ],
  ['split', text(2, 3, split)],
  ['tokens', text(2, 3, tokens)],
  ['substr', plain(2, 3, ([s, from, length]) => substr(toText(s), from, length))],
  ['nth', plain(2, 2, ([n, list]) => listOf(list)[toNumber(n) - 1] ?? '')],
  ['replace', text(3, 4, replace)],
  ['find', text(2, 3, find)],
  ['pad', plain(2, 4, ([s, width, where, fill]) => pad(toText(s), toNumber(width), where, fill))],
  ['rm_prefix', text(2, 2, (s = '', prefix = '') => (s.startsWith(prefix) ? s.slice(prefix.length) : s))],
  ['ascii', text(1, 1, (s = '') => s.codePointAt(0) ?? '')],
  ['sprintf', plain(1, Any, ([format, ...args]) => sprintf(toText(format), args))],
  ['sprintf_s', plain(1, Any, ([format, ...args]) => sprintf(toText(format), args))],
  ['unescape', text(1, 1, unescaped)],
  ['any_to_str', text(1, 1, (s = '') => s)],
  ['any_to_string', text(1, 1, (s = '') => s)],
  ['is_empty_val', text(1, 1, (s) => s === '')],
  ['is_empty_var', text(1, 1, (s) => s === '')],
  ['not', plain(1, 1, ([value = '']) => !isTrue(value))],
  ['regex_match', pattern(2, (compiled, s) => compiled.test(s))],
  ['regex_extract', pattern(2, (compiled, s) => compiled.match(s)?.slice(1) ?? [])],
  ['regex_replace', pattern(3, (compiled, s, by) => compiled.replaceAll(s, by, MAX_TEXT))],
  ['topic_join', plain(1, 1, ([list]) => listOf(list).map(toText).join('/'))],
  ['topic_split', text(1, 1, (topic = '') => topic.split('/', MAX_ITEMS + 1))],
  ['topic_match', text(2, 2, (topic = '', filter = '') => topicMatches(filter, topic))],
  ['rand_str', plain(1, 1, ([length]) => randomText(toNumber(length)))],
  ['rand_int', number(1, (below = 0) => randomInt(1, below + 1))],
  ['hash', text(2, 2, (algorithm = '', s = '') => hash(algorithm, s).toString('hex'))],
  ['hash_to_range', plain(2, 3, ([s, ...range]) => toRange(numberOf(hash('sha256', toText(s))), range))],
  ['map_to_range', plain(2, 3, ([s, ...range]) => toRange(wholeOf(s), range))],
  ['bin2hexstr', text(1, 1, (s = '') => Buffer.from(s).toString('hex').toUpperCase())],
  [
    'hexstr2bin',
    text(1, 1, (s = '') => textOf(/^(?:[\da-f]{2})*$/i.test(s) ? Buffer.from(s, 'hex') : undefined)),
  ],
  ['int2hexstr', number(1, (n = 0) => Math.trunc(n).toString(16).toUpperCase())],
  ['base64_encode', text(1, 1, (s = '') => Buffer.from(s).toString('base64'))],
  [
    'base64_decode',
    text(1, 1, (s = '') => textOf(/^[\w+/-]*={0,2}$/.test(s) ? Buffer.from(s, 'base64') : undefined)),
  ],
  ['json_value', text(2, 2, (json = '', path = '') => valueAt(json, path))],
  [
    'jwt_value',
    text(2, 2, (jwt = '', path = '') =>
      valueAt(textOf(Buffer.from(jwt.split('.', 2)[1] ?? '', 'base64url')), path),
    ),
  ],
  ['str_comp', text(2, 2, (a = '', b = '') => word(order(a, b)))],
  ['num_comp', number(2, (a = 0, b = 0) => word(a - b))],
  ...compared('str', (holds) => text(2, 2, (a = '', b = '') => holds(order(a, b)))),
  ...compared('num', (holds) => number(2, (a = 0, b = 0) => holds(a - b))),
  // Only what was named for it: an expression must not be able to show every secret of the process.
  ['getenv', text(1, 1, (name) => process.env[`EMQXVAR_${name}`] ?? '')],
  ['timestamp_s', plain(0, 0, () => Math.floor(Date.now() / 1000))],
  ['timestamp_ms', plain(0, 0, () => Date.now())],
])

function charsOf(value: string | undefined): string[] {
  return Array.from(value ?? '')
}

function listOf(value: Value | undefined): Value[] {
  if (!Array.isArray(value)) throw new Error(`${JSON.stringify(value)} is not a list`)
  return value
}

function toNumber(value: Value | undefined): number {
  const found = typeof value === 'string' && value.trim() === '' ? Number.NaN : Number(value)
  if (!Number.isFinite(found)) throw new Error(`${JSON.stringify(value)} is not a number`)
  return found
}

function trimStart(value: string, set?: string): string {
  if (set === undefined) return value.trimStart()
  const chars = charsOf(value)
  const from = chars.findIndex((char) => !set.includes(char))
  return from === -1 ? '' : chars.slice(from).join('')
}

function trimEnd(value: string, set?: string): string {
  if (set === undefined) return value.trimEnd()
  const chars = charsOf(value)
  return chars.slice(0, chars.findLastIndex((char) => !set.includes(char)) + 1).join('')
}

/** Empty pieces are left out unless `how` ends with `notrim`; `leading` and `trailing` cut once. */
function split(value = '', by = '', how = ''): Value {
  if (by === '') throw new Error('nothing to split by')
  const pieces = how.startsWith('leading')
    ? cutAt(value, value.indexOf(by), by.length)
    : how.startsWith('trailing')
      ? cutAt(value, value.lastIndexOf(by), by.length)
      : value.split(by, MAX_ITEMS + 1)
  return how.endsWith('notrim') ? pieces : pieces.filter((piece) => piece !== '')
}

function cutAt(value: string, at: number, length: number): string[] {
  return at === -1 ? [value] : [value.slice(0, at), value.slice(at + length)]
}

/** Any character of `separators` separates, and so do line ends with `nocrlf`. */
function tokens(value = '', separators = '', how = ''): Value {
  const set = new Set([...charsOf(separators), ...(how === 'nocrlf' ? ['\r', '\n'] : [])])
  const found: string[] = []
  let token = ''
  for (const char of value) {
    if (!set.has(char)) token += char
    else if (token !== '') {
      found.push(token)
      token = ''
    }
  }
  return token === '' ? found : [...found, token]
}

/** `from` counts from 0. */
function substr(value: string, from: Value | undefined, length: Value | undefined): string {
  const start = Math.max(toNumber(from), 0)
  const end = length === undefined ? undefined : start + Math.max(toNumber(length), 0)
  return charsOf(value).slice(start, end).join('')
}

function replace(value = '', what = '', by = '', where = 'all'): Value {
  if (what === '') throw new Error('nothing to replace')
  if (where === 'all') {
    const count = value.split(what).length - 1
    if (value.length + count * by.length > MAX_TEXT + count * what.length)
      throw new Error('the text is too long')
    return value.replaceAll(what, () => by)
  }
  const at = where === 'trailing' ? value.lastIndexOf(what) : value.indexOf(what)
  return at === -1 ? value : value.slice(0, at) + by + value.slice(at + what.length)
}

/** From the match to the end, '' without one. */
function find(value = '', what = '', where = 'leading'): Value {
  const at = where === 'trailing' ? value.lastIndexOf(what) : value.indexOf(what)
  return at === -1 ? '' : value.slice(at)
}

function pad(value: string, width: number, where: Value = 'trailing', fill: Value = ' '): Value {
  const [char = ' '] = charsOf(toText(fill))
  const missing = width - charsOf(value).length
  if (missing > MAX_TEXT) throw new Error('the text is too long')
  if (missing <= 0) return value
  const before = where === 'leading' ? missing : where === 'both' ? Math.floor(missing / 2) : 0
  return char.repeat(before) + value + char.repeat(Math.ceil(missing) - before)
}

/** `~s`, `~p` and `~w` take the next argument, `~n` is a line end, `~~` a tilde. */
function sprintf(format: string, args: readonly Value[]): Value {
  let next = 0
  return format.replace(/~(.?)/gs, (_, letter: string) => {
    if (letter === 'n') return '\n'
    if (letter === '~') return '~'
    if (!/^[spw]$/.test(letter) || next >= args.length) throw new Error(`nothing for ~${letter}`)
    return toText(args[next++])
  })
}

const ESCAPES: ReadonlyMap<string, string> = new Map([
  ['\\', '\\'],
  ['n', '\n'],
  ['t', '\t'],
  ['r', '\r'],
  ['b', '\b'],
  ['f', '\f'],
  ['v', '\v'],
  ["'", "'"],
  ['"', '"'],
  ['?', '?'],
  ['a', '\x07'],
])

/** `\n`, `\t`, `\"`, ... and `\xHH` up to `\xHHHHHH`. */
function unescaped(value = ''): Value {
  return value.replace(/\\(x[\da-f]{2,6}|.?)/gis, (written, code: string) => {
    const known = ESCAPES.get(code)
    if (known !== undefined) return known
    const point = code.length > 1 ? Number.parseInt(code.slice(1), 16) : Number.NaN
    if (!(point <= 0x10ffff) || (point >= 0xd800 && point <= 0xdfff))
      throw new Error(`${written} is no escape`)
    return String.fromCodePoint(point)
  })
}

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/'

function randomText(length: number): string {
  if (!(length >= 0 && length <= MAX_RANDOM)) throw new Error(`0 to ${MAX_RANDOM} characters`)
  return Array.from(randomBytes(Math.trunc(length)), (byte) => LETTERS[byte % 62]).join('')
}

const ALGORITHMS: ReadonlyMap<string, string> = new Map([
  ['md5', 'md5'],
  ['sha', 'sha1'],
  ['sha1', 'sha1'],
  ['sha224', 'sha224'],
  ['sha256', 'sha256'],
  ['sha384', 'sha384'],
  ['sha512', 'sha512'],
])

function hash(algorithm: string, value: string): Buffer {
  const known = ALGORITHMS.get(algorithm)
  if (known === undefined) throw new Error(`no algorithm ${algorithm}`)
  return createHash(known).update(value).digest()
}

function numberOf(bytes: Uint8Array): bigint {
  return bytes.length === 0 ? 0n : BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
}

/** A number as it is, a text by its first bytes. */
function wholeOf(value: Value | undefined): bigint {
  if (typeof value === 'number') return BigInt(Math.trunc(Math.abs(value)))
  return numberOf(Buffer.from(toText(value)).subarray(0, 64))
}

/** `(max)` is 1 to max. */
function toRange(value: bigint, range: readonly Value[]): Value {
  const [min, max] = range.length === 1 ? [1, toNumber(range[0])] : [toNumber(range[0]), toNumber(range[1])]
  if (!Number.isSafeInteger(min) || !Number.isSafeInteger(max) || max < min) throw new Error('not a range')
  return min + Number(value % BigInt(max - min + 1))
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @throws Error for bytes that are no text */
function textOf(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) throw new Error('not encoded so')
  return UTF8.decode(bytes)
}

/** `a.b.0.c`, or with slashes. Nothing there is ''. */
function valueAt(json: string, path: string): Value {
  let at: unknown = JSON.parse(json)
  for (const step of path.split(/[./]/).filter((part) => part !== '')) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, step)) return ''
    at = (at as Record<string, unknown>)[step]
  }
  if (typeof at === 'string' || typeof at === 'number' || typeof at === 'boolean') return at
  return at === null || at === undefined ? '' : JSON.stringify(at)
}
