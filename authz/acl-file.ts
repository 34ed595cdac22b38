/**
 * Rule files (`acl.conf`): `{Permission, Condition, Action, Topics}.`, tried from top to bottom.
 *
 *   {allow, {username, {re, "^dash"}}, subscribe, ["$SYS/#"]}.
 *   {deny, {'or', [{ipaddr, "10.0.0.0/8"}, {clientid, "c"}]}, {publish, [{qos, 0}]}, ["a/+", {eq, "b/#"}]}.
 *   {allow, all}.
 */

import type { Permission, Rule, TopicPattern, Who } from '../model/access.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { QoS } from '../model/message.ts'
import { Pattern } from '../model/pattern.ts'
import { exactTopic, ipCondition, ipConditionOf, topicPattern } from './conditions.ts'
import { describeTerm, parseTerms, type Term } from './erlang-terms.ts'

const CONDITIONS =
  'all, username, clientid, ipaddr, ipaddrs, client_attr, zone, listener, and, or, or security_profile'
const EVERYBODY: Who = { kind: 'all' }
const NOBODY: Who = { kind: 'or', conditions: [] }

/** @throws BrokerError CONFIG_INVALID with the line and what was expected there */
export function parseAclFile(text: string): Rule[] {
  return parseTerms(text).map(ruleOf)
}

function ruleOf(term: Term): Rule {
  if (term.kind !== 'tuple' || (term.items.length !== 4 && term.items.length !== 2)) {
    throw expected('{Permission, Condition, Action, Topics} or {Permission, all}', term)
  }
  const [first, condition, action, topics] = term.items as [Term, Term, Term | undefined, Term | undefined]
  const permission = permissionOf(first)
  if (action === undefined || topics === undefined) return catchAll(permission, condition)
  return { permission, who: whoOf(condition), ...actionOf(action), topics: topicsOf(topics) }
}

function permissionOf(term: Term): Permission {
  const name = atomOf(term)
  if (name !== 'allow' && name !== 'deny') throw expected('allow or deny', term)
  return name
}

function catchAll(permission: Permission, condition: Term): Rule {
  const isProfile = condition.kind === 'tuple' && atomOf(condition.items[0]) === 'security_profile'
  if (atomOf(condition) !== 'all' && !isProfile)
    throw expected('all, or {security_profile, legacy}', condition)
  return { permission, who: whoOf(condition), action: 'all', topics: [{ kind: 'all' }] }
}

function whoOf(term: Term): Who {
  if (atomOf(term) === 'all') return EVERYBODY
  if (term.kind !== 'tuple') throw expected(`a condition (${CONDITIONS})`, term)
  const [head, value, third] = term.items
  const size = term.items.length
  const name = atomOf(head)
  if (name === 'client_attr') {
    if (size !== 3) throw expected('{client_attr, "name", "value"}', term)
    return { kind: 'client_attr', name: textOf(value, term), is: textOrPattern(third, term) }
  }
  if (size !== 2 || value === undefined) throw expected(`a condition (${CONDITIONS})`, term)
  switch (name) {
    case 'user':
    case 'username':
      return { kind: 'username', is: textOrPattern(value, term) }
    case 'client':
    case 'clientid':
      return { kind: 'clientid', is: textOrPattern(value, term) }
    case 'zone':
    case 'listener':
      return { kind: name, is: textOrPattern(value, term) }
    case 'ipaddr':
      return { kind: 'ipaddr', matches: at(value, () => ipCondition(textOf(value, term))) }
    case 'ipaddrs': {
      const addresses = listOf(value, 'a list of addresses').map((item) => textOf(item, term))
      return { kind: 'ipaddr', matches: at(value, () => ipConditionOf(addresses)) }
    }
    case 'and':
    case 'or':
      return { kind: name, conditions: listOf(value, 'a list of conditions').map(whoOf) }
    case 'security_profile':
      return profileOf(value)
    default:
      throw expected(`a condition (${CONDITIONS})`, head ?? term)
  }
}

