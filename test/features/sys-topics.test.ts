/** `$SYS`: what the broker says about itself, to whom, and how often. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { DelayedPublish } from '../../features/delayed/delayed.ts'
import { Features } from '../../features/features.ts'
import type { SysTopicsConfig } from '../../features/sys-topics/config.ts'
import { eventTopic } from '../../features/sys-topics/events.ts'
import { SysTopics } from '../../features/sys-topics/sys-topics.ts'
import { silentLogger } from '../../model/log.ts'
import { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { connected, publish as publishBytes, subscribe as subscribeBytes } from '../broker/mqtt/raw-peer.ts'
import { packet } from '../broker/mqtt/support.ts'
import { clientInfo, connect, type Peer, publish, startHub, subscription } from '../broker/support.ts'

const NODE = 'test@127.0.0.1'
const MINUTE = 60_000
const ALL_EVENTS = {
  client_connected: true,
  client_disconnected: true,
  client_subscribed: true,
  client_unsubscribed: true,
}
const CONFIG: SysTopicsConfig = {
  sys_msg_interval: MINUTE,
  sys_heartbeat_interval: 30_000,
  sys_event_messages: { ...ALL_EVENTS, client_subscribed: false, client_unsubscribed: false },
}

let hub: Hub
let sys: SysTopics
beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'], now: 1_700_000_000_000 })
  hub = await startHub()
  sys = new SysTopics(CONFIG, {
    hub,
    log: silentLogger,
    now: Date.now,
    nodeName: NODE,
    version: '1.2.3',
  })
  sys.attach(hub.hooks)
})
afterEach(async () => {
  sys.close()
  await hub.stop()
  vi.useRealTimers()
})

async function watching(filter: string, id = 'watcher'): Promise<Peer> {
  const peer = await connect(hub, id)
  await peer.client.subscribe([subscription(filter)])
  peer.receiver.deliveries.length = 0
  return peer
}

/** What has come since the last look, by topic below `$SYS/brokers/NODE/`. */
function heard({ receiver }: Peer): Map<string, string> {
  const messages = receiver.deliveries.splice(0)
  return new Map(
    messages.map(({ message }) => [
      message.topic.replace(`$SYS/brokers/${NODE}/`, ''),
      Buffer.from(message.payload).toString(),
    ]),
  )
}

function event(peer: Peer): unknown {
  const [text] = heard(peer).values()
  return text === undefined ? undefined : JSON.parse(text)
}

async function replayed(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
}

describe('heartbeat', () => {
  test('tells at once and then at its interval', async () => {
    const watcher = await watching('$SYS/#')
    sys.update(CONFIG)
    expect(Object.fromEntries(heard(watcher))).toEqual({
      '$SYS/brokers': NODE,
      version: '1.2.3',
      sysdescr: 'Hubbub MQTT broker',
      uptime: '0',
      datetime: '2023-11-14T22:13:20.000Z',
    })
    vi.advanceTimersByTime(29_999)
    expect(heard(watcher).size).toBe(0)
    vi.advanceTimersByTime(1)
    expect(heard(watcher).get('uptime')).toBe('30000')
  })

  test('nodes, version and description are there for who comes later', async () => {
    sys.update(CONFIG)
    const late = await watching('$SYS/#')
    await replayed()
    expect([...heard(late).keys()].sort()).toEqual(['$SYS/brokers', 'sysdescr', 'version'])
  })

  test('what has not changed is not stored again, unless somebody has taken it away', () => {
    const stored = vi.spyOn(hub.kernel.storage, 'storeRetained')
    sys.update(CONFIG)
    expect(stored).toHaveBeenCalledTimes(3)
    vi.advanceTimersByTime(MINUTE)
    expect(stored).toHaveBeenCalledTimes(3)
    const nothing = Message.of('$SYS/brokers', Buffer.alloc(0), 0, true, undefined, undefined, Date.now())
    void hub.kernel.announce(nothing)
    vi.advanceTimersByTime(30_000)
    expect(hub.kernel.storage.hasRetained('$SYS/brokers')).toBe(true)
  })

  test('switched off, it tells nothing and leaves nothing behind', async () => {
    sys.update(CONFIG)
    expect(hub.kernel.storage.retainedCount).toBe(3)
    sys.update({ ...CONFIG, sys_heartbeat_interval: 'disabled', sys_msg_interval: 'disabled' })
    expect(hub.kernel.storage.retainedCount).toBe(0)
    const watcher = await watching('$SYS/#')
    vi.advanceTimersByTime(10 * MINUTE)
    expect(heard(watcher).size).toBe(0)
  })

  test('a new interval holds from the reload on, and an old one goes on', async () => {
    sys.update(CONFIG)
    const watcher = await watching(`$SYS/brokers/${NODE}/uptime`)
    vi.advanceTimersByTime(20_000)
    sys.update({ ...CONFIG, sys_msg_interval: 1000 })
    vi.advanceTimersByTime(10_000)
    expect(heard(watcher).get('uptime')).toBe('30000')
    sys.update({ ...CONFIG, sys_heartbeat_interval: 1000 })
    heard(watcher)
    vi.advanceTimersByTime(1000)
    expect(heard(watcher).get('uptime')).toBe('31000')
  })

  test('an interval longer than timers can be is waited for, not skipped', async () => {
    sys.update({ ...CONFIG, sys_heartbeat_interval: Number.POSITIVE_INFINITY, sys_msg_interval: 2 ** 40 })
    const watcher = await watching(`$SYS/brokers/${NODE}/+`)
    vi.advanceTimersByTime(10 * MINUTE)
    expect(heard(watcher).size).toBe(0)
  })
})

