/** Which hooks run in which order during a client's life, and what their answers do. The order is EMQX's. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { type FoldPoint, HOOK_POINTS } from '../../hooks/hookpoints.ts'
import { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import {
  connectBytes,
  connected,
  mqttContext,
  publish as publishBytes,
  RawPeer,
  turns,
} from './mqtt/raw-peer.ts'
import { clientInfo, connect, publish, RecordingReceiver, startHub, subscription } from './support.ts'

let hub: Hub
let seen: string[]
const KEPT = { cleanStart: false, expiryIntervalMs: 60_000 }

beforeEach(async () => {
  hub = await startHub()
  seen = []
})
afterEach(async () => {
  vi.useRealTimers()
  await hub.stop()
})

/** Notes every hook from now on: its name, and of some what it was told. */
function watch(): void {
  for (const point of Object.keys(HOOK_POINTS)) {
    hub.hooks.add(point as 'client.ping', 'watch', (...args: unknown[]) => {
      const detail = args.filter((arg) => typeof arg === 'string' || typeof arg === 'number')
      seen.push([point, ...detail].join(' '))
      return undefined
    })
  }
}

function take(): string[] {
  return seen.splice(0)
}

/** Keeps `point` busy until `release` is called, once for each time it ran. */
function hold(point: FoldPoint): { release(): Promise<void>; readonly count: number } {
  const waiting: (() => void)[] = []
  hub.hooks.add(
    point as 'message.publish',
    'hold',
    () => new Promise((resolve) => waiting.push(() => resolve(undefined))),
  )
  return {
    async release() {
      waiting.shift()?.()
      await turns()
    },
    get count() {
      return waiting.length
    },
  }
}

const allow = () => ({ stop: { kind: 'allow', principal: { isSuperuser: false } } }) as const

describe('the order', () => {
  test('of a login that is accepted', async () => {
    hub.hooks.add('client.authenticate', 'allow', allow, { priority: -1 })
    watch()
    await connect(hub, 'c', KEPT)
    const login = ['client.connect', 'client.authenticate', 'client.check_authn_complete 0']
    expect(take()).toEqual([...login, 'session.created', 'client.connected', 'client.connack 0'])
    await connect(hub, 'c', KEPT)
    const takeover = ['client.disconnected takenover', 'session.takenover', 'session.resumed']
    expect(take()).toEqual([...login, ...takeover, 'client.connected', 'client.connack 0'])
    await connect(hub, 'c', { cleanStart: true })
    const discard = ['client.disconnected discarded', 'session.discarded', 'session.created']
    expect(take()).toEqual([...login, ...discard, 'client.connected', 'client.connack 0'])
  })

  test('of one that is refused by authentication, or before it', async () => {
    hub.hooks.add('client.authenticate', 'deny', () => ({ stop: { kind: 'deny', reason: 0x86 } }), {
      priority: -1,
    })
    watch()
    await connect(hub, 'c').catch(() => {})
    expect(take()).toEqual([
      'client.connect',
      'client.authenticate',
      'client.check_authn_complete 134',
      'client.connack 134',
    ])
    hub.hooks.add('client.connect', 'deny', () => ({ stop: { refused: ReasonCode.Banned } }), { priority: 1 })
    await connect(hub, 'c').catch(() => {})
    expect(take()).toEqual(['client.connack 138'])
  })

  test('of a QoS 1 message, at its publisher and its subscriber', async () => {
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('t', 1)])
    const pub = connected(hub, 5, { id: 'pub' })
    watch()
    pub.send(publishBytes('2', 't', 'x', 1))
    expect(take()).toEqual([
      'client.authorize t',
      'client.check_authz_complete t',
      'message.publish',
      'message.delivered',
      'message.puback 0 1',
    ])
    sub.client.acked(1)
    expect(take()).toEqual(['message.acked', 'delivery.completed'])
  })

  test('of a QoS 2 delivery, and of one of QoS 0', async () => {
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('t', 2)])
    watch()
    void publish(sub, 't', 'x', 2)
    take()
    sub.client.received(1)
    sub.client.received(1)
    expect(take()).toEqual(['message.acked'])
    sub.client.completed(1)
    expect(take()).toEqual(['delivery.completed'])
    void publish(sub, 't', 'x', 0)
    expect(take().slice(3)).toEqual(['message.delivered', 'delivery.completed'])
  })

  test('of a message that nobody is subscribed to, and of one that may not be published', async () => {
    const pub = connected(hub, 5, { id: 'pub' })
    watch()
    pub.send(publishBytes('2', 't', 'x', 1))
    const authorization = ['client.authorize t', 'client.check_authz_complete t']
    const puback = `message.puback ${ReasonCode.NoMatchingSubscribers} 1`
    expect(take()).toEqual([...authorization, 'message.publish', 'message.dropped no_subscribers', puback])
    hub.hooks.add('client.authorize', 'deny', () => ({ stop: { result: 'deny', from: 'test' } }), {
      priority: -1,
    })
    pub.send(publishBytes('2', 't', 'x', 2))
    expect(take()).toEqual([...authorization, `message.puback ${ReasonCode.NotAuthorized} 2`])
  })

  test('of SUBSCRIBE and UNSUBSCRIBE', async () => {
    const { client } = await connect(hub, 'c')
    watch()
    await client.subscribe([subscription('a'), subscription('b')])
    expect(take()).toEqual([
      'client.authorize a',
      'client.check_authz_complete a',
      'client.authorize b',
      'client.check_authz_complete b',
      'client.subscribe',
      'session.subscribed',
      'session.subscribed',
    ])
    await client.unsubscribe(['a', 'nothing'])
    expect(take()).toEqual(['client.unsubscribe', 'session.unsubscribed'])
  })

  test('of the end: with its session, or the session later', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
    const one = await connect(hub, 'one')
    await one.client.subscribe([subscription('t')])
    const two = await connect(hub, 'two', KEPT)
    watch()
    one.client.close('normal')
    one.client.close('tcp_closed')
    expect(take()).toEqual([
      'client.disconnected normal',
      'session.unsubscribed',
      'session.terminated normal',
    ])
    two.client.close('tcp_closed')
    expect(take()).toEqual(['client.disconnected tcp_closed', 'session.disconnected'])
    vi.advanceTimersByTime(60_000)
    expect(take()).toEqual(['session.terminated expired'])
  })

  test('a superuser is not asked about, but noted', async () => {
    const authorize = vi.fn(() => undefined)
    const complete = vi.fn()
    hub.hooks.add('client.authorize', 'test', authorize)
    hub.hooks.add('client.check_authz_complete', 'test', complete)
    const principal = { isSuperuser: true }
    hub.hooks.add('client.authenticate', 'test', () => ({ stop: { kind: 'allow', principal } }))
    void publish(await connect(hub, 'root'), 't')
    expect(authorize).not.toHaveBeenCalled()
    expect(complete.mock.calls[0]?.[3]).toEqual({ result: 'allow', from: 'superuser' })
  })
})

