import { expect, onTestFinished, test, vi } from 'vitest'
import type { DelayedConfig } from '../../features/delayed/config.ts'
import { DelayedPublish, type DelayedSurroundings } from '../../features/delayed/delayed.ts'
import { parseDelayed } from '../../features/delayed/delayed-topic.ts'
import { TopicRewrite } from '../../features/rewrite/rewrite.ts'
import { type Logger, silentLogger } from '../../model/log.ts'
import { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { connect, publish, startHub, subscription } from '../broker/support.ts'

const START = 1_700_000_000_000
const ON: DelayedConfig = { enable: true, max_delayed_messages: 1_000_000 }

/** A hub whose clock stands still until it is moved, with somebody who listens to everything. */
async function start(config: Partial<DelayedConfig> = {}, more: Partial<DelayedSurroundings> = {}) {
  const hub = await startHub()
  const logged: [string, object, string][] = []
  const say = (level: string) => (fields: object, text: string) => void logged.push([level, fields, text])
  const log: Logger = { ...silentLogger, debug: say('debug'), warn: say('warn'), error: say('error') }
  const feature = new DelayedPublish({ ...ON, ...config }, { hub, log, now: () => Date.now(), ...more })
  feature.attach(hub.hooks)
  onTestFinished(async () => {
    feature.close()
    vi.useRealTimers()
    await hub.stop()
  })
  const listener = await connect(hub, 'listener')
  await listener.client.subscribe([subscription('#', 2)])
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'], now: START })
  return { hub, feature, logged, peer: await connect(hub, 'c1'), receiver: listener.receiver }
}

test('a message is published after its delay, and the publisher is told that nobody has got it', async () => {
  const { feature, peer, receiver } = await start()
  expect(await publish(peer, '$delayed/5/a/b', 'late', 1)).toBe(ReasonCode.NoMatchingSubscribers)
  await publish(peer, 'now')
  vi.advanceTimersByTime(4999)
  expect(receiver.texts).toEqual(['now=x'])
  expect(feature.count).toBe(1)
  vi.advanceTimersByTime(1)
  expect(receiver.texts).toEqual(['now=x', 'a/b=late'])
  expect(receiver.deliveries[1]).toMatchObject({ qos: 1, retain: false })
  expect(feature.count).toBe(0)
  expect(feature.delayedCount).toBe(1)
  expect(vi.getTimerCount()).toBe(0)
})

test('what is due first goes first, of the same time what came first, with one timer for all', async () => {
  const { peer, receiver } = await start()
  for (const [seconds, name] of [
    [9, 'd'],
    [3, 'b'],
    [1, 'a'],
    [3, 'c'],
  ] as const)
    await publish(peer, `$delayed/${seconds}/t`, name)
  expect(vi.getTimerCount()).toBe(1)
  vi.advanceTimersByTime(3000)
  expect(receiver.texts).toEqual(['t=a', 't=b', 't=c'])
  vi.advanceTimersByTime(6000)
  expect(receiver.texts).toEqual(['t=a', 't=b', 't=c', 't=d'])
})

test.each([
  ['0/a', START],
  ['007/a', START + 7000],
  ['42949669/a', START + 42_949_669_000],
  ['42949670/a', 42_949_670_000],
  ['1700000100/a', 1_700_000_100_000],
  [`${1_700_000_000 + 42_949_670}/a`, (1_700_000_000 + 42_949_670) * 1000],
])('$delayed/%s is due at %i', (rest, dueAtMs) => {
  expect(parseDelayed(`$delayed/${rest}`, START)).toEqual({ topic: 'a', dueAtMs })
})

test.each([
  '$delayed/',
  '$delayed/5',
  '$delayed/5/',
  '$delayed//a',
  '$delayed/x/a',
  '$delayed/-1/a',
  '$delayed/1.5/a',
  `$delayed/${1_700_000_000 + 42_949_671}/a`,
  `$delayed/${'9'.repeat(400)}/a`,
  '$delayed/5/$delayed/5/a',
])('%s is not published', async (topic) => {
  const { feature, logged, peer, receiver } = await start()
  expect(await publish(peer, topic)).toBe(ReasonCode.NoMatchingSubscribers)
  expect(feature.count).toBe(0)
  expect(receiver.texts).toEqual([])
  expect(logged).toEqual([['debug', { client: 'c1', topic }, 'not published, no delayed topic']])
})

test('a time that is over means now', async () => {
  const { peer, receiver } = await start()
  await publish(peer, '$delayed/1600000000/a')
  expect(receiver.texts).toEqual([])
  vi.advanceTimersByTime(1)
  expect(receiver.texts).toEqual(['a=x'])
})

test('a delay longer than any timer is kept to', async () => {
  const { feature, peer, receiver } = await start()
  const days = 86_400_000
  await publish(peer, `$delayed/${40 * 86_400}/a`)
  vi.advanceTimersByTime(40 * days - 1)
  expect(feature.count).toBe(1)
  vi.advanceTimersByTime(1)
  expect(receiver.texts).toEqual(['a=x'])
})

test('a clock that was set is noticed within a minute', async () => {
  const { peer, receiver } = await start()
  await publish(peer, '$delayed/86400/a')
  vi.setSystemTime(START + 86_400_000)
  vi.advanceTimersByTime(60_000)
  expect(receiver.texts).toEqual(['a=x'])
})

test('it stands below the mountpoint of the publisher', async () => {
  const { hub, feature, receiver } = await start()
  const peer = await connect(hub, 'c2', {}, { mountpoint: 'site/' })
  await publish(peer, '$delayed/5/a')
  expect([...feature.list()]).toMatchObject([{ topic: 'site/a', dueAtMs: START + 5000 }])
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual(['site/a=x'])
})

test('it is retained when it is published, not before', async () => {
  const { hub, peer } = await start()
  await publish(peer, '$delayed/5/a', 'x', 0, { retain: true })
  expect(hub.kernel.storage.retainedCount).toBe(0)
  vi.advanceTimersByTime(5000)
  expect(hub.kernel.storage.retainedCount).toBe(1)
})

test('its expiry counts from then, and its properties are those of the publisher', async () => {
  const { peer, receiver } = await start()
  const properties = { messageExpiryInterval: 2, contentType: 'text/plain' }
  await publish(peer, '$delayed/60/a', 'x', 0, { properties })
  vi.advanceTimersByTime(60_000)
  const { message } = receiver.deliveries[0] ?? {}
  expect(message?.expiresAtMs).toBe(START + 62_000)
  expect(message?.timestampMs).toBe(START + 60_000)
  expect(message?.properties).toEqual(properties)
  expect(message?.publisher).toBe(peer.client.info)
})

test('hooks that come later see it only when it is due', async () => {
  const { hub, peer } = await start()
  const seen: string[] = []
  hub.hooks.add('message.publish', 'exhook', (decision) => void seen.push((decision as Message).topic), {
    priority: 100,
  })
  await publish(peer, '$delayed/5/a')
  expect(seen).toEqual([])
  vi.advanceTimersByTime(5000)
  expect(seen).toEqual(['a'])
})

test('rewrite rules that delay every message delay each of them once', async () => {
  const { hub, feature, peer, receiver } = await start()
  const rule = { action: 'publish', source_topic: 'a/#', re: '^(.*)$', dest_topic: '$delayed/5/$1' } as const
  new TopicRewrite([rule], { log: silentLogger }).attach(hub.hooks)
  await publish(peer, 'a/1')
  expect(feature.count).toBe(1)
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual(['a/1=x'])
  expect(feature.count).toBe(0)
})

test('the payload is kept, whatever becomes of the bytes it came in', async () => {
  const { hub, receiver } = await start()
  const chunk = Buffer.alloc(64 * 1024, 'payload')
  await hub.publish(Message.of('$delayed/5/a', chunk, 0, false, undefined, undefined, START, 0, 7))
  chunk.fill(0)
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual(['a=payload'])
})

test('what a publisher left that is banned by then is dropped', async () => {
  const banned = new Set<string>()
  const { hub, peer, receiver } = await start({}, { isBanned: ({ clientId }) => banned.has(clientId) })
  const other = await connect(hub, 'c2')
  await publish(peer, '$delayed/5/a')
  await publish(other, '$delayed/5/b')
  banned.add('c1')
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual(['b=x'])
})

test('when too many wait, new ones are dropped, and the log says so once', async () => {
  const { feature, logged, peer } = await start({ max_delayed_messages: 2 })
  for (let i = 0; i < 5; i++) await publish(peer, '$delayed/5/a')
  expect(feature.count).toBe(2)
  expect(feature.droppedCount).toBe(3)
  expect(logged).toHaveLength(1)
  vi.advanceTimersByTime(5000)
  for (let i = 0; i < 4; i++) await publish(peer, '$delayed/5/a')
  expect(feature.count).toBe(2)
  expect(logged).toHaveLength(2)
  feature.update({ enable: true, max_delayed_messages: 0 })
  for (let i = 0; i < 4; i++) await publish(peer, '$delayed/5/a')
  expect(feature.count).toBe(6)
})

test('switched off, what waits is dropped and nothing is attached', async () => {
  const { hub, feature, logged, peer, receiver } = await start()
  await publish(peer, '$delayed/5/a')
  feature.update({ enable: false, max_delayed_messages: 1 })
  expect(feature.count).toBe(0)
  expect(logged).toEqual([['warn', { messages: 1 }, expect.stringContaining('switched off')]])
  expect(hub.hooks.has('message.publish')).toBe(false)
  expect(vi.getTimerCount()).toBe(0)
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual([])
  feature.update(ON)
  await publish(peer, '$delayed/5/b')
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual(['b=x'])
})

test('any other change keeps what waits', async () => {
  const { feature, peer, receiver } = await start()
  for (const topic of ['a', 'b']) await publish(peer, `$delayed/5/${topic}`)
  feature.update({ enable: true, max_delayed_messages: 1 })
  await publish(peer, '$delayed/5/c')
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual(['a=x', 'b=x'])
})

test('what waits is listed, and taken away by id or topic', async () => {
  const { feature, peer, receiver } = await start()
  for (const [seconds, topic] of [
    [9, 'a'],
    [5, 'b'],
    [7, 'a'],
    [6, 'c'],
  ] as const)
    await publish(peer, `$delayed/${seconds}/${topic}`)
  const ids = [...feature.list()].map(({ id }) => id)
  expect([...feature.list()].map(({ topic }) => topic)).toEqual(['a', 'b', 'a', 'c'])
  expect(feature.get(ids[1] as number)).toMatchObject({ topic: 'b', message: { topic: '$delayed/5/b' } })
  expect(feature.delete(ids[1] as number)).toBe(true)
  expect(feature.delete(ids[1] as number)).toBe(false)
  expect(feature.deleteTopic('a')).toBe(2)
  expect(feature.deleteTopic('a')).toBe(0)
  expect(feature.count).toBe(1)
  vi.advanceTimersByTime(60_000)
  expect(receiver.texts).toEqual(['c=x'])
})

test('a closed feature has no timer and takes nothing', async () => {
  const { feature, logged, peer, receiver } = await start()
  await publish(peer, '$delayed/5/a')
  feature.close()
  feature.close()
  await publish(peer, '$delayed/5/b')
  expect(feature.count).toBe(0)
  expect(vi.getTimerCount()).toBe(0)
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual([])
  expect(logged).toEqual([['warn', { messages: 1 }, expect.stringContaining('broker stops')]])
})

test('many that are due at once are released in several turns', async () => {
  const { feature, peer, receiver } = await start()
  for (let i = 0; i < 1200; i++) await publish(peer, '$delayed/5/a', String(i))
  vi.advanceTimersByTime(4999)
  vi.advanceTimersToNextTimer()
  expect(feature.count).toBe(700)
  vi.advanceTimersByTime(100)
  expect(receiver.texts).toEqual(Array.from({ length: 1200 }, (_, i) => `a=${i}`))
})

test('where hooks have to be waited for, the order of a publisher is kept and others do not wait', async () => {
  const { hub, peer, receiver } = await start()
  const other = await connect(hub, 'c2')
  const answers: (() => void)[] = []
  hub.hooks.add('message.publish', 'slow', (decision) => {
    const message = decision as Message
    if (message.from !== 'c1') return undefined
    return new Promise<undefined>((resolve) => answers.push(() => resolve(undefined)))
  })
  for (const text of ['1', '2']) await publish(peer, '$delayed/5/a', text)
  await publish(other, '$delayed/5/b')
  vi.advanceTimersByTime(5000)
  expect(receiver.texts).toEqual(['b=x'])
  expect(answers).toHaveLength(1)
  answers[0]?.()
  await vi.waitFor(() => expect(answers).toHaveLength(2))
  await publish(other, '$delayed/1/c')
  answers[1]?.()
  await vi.waitFor(() => expect(receiver.texts).toEqual(['b=x', 'a=1', 'a=2']))
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1))
  vi.advanceTimersByTime(1000)
  expect(receiver.texts).toEqual(['b=x', 'a=1', 'a=2', 'c=x'])
})

