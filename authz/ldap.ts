/** `ldap`: rules in attributes of a directory's entries. */
import Type from 'typebox'
import type { LdapConnector } from '../connectors/connector.ts'
import { openLdap } from '../connectors/ldap.ts'
import { type LdapConfig, ldapFields } from '../connectors/ldap-config.ts'
import { ruleAttributes, rulesOfEntry } from '../connectors/ldap-rules.ts'
import { compileDn, compileLdapFilter, type Template } from '../connectors/template.ts'
import { templateRules } from '../connectors/template-rules.ts'
import { AUTHZ_PLACEHOLDERS } from '../connectors/variables.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import { Strict } from '../model/schema.ts'
import { sourceFields } from './fields.ts'
import { parseAcl } from './json-rule.ts'
import { type FindRules, QuerySource } from './query-source.ts'
import { defineSource, type SourceBase } from './source.ts'

const TYPE = 'ldap'

export interface LdapRulesConfig extends SourceBase, LdapConfig {
  base_dn: string
  filter: string
  publish_attribute: string
  subscribe_attribute: string
  all_attribute: string
  acl_rule_attribute: string
}

const attribute = (name: string, description: string) =>
  Type.String({ default: name, minLength: 1, description })

export const ldapRules = defineSource<LdapRulesConfig>({
  type: TYPE,
  schema: Strict(
    {
      ...sourceFields(TYPE),
      ...ldapFields,
      base_dn: Type.String({
        minLength: 1,
        description: 'The entry with the rules of a client, or one above it, with placeholders',
      }),
      filter: Type.String({
        default: '(objectClass=mqttUser)',
        minLength: 1,
        description: 'Which of the entries there and below it is, with placeholders',
      }),
      publish_attribute: attribute('mqttPublishTopic', 'Attribute with topic filters to publish to'),
      subscribe_attribute: attribute('mqttSubscriptionTopic', 'Attribute with topic filters to subscribe to'),
      all_attribute: attribute('mqttPubSubTopic', 'Attribute with topic filters for both'),
      acl_rule_attribute: attribute(
        'mqttAclRule',
        'Attribute with rules as JSON: an object or a list of them',
      ),
    },
    { description: 'Rules in a directory' },
  ),
  async create(config, context) {
    const rules = templateRules(AUTHZ_PLACEHOLDERS, context.log)
    const baseDn = compileDn(config.base_dn, rules)
    const filter = compileLdapFilter(config.filter, rules)
    const connector = await openLdap(TYPE, config, context)
    return new QuerySource(connector, rulesIn(connector, config, baseDn, filter))
  },
})

function rulesIn(
  connector: LdapConnector,
  config: LdapRulesConfig,
  baseDn: Template<string>,
  filter: Template<string>,
): FindRules {
  const attributes = ruleAttributes(config)
  return async (values) => {
    const search = { baseDn: baseDn.render(values), filter: filter.render(values), attributes, sizeLimit: 2 }
    const [entry, another] = await connector.search(search)
    if (another !== undefined)
      throw new BrokerError('BACKEND_FAILED', `${TYPE}: base_dn and filter fit more than one entry`)
    if (entry === undefined) return []
    try {
      return parseAcl(rulesOfEntry(entry, config))
    } catch (error) {
      throw new BrokerError('BACKEND_FAILED', `${TYPE}: the rules of an entry: ${messageOf(error)}`)
    }
  }
}
