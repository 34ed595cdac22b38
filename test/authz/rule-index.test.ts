// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the placeholders are what is tested
import { expect, test } from 'vitest'
import { parseAclFile } from '../../authz/acl-file.ts'
import { exactTopic, topicPattern } from '../../authz/conditions.ts'
import { compileRules, firstMatch } from '../../authz/rule.ts'
import { RuleIndex } from '../../authz/rule-index.ts'
import type { Action, Rule } from '../../model/access.ts'
import { clientOf } from '../authn/fixtures.ts'

const PUBLISH: Action = { kind: 'publish', qos: 1, retain: false }
const SUBSCRIBE: Action = { kind: 'subscribe', qos: 0 }

/** The same numbers every time. */
function dice(seed: number): (sides: number) => number {
  let state = seed
  return (sides) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * sides)
  }
}

const LEVELS = ['a', 'b', 'ab', '', '+', '${clientid}', 'x-${clientid}', '${clientid}-x', 'a${username}b']
const ASKED = ['a', 'b', 'ab', '', 'c1', 'x-c1', 'c1-x', 'aub', '$SYS']

test('an index decides like the list of rules that it is made of', () => {
  const roll = dice(7)
  const one = <T>(list: readonly T[]): T => list[roll(list.length)] as T
  const words = (list: readonly string[]) => Array.from({ length: 1 + roll(3) }, () => one(list))
  const topic = () => {
    const filter = [...words(LEVELS), ...(roll(4) === 0 ? ['#'] : [])].join('/')
    if (filter === '') return topicPattern('#')
    return roll(6) === 0 ? exactTopic(filter) : topicPattern(filter)
  }
  const rule = (): Rule => ({
    permission: one(['allow', 'deny'] as const),
    who: roll(3) === 0 ? { kind: 'clientid', is: one(['c1', 'c2']) } : { kind: 'all' },
    action: one(['publish', 'subscribe', 'all'] as const),
    topics: roll(30) === 0 ? [{ kind: 'all' }] : Array.from({ length: 1 + roll(3) }, topic),
  })
  const client = clientOf({ clientId: 'c1', username: 'u' })
  let decided = 0
  let settledCount = 0
  for (let round = 0; round < 300; round++) {
    const rules = compileRules(Array.from({ length: roll(20) }, rule))
    const index = new RuleIndex(rules)
    for (let i = 0; i < 30; i++) {
      const action = one([PUBLISH, SUBSCRIBE])
      const wildcards = action === SUBSCRIBE ? ['+'] : []
      const asked = [
        ...words([...ASKED, ...wildcards]),
        ...(action === SUBSCRIBE && roll(3) === 0 ? ['#'] : []),
      ]
      const expected = firstMatch(rules, client, action, asked.join('/'))
      if (expected !== undefined) decided++
      expect(index.firstMatch(client, action, asked.join('/')), asked.join('/')).toBe(expected)
      const settled = index.settled(client, action)
      if (settled === undefined) continue
      expect(settled, asked.join('/')).toBe(expected)
      settledCount++
    }
  }
  expect(decided).toBeGreaterThan(1000)
  expect(settledCount).toBeGreaterThan(100)
})

test('the first rule decides wherever the index has found it', () => {
  const index = new RuleIndex(
    compileRules(
      parseAclFile(`{deny, all, all, ["site/x7-\${clientid}/secret"]}.
        {allow, all, all, ["site/+/#"]}.
        {deny, all, all, ["site/x7-\${clientid}/#", "other"]}.
        {allow, {clientid, "c2"}, all, all}.`),
    ),
  )
  const asked = ['site/x7-c1/secret', 'site/x7-c1/power', 'other', 'elsewhere', '$SYS/a']
  const said = (clientId: string) =>
    asked.map((topic) => index.firstMatch(clientOf({ clientId }), PUBLISH, topic))

  expect(said('c1')).toEqual(['deny', 'allow', 'deny', undefined, undefined])
  expect(said('c2')).toEqual(['allow', 'allow', 'deny', 'allow', 'allow'])
})

test.each([
  ['{allow, all}.', 'allow'],
  ['{deny, all}.', 'deny'],
  ['{allow, all, all, ["a"]}. {allow, all}.', 'allow'],
  ['{deny, all, subscribe, ["a"]}. {allow, all}.', 'allow'],
  ['{deny, {clientid, "other"}, all, ["a"]}. {allow, all}.', 'allow'],
  ['{deny, all, publish, ["a"]}. {allow, all}.', undefined],
  ['{deny, {clientid, "c1"}, publish, ["a"]}. {allow, all}.', undefined],
  ['{allow, all, all, ["#"]}.', undefined], // not topics that begin with $
  ['', undefined],
])('what %s says to a publisher whatever the topic is %s', (text, expected) => {
  const index = new RuleIndex(compileRules(parseAclFile(text)))
  expect(index.settled(clientOf({ clientId: 'c1' }), PUBLISH)).toBe(expected)
})

test('rules that would need too many look-ups are tried one by one', () => {
  const filters = Array.from({ length: 200 }, (_, i) => `${'p'.repeat(i + 1)}-\${clientid}`)
  const index = new RuleIndex(
    compileRules(parseAclFile(filters.map((filter) => `{allow, all, all, ["${filter}"]}.`).join('\n'))),
  )
  const said = filters.map((filter) =>
    index.firstMatch(clientOf({ clientId: 'c1' }), PUBLISH, filter.replace('${clientid}', 'c1')),
  )

  expect(new Set(said)).toEqual(new Set(['allow']))
  expect(index.firstMatch(clientOf({ clientId: 'c1' }), PUBLISH, 'q-c1')).toBeUndefined()
})

test.each([
  ['a level', (i: number) => `site\${i}/m${i}/\${clientid}/#`],
  ['the beginning of a templated level', (i: number) => `site/x${i}-\${clientid}/#`],
  ['the end of a templated level', (i: number) => `site/\${clientid}-x${i}/#`],
  ['the inside of a templated level', (i: number) => `site/x\${clientid}x${i}/#`],
])('of a thousand rules that differ in %s, few are looked at', (_, filterOf) => {
  const text = Array.from({ length: 1000 }, (_, i) => `{allow, all, publish, ["${filterOf(i)}"]}.`).join('\n')
  const index = new RuleIndex(compileRules(parseAclFile(text)))
  const client = clientOf({ clientId: 'c1' })
  const topic = filterOf(1234).replaceAll('${clientid}', 'c1').replace('#', 'power')
  const rounds = Array.from({ length: 9 }, () => {
    const startMs = performance.now()
    for (let i = 0; i < 100; i++) index.firstMatch(client, PUBLISH, topic)
    return (performance.now() - startMs) * 10
  })

  expect(Math.min(...rounds), 'microseconds').toBeLessThan(20)
})