describe('numbers', () => {
  test('statistics and counters come at their interval, dots become slashes', async () => {
    const watcher = await watching('$SYS/#')
    sys.update(CONFIG)
    heard(watcher)
    await publish(await connect(hub, 'sender'), 't', 'x', 1)
    vi.advanceTimersByTime(MINUTE)
    const told = heard(watcher)
    expect(told.get('stats/live_connections/count')).toBe('2')
    expect(told.get('stats/subscriptions/shared/max')).toBe('0')
    expect(told.get('metrics/messages/qos1/received')).toBe('1')
    expect(told.get('metrics/packets/connect/received')).toBe('0')
    expect(told.get('metrics/client/connected')).toBe('2')
  })

  test('what the broker says about itself is not what is published through it', async () => {
    await watching('#')
    sys.update(CONFIG)
    vi.advanceTimersByTime(10 * MINUTE)
    expect(hub.metrics.messagesPublish).toBe(0)
    expect(hub.metrics.messagesDroppedNoSubscribers).toBe(0)
  })
})

describe('events of clients', () => {
  test('one that connects is described', async () => {
    const watcher = await watching(`$SYS/brokers/${NODE}/clients/+/connected`)
    const peer = connected(hub, 5, {
      id: 'c1',
      rest: '02 003c 16 11 0000000a 21 0014 26 0001 "k" 0001 "v" 26 0001 "k" 0001 "w"',
    })
    expect(peer.isClosed).toBe(false)
    expect(watcher.receiver.deliveries[0]?.message.topic).toBe(`$SYS/brokers/${NODE}/clients/c1/connected`)
    expect(event(watcher)).toEqual({
      clientid: 'c1',
      username: null,
      ipaddress: expect.any(String),
      sockport: expect.any(Number),
      protocol: 'mqtt',
      proto_name: 'MQTT',
      proto_ver: 5,
      connected_at: expect.any(Number),
      ts: Date.now(),
      conn_props: { 'Session-Expiry-Interval': 10, 'Receive-Maximum': 20, 'User-Property': { k: 'w' } },
      receive_maximum: 20,
      keepalive: 60,
      clean_start: true,
      expiry_interval: 10,
      client_attrs: {},
    })
  })

  test('one that leaves says why', async () => {
    const watcher = await watching(`$SYS/brokers/${NODE}/clients/+/disconnected`)
    const peer = connected(hub, 5, { id: 'c1' })
    peer.send(packet('e0', '00 07 1f 0004 "done"'))
    expect(event(watcher)).toEqual({
      clientid: 'c1',
      username: null,
      ipaddress: expect.any(String),
      sockport: expect.any(Number),
      protocol: 'mqtt',
      proto_name: 'MQTT',
      proto_ver: 5,
      connected_at: expect.any(Number),
      disconnected_at: Date.now(),
      ts: Date.now(),
      reason: 'normal',
      disconn_props: { 'Reason-String': 'done' },
      client_attrs: {},
    })
  })

  test('subscribing and unsubscribing is told where that is wanted, from the reload on', async () => {
    const watcher = await watching(`$SYS/brokers/${NODE}/clients/c1/+`)
    const { client } = await connect(hub, 'c1', {}, { username: 'u' })
    heard(watcher)
    await client.subscribe([subscription('a')])
    expect(heard(watcher).size).toBe(0)
    sys.update({ ...CONFIG, sys_event_messages: ALL_EVENTS })
    await client.subscribe([subscription('a', 1, { noLocal: true, retainHandling: 2, identifier: 7 })])
    expect(event(watcher)).toEqual({
      clientid: 'c1',
      username: 'u',
      protocol: 'mqtt',
      topic: 'a',
      subopts: { qos: 1, nl: 1, rap: 0, rh: 2, sub_props: { 'Subscription-Identifier': 7 }, is_new: false },
      ts: Date.now(),
    })
    await client.unsubscribe(['a'])
    expect(event(watcher)).toEqual({
      clientid: 'c1',
      username: 'u',
      protocol: 'mqtt',
      topic: 'a',
      ts: Date.now(),
    })
  })

  test('switched off, they cost no hook', () => {
    const none = Object.fromEntries(Object.keys(ALL_EVENTS).map((name) => [name, false]))
    sys.update({ ...CONFIG, sys_event_messages: none as typeof ALL_EVENTS })
    expect(hub.hooks.has('client.connected')).toBe(false)
    expect(hub.hooks.has('client.disconnected')).toBe(false)
    expect(hub.hooks.has('session.subscribed')).toBe(false)
  })

  test('clients of a gateway have topics of their own', async () => {
    const watcher = await watching(`$SYS/brokers/${NODE}/gateway/stomp/clients/c1/connected`)
    const stomp = {
      key: 'stomp\0c1',
      gateway: 'stomp',
      protocol: 'stomp',
      protocolName: 'STOMP',
      protocolVersion: '1.2',
    }
    await connect(hub, 'c1', {}, stomp)
    expect(event(watcher)).toMatchObject({ clientid: 'c1', protocol: 'stomp', proto_ver: '1.2' })
  })

  test('no client id makes an invalid topic, or the topic of another client', () => {
    const topicOf = (id: string) => eventTopic(NODE, clientInfo(id), 'connected')
    expect(topicOf('a/b')).toBe(`$SYS/brokers/${NODE}/clients/a/b/connected`)
    expect(topicOf('+')).toBe(`$SYS/brokers/${NODE}/clients/%2B/connected`)
    expect(topicOf('a/#')).toBe(`$SYS/brokers/${NODE}/clients/a/%23/connected`)
    expect(topicOf('%2B')).toBe(`$SYS/brokers/${NODE}/clients/%252B/connected`)
    expect(topicOf('a\0b')).toBe(`$SYS/brokers/${NODE}/clients/a%00b/connected`)
  })

  test('names that come from the wire are only names', async () => {
    const watcher = await watching(`$SYS/brokers/${NODE}/clients/+/connected`)
    connected(hub, 5, { id: 'c1', rest: `02 003c 0f 26 0009 "__proto__" 0001 "v"` })
    const [text] = heard(watcher).values()
    expect(text).toContain('"User-Property":{"__proto__":"v"}')
  })
})

