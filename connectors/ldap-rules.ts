/** Access rules that a directory keeps in attributes of its entries. */
import { BrokerError } from '../model/errors.ts'
import type { LdapEntry } from './connector.ts'

/** Names of attributes; what is undefined is not looked at. */
export interface LdapRuleAttributes {
  /** Topic filters that may be published to. */
  publish_attribute?: string
  subscribe_attribute?: string
  all_attribute?: string
  /** Rules as JSON: an object or a list of them. */
  acl_rule_attribute?: string
}

export function ruleAttributes(config: LdapRuleAttributes): string[] {
  const { publish_attribute, subscribe_attribute, all_attribute, acl_rule_attribute } = config
  const names = [all_attribute, publish_attribute, subscribe_attribute, acl_rule_attribute]
  return names.filter((name) => name !== undefined)
}

/**
 * The rules of an entry as `acl` would have them in JSON, in EMQX's order.
 * @throws BrokerError BACKEND_FAILED for what is no JSON
 */
export function rulesOfEntry(entry: LdapEntry, config: LdapRuleAttributes): unknown[] {
  const filters = (name: string | undefined, action: string): unknown[] => {
    const topics = textsOf(entry, name)
    return topics.length === 0 ? [] : [{ permission: 'allow', action, topics }]
  }
  return [
    ...filters(config.all_attribute, 'all'),
    ...filters(config.publish_attribute, 'publish'),
    ...filters(config.subscribe_attribute, 'subscribe'),
    ...textsOf(entry, config.acl_rule_attribute).flatMap(jsonRules),
  ]
}

/** Values of an attribute as text. */
export function textsOf(entry: LdapEntry, name: string | undefined): string[] {
  if (name === undefined) return []
  return (entry.attributes.get(name.toLowerCase()) ?? []).map((value) => value.toString())
}

function jsonRules(text: string): unknown[] {
  try {
    const value: unknown = JSON.parse(text)
    return Array.isArray(value) ? value : [value]
  } catch {
    throw new BrokerError('BACKEND_FAILED', 'acl_rule_attribute is no JSON')
  }
}