test.each([
  [
    'throws',
    () => {
      throw new Error('full')
    },
  ],
  ['rejects', () => Promise.reject(new Error('full'))],
])('a broker that %s costs this message and no other', async (_how, fail) => {
  const sent: string[] = []
  const { logged, peer } = await start(
    {},
    {
      hub: {
        publish: (message) => {
          if (message.topic === 'bad') return fail()
          sent.push(message.topic)
          return ReasonCode.Success
        },
      },
    },
  )
  for (const topic of ['bad', 'good']) await publish(peer, `$delayed/5/${topic}`)
  vi.advanceTimersByTime(5000)
  await vi.waitFor(() => expect(sent).toEqual(['good']))
  await vi.waitFor(() =>
    expect(logged).toEqual([['error', expect.anything(), 'delayed message not published']]),
  )
})

test('however many wait, there is one timer', async () => {
  const { hub, feature } = await start()
  for (let i = 0; i < 100_000; i++) {
    const topic = `$delayed/${1 + ((i * 7919) % 1000)}/t`
    await hub.publish(Message.of(topic, Buffer.from('x'), 0, false, undefined, undefined, START))
  }
  expect(feature.count).toBe(100_000)
  expect(vi.getTimerCount()).toBe(1)
  vi.advanceTimersByTime(1_010_000)
  expect(feature.count).toBe(0)
})
