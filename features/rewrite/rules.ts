/** Rewrite rules, compiled: from a topic and a client to another topic. Pure. */
import type { ClientInfo } from '../../model/client-info.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import { Pattern } from '../../model/pattern.ts'
import { hasWildcard, isShared, isValidFilter, topicMatches } from '../../model/topic.ts'
import { topicValue } from '../placeholder.ts'
import { MAX_REWRITE_RULES, type RewriteConfig, type RewriteRuleConfig } from './config.ts'

/** Longer topics stay as they are: it bounds the time that one message can cost. */
export const MAX_TOPIC_LENGTH = 4096

/**
 * Topics whose rule and groups are remembered, and how long they may be: at most about 10 MB. Matching costs
 * some 3 us, a look-up 20 ns.
 */
const MAX_CACHED = 10_000
const MAX_CACHED_LENGTH = 256
const DOLLAR = 0x24

/** Literal text, the number of a group, or a placeholder. */
type Piece = string | number | { verbatim: string; valueOf: (client: ClientInfo) => string | undefined }

interface Rule {
  readonly source: string
  readonly regex: Pattern
  readonly pieces: readonly Piece[]
}

/** What a topic becomes, but for what depends on the client. Undefined groups: it stays as it is. */
interface Found {
  readonly pieces: readonly Piece[]
  readonly groups: readonly string[] | undefined
}

const NOTHING: Found = { pieces: [], groups: undefined }
const PLACEHOLDER = /\$(\d+)|\$\{(clientid|username)\}/g

export class RewriteRules {
  readonly #rules: readonly Rule[]
  readonly #found = new Map<string, Found>()

  /** @param rules - in the order of the config */
  constructor(rules: readonly Rule[]) {
    this.#rules = rules
  }

  get isEmpty(): boolean {
    return this.#rules.length === 0
  }

  /**
   * @param topic - a topic or filter as the client knows it
   * @param client - undefined when the broker itself publishes: it has neither id nor user name
   * @returns undefined: it stays as it is
   */
  rewrite(topic: string, client: ClientInfo | undefined): string | undefined {
    const { pieces, groups } = this.#found.get(topic) ?? this.#find(topic)
    if (groups === undefined) return undefined
    let result = ''
    for (const piece of pieces) result += render(piece, groups, client)
    // Who may publish to `a/#` must not get at `$SYS` because a rule takes the `a/` away.
    const mayBeginWithDollar = topic.charCodeAt(0) === DOLLAR || typeof pieces[0] === 'string'
    return result.charCodeAt(0) === DOLLAR && !mayBeginWithDollar ? undefined : result
  }

  /** The last rule about the topic decides, even if its expression does not match. */
  #find(topic: string): Found {
    if (topic.length > MAX_TOPIC_LENGTH) return NOTHING
    const rule = this.#rules.findLast(({ source }) => topicMatches(source, topic))
    const groups = rule?.regex.match(topic)
    const found = rule === undefined || groups === undefined ? NOTHING : { pieces: rule.pieces, groups }
    if (topic.length > MAX_CACHED_LENGTH) return found
    if (this.#found.size >= MAX_CACHED) this.#found.clear()
    this.#found.set(topic, found)
    return found
  }
}

/**
 * Compiles a config.
 * @throws BrokerError CONFIG_INVALID naming the rule, counted from 1
 */
export function compileRules(config: RewriteConfig): { publish: RewriteRules; subscribe: RewriteRules } {
  if (config.length > MAX_REWRITE_RULES)
    throw new BrokerError(
      'CONFIG_INVALID',
      `rewrite: at most ${MAX_REWRITE_RULES} rules, found ${config.length}`,
    )
  const rules = config.map((one, i) => compileRule(one, `rewrite.${i + 1}`))
  const of = (other: 'publish' | 'subscribe') =>
    new RewriteRules(rules.filter((_, i) => config[i]?.action !== other))
  return { publish: of('subscribe'), subscribe: of('publish') }
}

function compileRule({ action, source_topic, re, dest_topic }: RewriteRuleConfig, path: string): Rule {
  if (!isValidFilter(source_topic) || isShared(source_topic))
    throw invalid(
      `${path}.source_topic`,
      `expected a topic filter that is not shared, found ${JSON.stringify(source_topic)}`,
    )
  if (dest_topic.includes('\0')) throw invalid(`${path}.dest_topic`, 'a topic holds no U+0000')
  if (action === 'subscribe') {
    // What the groups bring is not known yet, so only what is wrong in any case is found here.
    if (!isValidFilter(dest_topic))
      throw invalid(`${path}.dest_topic`, `expected a topic filter, found ${JSON.stringify(dest_topic)}`)
  } else if (hasWildcard(dest_topic)) {
    throw invalid(
      `${path}.dest_topic`,
      `nothing can be published to ${JSON.stringify(dest_topic)}: it holds a wildcard`,
    )
  }
  const regex = compileRegex(re, path)
  return { source: source_topic, regex, pieces: piecesOf(dest_topic, regex.groupCount, path) }
}

function compileRegex(source: string, path: string): Pattern {
  try {
    return new Pattern(source)
  } catch (error) {
    throw invalid(`${path}.re`, `${JSON.stringify(source)} is ${messageOf(error)}`, error)
  }
}

/** All placeholders are found in one go, so that none can come in by a value. */
function piecesOf(template: string, groupCount: number, path: string): Piece[] {
  const pieces: Piece[] = []
  let from = 0
  for (const match of template.matchAll(PLACEHOLDER)) {
    const [verbatim, digits, name] = match
    if (match.index > from) pieces.push(template.slice(from, match.index))
    from = match.index + verbatim.length
    if (digits === undefined) {
      pieces.push({ verbatim, valueOf: name === 'clientid' ? clientIdOf : usernameOf })
      continue
    }
    const number = groupNumber(digits, groupCount)
    if (number === undefined) throw invalid(`${path}.dest_topic`, `there is no group for $${digits} in re`)
    pieces.push(Number(number))
    if (number.length < digits.length) pieces.push(digits.slice(number.length))
  }
  if (from < template.length) pieces.push(template.slice(from))
  return pieces
}

/** `$10` is the tenth group, and where there are not so many the first and a zero. */
function groupNumber(digits: string, groupCount: number): string | undefined {
  for (let length = digits.length; length > 0; length--) {
    const number = Number(digits.slice(0, length))
    if (number >= 1 && number <= groupCount) return digits.slice(0, length)
  }
  return undefined
}

function render(piece: Piece, groups: readonly string[], client: ClientInfo | undefined): string {
  if (typeof piece === 'string') return piece
  if (typeof piece === 'number') return groups[piece] as string
  return (client === undefined ? undefined : topicValue(piece.valueOf(client))) ?? piece.verbatim
}

function clientIdOf(client: ClientInfo): string {
  return client.clientId
}

function usernameOf(client: ClientInfo): string | undefined {
  return client.username
}

function invalid(path: string, text: string, cause?: unknown): BrokerError {
  return new BrokerError('CONFIG_INVALID', `${path}: ${text}`, { cause })
}
