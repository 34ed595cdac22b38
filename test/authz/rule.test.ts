// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the placeholders are what is tested
import { expect, test } from 'vitest'
import { checkedTopic } from '../../authz/checked-topic.ts'
import { ipCondition, topicPattern } from '../../authz/conditions.ts'
import { compileRules, firstMatch } from '../../authz/rule.ts'
import type { Action, Rule, Who } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { Pattern } from '../../model/pattern.ts'
import { clientOf } from '../authn/fixtures.ts'

const PUBLISH: Action = { kind: 'publish', qos: 0, retain: false }
const SUBSCRIBE: Action = { kind: 'subscribe', qos: 0 }

const rule = (fields: Partial<Rule> & { topic?: string }): Rule => ({
  permission: 'allow',
  who: { kind: 'all' },
  action: 'all',
  topics: [fields.topic === undefined ? { kind: 'all' } : topicPattern(fields.topic)],
  ...fields,
})
const matches = (
  fields: Parameters<typeof rule>[0],
  client: Partial<ClientInfo>,
  action: Action,
  topic: string,
) => firstMatch(compileRules([rule(fields)]), clientOf(client), action, topic) !== undefined

test.each([
  ['t/1', 't/1', true],
  ['t/1', 't/2', false],
  ['t/1', 't/1/2', false],
  ['t/1', 't', false],
  ['t/+', 't/1', true],
  ['t/+', 't/', true],
  ['t/+', 't', false],
  ['t/+', 't/1/2', false],
  ['+/+', '/a', true],
  ['t/#', 't', true],
  ['t/#', 't/1/2/3', true],
  ['t/#', 'tt', false],
  ['#', 'a/b', true],
  ['#', '$SYS/x', false],
  ['+/x', '$SYS/x', false],
  ['$SYS/#', '$SYS/x', true],
  ['$SYS/+', '$SYS/x', true],
  ['t/$x', 't/$x', true],
  ['T/1', 't/1', false],
])('rule %s, publish to %s: %s', (filter, topic, expected) => {
  expect(matches({ topic: filter }, {}, PUBLISH, topic)).toBe(expected)
})

test.each([
  ['a/#', 'a/#', true],
  ['a/#', 'a/+', true],
  ['a/#', 'a/b/#', true],
  ['a/#', 'a', true],
  ['a/#', '#', false],
  ['a/#', '+/b', false],
  ['#', '#', true],
  ['#', '+/#', true],
  ['#', '$SYS/#', false],
  ['+/#', '$SYS/#', false],
  ['a/+', 'a/+', true],
  ['a/+', 'a/b', true],
  ['a/+', 'a/#', false],
  ['a/+', 'a/b/#', false],
  ['a/+', '+/b', false],
  ['+', '#', false],
  ['+/#', '#', false],
  ['a/b', 'a/+', false],
  ['a/b', 'a/#', false],
  ['a/+/c', 'a/+/c', true],
  ['a/+/c', 'a/b/+', false],
  ['a/+/#', 'a/+/b', true],
  ['a/+/#', 'a/#', false],
])('rule %s covers a subscription to %s: %s', (filter, topic, expected) => {
  expect(matches({ topic: filter }, {}, SUBSCRIBE, topic)).toBe(expected)
})

test('a refusal of a/+ is about a/# as well, a permission is not', () => {
  expect(matches({ permission: 'deny', topic: 'a/+' }, {}, SUBSCRIBE, 'a/#')).toBe(true)
  expect(matches({ permission: 'allow', topic: 'a/+' }, {}, SUBSCRIBE, 'a/#')).toBe(false)
})

test.each([
  ['eq t/#', 't/#', true],
  ['eq t/#', 't/1', false],
  ['eq t/#', 't/+', false],
  ['eq #', '#', true],
  ['eq t/${clientid}', 't/c1', false],
  ['eq t/${clientid}', 't/${clientid}', true],
])('%s means the text itself: %s is %s', (filter, topic, expected) => {
  expect(matches({ topic: filter }, {}, SUBSCRIBE, topic)).toBe(expected)
})

test('all topics are all, those with a dollar too', () => {
  expect(matches({}, {}, PUBLISH, '$SYS/x')).toBe(true)
})

const CERTIFICATE = { subject: 'CN=meter-7', commonName: 'meter-7', raw: new Uint8Array() }

