/** `access_rules` of a listener: `allow WHO` or `deny WHO`, WHO = `all`, an IP address or a CIDR range. */
import ipaddr from 'ipaddr.js'
import { BrokerError } from '../model/errors.ts'

type Ip = ipaddr.IPv4 | ipaddr.IPv6
type Who = 'all' | { range: Ip; bits: number }
interface Rule {
  allow: boolean
  who: Who
}

/** Parsed once; asked for every connection. */
export class AccessRules {
  readonly #rules: readonly Rule[]

  /**
   * @param texts - each may hold several rules joined by commas
   * @throws BrokerError CONFIG_INVALID with the text of the rule
   */
  constructor(texts: readonly string[]) {
    this.#rules = texts
      .flatMap((text) => text.split(','))
      .map((text) => text.trim())
      .filter((text) => text !== '')
      .map(parseRule)
  }

  /** The first rule that matches decides. None matches: allowed, so an allow list ends with `deny all`. */
  allows(host: string): boolean {
    const first = this.#rules[0]
    if (first === undefined) return true
    if (first.who === 'all') return first.allow
    const ip = ipaddr.isValid(host) ? ipaddr.process(host) : undefined
    for (const rule of this.#rules) {
      if (rule.who === 'all' || (ip !== undefined && matches(ip, rule.who.range, rule.who.bits)))
        return rule.allow
    }
    return true
  }
}

/** The address as people write it: an IPv4 peer of a dual-stack socket is `1.2.3.4`, not `::ffff:1.2.3.4`. */
export function plainHost(host: string): string {
  return host.startsWith('::ffff:') && host.includes('.') ? host.slice(7) : host
}

function matches(ip: Ip, range: Ip, bits: number): boolean {
  if (ip instanceof ipaddr.IPv4) return range instanceof ipaddr.IPv4 && ip.match(range, bits)
  return range instanceof ipaddr.IPv6 && ip.match(range, bits)
}

function parseRule(text: string): Rule {
  const [verb, who, ...rest] = text.split(/\s+/)
  if ((verb !== 'allow' && verb !== 'deny') || who === undefined || rest.length > 0) {
    throw invalid(text, 'a rule is "allow WHO" or "deny WHO"')
  }
  return { allow: verb === 'allow', who: who === 'all' ? 'all' : parseRange(text, who) }
}

function parseRange(text: string, who: string): Who {
  const [address = '', length, ...rest] = who.split('/')
  // ipaddr.js also takes forms like "10.1" and "0x7f.1"; a rule must not mean something surprising.
  if (rest.length > 0 || !(ipaddr.IPv6.isValid(address) || ipaddr.IPv4.isValidFourPartDecimal(address))) {
    throw invalid(text, 'WHO is "all", an IP address or a CIDR range such as 10.0.0.0/8')
  }
  const range = ipaddr.parse(address)
  const all = range.kind() === 'ipv4' ? 32 : 128
  if (length === undefined) return mapped(range, all)
  if (!/^\d{1,3}$/.test(length) || Number(length) > all) throw invalid(text, `/${length} is not 0 to ${all}`)
  return mapped(range, Number(length))
}

/** A rule for `::ffff:10.0.0.0/104` means the IPv4 peers, which are compared as IPv4. */
function mapped(range: Ip, bits: number): Who {
  if (range instanceof ipaddr.IPv6 && range.isIPv4MappedAddress() && bits >= 96) {
    return { range: range.toIPv4Address(), bits: bits - 96 }
  }
  return { range, bits }
}

function invalid(text: string, why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `access_rules: "${text}": ${why}`)
}
