// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the placeholders are what is tested
import Type from 'typebox'
import { expect, onTestFinished, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { AutoSubscribe } from '../../features/auto-subscribe/auto-subscribe.ts'
import { type AutoSubscribeConfig, autoSubscribe } from '../../features/auto-subscribe/config.ts'
import { HookBus } from '../../hooks/bus.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { type Logger, silentLogger } from '../../model/log.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { Subscription } from '../../model/subscription.ts'
import { clientInfo, connect, publish, startHub, subscription } from '../broker/support.ts'
import { writeConfig } from '../config/sample.ts'

type RuleConfig = AutoSubscribeConfig['topics'][number]

const rule = (topic: string, changes: Partial<RuleConfig> = {}): RuleConfig => ({
  topic,
  qos: 0,
  rh: 0,
  rap: 0,
  nl: 0,
  ...changes,
})

/** What the broker is asked to subscribe clients to. */
function start(topics: RuleConfig[], codes?: ReasonCode[]) {
  const asked: Subscription[] = []
  const warnings: object[] = []
  const log: Logger = { ...silentLogger, warn: (fields) => void warnings.push(fields) }
  const subscribe = (_client: ClientInfo, subscriptions: readonly Subscription[]) => {
    asked.push(...subscriptions)
    return codes
  }
  const feature = new AutoSubscribe({ topics }, { log, subscribe })
  const bus = new HookBus()
  feature.attach(bus)
  const login = (changes: Partial<ClientInfo> = {}) => {
    asked.length = 0
    bus.run('client.connected', clientInfo('c1', changes))
    return asked.map(({ filter }) => filter)
  }
  return { feature, bus, asked, warnings, login }
}

test('a client is subscribed when it connects, and gets what is retained', async () => {
  const hub = await startHub()
  onTestFinished(() => hub.stop())
  const feature = new AutoSubscribe(
    { topics: [rule('to/${clientid}', { qos: 1 }), rule('news')] },
    {
      log: silentLogger,
      subscribe: (info, subscriptions) =>
        hub.client(info.key)?.subscribe(subscriptions) as ReasonCode[] | undefined,
    },
  )
  feature.attach(hub.hooks)
  const sender = await connect(hub, 'sender')
  await publish(sender, 'news', 'old', 0, { retain: true })
  const peer = await connect(hub, 'c1')
  await publish(sender, 'to/c1', 'hi', 2)
  expect(peer.receiver.deliveries[0]).toMatchObject({ qos: 1, message: { topic: 'to/c1' } })
  await expect.poll(() => peer.receiver.texts).toEqual(['to/c1=hi', 'news=old'])
})

test('placeholders are filled in from the client', () => {
  const { login } = start([rule('${clientid}/${username}/${host}/${port}'), rule('$share/${username}/x/#')])
  expect(login({ username: 'ada' })).toEqual(['c1/ada/127.0.0.1/50000', '$share/ada/x/#'])
})

test.each([undefined, '', '#', 'a+', '\0'])('a rule about the user name %j is left out', (username) => {
  const { login } = start([rule('u/${username}'), rule('a')])
  expect(login({ username })).toEqual(['a'])
})

test('a client cannot get at $SYS or into a group by its name', () => {
  const { login } = start([rule('${username}/#'), rule('$SYS/${username}')])
  expect(login({ username: '$SYS' })).toEqual(['$SYS/$SYS'])
  expect(login({ username: 'ada' })).toEqual(['ada/#', '$SYS/ada'])
})

test('options are those of the rule for MQTT 5, and only QoS counts for MQTT 3', () => {
  const { login, asked } = start([rule('a', { qos: 2, rh: 1, rap: 1, nl: 1 })])
  login()
  const asFive = { noLocal: true, retainAsPublished: true, retainHandling: 1 } as const
  expect(asked).toEqual([subscription('a', 2, asFive)])
  login({ protocolVersion: '4' })
  expect(asked).toEqual([subscription('a', 2)])
  login({ protocolVersion: '4', isBridge: true })
  expect(asked).toEqual([subscription('a', 2, { retainAsPublished: true })])
})

test('clients of gateways are left alone', () => {
  const { login } = start([rule('a')])
  expect(login({ gateway: 'stomp', protocol: 'stomp' })).toEqual([])
})

test('nothing is attached without rules, and new rules are for those who connect then', () => {
  const { feature, bus, login } = start([])
  expect(bus.has('client.connected')).toBe(false)
  feature.update({ topics: [rule('a')] })
  expect(login()).toEqual(['a'])
  feature.update({ topics: [rule('b'), rule('c')] })
  expect(login()).toEqual(['b', 'c'])
  expect(() => feature.update({ topics: [rule('a/#/b')] })).toThrow('auto_subscribe.topics.1.topic')
  expect(login()).toEqual(['b', 'c'])
  feature.close()
  expect(bus.has('client.connected')).toBe(false)
})

test('a subscription that is refused is told in the log', () => {
  const { login, warnings } = start([rule('a'), rule('b')], [ReasonCode.Success, ReasonCode.QuotaExceeded])
  login()
  expect(warnings).toEqual([expect.objectContaining({ clientid: 'c1', filter: 'b' })])
})

test.each([
  [rule('a/#/b'), 'auto_subscribe.topics.2.topic: expected a topic filter, found "a/#/b"'],
  [rule('${clientid}#'), 'auto_subscribe.topics.2.topic: expected a topic filter'],
  [rule('a/${clientId}'), 'auto_subscribe.topics.2.topic: there is no ${clientId}'],
  [rule('$share/g/a', { nl: 1 }), 'auto_subscribe.topics.2.nl: No Local is not for shared subscriptions'],
])('a wrong rule is refused: %j', (wrong, text) => {
  const make = () => start([rule('a'), wrong])
  expect(make).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  expect(make).toThrow(text)
})

test('what a rule leaves out is 0, and there are at most 20', () => {
  const load = (topics: object[]) => {
    const schema = Type.Object({ auto_subscribe: autoSubscribe })
    return loadConfig({ schema, file: writeConfig(JSON.stringify({ auto_subscribe: { topics } })), env: {} })
  }
  expect(load([{ topic: 'a' }]).config.auto_subscribe).toEqual({ topics: [rule('a')] })
  expect(() => load(Array.from({ length: 21 }, () => ({ topic: 'a' })))).toThrow('more than 20 items')
  expect(() => load([{ topic: 'a', qos: 3 }])).toThrow('auto_subscribe.topics.1.qos')
  expect(() => start(Array.from({ length: 21 }, () => rule('a')))).toThrow('at most 20 rules, found 21')
})
