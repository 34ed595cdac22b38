/** Pieces of rules that are written the same way in every source. */
import ipaddr from 'ipaddr.js'
import type { TopicPattern } from '../model/access.ts'
import { BrokerError } from '../model/errors.ts'
import { isValidFilter } from '../model/topic.ts'

const EXACTLY = 'eq '
const MAPPED = '::ffff:'

/**
 * `t/+/x`, `t/${clientid}/#`, or `eq t/#` for the text `t/#` itself.
 * @throws BrokerError CONFIG_INVALID for what is not a topic filter
 */
export function topicPattern(text: string): TopicPattern {
  if (text.startsWith(EXACTLY)) return exactTopic(text.slice(EXACTLY.length))
  if (!isValidFilter(text)) throw invalid(`${JSON.stringify(text)} is not a topic filter`)
  return { kind: 'filter', text }
}

export function exactTopic(text: string): TopicPattern {
  if (text === '') throw invalid('a topic must not be empty')
  return { kind: 'exact', text }
}

/**
 * An address or a network: `10.0.0.0/8`, `192.168.0.7`, `fd00::/8`.
 * @throws BrokerError CONFIG_INVALID
 */
export function ipCondition(text: string): (host: string) => boolean {
  const [address, bits] = networkOf(text)
  if (address.kind() === 'ipv6') return ipv6Condition(address as ipaddr.IPv6, bits)
  const mask = bits === 0 ? 0 : (-1 << (32 - bits)) >>> 0
  const network = (numberOf(address.toString()) & mask) >>> 0
  return (host) => (numberOf(unmapped(host)) & mask) >>> 0 === network && isIpv4(unmapped(host))
}

/** One of several addresses or networks. */
export function ipConditionOf(texts: readonly string[]): (host: string) => boolean {
  const conditions = texts.map(ipCondition)
  return (host) => conditions.some((matches) => matches(host))
}

function ipv6Condition(network: ipaddr.IPv6, bits: number): (host: string) => boolean {
  return (host) => {
    if (!ipaddr.IPv6.isValid(host)) return false
    return ipaddr.IPv6.parse(host).match(network, bits)
  }
}

function networkOf(text: string): [address: ipaddr.IPv4 | ipaddr.IPv6, bits: number] {
  const [host = '', length, ...rest] = text.split('/')
  if (rest.length > 0 || !(ipaddr.IPv4.isValidFourPartDecimal(host) || ipaddr.IPv6.isValid(host))) {
    throw invalid(`${JSON.stringify(text)} is not an address or network`)
  }
  const address = ipaddr.parse(host)
  const max = address.kind() === 'ipv4' ? 32 : 128
  const bits = length === undefined ? max : /^\d{1,3}$/.test(length) ? Number(length) : -1
  if (bits < 0 || bits > max) throw invalid(`${JSON.stringify(text)}: the prefix must be 0 to ${max}`)
  return [address, bits]
}

/** A dual-stack socket tells IPv4 peers as `::ffff:10.0.0.1`. */
function unmapped(host: string): string {
  return host.startsWith(MAPPED) && host.includes('.') ? host.slice(MAPPED.length) : host
}

function isIpv4(host: string): boolean {
  return !host.includes(':')
}

/** `10.0.0.1` as 32 bits; anything but an IPv4 address gives some number. */
function numberOf(host: string): number {
  let value = 0
  let part = 0
  for (let i = 0; i < host.length; i++) {
    const c = host.charCodeAt(i)
    if (c === 0x2e) {
      value = value * 256 + part
      part = 0
    } else part = part * 10 + (c - 0x30)
  }
  return value * 256 + part
}

function invalid(why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', why)
}
