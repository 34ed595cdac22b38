/** One ban: whom it is about, why, and until when. */
import ipaddr from 'ipaddr.js'
import { AccessRules } from '../../listeners/access-rules.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import { Pattern } from '../../model/pattern.ts'

/** What a ban compares: a text, an address, a regular expression (found anywhere in the text), a CIDR range. */
export const BAN_KINDS = [
  'clientid',
  'username',
  'peerhost',
  'clientid_re',
  'username_re',
  'peerhost_net',
] as const

export type BanKind = (typeof BAN_KINDS)[number]

/** @throws BrokerError CONFIG_INVALID */
export function readBanKind(text: string): BanKind {
  const kind = BAN_KINDS.find((one) => one === text)
  if (kind !== undefined) return kind
  throw new BrokerError(
    'CONFIG_INVALID',
    `a ban is one of ${BAN_KINDS.join(', ')}, not ${JSON.stringify(text)}`,
  )
}

export interface Ban {
  readonly kind: BanKind
  /** An address (`peerhost`) in its shortest form, everything else as it was given. */
  readonly who: string
  /** Who has banned. */
  readonly by: string
  readonly reason: string
  /** Unix time in milliseconds. */
  readonly atMs: number
  /** Unix time in milliseconds from which on it means nothing; `Infinity` = it holds until it is deleted. */
  readonly untilMs: number
}

export interface BanRequest {
  readonly kind: BanKind
  readonly who: string
  /** Default empty. */
  readonly by?: string
  /** Default empty. */
  readonly reason?: string
  /** Default now. */
  readonly atMs?: number
  /** Default `Infinity`. */
  readonly untilMs?: number
}

/** A ban that was found to be one; `pattern` is there for the kinds that have one. */
export interface CheckedBan {
  readonly ban: Ban
  readonly pattern: Pattern | undefined
}

/** @throws BrokerError CONFIG_INVALID for a `who` that its kind cannot mean */
export function checkBan(request: BanRequest, nowMs: number): CheckedBan {
  const { kind, by = '', reason = '', atMs = nowMs, untilMs = Number.POSITIVE_INFINITY } = request
  if (request.who === '') throw invalid(kind, request.who, 'nobody is named')
  const pattern = kind === 'clientid_re' || kind === 'username_re' ? compile(kind, request.who) : undefined
  if (kind === 'peerhost_net') checkNetwork(request.who)
  const who = kind === 'peerhost' ? address(request.who) : request.who
  return { ban: { kind, who, by, reason, atMs, untilMs }, pattern }
}

/** An address in its shortest form, an IPv4 one in IPv6 clothes as IPv4. What is no address is left as it is. */
export function plainAddress(host: string): string {
  return host.includes(':') && ipaddr.isValid(host) ? ipaddr.process(host).toString() : host
}

/** Networks as rules, which read and compare addresses in the same way for listeners. */
export function rulesAgainst(networks: Iterable<string>): AccessRules {
  return new AccessRules(Array.from(networks, (network) => `deny ${network}`))
}

/** The text comes from a peer that nobody has vouched for, so matching must not take longer than reading it. */
function compile(kind: BanKind, source: string): Pattern {
  try {
    return new Pattern(source)
  } catch (error) {
    throw invalid(kind, source, messageOf(error))
  }
}

function address(host: string): string {
  // ipaddr.js also takes "10.1" and "0x7f.1", which no peer is known by.
  if (ipaddr.IPv4.isValidFourPartDecimal(host) || ipaddr.IPv6.isValid(host)) return plainAddress(host)
  throw invalid('peerhost', host, 'not an IP address')
}

function checkNetwork(text: string): void {
  try {
    if (text === 'all' || /[\s,]/.test(text)) throw new Error('not one network')
    rulesAgainst([text])
  } catch {
    throw invalid('peerhost_net', text, 'not a CIDR range such as 10.0.0.0/8')
  }
}

function invalid(kind: BanKind, who: string, why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `${kind} ${JSON.stringify(who)}: ${why}`)
}