describe('who may do what', () => {
  test('a subscription to # does not get what is under $SYS', async () => {
    const everything = await watching('#')
    const levels = await watching('+/#', 'levels')
    sys.update(CONFIG)
    vi.advanceTimersByTime(MINUTE)
    await connect(hub, 'c1')
    expect(heard(everything).size + heard(levels).size).toBe(0)
  })

  test('a shared subscription to $SYS works', async () => {
    const watcher = await watching('$share/g/$SYS/#')
    sys.update(CONFIG)
    expect(heard(watcher).get('version')).toBe('1.2.3')
  })

  test.each(['$SYS', '$SYS/brokers', `$SYS/brokers/${NODE}/version`, '$events', '$events/client_connected'])(
    'a client cannot publish to %s',
    async (topic) => {
      const watcher = await watching('$SYS/#')
      const heardOf = vi.fn()
      hub.hooks.put('message.publish', 'test', heardOf)
      const peer = connected(hub, 5)
      peer.send(publishBytes('3', topic, 'lie', 7))
      expect(peer.said()).toEqual(['puback 7 0x87'])
      expect(heard(watcher).has(topic)).toBe(false)
      expect(hub.kernel.storage.retainedCount).toBe(0)
      expect(heardOf).not.toHaveBeenCalled()
    },
  )

  test('not even as a superuser, by its will, or later', async () => {
    const watcher = await watching('$SYS/#')
    const root = await connect(hub, 'root', {}, {})
    root.client.info.isSuperuser = true
    expect(await publish(root, '$SYS/x')).toBe(ReasonCode.NotAuthorized)
    const will = {
      topic: '$SYS/x',
      payload: Buffer.from('lie'),
      qos: 0,
      retain: true,
      delaySeconds: 0,
    } as const
    const dying = await connect(hub, 'dying', { will: { ...will, properties: undefined } })
    dying.client.close('tcp_closed')
    const delayed = new DelayedPublish(
      { enable: true, max_delayed_messages: 10 },
      { hub, log: silentLogger, now: Date.now },
    )
    delayed.attach(hub.hooks)
    await publish(root, '$delayed/1/$SYS/x')
    expect(delayed.count).toBe(0)
    delayed.close()
    expect([...heard(watcher).keys()]).not.toContain('$SYS/x')
    expect(hub.kernel.storage.retainedCount).toBe(0)
  })

  test('a rule that rewrites a topic cannot bring a message there', async () => {
    const watcher = await watching('$SYS/#')
    const peer = await connect(hub, 'c1')
    hub.hooks.put('message.publish', 'test', (decision) => {
      if (typeof decision !== 'string') decision.topic = '$SYS/x'
      return undefined
    })
    expect(await publish(peer, 't')).toBe(ReasonCode.NotAuthorized)
    expect([...heard(watcher).keys()]).not.toContain('$SYS/x')
  })

  test('topics that only look like it are like any other', async () => {
    const watcher = await watching('$SYSTEM/#')
    await publish(await connect(hub, 'c1'), '$SYSTEM/x')
    expect(watcher.receiver.texts).toEqual(['$SYSTEM/x=x'])
  })

  test.each(['$events/#', '$events', '$events/client_connected', '$share/g/$events/#'])(
    'a client cannot subscribe to %s',
    (filter) => {
      const five = connected(hub, 5)
      five.send(subscribeBytes(filter))
      expect(five.said()).toEqual(['suback 1 0x8f'])
    },
  )
})

test('the defaults are those of EMQX', () => {
  const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {} })
  expect(config.sys_topics).toEqual(CONFIG)
})

test('it comes and goes with the other features, and counts what they have', async () => {
  const load = (sys_topics: object) =>
    loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides: { sys_topics } }).config
  const config = load({ sys_heartbeat_interval: 'disabled', sys_msg_interval: '10s' })
  const features = new Features(config, { hub, log: silentLogger, configDir: '.', gateways: [] })
  await features.update(config)
  const watcher = await watching('$SYS/#')
  await publish(watcher, '$delayed/60/t')
  vi.advanceTimersByTime(10_000)
  const told = heard(watcher)
  expect(told.get('stats/delayed/count')).toBe('1')
  expect(told.get('metrics/messages/delayed')).toBe('1')
  expect(told.has('uptime')).toBe(false)
  await features.update(load({ sys_msg_interval: 'disabled' }))
  expect([...heard(watcher).keys()]).toContain('uptime')
  expect(hub.kernel.storage.hasRetained('$SYS/brokers')).toBe(true)
  features.close()
  vi.advanceTimersByTime(MINUTE)
  expect(heard(watcher).size).toBe(0)
})
