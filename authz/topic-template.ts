/**
 * Topic filters of rules, compiled to levels. A level is a literal, `+`, `#`, or a template
 * with `${placeholders}` that is filled in from the client when it is compared.
 */
import type { ClientInfo } from '../model/client-info.ts'

/** Undefined: the client has no such value. */
type ValueOf = (client: ClientInfo) => string | undefined

/** Literal pieces and values that together make one level. */
interface Template {
  readonly pieces: readonly (string | ValueOf)[]
}

export type Level = string | Template

const PLACEHOLDER = /\$\{\.?([\w.$-]+)\}/g
const ATTRIBUTE = 'client_attrs.'
const DOLLAR = 0x24

/** A value with one of these would act as a wildcard or add levels. */
const UNSAFE = /[+#/]/

export function compileFilter(filter: string): Level[] {
  return filter.split('/').map(compileLevel)
}

/**
 * Whether a rule's filter covers a topic or a requested filter, whose levels may be the words `+` and `#`.
 * @param plusTakesHash - whether `+` of the rule covers `#` of the request. That is more than
 *   `+` means, so it is right for refusing only: rule `a/+` must not allow `a/#`, but may deny it.
 */
export function covers(
  filter: readonly Level[],
  levels: readonly string[],
  client: ClientInfo,
  plusTakesHash: boolean,
): boolean {
  // [MQTT-4.7.2-1] and no client gets at `$SYS` by taking that for its name.
  const first = filter[0]
  if (levels[0]?.charCodeAt(0) === DOLLAR && (first === '+' || first === '#' || typeof first === 'object'))
    return false
  for (let i = 0; i < filter.length; i++) {
    const wanted = filter[i] as Level
    if (wanted === '#') return true
    const level = levels[i]
    if (level === undefined) return false
    if (wanted === '+') {
      if (level === '#' && !plusTakesHash) return false
    } else if (typeof wanted === 'string' ? wanted !== level : render(wanted, client) !== level) return false
  }
  return filter.length === levels.length
}

function compileLevel(text: string): Level {
  const pieces: (string | ValueOf)[] = []
  let from = 0
  for (const match of text.matchAll(PLACEHOLDER)) {
    const value = match[1] === '$' ? '$' : placeholderOf(match[1] ?? '')
    // Unknown ones stay as they are written.
    if (value === undefined) continue
    pieces.push(text.slice(from, match.index), value)
    from = match.index + match[0].length
  }
  pieces.push(text.slice(from))
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

/** Undefined where a value is missing or unsafe: then nothing equals it. */
function render({ pieces }: Template, client: ClientInfo): string | undefined {
  let text = ''
  for (const piece of pieces) {
    if (typeof piece === 'string') {
      text += piece
      continue
    }
    const value = piece(client)
    if (value === undefined || value === '' || UNSAFE.test(value)) return undefined
    text += value
  }
  return text
}