test.each<[filter: string, client: Partial<ClientInfo>, topic: string, expected: boolean]>([
  ['t/${clientid}/#', { clientId: 'c7' }, 't/c7/x', true],
  ['t/${clientid}/#', { clientId: 'c7' }, 't/c8/x', false],
  ['t/${.clientid}', { clientId: 'c7' }, 't/c7', true],
  ['t/${username}', { username: 'ann' }, 't/ann', true],
  ['t/${username}', { username: undefined }, 't/undefined', false],
  ['t/${username}', { username: undefined }, 't/', false],
  ['t/${username}', { username: '' }, 't/', false],
  ['${zone}/x', { zone: 'z' }, 'z/x', true],
  ['t/${cert_common_name}', { certificate: CERTIFICATE }, 't/meter-7', true],
  ['t/${cert_common_name}', {}, 't/', false],
  ['t/${client_attrs.site}', { attributes: new Map([['site', 'oslo']]) }, 't/oslo', true],
  ['t/${client_attrs.site}', {}, 't/', false],
  ['t/${client_attrs.toString}', {}, 't/', false],
  ['t/pre-${clientid}-${username}', { clientId: 'c', username: 'u' }, 't/pre-c-u', true],
  ['t/${nonsense}', {}, 't/${nonsense}', true],
  ['t/${$}{clientid}', { clientId: 'c' }, 't/${clientid}', true],
  // Values never act as wildcards, add levels, or reach the broker's own topics.
  ['t/${clientid}/x', { clientId: '+' }, 't/any/x', false],
  ['t/${clientid}/x', { clientId: '+' }, 't/+/x', false],
  ['t/${username}', { username: '#' }, 't/any', false],
  ['t/${username}', { username: '#' }, 't/#', false],
  ['t/${username}', { username: 'a/b' }, 't/a/b', false],
  ['t/${username}/#', { username: 'a+' }, 't/a+/x', false],
  ['${clientid}/#', { clientId: '$SYS' }, '$SYS/brokers', false],
  ['x/${clientid}', { clientId: '$SYS' }, 'x/$SYS', true],
])('placeholders: %s for %j and %s: %s', (filter, client, topic, expected) => {
  expect(matches({ topic: filter }, client, SUBSCRIBE, topic)).toBe(expected)
})

const both: Who[] = [
  { kind: 'username', is: 'ann' },
  { kind: 'clientid', is: /^dev/ },
]

test.each<[string, Who, Partial<ClientInfo>, boolean]>([
  ['everybody', { kind: 'all' }, {}, true],
  ['username', { kind: 'username', is: 'ann' }, { username: 'ann' }, true],
  ['another username', { kind: 'username', is: 'ann' }, { username: 'anna' }, false],
  ['no username', { kind: 'username', is: 'ann' }, { username: undefined }, false],
  ['username pattern', { kind: 'username', is: /nn/ }, { username: 'anna' }, true],
  ['pattern without username', { kind: 'username', is: /.*/ }, { username: undefined }, false],
  ['client id', { kind: 'clientid', is: 'c1' }, { clientId: 'c1' }, true],
  ['zone', { kind: 'zone', is: 'default' }, {}, true],
  ['listener', { kind: 'listener', is: /^tcp:/ }, {}, true],
  ['attribute', { kind: 'client_attr', name: 'a', is: 'x' }, { attributes: new Map([['a', 'x']]) }, true],
  ['no attribute', { kind: 'client_attr', name: 'a', is: /.*/ }, {}, false],
  ['address', { kind: 'ipaddr', matches: ipCondition('127.0.0.0/8') }, {}, true],
  ['and', { kind: 'and', conditions: both }, { username: 'ann', clientId: 'dev1' }, true],
  ['and, one not', { kind: 'and', conditions: both }, { username: 'ann', clientId: 'x' }, false],
  ['or', { kind: 'or', conditions: both }, { username: 'bob', clientId: 'dev1' }, true],
  ['or, none', { kind: 'or', conditions: both }, { username: 'bob', clientId: 'x' }, false],
  ['or of nothing', { kind: 'or', conditions: [] }, {}, false],
])('who: %s', (_, who, client, expected) => {
  expect(matches({ who }, client, PUBLISH, 't')).toBe(expected)
})

const publish = (qos: 0 | 1 | 2, retain: boolean): Action => ({ kind: 'publish', qos, retain })