describe('hooks that take their time', () => {
  test('keep the order of one client and do not hold up another', async () => {
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('#')])
    const held = hold('message.publish')
    const one = connected(hub, 5, { id: 'one' })
    const two = connected(hub, 5, { id: 'two' })
    one.send(publishBytes('2', '1', 'a', 1), publishBytes('2', '1', 'b', 2))
    two.send(publishBytes('2', '2', 'c', 1))
    expect(held.count).toBe(2) // each its first
    await held.release()
    await held.release()
    expect([one.said(), two.said()]).toEqual([['puback 1'], ['puback 1']])
    await held.release()
    expect(sub.receiver.texts).toEqual(['1=a', '2=c', '1=b'])
    expect(one.said()).toEqual(['puback 2'])
  })

  test('message.delivered: what is behind one that waits waits too, whatever its QoS', async () => {
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('t', 1)])
    const held = hold('message.delivered')
    for (const [payload, qos] of [
      ['a', 0],
      ['b', 1],
      ['c', 0],
    ] as const)
      void publish(sub, 't', payload, qos)
    hub.hooks.del('message.delivered', 'hold')
    void publish(sub, 't', 'd', 1)
    expect(sub.receiver.texts).toEqual([])
    for (let i = 0; i < 3; i++) await held.release()
    expect(sub.receiver.texts).toEqual(['t=a', 't=b', 't=c', 't=d'])
    void publish(sub, 't', 'e', 0)
    expect(sub.receiver.texts.at(-1)).toBe('t=e')
  })

  test('message.delivered: a client that comes back meanwhile gets what was in flight once', async () => {
    const first = await connect(hub, 'sub', KEPT)
    await first.client.subscribe([subscription('t', 1)])
    const held = hold('message.delivered')
    void publish(first, 't', 'zero', 0)
    void publish(first, 't', 'one', 1)
    first.client.close('tcp_closed')
    hub.hooks.del('message.delivered', 'hold')
    const back = await connect(hub, 'sub', KEPT)
    await held.release()
    await turns()
    expect(first.receiver.texts).toEqual([])
    expect(back.receiver.texts).toEqual(['t=one'])
  })

  test('message.delivered: the QoS 0 messages that wait for it are bounded', async () => {
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('t', 1)])
    hold('message.delivered')
    for (let i = 0; i < 5000; i++) void publish(sub, 't', 'x', 0)
    expect(sub.client.session.droppedCount).toBe(4000)
  })

  test('message.puback answers later with a code of its own', async () => {
    let answer = () => {}
    hub.hooks.add(
      'message.puback',
      'test',
      () => new Promise((resolve) => (answer = () => resolve({ ok: 0x97 }))),
    )
    const one = connected(hub).send(publishBytes('2', 't', 'x', 1), 'c0 00')
    expect(one.said()).toEqual([])
    answer()
    await turns()
    expect(one.said()).toEqual(['puback 1 0x97', 'pingresp'])
  })

  test('client.authorize decides each filter, in order', async () => {
    hub.hooks.add('client.authorize', 'test', async (value, _client, _action, topic) => {
      if (topic === 'slow') await turns(5)
      return { ok: { ...value, result: topic === 'no' ? 'deny' : 'allow' } }
    })
    const { client } = await connect(hub, 'c')
    const codes = await client.subscribe([
      subscription('slow', 1),
      subscription('no'),
      subscription('yes', 2),
    ])
    expect(codes).toEqual([1, ReasonCode.NotAuthorized, 2])
    expect([...client.session.subscriptions.keys()]).toEqual(['slow', 'yes'])
  })
})