/** This broker decides as the legacy profile does, so rules for the hardened one are about nobody. */
function profileOf(term: Term): Who {
  const name = atomOf(term)
  if (name !== 'legacy' && name !== 'hardened') throw expected('legacy or hardened', term)
  return name === 'legacy' ? EVERYBODY : NOBODY
}

function actionOf(term: Term): Pick<Rule, 'action' | 'qos' | 'retain'> {
  if (term.kind !== 'tuple') return { action: actionName(term) }
  const [head, options] = term.items
  if (term.items.length !== 2 || head === undefined || options === undefined) {
    throw expected('{publish, [{qos, 1}, {retain, false}]}', term)
  }
  const rule: { action: Rule['action']; qos?: QoS[]; retain?: boolean } = { action: actionName(head) }
  for (const option of listOf(options, 'a list of {qos, ...} and {retain, ...}')) {
    const [name, value] = option.kind === 'tuple' && option.items.length === 2 ? option.items : []
    if (name !== undefined && value !== undefined && atomOf(name) === 'qos') rule.qos = qosOf(value)
    else if (name !== undefined && value !== undefined && atomOf(name) === 'retain') {
      if (rule.action === 'subscribe') throw expected('no retain, which subscribing has not', option)
      const retain = retainOf(value)
      if (retain !== undefined) rule.retain = retain
    } else throw expected('{qos, ...} or {retain, ...}', option)
  }
  return rule
}

function actionName(term: Term): Rule['action'] {
  const name = atomOf(term)
  if (name !== 'publish' && name !== 'subscribe' && name !== 'all')
    throw expected('publish, subscribe or all', term)
  return name
}

function qosOf(term: Term): QoS[] {
  return (term.kind === 'list' ? term.items : [term]).map((item) => {
    if (item.kind === 'number' && (item.value === 0 || item.value === 1 || item.value === 2))
      return item.value
    throw expected('a QoS of 0, 1 or 2', item)
  })
}

function retainOf(term: Term): boolean | undefined {
  const name = atomOf(term)
  if (name !== 'true' && name !== 'false' && name !== 'all') throw expected('true, false or all', term)
  return name === 'all' ? undefined : name === 'true'
}

function topicsOf(term: Term): TopicPattern[] {
  if (atomOf(term) === 'all') return [{ kind: 'all' }]
  return listOf(term, 'a list of topic filters, or all').map((item) => {
    if (item.kind === 'text') return at(item, () => topicPattern(item.text))
    const [head, text] = item.kind === 'tuple' && item.items.length === 2 ? item.items : []
    if (atomOf(head) !== 'eq') throw expected('"filter" or {eq, "filter"}', item)
    return at(item, () => exactTopic(textOf(text, item)))
  })
}

function textOrPattern(term: Term | undefined, whole: Term): string | Pattern {
  if (term?.kind !== 'tuple') return textOf(term, whole)
  const [head, source] = term.items
  if (term.items.length !== 2 || atomOf(head) !== 're') throw expected('"text" or {re, "pattern"}', term)
  return at(term, () => new Pattern(textOf(source, term)))
}

function textOf(term: Term | undefined, whole: Term): string {
  if (term?.kind !== 'text') throw expected('text in double quotes', term ?? whole)
  return term.text
}

function listOf(term: Term, what: string): Term[] {
  if (term.kind !== 'list') throw expected(what, term)
  return term.items
}

function atomOf(term: Term | undefined): string | undefined {
  return term?.kind === 'atom' ? term.name : undefined
}

/** Says where in the file `work` failed. */
function at<T>(term: Term, work: () => T): T {
  try {
    return work()
  } catch (error) {
    const text = messageOf(error)
    throw text.startsWith('line ') ? error : new BrokerError('CONFIG_INVALID', `line ${term.line}: ${text}`)
  }
}

function expected(what: string, found: Term): BrokerError {
  return new BrokerError(
    'CONFIG_INVALID',
    `line ${found.line}: expected ${what}, found ${describeTerm(found)}`,
  )
}
