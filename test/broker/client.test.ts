/** What a connected client may do, what it gets while things end or fail around it, and what it leaves behind. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import type { Message } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { turns } from './mqtt/raw-peer.ts'
import {
  clientInfo,
  connect,
  HUB_OPTIONS,
  publish,
  RecordingReceiver,
  startHub,
  subscription,
} from './support.ts'

let hub: Hub
const KEPT = { cleanStart: false, expiryIntervalMs: 60_000 }
const DENY = { stop: { result: 'deny', from: 'test' } } as const

beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

describe('permissions', () => {
  test('the answer for an access rule that says no', async () => {
    hub.hooks.add('client.authorize', 'test', () => DENY)
    const { client, receiver } = await connect(hub, 'c')
    expect(publish({ client }, 't', 'x', 1)).toBe(ReasonCode.NotAuthorized)
    expect(await client.subscribe([subscription('t')])).toEqual([ReasonCode.NotAuthorized])
    expect(receiver.ended).toBeUndefined()
  })

  test('without an opinion of any rule no_match counts, at once after a change of the config', async () => {
    hub.hooks.add('client.authorize', 'test', () => undefined)
    const peer = await connect(hub, 'c')
    expect(publish(peer, 't', 'x', 1)).toBe(ReasonCode.NoMatchingSubscribers)
    hub.update({ ...HUB_OPTIONS, noMatch: 'deny' })
    expect(publish(peer, 't', 'x', 1)).toBe(ReasonCode.NotAuthorized)
  })

  test('deny_action disconnect ends the client before the answer', async () => {
    hub.update({ ...HUB_OPTIONS, denyAction: 'disconnect' })
    hub.hooks.add('client.authorize', 'test', () => DENY)
    const peer = await connect(hub, 'c', KEPT)
    expect(publish(peer, 't', 'x', 1)).toBe(ReasonCode.NotAuthorized)
    expect(peer.receiver.ended).toBe('not_authorized')
    const again = await connect(hub, 'c', KEPT)
    expect(await again.client.subscribe([subscription('a'), subscription('b')])).toEqual([0x87, 0x87])
    expect([again.receiver.ended, hub.clientCount]).toEqual(['not_authorized', 0])
  })

  test('rules are asked with the action as it is', async () => {
    const asked: unknown[] = []
    hub.hooks.add(
      'client.authorize',
      'test',
      (_value, _client, action, topic) => void asked.push([action, topic]),
    )
    const peer = await connect(hub, 'c')
    void publish(peer, 't', 'x', 2, { retain: true })
    await peer.client.subscribe([subscription('$share/g/f', 1)])
    expect(asked).toEqual([
      [{ kind: 'publish', qos: 2, retain: true }, 't'],
      [{ kind: 'subscribe', qos: 1 }, '$share/g/f'],
    ])
  })
})

describe('subscribing', () => {
  // [MQTT-3.8.3-2 (3.1.1)] [MQTT-3.2.2-10]
  test('limits: levels, wildcards, shares, QoS', async () => {
    const { client } = await connect(hub, 'c')
    const limited = {
      wildcardSubscription: false,
      sharedSubscription: false,
      maxQos: 1,
      maxTopicLevels: 2,
    } as const
    hub.update({ ...HUB_OPTIONS, ...limited })
    const filters = ['a/b', 'a/b/c', 'a/+', '$share/g/a', 'a+', '$share/g']
    expect(await client.subscribe(filters.map((filter) => subscription(filter, 2)))).toEqual([
      ReasonCode.GrantedQoS1,
      ReasonCode.TopicFilterInvalid,
      ReasonCode.WildcardSubscriptionsNotSupported,
      ReasonCode.SharedSubscriptionsNotSupported,
      ReasonCode.TopicFilterInvalid,
      ReasonCode.TopicFilterInvalid,
    ])
  })

  test('max_subscriptions counts filters, not requests', async () => {
    hub.update({ ...HUB_OPTIONS, maxSubscriptions: 2 })
    const { client } = await connect(hub, 'c')
    const codes = await client.subscribe(['a', 'b', 'a', 'c'].map((filter) => subscription(filter)))
    expect(codes).toEqual([0, 0, 0, ReasonCode.QuotaExceeded])
    await client.unsubscribe(['a'])
    expect(await client.subscribe([subscription('c')])).toEqual([0])
  })

  // [MQTT-3.8.4-3]
  test('the same filter again replaces its options and nothing is delivered twice', async () => {
    const peer = await connect(hub, 'c')
    await peer.client.subscribe([subscription('t', 0)])
    await peer.client.subscribe([subscription('t', 1, { identifier: 5 })])
    void publish(peer, 't', 'x', 2)
    expect(peer.receiver.deliveries).toMatchObject([{ qos: 1, subscriptionIds: [5] }])
  })

  test('subscribing again while retained messages are on their way loses none', async () => {
    const peer = await connect(hub, 'c')
    for (const topic of ['r/1', 'r/2']) void publish(peer, topic, 'x', 0, { retain: true })
    for (const qos of [0, 1] as const)
      await peer.client.subscribe([subscription('r/+', qos, { retainHandling: 1 })])
    await turns()
    expect(peer.receiver.texts.toSorted()).toEqual(['r/1=x', 'r/2=x'])
  })

  test('unsubscribing stops retained messages that are on their way', async () => {
    const peer = await connect(hub, 'c')
    void publish(peer, 'r', 'x', 0, { retain: true })
    await peer.client.subscribe([subscription('r')])
    await peer.client.unsubscribe(['r'])
    await turns()
    expect(peer.receiver.texts).toEqual([])
  })

  test('a client that was closed meanwhile gets nothing, and its session nothing new', async () => {
    for (const point of ['client.authorize', 'client.subscribe', 'client.unsubscribe'] as const) {
      let go = () => {}
      const { client } = await connect(hub, 'c', KEPT)
      await client.subscribe([subscription('kept')])
      hub.hooks.add(point, 'slow', () => new Promise<undefined>((resolve) => (go = () => resolve(undefined))))
      const answer =
        point === 'client.unsubscribe' ? client.unsubscribe(['kept']) : client.subscribe([subscription('t')])
      client.close('tcp_closed')
      go()
      expect(await answer).toEqual([ReasonCode.NotAuthorized])
      hub.hooks.del(point, 'slow')
      expect([...(hub.session('c')?.subscriptions.keys() ?? [])]).toEqual(['kept'])
    }
  })
})

describe('a client that ends', () => {
  test('in the middle of its own message: others still get it', async () => {
    const peer = await connect(hub, 'c', KEPT)
    const other = await connect(hub, 'other')
    await peer.client.subscribe([subscription('t', 1)])
    await other.client.subscribe([subscription('t', 1)])
    peer.receiver.deliver = () => {
      peer.client.close('tcp_closed')
      return true
    }
    expect(publish(peer, 't', '1', 1)).toBe(ReasonCode.Success)
    expect(other.receiver.texts).toEqual(['t=1'])
    void publish(other, 't', '2', 1)
    const back = await connect(hub, 'c', KEPT)
    expect(back.receiver.deliveries.map(({ dup }) => dup)).toEqual([true, false])
    expect(back.receiver.texts).toEqual(['t=1', 't=2'])
  })

  test('with its session, in the middle of a message that was also for it', async () => {
    const killer = await connect(hub, 'killer')
    await killer.client.subscribe([subscription('t', 1)])
    const victims = await Promise.all(['a', 'b'].map((id) => connect(hub, id)))
    for (const { client } of victims)
      await client.subscribe([subscription('t', 1), subscription('$share/g/t', 1)])
    killer.receiver.deliver = () => hub.kick('a') && hub.kick('b')
    expect(publish(killer, 't', 'x', 1)).toBe(ReasonCode.Success)
    for (const { receiver } of victims) expect([receiver.texts, receiver.ended]).toEqual([[], 'kicked'])
    expect(hub.kernel.router.route('t').targets).toHaveLength(1)
  })

  test('while it is being given what has waited: the rest waits on', async () => {
    const first = await connect(hub, 'c', KEPT)
    await first.client.subscribe([subscription('t', 1)])
    first.client.close('tcp_closed')
    const pub = await connect(hub, 'pub')
    for (const payload of ['1', '2', '3']) void publish(pub, 't', payload, 1)
    const { answer, receiver } = await unstarted('c')
    receiver.deliver = () => {
      answer.client.close('tcp_closed')
      return true
    }
    answer.client.start()
    expect((await connect(hub, 'c', KEPT)).receiver.texts).toEqual(['t=1', 't=2', 't=3'])
  })

  test('is closed once, and is not started after it', async () => {
    const { answer, receiver } = await unstarted('c')
    answer.client.close('tcp_closed')
    answer.client.close('normal')
    answer.client.start()
    expect(hub.session('c')?.isOnline).toBe(false)
    expect(receiver.ended).toBeUndefined() // whoever closes it knows
  })

  async function unstarted(clientId: string) {
    const receiver = new RecordingReceiver()
    const login = { client: clientInfo(clientId), password: undefined, enableAuthn: true } as const
    const answer = await hub.connect(login, { ...KEPT, receiveMaximum: 10 }, receiver)
    if (answer.kind === 'refused') throw new Error('refused')
    return { answer, receiver }
  }
})

describe('a storage that takes its time', () => {
  test('the answer to a retained message waits, and its routing', async () => {
    const peer = await connect(hub, 'c')
    await peer.client.subscribe([subscription('t')])
    let stored = () => {}
    hub.kernel.storage.storeRetained = () => new Promise((resolve) => (stored = resolve))
    const code = publish(peer, 't', 'x', 1, { retain: true })
    expect([code, peer.receiver.texts]).toEqual([expect.any(Promise), []])
    stored()
    expect([await code, peer.receiver.texts]).toEqual([ReasonCode.Success, ['t=x']])
  })

  test('a failure is the publisher’s to know, and nobody gets the message', async () => {
    const peer = await connect(hub, 'c')
    await peer.client.subscribe([subscription('t')])
    hub.kernel.storage.storeRetained = () => Promise.reject(new Error('the disk is full'))
    await expect(publish(peer, 't', 'x', 1, { retain: true })).rejects.toThrow('the disk is full')
    expect(peer.receiver.texts).toEqual([])
  })

  test('a will that cannot be stored hurts nobody', async () => {
    const will = {
      topic: 'w',
      payload: Buffer.from('x'),
      qos: 0,
      retain: true,
      delaySeconds: 0,
      properties: undefined,
    } as const
    const peer = await connect(hub, 'c', { will })
    hub.kernel.storage.storeRetained = () => Promise.reject(new Error('the disk is full'))
    peer.client.close('tcp_closed')
    await turns()
    expect(hub.clientCount).toBe(0)
  })

  test('retained messages are read one by one, and a failure does not end them for later subscriptions', async () => {
    const peer = await connect(hub, 'c')
    void publish(peer, 't', 'kept', 0, { retain: true })
    const { storage } = hub.kernel
    const original = storage.retained.bind(storage)
    storage.retained = () => ({ next: () => Promise.reject(new Error('the disk is broken')) })
    await peer.client.subscribe([subscription('t')])
    await turns()
    storage.retained = (filter) => {
      const cursor = original(filter)
      return { next: async () => cursor.next() }
    }
    await peer.client.subscribe([subscription('t')])
    await turns(10)
    expect(peer.receiver.texts).toEqual(['t=kept'])
  })

  test('the client leaves while they are being read: no harm, and it gets them when it is back', async () => {
    const peer = await connect(hub, 'c', KEPT)
    for (let i = 0; i < 3; i++) void publish(peer, `r/${i}`, 'x', 1, { retain: true })
    const { storage } = hub.kernel
    const original = storage.retained.bind(storage)
    let go = () => {}
    storage.retained = (filter) => {
      const cursor = original(filter)
      return {
        next: () =>
          new Promise<Message | undefined>((resolve) => (go = () => resolve(cursor.next() as Message))),
      }
    }
    await peer.client.subscribe([subscription('r/+', 1)])
    await turns()
    peer.client.close('tcp_closed')
    go()
    await turns()
    expect(peer.receiver.texts).toEqual([])
    const back = await connect(hub, 'c', KEPT)
    for (let i = 0; i < 4; i++) {
      await turns()
      go()
    }
    await turns()
    expect(back.receiver.texts.toSorted()).toEqual(['r/0=x', 'r/1=x', 'r/2=x'])
  })
})

test('authentication sees the mountpoint, and what it says of the client is in it before anybody is told of the login', async () => {
  const seen: string[] = []
  hub.hooks.add('client.authenticate', 'test', (_, { client }) => {
    seen.push(client.mountpoint)
    return {
      stop: { kind: 'allow', principal: { isSuperuser: false, attributes: new Map([['site', 'north']]) } },
    }
  })
  hub.hooks.add('client.connected', 'test', ({ mountpoint }) => seen.push(mountpoint))
  const login = {
    client: clientInfo('c'),
    password: undefined,
    mountpoint: '${client_attrs.site}/${clientid}/',
    enableAuthn: true as const,
  }
  const options = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 1 }
  await hub.connect(login, options, new RecordingReceiver())
  expect(seen).toEqual(['${client_attrs.site}/c/', 'north/c/'])
})