describe('answers of hooks', () => {
  test('client.connect refuses, and what it says is told', async () => {
    hub.hooks.add('client.connect', 'test', () => ({ stop: { refused: ReasonCode.ServerBusy } }))
    const five = new RawPeer(mqttContext(hub)).send(connectBytes(5))
    const four = new RawPeer(mqttContext(hub), 4).send(connectBytes(4))
    expect([five.said(), four.said()]).toEqual([
      ['connack 0x89', 'closed'],
      ['connack 0x03', 'closed'],
    ])
  })

  test('client.connect changes the properties that authentication sees', async () => {
    let properties: unknown
    hub.hooks.add('client.connect', 'test', () => ({
      ok: { properties: { userProperties: [['tenant', 'a']] } },
    }))
    hub.hooks.add('client.authenticate', 'test', (_verdict, login) => {
      properties = login.properties
      return allow()
    })
    connected(hub)
    expect(properties).toEqual({ userProperties: [['tenant', 'a']] })
  })

  test('message.publish drops, without message.dropped', async () => {
    const dropped = vi.fn()
    hub.hooks.add('message.dropped', 'test', dropped)
    hub.hooks.add('message.publish', 'test', () => ({ stop: 'drop' }))
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('t')])
    expect(publish(sub, 't', 'x', 1)).toBe(ReasonCode.NoMatchingSubscribers)
    expect([sub.receiver.texts, dropped.mock.calls]).toEqual([[], []])
  })

  test('message.publish changes topic and payload, of retained messages too', async () => {
    hub.hooks.add('message.publish', 'test', (decision) => {
      if (!(decision instanceof Message)) return undefined
      const { qos, retain, properties, publisher, timestampMs } = decision
      const payload = Buffer.from(`<${Buffer.from(decision.payload).toString()}>`)
      return {
        ok: Message.of(`new/${decision.topic}`, payload, qos, retain, properties, publisher, timestampMs),
      }
    })
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('#')])
    void publish(sub, 't', 'x', 1, { retain: true })
    expect(sub.receiver.texts).toEqual(['new/t=<x>'])
    expect(hub.kernel.storage.retained('t').next()).toBeUndefined()
  })

  test('message.publish disconnects the publisher', async () => {
    hub.hooks.add('message.publish', 'test', () => ({ stop: 'disconnect' }))
    const pub = await connect(hub, 'pub')
    expect(publish(pub, 't', 'x', 1)).toBe(ReasonCode.ImplementationSpecificError)
    expect(pub.receiver.ended).toBe('hook')
  })

  test('client.subscribe rewrites one filter and blocks another', async () => {
    const { client } = await connect(hub, 'c')
    hub.hooks.add('client.subscribe', 'test', (asked) => ({
      ok: asked.map((one) => ({ ...one, filter: `new/${one.filter}`, qos: 0 as const })),
    }))
    expect(await client.subscribe([subscription('a', 2), subscription('b', 1)])).toEqual([0, 0])
    expect([...client.session.subscriptions.keys()]).toEqual(['new/a', 'new/b'])
    hub.hooks.put('client.subscribe', 'test', (asked) => ({
      ok: asked.filter(({ filter }) => filter !== 'c'),
    }))
    expect(await client.subscribe([subscription('c', 1), subscription('d', 1)])).toEqual([
      ReasonCode.ImplementationSpecificError,
      1,
    ])
    hub.hooks.put('client.subscribe', 'test', () => ({ ok: [] }))
    expect(await client.subscribe([subscription('e')])).toEqual([ReasonCode.ImplementationSpecificError])
    expect([...client.session.subscriptions.keys()]).toEqual(['new/a', 'new/b', 'd'])
  })

  test('client.subscribe cannot bring in what is no filter', async () => {
    const { client } = await connect(hub, 'c')
    hub.hooks.add('client.subscribe', 'test', ([first]) => ({
      ok: first === undefined ? [] : [{ ...first, filter: 'a/#/b' }],
    }))
    expect(await client.subscribe([subscription('a')])).toEqual([ReasonCode.TopicFilterInvalid])
    expect(client.session.subscriptions.size).toBe(0)
  })

  test('client.unsubscribe rewrites', async () => {
    const { client } = await connect(hub, 'c')
    await client.subscribe([subscription('new/a'), subscription('a')])
    hub.hooks.add('client.unsubscribe', 'test', (filters) => ({ ok: filters.map((one) => `new/${one}`) }))
    expect(await client.unsubscribe(['a', 'b'])).toEqual([
      ReasonCode.Success,
      ReasonCode.NoSubscriptionExisted,
    ])
    expect([...client.session.subscriptions.keys()]).toEqual(['a'])
  })

  test('message.delivered changes what one subscriber gets, and again when it is sent again', async () => {
    hub.hooks.add('message.delivered', 'test', (message, { clientId }) => {
      if (clientId !== 'changed') return undefined
      const { topic, qos, retain, properties, publisher, timestampMs } = message
      return { ok: Message.of(topic, Buffer.from('new'), qos, retain, properties, publisher, timestampMs) }
    })
    const changed = await connect(hub, 'changed', KEPT)
    const plain = await connect(hub, 'plain')
    for (const { client } of [changed, plain]) await client.subscribe([subscription('t', 1)])
    void publish(plain, 't', 'old', 1)
    void publish(plain, 't', 'old', 0)
    expect(changed.receiver.texts).toEqual(['t=new', 't=new'])
    expect(plain.receiver.texts).toEqual(['t=old', 't=old'])
    expect(changed.receiver.packetIds).toEqual([1, 0])
    changed.client.close('tcp_closed')
    const back = await connect(hub, 'changed', KEPT)
    expect(back.receiver.texts).toEqual(['t=new'])
    expect(back.receiver.deliveries[0]).toMatchObject({ dup: true, packetId: 1, qos: 1 })
  })
})

