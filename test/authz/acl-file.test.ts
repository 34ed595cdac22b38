// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the placeholders are what is tested
import { expect, test } from 'vitest'
import { parseAclFile } from '../../authz/acl-file.ts'
import { DEFAULT_RULES } from '../../authz/default-rules.ts'
import { compileRules, firstMatch } from '../../authz/rule.ts'
import type { Action } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { clientOf } from '../authn/fixtures.ts'

const ALL = { kind: 'all' }
const filter = (text: string) => ({ kind: 'filter', text })

test.each<[string, object]>([
  ['{allow, all}.', { permission: 'allow', who: ALL, action: 'all', topics: [ALL] }],
  ['{deny, all}.', { permission: 'deny', who: ALL, action: 'all', topics: [ALL] }],
  ['{allow, {security_profile, legacy}}.', { permission: 'allow', who: ALL, action: 'all', topics: [ALL] }],
  ['{allow, {security_profile, hardened}}.', { who: { kind: 'or', conditions: [] } }],
  ['{allow, all, publish, all}.', { action: 'publish', topics: [ALL] }],
  [
    '{deny, all, subscribe, ["a/+", {eq, "b/#"}, "eq c/+"]}.',
    {
      action: 'subscribe',
      topics: [filter('a/+'), { kind: 'exact', text: 'b/#' }, { kind: 'exact', text: 'c/+' }],
    },
  ],
  ['{allow, {username, "u"}, all, ["t"]}.', { who: { kind: 'username', is: 'u' } }],
  ['{allow, {user, "u"}, all, ["t"]}.', { who: { kind: 'username', is: 'u' } }],
  ['{allow, {clientid, "c"}, all, ["t"]}.', { who: { kind: 'clientid', is: 'c' } }],
  ['{allow, {client, "c"}, all, ["t"]}.', { who: { kind: 'clientid', is: 'c' } }],
  ['{allow, {username, {re, "^a"}}, all, ["t"]}.', { who: { kind: 'username', is: /^a/ } }],
  ['{allow, {clientid, {re, "\\\\d+$"}}, all, ["t"]}.', { who: { kind: 'clientid', is: /\d+$/ } }],
  [
    '{allow, {ipaddr, "10.0.0.0/8"}, all, ["t"]}.',
    { who: { kind: 'ipaddr', matches: expect.any(Function) } },
  ],
  ['{allow, {ipaddrs, ["10.0.0.1", "::1"]}, all, ["t"]}.', { who: { kind: 'ipaddr' } }],
  ['{allow, {client_attr, "a", "v"}, all, ["t"]}.', { who: { kind: 'client_attr', name: 'a', is: 'v' } }],
  [
    '{allow, {client_attr, "a", {re, "v"}}, all, ["t"]}.',
    { who: { kind: 'client_attr', name: 'a', is: /v/ } },
  ],
  ['{allow, {zone, "z"}, all, ["t"]}.', { who: { kind: 'zone', is: 'z' } }],
  ['{allow, {listener, {re, "^tcp:"}}, all, ["t"]}.', { who: { kind: 'listener', is: /^tcp:/ } }],
  [
    '{allow, {\'and\', [{username, "u"}, {\'or\', [all, {clientid, "c"}]}]}, all, ["t"]}.',
    {
      who: {
        kind: 'and',
        conditions: [
          { kind: 'username', is: 'u' },
          { kind: 'or', conditions: [ALL, { kind: 'clientid', is: 'c' }] },
        ],
      },
    },
  ],
  [
    '{allow, all, {publish, [{qos, 1}, {retain, false}]}, ["t"]}.',
    { action: 'publish', qos: [1], retain: false },
  ],
  ['{allow, all, {subscribe, [{qos, [0, 1]}]}, ["t"]}.', { action: 'subscribe', qos: [0, 1] }],
  ['{allow, all, {all, [{retain, true}]}, ["t"]}.', { action: 'all', retain: true }],
  ['{allow, all, {all, []}, ["t"]}.', { action: 'all' }],
  ['{allow,all,\'publish\',[<<"t">>, <<"ü"/utf8>>]}.', { topics: [filter('t'), filter('ü')] }],
  ['{allow, all, all, ["a\\"b\\\\c\\x{fc}\\x41\\101"]}.', { topics: [filter('a"b\\cüAA')] }],
])('%s', (text, expected) => {
  expect(parseAclFile(text)).toMatchObject([expected])
})

test('retain all and no options mean any', () => {
  const [rule] = parseAclFile('{allow, all, {publish, [{retain, all}]}, ["t"]}.')
  expect(rule).not.toHaveProperty('retain')
  expect(rule).not.toHaveProperty('qos')
})

test('comments, white space, several rules to a line and one over several', () => {
  const text =
    '%% one\n{allow, all}. {deny, all}.% "two" {\n\n{allow,\r\n  {username, "a%b"}, % name\n all,["t"]}.%end'
  expect(parseAclFile(text).map(({ permission }) => permission)).toEqual(['allow', 'deny', 'allow'])
  expect(parseAclFile('')).toEqual([])
  expect(parseAclFile('\uFEFF% nothing\n')).toEqual([])
})

