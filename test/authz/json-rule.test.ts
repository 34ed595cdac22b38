// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the placeholders are what is tested
import { expect, test } from 'vitest'
import { parseAcl, parseJsonRule } from '../../authz/json-rule.ts'
import { compileRules, firstMatch } from '../../authz/rule.ts'
import { clientOf } from '../authn/fixtures.ts'

const BASE = { permission: 'allow', action: 'publish', topic: 't/${clientid}/#' }
const TOPIC = { kind: 'filter', text: 't/${clientid}/#' }

test.each<[object, object]>([
  [{}, { permission: 'allow', action: 'publish', topics: [TOPIC], who: { kind: 'all' } }],
  [{ permission: 'deny' }, { permission: 'deny' }],
  [{ action: 'pub' }, { action: 'publish' }],
  [{ action: 'sub' }, { action: 'subscribe' }],
  [{ action: 'subscribe' }, { action: 'subscribe' }],
  [{ action: 'all' }, { action: 'all' }],
  [
    { topic: undefined, topics: ['a', 'eq b/#'] },
    {
      topics: [
        { kind: 'filter', text: 'a' },
        { kind: 'exact', text: 'b/#' },
      ],
    },
  ],
  [{ qos: 1 }, { qos: [1] }],
  [{ qos: [0, 2] }, { qos: [0, 2] }],
  [{ qos: '0,1' }, { qos: [0, 1] }],
  [{ qos: '2' }, { qos: [2] }],
  [{ retain: true }, { retain: true }],
  [{ retain: 0 }, { retain: false }],
  [{ retain: 'true' }, { retain: true }],
  [{ username_re: '^a' }, { who: { kind: 'username', is: /^a/ } }],
  [
    { clientid_re: 'x', ipaddr: '10.0.0.0/8', zone: 'z', listener: 'tcp:a' },
    {
      who: {
        kind: 'and',
        conditions: [
          { kind: 'clientid', is: /x/ },
          { kind: 'ipaddr' },
          { kind: 'zone', is: 'z' },
          { kind: 'listener', is: 'tcp:a' },
        ],
      },
    },
  ],
  [{ zone_re: 'z' }, { who: { kind: 'zone', is: /z/ } }],
  [{ listener_re: 'z' }, { who: { kind: 'listener', is: /z/ } }],
  [{ username: 'other column', id: 7 }, { who: { kind: 'all' } }],
])('rule with %j', (fields, expected) => {
  expect(parseJsonRule({ ...BASE, ...fields })).toMatchObject(expected)
})

test.each([{ qos: null }, { retain: null }, { retain: 'all' }, { username_re: null }])(
  '%j means any',
  (fields) => {
    expect(parseJsonRule({ ...BASE, ...fields })).toEqual(parseJsonRule(BASE))
  },
)

test.each<[unknown, RegExp]>([
  [null, /object/],
  ['allow', /object/],
  [{ ...BASE, permission: 'Allow' }, /permission/],
  [{ ...BASE, permission: undefined }, /permission/],
  [{ ...BASE, action: 'read' }, /action/],
  [{ ...BASE, action: '__proto__' }, /action/],
  [{ ...BASE, topic: undefined }, /topic/],
  [{ ...BASE, topic: 7 }, /topic/],
  [{ ...BASE, topic: undefined, topics: [] }, /topic/],
  [{ ...BASE, topic: undefined, topics: [1] }, /topic/],
  [{ ...BASE, topic: 'a/#/b' }, /not a topic filter/],
  [{ ...BASE, qos: 3 }, /qos/],
  [{ ...BASE, qos: '' }, /qos/],
  [{ ...BASE, qos: [0, '3'] }, /qos/],
  [{ ...BASE, retain: 'yes' }, /retain/],
  [{ ...BASE, username_re: '(' }, /username_re/],
  [{ ...BASE, ipaddr: 'x' }, /ipaddr/],
  [{ ...BASE, zone: 1 }, /zone/],
])('refused as the backend’s fault: %j', (value, why) => {
  expect(() => parseJsonRule(value)).toThrow(expect.objectContaining({ code: 'BACKEND_FAILED' }))
  expect(() => parseJsonRule(value)).toThrow(why)
})

const ask = (acl: unknown, kind: 'publish' | 'subscribe', topic: string) =>
  firstMatch(
    compileRules(parseAcl(acl)),
    clientOf(),
    kind === 'publish' ? { kind, qos: 0, retain: false } : { kind, qos: 0 },
    topic,
  )

test('a list of rules decides what it is about and leaves the rest open', () => {
  const acl = [{ permission: 'deny', action: 'all', topic: 'a' }, BASE]
  expect(ask(acl, 'publish', 'a')).toBe('deny')
  expect(ask(acl, 'publish', 't/c1/x')).toBe('allow')
  expect(ask(acl, 'publish', 'b')).toBeUndefined()
  expect(ask([], 'publish', 'b')).toBeUndefined()
  expect(() => parseAcl([BASE, { ...BASE, action: 'x' }])).toThrow('rule 2: action')
})

test('the old format allows what it lists and denies the rest', () => {
  const acl = { pub: ['p/${clientid}', 'eq x/#'], sub: ['s/#'], all: ['b'] }
  expect(ask(acl, 'publish', 'p/c1')).toBe('allow')
  expect(ask(acl, 'publish', 's/1')).toBe('deny')
  expect(ask(acl, 'subscribe', 's/+')).toBe('allow')
  expect(ask(acl, 'subscribe', 'p/c1')).toBe('deny')
  expect(ask(acl, 'publish', 'b')).toBe('allow')
  expect(ask(acl, 'subscribe', 'b')).toBe('allow')
  expect(ask({}, 'publish', 'b')).toBe('deny')
})

test.each([
  [null],
  ['x'],
  [1],
  [{ pub: 'x' }],
  [{ pub: [1] }],
  [{ publish_to: ['x'] }],
  [{ pub: ['a/#/b'] }],
])('acl %j is refused', (acl) => {
  expect(() => parseAcl(acl)).toThrow(expect.objectContaining({ code: 'BACKEND_FAILED' }))
})

test('a rule with both topic and topics is about all of them', () => {
  const acl = [{ permission: 'deny', action: 'all', topic: 'a', topics: ['b', 'c'] }]
  const rules = compileRules(parseAcl(acl))
  const said = ['a', 'b', 'c', 'd'].map((topic) =>
    firstMatch(rules, clientOf(), { kind: 'publish', qos: 0, retain: false }, topic),
  )
  expect(said).toEqual(['deny', 'deny', 'deny', undefined])
})