describe('hooks that throw', () => {
  test('are skipped, except where that would be a yes', async () => {
    const fail = () => {
      throw new Error('a bug')
    }
    for (const point of Object.keys(HOOK_POINTS)) {
      if (!point.startsWith('client.auth')) hub.hooks.add(point as 'client.ping', 'bad', fail)
    }
    const one = await connect(hub, 'c')
    expect(await one.client.subscribe([subscription('t', 1)])).toEqual([1])
    expect(publish(one, 't', 'x', 1)).toBe(ReasonCode.Success)
    expect(one.receiver.texts).toEqual(['t=x'])

    hub.hooks.add('client.authorize', 'bad', fail)
    expect(publish(one, 't', 'x', 1)).toBe(ReasonCode.NotAuthorized)
    hub.hooks.add('client.authenticate', 'bad', fail)
    const login = { client: clientInfo('d'), password: undefined, enableAuthn: true } as const
    const wanted = { ...KEPT, receiveMaximum: 1 }
    expect(await hub.connect(login, wanted, new RecordingReceiver())).toMatchObject({ kind: 'refused' })
  })

  test('the same where they fail later', async () => {
    hub.hooks.add('message.publish', 'bad', () => Promise.reject(new Error('a bug')))
    hub.hooks.add('message.delivered', 'bad', () => Promise.reject(new Error('a bug')))
    const one = await connect(hub, 'c')
    await one.client.subscribe([subscription('t', 1)])
    expect(await publish(one, 't', 'x', 1)).toBe(ReasonCode.Success)
    await turns()
    expect(one.receiver.texts).toEqual(['t=x'])
  })
})
