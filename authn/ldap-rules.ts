/** Access rules and their end, where a directory keeps them with its users. */
import Type from 'typebox'
import type { LdapEntry } from '../connectors/connector.ts'
import { type LdapRuleAttributes, ruleAttributes, rulesOfEntry, textsOf } from '../connectors/ldap-rules.ts'
import { BrokerError } from '../model/errors.ts'
import { parseDuration } from '../model/units.ts'

export interface LdapRulesConfig extends LdapRuleAttributes {
  acl_ttl_attribute?: string
}

const attribute = (description: string) => Type.Optional(Type.String({ minLength: 1, description }))

export const ldapRulesFields = {
  publish_attribute: attribute('Attribute with topic filters that the client may publish to'),
  subscribe_attribute: attribute('Attribute with topic filters that it may subscribe to'),
  all_attribute: attribute('Attribute with topic filters for both'),
  acl_rule_attribute: attribute('Attribute with rules as JSON: an object or a list of them'),
  acl_ttl_attribute: attribute('Attribute with the time until the client is logged out, like 1h'),
}

/** Names of the attributes that are to be fetched. */
export function rulesAttributes(config: LdapRulesConfig): string[] {
  const { acl_ttl_attribute } = config
  return [...ruleAttributes(config), ...(acl_ttl_attribute === undefined ? [] : [acl_ttl_attribute])]
}

/**
 * What `acl` and `expire_at` would be in JSON.
 * @throws BrokerError BACKEND_FAILED for what is neither JSON nor a duration
 */
export function rulesOf(
  entry: LdapEntry,
  config: LdapRulesConfig,
  now: number,
): { acl?: unknown[]; expire_at?: number } {
  const acl = rulesOfEntry(entry, config)
  const [ttl] = textsOf(entry, config.acl_ttl_attribute)
  return {
    ...(acl.length === 0 ? {} : { acl }),
    ...(ttl === undefined ? {} : { expire_at: Math.ceil((now + ttlOf(ttl)) / 1000) }),
  }
}

function ttlOf(text: string): number {
  try {
    return parseDuration(text)
  } catch {
    throw new BrokerError('BACKEND_FAILED', 'acl_ttl_attribute is no duration')
  }
}
