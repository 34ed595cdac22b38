/** A rule of the built-in database, as API, command and storage spell it. */
import type { Permission, Rule } from '../model/access.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { QoS } from '../model/message.ts'
import { parseJsonRule } from './json-rule.ts'

/** Texts that narrow a rule down to some clients. */
const CONDITIONS = [
  'username_re',
  'clientid_re',
  'ipaddr',
  'zone',
  'zone_re',
  'listener',
  'listener_re',
] as const

const FIELDS: readonly string[] = ['permission', 'action', 'topic', 'qos', 'retain', ...CONDITIONS]
const ALL_QOS: readonly QoS[] = [0, 1, 2]

export type RuleItem = {
  readonly permission: Permission
  readonly action: Rule['action']
  readonly topic: string
  readonly qos: readonly QoS[]
  readonly retain: boolean | 'all'
} & { readonly [Name in (typeof CONDITIONS)[number]]?: string }

/**
 * With what was left out filled in.
 * @throws BrokerError CONFIG_INVALID saying what is wrong with it
 */
export function readRuleItem(value: unknown): RuleItem {
  const rule = ruleOf(value)
  const fields = value as Record<string, unknown>
  const unknown = Object.keys(fields).find((name) => !FIELDS.includes(name))
  if (unknown !== undefined) throw wrong(`unexpected ${JSON.stringify(unknown)}`)
  const conditions = CONDITIONS.filter((name) => fields[name] !== undefined && fields[name] !== null)
  return {
    permission: rule.permission,
    action: rule.action,
    topic: String(fields.topic),
    qos: rule.qos ?? ALL_QOS,
    retain: rule.retain ?? 'all',
    ...Object.fromEntries(conditions.map((name) => [name, String(fields[name])])),
  }
}

/** @throws BrokerError CONFIG_INVALID with the number of the rule */
export function readRuleItems(value: unknown): RuleItem[] {
  if (!Array.isArray(value)) throw wrong('rules must be a list')
  return value.map((item: unknown, index) => {
    try {
      return readRuleItem(item)
    } catch (error) {
      throw wrong(`rule ${index + 1}: ${messageOf(error)}`)
    }
  })
}

function ruleOf(value: unknown): Rule {
  try {
    return parseJsonRule(value)
  } catch (error) {
    throw wrong(messageOf(error))
  }
}

function wrong(why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', why)
}
