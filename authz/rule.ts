/** Rules compiled for speed: most of a thousand are passed over after one comparison of numbers or strings. */
import type { Action, Permission, Rule, TextTest, TopicPattern, Who } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { type CompiledFilter, compileFilter, covers } from './topic-template.ts'

export interface CompiledRule {
  readonly permission: Permission
  /** One bit for each of the nine ways to publish or subscribe. */
  readonly actions: number
  /** Undefined: everybody. */
  readonly who: ((client: ClientInfo) => boolean) | undefined
  /** Undefined: every topic. */
  readonly topics: readonly CompiledTopic[] | undefined
}

/** One of both; always with the same fields, as there are many to be passed over. */
export interface CompiledTopic {
  readonly exact: string
  readonly filter: CompiledFilter | undefined
}

type Condition = (client: ClientInfo) => boolean

const ALL_QOS = [0, 1, 2] as const
const BOTH = [false, true] as const

export function compileRule(rule: Rule): CompiledRule {
  return {
    permission: rule.permission,
    actions: actionBits(rule),
    who: rule.who.kind === 'all' ? undefined : compileWho(rule.who),
    topics: rule.topics.some(({ kind }) => kind === 'all') ? undefined : rule.topics.map(compileTopic),
  }
}

export function compileRules(rules: readonly Rule[]): CompiledRule[] {
  return rules.map(compileRule)
}

/**
 * What the first rule says that is about this client, action and topic; undefined if none is.
 * For a subscription the rule must cover all of the requested filter.
 * @param topic - see `checkedTopic`
 */
export function firstMatch(
  rules: readonly CompiledRule[],
  client: ClientInfo,
  action: Action,
  topic: string,
): Permission | undefined {
  const bit = bitOf(action)
  let levels: readonly string[] | undefined
  for (const rule of rules) {
    if ((rule.actions & bit) === 0) continue
    levels ??= topic.split('/')
    if (fitsRule(rule, bit, client, topic, levels)) return rule.permission
  }
  return undefined
}

/**
 * Whether a rule is about this client, action and topic.
 * @param bit - of the action
 * @param levels - of the topic
 */
export function fitsRule(
  rule: CompiledRule,
  bit: number,
  client: ClientInfo,
  topic: string,
  levels: readonly string[],
): boolean {
  if ((rule.actions & bit) === 0) return false
  if (rule.who !== undefined && !rule.who(client)) return false
  return rule.topics === undefined || topicsMatch(rule.topics, rule.permission, client, topic, levels)
}

function topicsMatch(
  topics: readonly CompiledTopic[],
  permission: Permission,
  client: ClientInfo,
  topic: string,
  levels: readonly string[],
): boolean {
  for (const pattern of topics) {
    if (pattern.filter === undefined) {
      if (pattern.exact === topic) return true
    } else if (covers(pattern.filter, levels, client, permission === 'deny')) return true
  }
  return false
}

/** The one bit of `CompiledRule.actions` that is for this action. */
export function bitOf(action: Action): number {
  return action.kind === 'publish' ? publishBit(action.qos, action.retain) : subscribeBit(action.qos)
}

function publishBit(qos: number, retain: boolean): number {
  return 1 << (qos * 2 + (retain ? 1 : 0))
}

function subscribeBit(qos: number): number {
  return 1 << (6 + qos)
}

function actionBits(rule: Rule): number {
  let bits = 0
  for (const qos of rule.qos ?? ALL_QOS) {
    if (rule.action !== 'publish') bits |= subscribeBit(qos)
    if (rule.action === 'subscribe') continue
    for (const retain of rule.retain === undefined ? BOTH : [rule.retain]) bits |= publishBit(qos, retain)
  }
  return bits
}

function compileTopic(pattern: TopicPattern): CompiledTopic {
  if (pattern.kind === 'filter') return { exact: '', filter: compileFilter(pattern.text) }
  return { exact: pattern.kind === 'exact' ? pattern.text : '', filter: undefined }
}

function compileWho(who: Who): Condition {
  switch (who.kind) {
    case 'all':
      return () => true
    case 'username':
      return textCondition(who.is, (client) => client.username)
    case 'clientid':
      return textCondition(who.is, (client) => client.clientId)
    case 'zone':
      return textCondition(who.is, (client) => client.zone)
    case 'listener':
      return textCondition(who.is, (client) => client.listener)
    case 'client_attr':
      return textCondition(who.is, (client) => client.attributes.get(who.name))
    case 'ipaddr':
      return (client) => who.matches(client.peerHost)
    case 'and': {
      const conditions = who.conditions.map(compileWho)
      return (client) => conditions.every((condition) => condition(client))
    }
    case 'or': {
      const conditions = who.conditions.map(compileWho)
      return (client) => conditions.some((condition) => condition(client))
    }
  }
}

function textCondition(is: string | TextTest, read: (client: ClientInfo) => string | undefined): Condition {
  if (typeof is === 'string') return (client) => read(client) === is
  return (client) => {
    const value = read(client)
    return value !== undefined && is.test(value)
  }
}
