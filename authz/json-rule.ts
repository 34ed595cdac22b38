/** Rules as JSON: in tokens and answers of authentication, in rows and documents of databases. */
import type { Permission, Rule, TopicPattern, Who } from '../model/access.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { QoS } from '../model/message.ts'
import { Pattern } from '../model/pattern.ts'
import { ipCondition, topicPattern } from './conditions.ts'

type Fields = Record<string, unknown>

const ACTIONS: ReadonlyMap<unknown, Rule['action']> = new Map([
  ['publish', 'publish'],
  ['pub', 'publish'],
  ['subscribe', 'subscribe'],
  ['sub', 'subscribe'],
  ['all', 'all'],
])

const RETAIN: ReadonlyMap<unknown, boolean | undefined> = new Map<unknown, boolean | undefined>([
  [true, true],
  [1, true],
  ['true', true],
  [false, false],
  [0, false],
  ['false', false],
  ['all', undefined],
  [undefined, undefined],
  [null, undefined],
])

const DENY_THE_REST: Rule = {
  permission: 'deny',
  who: { kind: 'all' },
  action: 'all',
  topics: [{ kind: 'all' }],
}

/**
 * `acl` of an authenticated client: a list of rule objects or, the old way, `{ pub, sub, all }`
 * with lists of allowed filters, after which everything else is denied.
 * @throws BrokerError BACKEND_FAILED saying what is wrong with which rule
 */
export function parseAcl(value: unknown): Rule[] {
  if (Array.isArray(value)) return value.map((rule, index) => numbered(index, () => parseJsonRule(rule)))
  if (isFields(value)) return oldRules(value)
  throw bad('expected a list of rules or an object with pub, sub and all')
}

/**
 * One rule object: `{ permission, action, topic | topics, qos?, retain?, ... }`. Other fields are not looked at.
 * @throws BrokerError BACKEND_FAILED
 */
export function parseJsonRule(value: unknown): Rule {
  if (!isFields(value)) throw bad('expected an object')
  const action = ACTIONS.get(value.action)
  if (action === undefined) throw bad('action must be publish, subscribe or all')
  const qos = qosOf(value.qos)
  const retain = retainOf(value.retain)
  return {
    permission: permissionOf(value.permission),
    who: whoOf(value),
    action,
    topics: topicsOf(value),
    ...(qos === undefined ? {} : { qos }),
    ...(retain === undefined ? {} : { retain }),
  }
}

function oldRules(value: Fields): Rule[] {
  const rules: Rule[] = []
  for (const [key, filters] of Object.entries(value)) {
    const action = ACTIONS.get(key)
    if (action === undefined) throw bad(`unexpected ${JSON.stringify(key)}, expected pub, sub or all`)
    if (!isTexts(filters)) throw bad(`${key} must be a list of topic filters`)
    rules.push({ permission: 'allow', who: { kind: 'all' }, action, topics: filters.map(patternOf) })
  }
  return [...rules, DENY_THE_REST]
}

function permissionOf(value: unknown): Permission {
  if (value !== 'allow' && value !== 'deny') throw bad('permission must be allow or deny')
  return value
}

function topicsOf({ topic, topics }: Fields): TopicPattern[] {
  const [one, several] = [topic ?? undefined, topics ?? undefined]
  if (typeof one === 'string' && several === undefined) return [patternOf(one)]
  if (one === undefined && isTexts(several) && several.length > 0) return several.map(patternOf)
  // Who has written both would miss one of them.
  if (typeof one === 'string' && isTexts(several)) return [one, ...several].map(patternOf)
  throw bad('topic must be a filter, or topics a list of them')
}

/** Undefined: any. */
function qosOf(value: unknown): QoS[] | undefined {
  if (value === undefined || value === null) return undefined
  const items =
    typeof value === 'string' ? value.split(',') : Array.isArray(value) ? (value as unknown[]) : [value]
  return items.map((item) => {
    const qos = typeof item === 'string' && /^\s*\d\s*$/.test(item) ? Number(item) : item
    if (qos === 0 || qos === 1 || qos === 2) return qos
    throw bad('qos must be 0, 1, 2 or a list of them')
  })
}

function retainOf(value: unknown): boolean | undefined {
  if (!RETAIN.has(value)) throw bad('retain must be true, false or all')
  return RETAIN.get(value)
}

/** All conditions given must hold. */
function whoOf(fields: Fields): Who {
  const conditions: Who[] = []
  const text = (name: string, condition: (text: string) => Who): void => {
    const value = fields[name]
    if (value === undefined || value === null) return
    if (typeof value !== 'string') throw bad(`${name} must be text`)
    conditions.push(readable(name, () => condition(value)))
  }
  text('username_re', (re) => ({ kind: 'username', is: new Pattern(re) }))
  text('clientid_re', (re) => ({ kind: 'clientid', is: new Pattern(re) }))
  text('ipaddr', (address) => ({ kind: 'ipaddr', matches: ipCondition(address) }))
  text('zone', (is) => ({ kind: 'zone', is }))
  text('zone_re', (re) => ({ kind: 'zone', is: new Pattern(re) }))
  text('listener', (is) => ({ kind: 'listener', is }))
  text('listener_re', (re) => ({ kind: 'listener', is: new Pattern(re) }))
  const [only, ...others] = conditions
  if (only === undefined) return { kind: 'all' }
  return others.length === 0 ? only : { kind: 'and', conditions }
}

function patternOf(text: string): TopicPattern {
  return readable('topic', () => topicPattern(text))
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** What is wrong in a rule is here the fault of the backend it came from. */
function readable<T>(name: string, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw bad(`${name}: ${messageOf(error)}`)
  }
}

function numbered<T>(index: number, work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw bad(`rule ${index + 1}: ${messageOf(error)}`)
  }
}

function bad(why: string): BrokerError {
  return new BrokerError('BACKEND_FAILED', why)
}
