/**
 * Subjects and topics: `foo.bar` is the topic `foo/bar`, `foo.*.>` the filter `foo/+/#`.
 *
 * Not everything has a form on the other side. A subject with `+` or `#` in it is no topic; a topic with an
 * empty level, a space, a control character or a level `*` or `>` is no subject. A dot in a level of a topic, or a
 * slash in a token of a subject, comes out as a separator and does not find its way back.
 */
import { KnownTopic } from '../../model/known-topic.ts'
import { isShared } from '../../model/topic.ts'

const DOT = 0x2e
const SLASH = 0x2f
const STAR = 0x2a
const GREATER = 0x3e
const MAX_TOPIC_BYTES = 65_535

/** A subject as it came, with what is known about it. Made once and kept while it is in use. */
export class Subject {
  readonly text: string
  /** Tokens that are not empty, no control characters, wildcards as whole tokens and `>` last. */
  readonly isValid: boolean
  /** Without wildcards. */
  readonly isLiteral: boolean
  /** Where a PUB to it goes, wildcards taken literally; undefined if that is no topic. */
  readonly topic: string | undefined
  readonly known: KnownTopic | undefined
  /** What a SUB of it subscribes to; undefined if that is no filter, or one of a group: those have their own word in SUB. */
  readonly filter: string | undefined

  constructor(text: string) {
    this.text = text
    const kind = kindOf(text)
    this.isLiteral = kind === 'literal'
    this.isValid = kind !== 'invalid'
    const mappable = this.isValid && !text.includes('+') && !text.includes('#') && isShort(text)
    this.topic = mappable ? text.replaceAll('.', '/') : undefined
    this.known = this.topic === undefined ? undefined : new KnownTopic(this.topic)
    const filter = mappable ? filterOf(text) : undefined
    this.filter = filter === undefined || isShared(filter) ? undefined : filter
  }
}

/** The subject of `topic`, which may be a filter; undefined if it has none. */
export function subjectOf(topic: string): string | undefined {
  const { length } = topic
  let previous = SLASH
  for (let i = 0; i <= length; i++) {
    const c = i === length ? SLASH : topic.charCodeAt(i)
    if (c === SLASH || c === DOT) {
      if (previous === SLASH || previous === DOT) return undefined
    } else if (isForbidden(c)) {
      return undefined
    } else if ((c === STAR || c === GREATER) && isWholeToken(topic, i)) {
      return undefined
    }
    previous = c
  }
  return topic.replaceAll('/', '.')
}

/** Whether the way from `topic` to a subject and back ends where it began. */
export function isReversible(topic: string): boolean {
  return !topic.includes('.') && subjectOf(topic) !== undefined
}

/** A subject or topic with every separator as a dot. */
export function asRouted(text: string): string {
  return text.replaceAll('/', '.')
}

/** Whether `subject`, without wildcards, is one of those `pattern` stands for. */
export function subjectMatches(pattern: string, subject: string): boolean {
  const wanted = pattern.split('.')
  const tokens = subject.split('.')
  for (const [i, token] of wanted.entries()) {
    if (token === '>' && i === wanted.length - 1) return tokens.length > i
    if (i >= tokens.length || (token !== '*' && token !== tokens[i])) return false
  }
  return wanted.length === tokens.length
}

/** Whether some subject fits both patterns. */
export function patternsOverlap(a: string, b: string): boolean {
  const [left, right] = [a.split('.'), b.split('.')]
  for (let i = 0; ; i++) {
    const [x, y] = [left[i], right[i]]
    if (x === undefined || y === undefined) return x === y
    if (x === '>' || y === '>') return true
    if (x !== '*' && y !== '*' && x !== y) return false
  }
}

/** Whether everything that fits `inner` fits `outer`. */
export function patternCovers(outer: string, inner: string): boolean {
  const [wide, narrow] = [outer.split('.'), inner.split('.')]
  for (const [i, token] of wide.entries()) {
    const other = narrow[i]
    if (token === '>') return other !== undefined
    if (other === undefined || other === '>') return false
    if (token !== '*' && token !== other) return false
  }
  return wide.length === narrow.length
}

function kindOf(text: string): 'literal' | 'pattern' | 'invalid' {
  let isLiteral = true
  let previous = DOT
  const { length } = text
  for (let i = 0; i <= length; i++) {
    const c = i === length ? DOT : text.charCodeAt(i)
    if (c === DOT) {
      if (previous === DOT) return 'invalid'
    } else if (isForbidden(c)) {
      return 'invalid'
    } else if (c === STAR || c === GREATER) {
      const isWhole = previous === DOT && (i + 1 === length || text.charCodeAt(i + 1) === DOT)
      if (!isWhole || (c === GREATER && i + 1 < length)) return 'invalid'
      isLiteral = false
    }
    previous = c
  }
  return isLiteral ? 'literal' : 'pattern'
}

function filterOf(text: string): string {
  return text
    .split('.')
    .map((token) => (token === '*' ? '+' : token === '>' ? '#' : token))
    .join('/')
}

/** Spaces, control characters, and what stands where bytes were no UTF-8. */
function isForbidden(c: number): boolean {
  return c <= 0x20 || (c >= 0x7f && c <= 0x9f) || c === 0xfffd
}

function isWholeToken(topic: string, at: number): boolean {
  return isEdge(topic.charCodeAt(at - 1)) && isEdge(topic.charCodeAt(at + 1))
}

/** NaN: beyond one of the ends. */
function isEdge(c: number): boolean {
  return c === SLASH || c === DOT || Number.isNaN(c)
}

function isShort(text: string): boolean {
  return text.length * 3 <= MAX_TOPIC_BYTES || Buffer.byteLength(text) <= MAX_TOPIC_BYTES
}
