import { expect, test } from 'vitest'
import { BuiltInRules } from '../../authz/built-in-rules.ts'
import { type RuleStorage, RuleTable } from '../../authz/built-in-table.ts'
import { readRuleItem, readRuleItems } from '../../authz/rule-item.ts'
import { silentLogger } from '../../model/log.ts'
import { clientOf, recordingLog } from '../authn/fixtures.ts'
import { askOf, build, publish, RULES, readConfig, sourceContract, subscribe } from './source-contract.ts'

const CONFIG = { type: 'built_in_database' }
const rule = (permission: string, topic: string, action = 'all') =>
  readRuleItem({ permission, action, topic })

sourceContract('built_in_database', async () => {
  const rules = new RuleTable()
  for (const { username, rules: items } of RULES)
    rules.set({ kind: 'username', id: username }, readRuleItems(items))
  return { config: CONFIG, context: { rules }, secrets: [], stop: async () => {} }
})

sourceContract('file', async () => {
  const quoted = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`
  const lines = RULES.flatMap(({ username, rules }) =>
    rules.map(({ permission, action, topic, qos, retain }) => {
      const options = [
        ...(qos === undefined ? [] : [`{qos, [${qos.join(', ')}]}`]),
        ...(retain === undefined ? [] : [`{retain, ${retain}}`]),
      ]
      const actions = options.length === 0 ? action : `{${action}, [${options.join(', ')}]}`
      return `{${permission}, {username, ${quoted(username)}}, ${actions}, [${quoted(topic)}]}.`
    }),
  )
  return { config: { type: 'file', rules: lines.join('\n') }, secrets: [], stop: async () => {} }
})

/** A storage that keeps what it is told. */
function storageOf(entries: Record<string, string> = {}): RuleStorage & { kept: Map<string, string> } {
  const kept = new Map(Object.entries(entries))
  return {
    kept,
    unsafe: undefined,
    table: () => ({
      async *load() {
        for (const [key, value] of kept) yield [key, Buffer.from(value)] as const
      },
      put: (key, value) => void kept.set(key, Buffer.from(value).toString()),
      delete: (key) => void kept.delete(key),
    }),
  }
}

test('rules of the client id go before those of the user name, and these before those for all', async () => {
  const table = new RuleTable()
  const rules = new BuiltInRules(table, { maxRules: () => 100 })
  await rules.set({ kind: 'all' }, [rule('deny', 'a'), rule('allow', 'all/#')])
  await rules.set({ kind: 'username', id: 'ann' }, [rule('deny', 'b'), rule('allow', 'a')])
  await rules.set({ kind: 'clientid', id: 'c1' }, [rule('allow', 'b')])
  const source = await build(CONFIG, { rules: table })
  const ask = (topic: string, client = {}) => askOf(source, clientOf(client), publish(), topic)
  expect(await ask('b')).toBe('allow')
  expect(await ask('b', { clientId: 'c2' })).toBe('deny')
  expect(await ask('a')).toBe('allow')
  expect(await ask('a', { username: undefined })).toBe('deny')
  expect(await ask('all/x', { username: 'bob', clientId: 'c2' })).toBe('allow')
  expect(await ask('x')).toBe('ignore')
})

test('an id of one kind is none of the other', async () => {
  const table = new RuleTable()
  table.set({ kind: 'username', id: 'c1' }, [rule('allow', '#')])
  table.set({ kind: 'clientid', id: 'ann' }, [rule('allow', '#')])
  expect(await askOf(await build(CONFIG, { rules: table }), clientOf(), publish(), 'x')).toBe('ignore')
})

test('what was changed is kept, and there again when it is loaded', async () => {
  const storage = storageOf()
  const before = new BuiltInRules(await RuleTable.load(storage, silentLogger), { maxRules: () => 100 })
  const item = readRuleItem({
    permission: 'deny',
    action: 'sub',
    topic: 'x/${clientid}',
    qos: 1,
    retain: 'true',
    ipaddr: '10.0.0.0/8',
  })
  await before.add({ kind: 'clientid', id: 'a b\n' }, item)
  await before.add({ kind: 'username', id: '__proto__' }, rule('allow', 'y'))
  await before.add({ kind: 'all' }, rule('allow', 'z'))
  const after = new BuiltInRules(await RuleTable.load(storage, silentLogger), { maxRules: () => 100 })
  expect([...after.list()]).toEqual([...before.list()])
  expect(after.get({ kind: 'clientid', id: 'a b\n' })).toEqual([
    {
      permission: 'deny',
      action: 'subscribe',
      topic: 'x/${clientid}',
      qos: [1],
      retain: true,
      ipaddr: '10.0.0.0/8',
    },
  ])
  await after.clear()
  expect(storage.kept.size).toBe(0)
})

test('rules are put behind the others or before them, and deleted one by one', async () => {
  let changes = 0
  const rules = new BuiltInRules(new RuleTable(), { maxRules: () => 2, onChange: () => changes++ })
  const ann = { kind: 'username', id: 'ann' } as const
  await rules.add(ann, rule('allow', 'b'))
  await rules.add(ann, rule('allow', 'a'), true)
  expect(rules.get(ann)?.map(({ topic }) => topic)).toEqual(['a', 'b'])
  await expect(rules.add(ann, rule('allow', 'c'))).rejects.toThrow('max_rules is 2')
  expect(await rules.delete(ann, 3)).toBe(false)
  expect(await rules.delete(ann, 1)).toBe(true)
  expect(rules.get(ann)?.map(({ topic }) => topic)).toEqual(['b'])
  expect(await rules.delete(ann)).toBe(true)
  expect(await rules.delete(ann)).toBe(false)
  expect(rules.get(ann)).toBeUndefined()
  expect(changes).toBe(4)
})

test('an import takes all or nothing, and leaves alone who has rules unless told to replace them', async () => {
  const rules = new BuiltInRules(new RuleTable(), { maxRules: () => 1 })
  const of = (id: string, ...topics: string[]) => ({
    subject: { kind: 'username', id } as const,
    rules: topics.map((topic) => rule('allow', topic)),
  })
  await rules.set(of('ann').subject, [rule('allow', 'old')])
  await expect(rules.import([of('bob', 'x'), of('eve', 'x', 'y')], { override: false })).rejects.toThrow(
    /eve/,
  )
  expect(rules.get(of('bob').subject)).toBeUndefined()
  const imported = [of('ann', 'new'), of('bob', 'x')]
  expect(await rules.import(imported, { override: false })).toEqual({
    total: 2,
    success: 1,
    override: 0,
    skipped: 1,
  })
  expect(rules.get(of('ann').subject)?.[0]?.topic).toBe('old')
  expect(await rules.import(imported, { override: true })).toEqual({
    total: 2,
    success: 0,
    override: 2,
    skipped: 0,
  })
  expect(rules.get(of('ann').subject)?.[0]?.topic).toBe('new')
})

test('stored rules that cannot be read deny whom they are about, and nobody else', async () => {
  const { log, lines } = recordingLog()
  const storage = storageOf({
    'username ann': '[{"permission":"perhaps"}]',
    all: '[{"permission":"allow","action":"all","topic":"#"}]',
    '?': '',
  })
  const source = await build(CONFIG, { rules: await RuleTable.load(storage, log) })
  await expect(askOf(source, clientOf(), publish(), 'x')).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
  expect(await askOf(source, clientOf({ username: 'bob' }), subscribe(), 'x')).toBe('allow')
  expect(lines).toContainEqual(expect.objectContaining({ level: 'warn', fields: { rules: 'username ann' } }))
})

test.each<[unknown, RegExp]>([
  ['x', /list/],
  [
    [
      { permission: 'allow', action: 'all', topic: 'a' },
      { permission: 'allow', action: 'all' },
    ],
    /rule 2: topic/,
  ],
  [[{ permission: 'allow', action: 'all', topic: 'a', colour: 1 }], /rule 1: unexpected "colour"/],
  [[{ permission: 'allow', action: 'all', topics: ['a'] }], /unexpected "topics"/],
])('%j are no rules', (value, why) => {
  expect(() => readRuleItems(value)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  expect(() => readRuleItems(value)).toThrow(why)
})

test('EMQX’s names and defaults', () => {
  expect(readConfig(CONFIG)).toEqual({
    ...CONFIG,
    enable: true,
    on_failure: 'ignore',
    precondition: '',
    max_rules: 100,
  })
})
