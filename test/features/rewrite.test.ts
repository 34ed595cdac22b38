// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the placeholders are what is tested
import Type from 'typebox'
import { expect, onTestFinished, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { type RewriteConfig, rewrite } from '../../features/rewrite/config.ts'
import { TopicRewrite } from '../../features/rewrite/rewrite.ts'
import { silentLogger } from '../../model/log.ts'
import { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { type clientInfo, connect, publish, startHub, subscription } from '../broker/support.ts'
import { writeConfig } from '../config/sample.ts'

type RuleConfig = RewriteConfig[number]

const rule = (
  source_topic: string,
  re: string,
  dest_topic: string,
  action: RuleConfig['action'] = 'all',
): RuleConfig => ({ action, source_topic, re, dest_topic })

async function start(...rules: RuleConfig[]) {
  const hub = await startHub()
  onTestFinished(() => hub.stop())
  const feature = new TopicRewrite(rules, { log: silentLogger })
  feature.attach(hub.hooks)
  return { hub, feature }
}

/** Where a message published to `topic` comes out. */
async function published(
  rules: RuleConfig[],
  topic: string,
  info: Partial<ReturnType<typeof clientInfo>> = {},
): Promise<string> {
  const { hub } = await start(...rules)
  let found = ''
  hub.hooks.add('message.publish', 'last', (decision) => void (found = (decision as Message).topic), {
    priority: -1,
  })
  await publish(await connect(hub, 'c1', {}, info), topic)
  return found
}

test('a published topic is taken apart and put together anew', async () => {
  const rules = [rule('y/+/z/#', '^y/(.+)/z/(.+)$', 'y/z/$2', 'publish')]
  expect(await published(rules, 'y/a/z/b/c')).toBe('y/z/b/c')
  expect(await published(rules, 'x/a/z/b')).toBe('x/a/z/b')
})

test('the last rule about a topic decides, even where its expression does not match', async () => {
  const rules = [rule('a/#', '^a/(.+)$', 'first/$1'), rule('a/+/b', '^a/(\\d+)/b$', 'second/$1')]
  expect(await published(rules, 'a/7/b')).toBe('second/7')
  expect(await published(rules, 'a/x/b')).toBe('a/x/b')
  expect(await published(rules, 'a/x')).toBe('first/x')
})

test('$10 is the tenth group if there are ten, else the first and a zero', async () => {
  const ten = rule('#', `^${'(.)'.repeat(10)}$`, '$10-$1')
  expect(await published([ten], 'abcdefghij')).toBe('j-a')
  expect(await published([rule('#', '^(.)(.)$', '$10/$2')], 'xy')).toBe('x0/y')
})

test('client id and user name are filled in, what they or groups hold is not looked into', async () => {
  const rules = [rule('a/#', '^a/(.*)$', 'u/${username}/${clientid}/$1')]
  expect(await published(rules, 'a/${clientid}', { username: '$1' })).toBe('u/$1/c1/${clientid}')
})

test.each([undefined, '', '#', 'a+', 'a\0b'])(
  'the user name %j leaves the placeholder as it is',
  async (username) => {
    expect(await published([rule('a', 'a', 'u/${username}')], 'a', { username })).toBe('u/${username}')
  },
)

test('the broker’s own messages are rewritten, and have neither client id nor user name', async () => {
  const { hub } = await start(rule('a', '^(a)$', '$1/${clientid}'))
  const message = Message.of('a', Buffer.from('x'), 0, false, undefined, undefined, 1)
  await hub.publish(message)
  expect(message.topic).toBe('a/${clientid}')
})

test('authorization sees what the client wrote', async () => {
  const { hub } = await start(rule('a/#', '^a/(.*)$', 'b/$1'))
  const asked: string[] = []
  hub.hooks.add('client.authorize', 'ask', (_value, _client, action, topic) => {
    asked.push(`${action.kind} ${topic}`)
    return { ok: { result: 'allow', from: 'test' } }
  })
  const peer = await connect(hub, 'c1')
  await peer.client.subscribe([subscription('a/+')])
  await publish(peer, 'a/1', 'hi')
  expect(asked).toEqual(['subscribe a/+', 'publish a/1'])
  expect(peer.receiver.texts).toEqual(['b/1=hi'])
})

test('rules are about the topic below the mountpoint', async () => {
  const { hub } = await start(rule('a/#', '^a/(.*)$', 'b/$1'), rule('site/#', '^site', 'wrong'))
  const peer = await connect(hub, 'c1', {}, { mountpoint: 'site/' })
  const outside = await connect(hub, 'c2')
  await outside.client.subscribe([subscription('site/#', 0, { retainHandling: 2 })])
  await peer.client.subscribe([subscription('a/+')])
  await publish(peer, 'a/1', 'hi')
  expect([...peer.client.session.subscriptions.values()].map(({ filter }) => filter)).toEqual(['site/b/+'])
  expect(peer.receiver.texts).toEqual(['site/b/1=hi'])
})

test('a client unsubscribes from what it has subscribed to', async () => {
  const { hub } = await start(rule('a/#', '^a/(.*)$', 'b/$1', 'subscribe'))
  const { client } = await connect(hub, 'c1')
  expect(await client.subscribe([subscription('a/#', 1), subscription('x', 2)])).toEqual([1, 2])
  expect([...client.session.subscriptions.keys()]).toEqual(['b/#', 'x'])
  expect(await client.unsubscribe(['a/#', 'a/none', 'x'])).toEqual([
    ReasonCode.Success,
    ReasonCode.NoSubscriptionExisted,
    ReasonCode.Success,
  ])
  expect(client.session.subscriptions.size).toBe(0)
})

test('shared and exclusive subscriptions keep their prefix', async () => {
  const { hub } = await start(rule('a/#', '^a/(.*)$', 'b/$1'))
  hub.update({ ...hub.options, exclusiveSubscription: true })
  const { client } = await connect(hub, 'c1')
  await client.subscribe(
    ['$share/g/a/#', '$queue/a/1', '$exclusive/a/2'].map((filter) => subscription(filter)),
  )
  expect([...client.session.subscriptions.keys()]).toEqual(['$share/g/b/#', '$queue/b/1', '$exclusive/b/2'])
})

test('a filter that is none any more is refused', async () => {
  const { hub } = await start(rule('a/#', '^a/(.*)$', 'b$1'))
  const { client } = await connect(hub, 'c1')
  expect(await client.subscribe([subscription('a/1'), subscription('a/#')])).toEqual([
    0,
    ReasonCode.TopicFilterInvalid,
  ])
})

test('a topic that would be none stays as it is', async () => {
  expect(await published([rule('a/#', '^a/(.*)$', '$1')], 'a/')).toBe('a/')
})

test('a client cannot get at $SYS through a rule that takes levels away', async () => {
  const strip = [rule('a/#', '^a/(.*)$', '$1')]
  expect(await published(strip, 'a/$SYS/x')).toBe('a/$SYS/x')
  expect(await published([rule('a', 'a', '${username}/x')], 'a', { username: '$SYS' })).toBe('a')
  expect(await published([rule('a', 'a', '$SYS/x')], 'a')).toBe('$SYS/x')
  expect(await published([rule('$d/#', '^(\\$d)/(.*)$', '$1/n/$2')], '$d/x')).toBe('$d/n/x')
})

test('very long topics stay as they are', async () => {
  const rules = [rule('#', '^(.*)$', 'b/$1')]
  expect(await published(rules, 'a'.repeat(4096))).toHaveLength(4098)
  expect(await published(rules, 'a'.repeat(4097))).toHaveLength(4097)
})

test('more topics than are remembered are rewritten all the same', async () => {
  const { hub } = await start(rule('a/#', '^a/(.*)$', 'b/$1'))
  const peer = await connect(hub, 'c1')
  const topics = Array.from({ length: 25_000 }, (_, i) => `a/${i % 12_500}`)
  const messages = topics.map((topic) =>
    Message.of(topic, Buffer.from(''), 0, false, undefined, peer.client.info, 1),
  )
  for (const message of messages) await hub.publish(message)
  expect(messages.map(({ topic }) => topic)).toEqual(topics.map((topic) => topic.replace('a', 'b')))
})

test('nothing is attached that has no rules', async () => {
  const { hub, feature } = await start()
  const attached = () =>
    (['message.publish', 'client.subscribe', 'client.unsubscribe'] as const).filter((point) =>
      hub.hooks.has(point),
    )
  expect(attached()).toEqual([])
  feature.update([rule('a', 'a', 'b', 'publish')])
  expect(attached()).toEqual(['message.publish'])
  feature.update([rule('a', 'a', 'b', 'subscribe')])
  expect(attached()).toEqual(['client.subscribe', 'client.unsubscribe'])
  feature.update([rule('a', 'a', 'b')])
  feature.close()
  expect(attached()).toEqual([])
})

test.each([
  [
    rule('a/#/b', 'a', 'b'),
    'rewrite.2.source_topic: expected a topic filter that is not shared, found "a/#/b"',
  ],
  [rule('$share/g/a', 'a', 'b'), 'rewrite.2.source_topic'],
  [rule('a', '(', 'b'), 'rewrite.2.re: "(" is not a regular expression (RE2 syntax): missing closing ): `(`'],
  [rule('a', 'a', 'b/+'), 'rewrite.2.dest_topic: nothing can be published to "b/+": it holds a wildcard'],
  [rule('a', 'a', 'b/#', 'publish'), 'rewrite.2.dest_topic'],
  [rule('a', 'a', 'b/#/c', 'subscribe'), 'rewrite.2.dest_topic: expected a topic filter, found "b/#/c"'],
  [rule('a', '(a)', 'b/$2'), 'rewrite.2.dest_topic: there is no group for $2 in re'],
  [rule('a', 'a', 'b/$0'), 'rewrite.2.dest_topic: there is no group for $0 in re'],
])('a wrong rule is refused: %j', (wrong, text) => {
  const make = () => new TopicRewrite([rule('a', 'a', 'b'), wrong], { log: silentLogger })
  expect(make).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  expect(make).toThrow(text)
})

test('rules that are refused leave the old ones in force', async () => {
  const { hub, feature } = await start(rule('a', 'a', 'b'))
  expect(() => feature.update([rule('a', '(', 'c')])).toThrow('rewrite.1.re')
  const message = Message.of('a', Buffer.from(''), 0, false, undefined, undefined, 1)
  await hub.publish(message)
  expect(message.topic).toBe('b')
})

test('a subscription may be rewritten to a filter with wildcards', async () => {
  const { hub } = await start(rule('all', '^all$', 'site/#', 'subscribe'))
  const { client } = await connect(hub, 'c1')
  expect(await client.subscribe([subscription('all')])).toEqual([0])
  expect([...client.session.subscriptions.keys()]).toEqual(['site/#'])
})

test('there are at most 20 rules', () => {
  const rules = Array.from({ length: 21 }, () => rule('a', 'a', 'b'))
  const load = (count: number) => {
    const schema = Type.Object({ rewrite })
    return loadConfig({
      schema,
      file: writeConfig(JSON.stringify({ rewrite: rules.slice(0, count) })),
      env: {},
    })
  }
  expect(load(20).config.rewrite).toHaveLength(20)
  expect(() => load(21)).toThrow('rewrite: must NOT have more than 20 items')
  expect(() => new TopicRewrite(rules, { log: silentLogger })).toThrow('rewrite: at most 20 rules, found 21')
})
