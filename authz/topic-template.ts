/**
 * Topic filters of rules, compiled to levels. A level is a literal, `+`, `#`, or a template
 * with `${placeholders}` that is filled in from the client when it is compared.
 */
import type { ClientInfo } from '../model/client-info.ts'

/** Undefined: the client has no such value. */
type ValueOf = (client: ClientInfo) => string | undefined

/** Literal pieces and values that together make one level. */
export interface Template {
  readonly pieces: readonly (string | ValueOf)[]
}

export type Level = string | Template

const PLACEHOLDER = /\$\{\.?([\w.$-]+)\}/g
const ATTRIBUTE = 'client_attrs.'
const DOLLAR = 0x24

/** A value with one of these would act as a wildcard or add levels. */
const UNSAFE = /[+#/]/

/** A filter with what is needed to pass it over quickly. */
export interface CompiledFilter {
  readonly levels: readonly Level[]
  /** Its first level, if that can only be one text. */
  readonly first: string | undefined
  readonly hasTemplates: boolean
}

export function compileFilter(filter: string): CompiledFilter {
  const levels = filter.split('/').map(compileLevel)
  const [first] = levels
  const isLiteral = typeof first === 'string' && first !== '+' && first !== '#'
  return {
    levels,
    first: isLiteral ? first : undefined,
    hasTemplates: levels.some((level) => typeof level === 'object'),
  }
}

/**
 * Whether a rule's filter covers a topic or a requested filter, whose levels may be the words `+` and `#`.
 * @param plusTakesHash - whether `+` of the rule covers `#` of the request. That is more than
 *   `+` means, so it is right for refusing only: rule `a/+` must not allow `a/#`, but may deny it.
 */
export function covers(
  filter: CompiledFilter,
  levels: readonly string[],
  client: ClientInfo,
  plusTakesHash: boolean,
): boolean {
  const first = levels[0] as string
  if (filter.first !== undefined) {
    if (filter.first !== first) return false
  } else if (first.charCodeAt(0) === DOLLAR) return false // [MQTT-4.7.2-1] and no client gets at `$SYS` by taking that for its name.
  // What is the same for all clients is compared first, as it is cheaper.
  if (!literalsFit(filter.levels, levels, filter.first === undefined ? 0 : 1, plusTakesHash)) return false
  return !filter.hasTemplates || templatesFit(filter.levels, levels, client)
}

function literalsFit(
  wanted: readonly Level[],
  levels: readonly string[],
  from: number,
  plusTakesHash: boolean,
): boolean {
  for (let i = from; i < wanted.length; i++) {
    const one = wanted[i] as Level
    if (one === '#') return true
    if (i >= levels.length) return false
    if (one === '+') {
      if (levels[i] === '#' && !plusTakesHash) return false
    } else if (typeof one === 'string' && one !== levels[i]) return false
  }
  return wanted.length === levels.length
}

function templatesFit(wanted: readonly Level[], levels: readonly string[], client: ClientInfo): boolean {
  for (let i = 0; i < wanted.length; i++) {
    const one = wanted[i] as Level
    if (typeof one === 'object' && !fits(one, levels[i] as string, client)) return false
  }
  return true
}

function compileLevel(text: string): Level {
  const pieces: (string | ValueOf)[] = []
  let from = 0
  for (const match of text.matchAll(PLACEHOLDER)) {
    const value = match[1] === '$' ? '$' : placeholderOf(match[1] ?? '')
    // Unknown ones stay as they are written.
    if (value === undefined) continue
    if (match.index > from) pieces.push(text.slice(from, match.index))
    pieces.push(value)
    from = match.index + match[0].length
  }
  if (from < text.length) pieces.push(text.slice(from))
  return pieces.some((piece) => typeof piece === 'function') ? { pieces } : pieces.join('')
}

function placeholderOf(name: string): ValueOf | undefined {
  switch (name) {
    case 'username':
      return (client) => client.username
    case 'clientid':
      return (client) => client.clientId
    case 'cert_common_name':
      return (client) => client.certificate?.commonName
    case 'zone':
      return (client) => client.zone
    default: {
      if (!name.startsWith(ATTRIBUTE)) return undefined
      const attribute = name.slice(ATTRIBUTE.length)
      return (client) => client.attributes.get(attribute)
    }
  }
}

/** Whether the level is what the template gives for the client. Nothing is where a value is missing or unsafe. */
function fits({ pieces }: Template, level: string, client: ClientInfo): boolean {
  let at = 0
  for (const piece of pieces) {
    const text = typeof piece === 'string' ? piece : piece(client)
    // Most fail at their first character, which is cheaper to see than to call for.
    if (text === undefined || text.charCodeAt(0) !== level.charCodeAt(at) || !level.startsWith(text, at))
      return false
    if (typeof piece === 'function' && (text === '' || UNSAFE.test(text))) return false
    at += text.length
  }
  return at === level.length
}