test.each<[string, Partial<Rule>, Action, boolean]>([
  ['publish', { action: 'publish' }, PUBLISH, true],
  ['publish', { action: 'publish' }, SUBSCRIBE, false],
  ['subscribe', { action: 'subscribe' }, PUBLISH, false],
  ['subscribe', { action: 'subscribe' }, SUBSCRIBE, true],
  ['qos 1 2', { qos: [1, 2] }, publish(0, false), false],
  ['qos 1 2', { qos: [1, 2] }, publish(2, true), true],
  ['qos 1 2', { qos: [1, 2] }, { kind: 'subscribe', qos: 0 }, false],
  ['qos 1 2', { qos: [1, 2] }, { kind: 'subscribe', qos: 1 }, true],
  ['retain', { retain: true }, publish(1, true), true],
  ['retain', { retain: true }, publish(1, false), false],
  ['no retain', { retain: false }, publish(1, true), false],
  ['retain is not looked at for subscribe', { retain: true }, SUBSCRIBE, true],
])('action %s', (_, fields, action, expected) => {
  expect(matches(fields, {}, action, 't')).toBe(expected)
})

test('the first rule that is about it decides', () => {
  const rules = compileRules([
    rule({ permission: 'deny', topic: 'a/secret' }),
    rule({ topics: [topicPattern('b'), topicPattern('a/+')] }),
    rule({ permission: 'deny' }),
  ])
  const said = ['a/secret', 'a/x', 'b', 'c'].map((topic) => firstMatch(rules, clientOf(), PUBLISH, topic))
  expect(said).toEqual(['deny', 'allow', 'allow', 'deny'])
  expect(firstMatch([], clientOf(), PUBLISH, 't')).toBeUndefined()
})

test.each([
  ['10.0.0.0/8', '10.1.2.3', true],
  ['10.0.0.0/8', '11.1.2.3', false],
  ['10.0.0.0/8', '::ffff:10.1.2.3', true],
  ['192.168.0.7', '192.168.0.7', true],
  ['192.168.0.7', '192.168.0.8', false],
  ['0.0.0.0/0', '1.2.3.4', true],
  ['0.0.0.0/0', '::1', false],
  ['255.255.255.255', '255.255.255.255', true],
  ['172.16.0.0/12', '172.31.255.255', true],
  ['172.16.0.0/12', '172.32.0.0', false],
  ['::1', '::1', true],
  ['fd00::/8', 'fd12::1', true],
  ['fd00::/8', 'fe80::1', false],
  ['fd00::/8', '10.0.0.1', false],
])('address %s and %s: %s', (network, host, expected) => {
  expect(ipCondition(network)(host)).toBe(expected)
})

test.each([
  '',
  'x',
  '10.0.0',
  '10.0.0.256',
  '10.0.0.0/33',
  '10.0.0.0/',
  '10.0.0.0/8/8',
  '::1/129',
  '10',
  'localhost',
])('address %j is refused', (text) => {
  expect(() => ipCondition(text)).toThrow(/address|prefix/)
})

test('patterns are unanchored, know leading flags, and say what is wrong', () => {
  expect(new Pattern('b').test('abc')).toBe(true)
  expect(new Pattern('(?i)^ANN$').test('ann')).toBe(true)
  expect(() => new Pattern('(')).toThrow(/[Rr]egular/)
})

test.each(['', 'a/#/b', 'a+', 'a/b#', 'eq '])('topic filter %j is refused', (text) => {
  expect(() => topicPattern(text)).toThrow()
})

test.each<[Action['kind'], string, string]>([
  ['subscribe', 't/#', 't/#'],
  ['subscribe', '$share/g/t/#', 't/#'],
  ['subscribe', '$share/g//t', '/t'],
  ['subscribe', '$queue/t', 't'],
  ['subscribe', '$exclusive/t/1', 't/1'],
  ['subscribe', '$share/g', '$share/g'],
  ['subscribe', '$share/g/', '$share/g/'],
  ['subscribe', '$exclusive/', '$exclusive/'],
  ['subscribe', '$SYS/#', '$SYS/#'],
  ['subscribe', '$delayed/5/t', '$delayed/5/t'],
  ['publish', '$delayed/5/t/1', 't/1'],
  ['publish', '$delayed/5//t', '/t'],
  ['publish', '$delayed/x/t', '$delayed/x/t'],
  ['publish', '$delayed/5/', '$delayed/5/'],
  ['publish', '$share/g/t', '$share/g/t'],
  ['publish', '$SYS/x', '$SYS/x'],
])('%s %s is checked as %s', (kind, topic, expected) => {
  expect(checkedTopic(kind === 'publish' ? PUBLISH : SUBSCRIBE, topic)).toBe(expected)
})