test.each([
  ['{allow, all}', 'line 1: expected a full stop after the term, found the end of the file'],
  ['{allow, all}.\n{allow, all\n', 'line 3: expected a comma or }, found the end of the file'],
  ['{allow, all]', 'line 1: expected a comma or }, found "]"'],
  ['{allow, all,}.', 'line 1: expected a term, found "}"'],
  ['\n{allow, "all}.', 'line 2: expected a term, found "\\"" that is not closed'],
  ['{allow, Everybody}.', 'line 1: expected a term, found "E"'],
  ['#comment', 'line 1: expected a term, found "#"'],
  [`${'['.repeat(40)}${']'.repeat(40)}.`, 'levels of nesting'],
  ['allow.', 'line 1: expected {Permission, Condition, Action, Topics} or {Permission, all}, found allow'],
  ['{allow}.', 'expected {Permission, Condition, Action, Topics} or {Permission, all}, found a tuple of 1'],
  ['{allow, all, all}.', 'found a tuple of 3'],
  ['{maybe, all}.', 'expected allow or deny, found maybe'],
  ['{allow, {username, "u"}}.', 'expected all, or {security_profile, legacy}'],
  ['{allow, {security_profile, best}}.', 'expected legacy or hardened, found best'],
  ['{allow, some, all, ["t"]}.', 'expected a condition'],
  ['{allow, {colour, "red"}, all, ["t"]}.', 'found colour'],
  ['{allow, {username}, all, ["t"]}.', 'expected a condition'],
  ['{allow, {username, ann}, all, ["t"]}.', 'expected text in double quotes, found ann'],
  ['{allow, {username, {like, "a"}}, all, ["t"]}.', 'expected "text" or {re, "pattern"}'],
  ['{allow,\n {username, {re, "("}}, all, ["t"]}.', 'line 2: '],
  ['{allow,\n {ipaddr, "10.0.0"}, all, ["t"]}.', 'line 2: "10.0.0" is not an address or network'],
  ['{allow, {ipaddrs, "10.0.0.1"}, all, ["t"]}.', 'expected a list of addresses'],
  ['{allow, {ipaddrs, ["10.0.0.1", "x"]}, all, ["t"]}.', '"x" is not an address'],
  ['{allow, {client_attr, "a"}, all, ["t"]}.', 'expected {client_attr, "name", "value"}'],
  ['{allow, {\'and\', all}, all, ["t"]}.', 'expected a list of conditions'],
  ['{allow, all, read, ["t"]}.', 'expected publish, subscribe or all, found read'],
  ['{allow, all, {publish}, ["t"]}.', 'expected {publish, [{qos, 1}, {retain, false}]}'],
  ['{allow, all, {publish, {qos, 1}}, ["t"]}.', 'expected a list of {qos, ...} and {retain, ...}'],
  ['{allow, all, {publish, [{size, 1}]}, ["t"]}.', 'expected {qos, ...} or {retain, ...}'],
  ['{allow, all, {publish, [{qos, 3}]}, ["t"]}.', 'expected a QoS of 0, 1 or 2, found 3'],
  ['{allow, all, {publish, [{retain, 1}]}, ["t"]}.', 'expected true, false or all, found 1'],
  ['{allow, all, {subscribe, [{retain, true}]}, ["t"]}.', 'expected no retain'],
  ['{allow, all, all, "t"}.', 'expected a list of topic filters, or all, found "t"'],
  ['{allow, all, all, [t]}.', 'expected "filter" or {eq, "filter"}, found t'],
  ['{allow, all, all,\n\n ["a/#/b"]}.', 'line 3: "a/#/b" is not a topic filter'],
  ['{allow, all, all, [{eq, t}]}.', 'expected text in double quotes, found t'],
])('refused: %j', (text, message) => {
  expect(() => parseAclFile(text)).toThrow(message)
})

const SUBSCRIBE: Action = { kind: 'subscribe', qos: 0 }
const PUBLISH: Action = { kind: 'publish', qos: 0, retain: false }

test.each<[Partial<ClientInfo>, Action, string, string]>([
  [{ username: 'dashboard' }, SUBSCRIBE, '$SYS/#', 'allow'],
  [{ username: 'dashboards' }, SUBSCRIBE, '$SYS/#', 'deny'],
  [{ username: undefined, peerHost: '127.0.0.1' }, SUBSCRIBE, '$SYS/#', 'allow'],
  [{ peerHost: '::ffff:127.0.0.1' }, SUBSCRIBE, '#', 'allow'],
  [{}, SUBSCRIBE, '$SYS/brokers', 'deny'],
  [{}, SUBSCRIBE, '#', 'deny'],
  [{}, SUBSCRIBE, '+/#', 'deny'],
  [{}, SUBSCRIBE, 'a/#', 'allow'],
  [{}, PUBLISH, 'a', 'allow'],
])('the default rules: %j %j %s is %s', (client, action, topic, expected) => {
  const rules = compileRules(parseAclFile(DEFAULT_RULES))
  expect(firstMatch(rules, clientOf({ peerHost: '10.9.9.9', ...client }), action, topic)).toBe(expected)
})
