import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { connect, HUB_OPTIONS, publish, startHub, subscription } from './support.ts'

let hub: Hub
const persistent = { cleanStart: false, expiryIntervalMs: 60_000 }

beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

/** Everything that was put off to a later turn of the event loop has happened. */
async function turns(count = 3): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

describe('delivering', () => {
  // [MQTT-3.8.4-8]
  test('the lower one of published and granted QoS counts', async () => {
    const sub = await connect(hub, 'sub')
    const pub = await connect(hub, 'pub')
    await sub.client.subscribe([subscription('one', 1), subscription('two', 2)])
    for (const qos of [0, 1, 2] as const) {
      await publish(pub, 'one', `${qos}`, qos)
      await publish(pub, 'two', `${qos}`, qos)
    }
    expect(sub.receiver.deliveries.map((d) => [d.message.topic, d.qos])).toEqual([
      ['one', 0],
      ['two', 0],
      ['one', 1],
      ['two', 1],
      ['one', 1],
      ['two', 2],
    ])
  })

  test('with upgrade_qos the higher one counts', async () => {
    hub.update({ ...HUB_OPTIONS, session: { ...HUB_OPTIONS.session, upgradesQos: true } })
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('t', 2)])
    await publish(sub, 't', 'x', 0)
    expect(sub.receiver.deliveries[0]).toMatchObject({ qos: 2, packetId: 1 })
  })

  // [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]
  test('overlapping subscriptions give one delivery with the highest QoS and all identifiers', async () => {
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([
      subscription('a/+', 0, { identifier: 1 }),
      subscription('a/b', 1, { identifier: 2 }),
      subscription('#', 0),
    ])
    await publish(await connect(hub, 'pub'), 'a/b', 'x', 2)
    expect(sub.receiver.deliveries).toHaveLength(1)
    expect(sub.receiver.deliveries[0]?.qos).toBe(1)
    expect(new Set(sub.receiver.deliveries[0]?.subscriptionIds)).toEqual(new Set([1, 2]))
  })

  // [MQTT-3.8.3-3]
  test('No Local keeps a client from its own messages, and only from those of that subscription', async () => {
    const a = await connect(hub, 'a')
    const b = await connect(hub, 'b')
    await a.client.subscribe([subscription('t', 0, { noLocal: true })])
    await publish(a, 't', 'own')
    await publish(b, 't', 'other')
    expect(a.receiver.texts).toEqual(['t=other'])
    await a.client.subscribe([subscription('+', 0, { identifier: 7 })])
    await publish(a, 't', 'again')
    expect(a.receiver.deliveries.at(-1)).toMatchObject({ subscriptionIds: [7] })
  })

  test('a topic that nobody is subscribed to is told so', async () => {
    const pub = await connect(hub, 'pub')
    expect(publish(pub, 'nobody', 'x', 1)).toBe(ReasonCode.NoMatchingSubscribers)
    await pub.client.subscribe([subscription('nobody')])
    expect(publish(pub, 'nobody', 'x', 1)).toBe(ReasonCode.Success)
    expect(publish(pub, '/'.repeat(16), 'x')).toBe(ReasonCode.TopicNameInvalid)
  })

  test('the publisher itself is nobody to reach where all of its subscriptions are No Local', async () => {
    const pub = await connect(hub, 'pub')
    await pub.client.subscribe([subscription('t', 0, { noLocal: true })])
    expect(publish(pub, 't', 'x', 1)).toBe(ReasonCode.NoMatchingSubscribers)
    await pub.client.subscribe([subscription('+', 0, { noLocal: true })])
    expect(publish(pub, 't', 'x', 1)).toBe(ReasonCode.NoMatchingSubscribers)
    const other = await connect(hub, 'other')
    await other.client.subscribe([subscription('t', 0, { noLocal: true })])
    expect(publish(pub, 't', 'x', 1)).toBe(ReasonCode.Success)
    await other.client.unsubscribe(['t'])
    await pub.client.subscribe([subscription('#')])
    expect(publish(pub, 't', 'x', 1)).toBe(ReasonCode.Success)
  })

  // [MQTT-3.1.2-25]
  test('a message too large for the peer is dropped and does not take its window', async () => {
    const sub = await connect(hub, 'sub', { receiveMaximum: 1 })
    sub.receiver.maxPayloadBytes = 3
    await sub.client.subscribe([subscription('t', 1)])
    for (const text of ['long one', 'ok', 'long too', 'yes']) await publish(sub, 't', text, 1)
    sub.client.acked(sub.receiver.packetIds[0] ?? 0)
    expect(sub.receiver.texts).toEqual(['t=ok', 't=yes'])
    expect(sub.client.session.droppedCount).toBe(2)
  })
})

describe('window and queue', () => {
  // [MQTT-3.3.4-9] [MQTT-4.9.0-1] [MQTT-4.9.0-2] [MQTT-4.3.2-3] [MQTT-4.6.0-5]
  test('no more than the receive maximum is unacknowledged, and the rest follows in order', async () => {
    const sub = await connect(hub, 'sub', { receiveMaximum: 2 })
    await sub.client.subscribe([subscription('t', 1)])
    for (let i = 1; i <= 5; i++) await publish(sub, 't', `${i}`, 1)
    expect(sub.receiver.texts).toEqual(['t=1', 't=2'])
    for (let i = 0; i < 5; i++) expect(sub.client.acked(sub.receiver.packetIds[i] as number)).toBe(true)
    expect(sub.receiver.texts).toEqual(['t=1', 't=2', 't=3', 't=4', 't=5'])
    expect(sub.client.session.inflightCount).toBe(0)
  })

  test('an unknown packet id changes nothing', async () => {
    const { client } = await connect(hub, 'sub')
    expect([client.acked(5), client.received(5), client.completed(5)]).toEqual([false, false, false])
  })

  test('a full queue gives up its oldest QoS 0 message first, then its oldest', async () => {
    hub.update({ ...HUB_OPTIONS, session: { ...HUB_OPTIONS.session, maxQueueLength: 3 } })
    const sub = await connect(hub, 'sub', persistent)
    await sub.client.subscribe([subscription('t', 1)])
    sub.client.close('tcp_closed')
    const pub = await connect(hub, 'pub')
    for (const [text, qos] of [
      ['a', 1],
      ['b', 0],
      ['c', 1],
      ['d', 1],
      ['e', 1],
      ['f', 0],
    ] as const)
      await publish(pub, 't', text, qos)
    const back = await connect(hub, 'sub', persistent)
    expect(back.receiver.texts).toEqual(['t=c', 't=d', 't=e'])
  })

  test('a congested peer misses QoS 0 messages and gets the others when it reads again', async () => {
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('t', 1)])
    sub.receiver.congested = true
    await publish(sub, 't', 'zero', 0)
    await publish(sub, 't', 'one', 1)
    expect(sub.receiver.texts).toEqual([])
    sub.receiver.congested = false
    sub.client.drained()
    expect(sub.receiver.texts).toEqual(['t=one'])
    expect(sub.client.session.droppedCount).toBe(1)
  })

  // [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]
  test('packet ids go around and skip those in use', async () => {
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('t', 1)])
    await publish(sub, 't', 'kept', 1)
    for (let i = 0; i < 65_535; i++) {
      await publish(sub, 't', 'x', 1)
      sub.client.acked(sub.receiver.deliveries.at(-1)?.packetId ?? 0)
    }
    const [kept, ...others] = sub.receiver.packetIds
    expect(kept).toBe(1)
    expect(others).not.toContain(1)
    expect(Math.max(...others.slice(0, 60_000), ...others.slice(60_000))).toBe(65_535)
    expect(others.at(-1)).toBeLessThan(65_535)
  })

  // [MQTT-3.3.2-5]
  test('a message that expires while it waits is not delivered', async () => {
    const sub = await connect(hub, 'sub', persistent)
    await sub.client.subscribe([subscription('t', 1)])
    sub.client.close('tcp_closed')
    const pub = await connect(hub, 'pub')
    vi.useFakeTimers({ toFake: ['Date'] })
    await publish(pub, 't', 'short', 1, { properties: { messageExpiryInterval: 5 } })
    await publish(pub, 't', 'long', 1, { properties: { messageExpiryInterval: 50 } })
    vi.setSystemTime(Date.now() + 6000)
    const back = await connect(hub, 'sub', persistent)
    vi.useRealTimers()
    expect(back.receiver.texts).toEqual(['t=long'])
  })
})

describe('coming back', () => {
  // [MQTT-3.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-3] [MQTT-4.3.3-5] [MQTT-4.3.3-6] [MQTT-4.4.0-1] [MQTT-4.6.0-6]
  // [MQTT-3.1.2-5 (3.1.1)]
  test('what was unacknowledged is sent again with DUP and its packet id, then what was queued', async () => {
    const first = await connect(hub, 'sub', persistent)
    await first.client.subscribe([subscription('t', 2)])
    await publish(first, 't', '1', 1)
    await publish(first, 't', '2', 2)
    await publish(first, 't', '3', 2)
    expect(first.client.received(2)).toBe(true)
    first.client.close('tcp_closed')
    await publish(await connect(hub, 'pub'), 't', '4', 1)

    const back = await connect(hub, 'sub', persistent)
    expect(back.sessionPresent).toBe(true)
    expect(back.receiver.deliveries.map((d) => [d.packetId, d.dup, d.qos])).toEqual([
      [1, true, 1],
      [3, true, 2],
      [4, false, 1],
    ])
    expect(back.receiver.released).toEqual([2])
    expect(back.client.completed(2)).toBe(true)
  })

  test('a smaller window than before is respected while sending again', async () => {
    const first = await connect(hub, 'sub', persistent)
    await first.client.subscribe([subscription('t', 1)])
    for (let i = 1; i <= 4; i++) await publish(first, 't', `${i}`, 1)
    first.client.close('tcp_closed')
    const back = await connect(hub, 'sub', { ...persistent, receiveMaximum: 2 })
    expect(back.receiver.packetIds).toEqual([1, 2])
    for (const id of [1, 2, 3, 4]) back.client.acked(id)
    expect(back.receiver.texts).toEqual(['t=1', 't=2', 't=3', 't=4'])
  })

  test('QoS 0 messages wait too unless that is switched off', async () => {
    const pub = await connect(hub, 'pub')
    for (const queuesQos0 of [true, false]) {
      hub.update({ ...HUB_OPTIONS, session: { ...HUB_OPTIONS.session, queuesQos0 } })
      const sub = await connect(hub, `sub-${queuesQos0}`, persistent)
      await sub.client.subscribe([subscription('t', 0)])
      sub.client.close('tcp_closed')
    }
    await publish(pub, 't')
    expect((await connect(hub, 'sub-true', persistent)).receiver.texts).toEqual(['t=x'])
    expect((await connect(hub, 'sub-false', persistent)).receiver.texts).toEqual([])
  })
})

describe('retained messages', () => {
  // [MQTT-3.3.1-5] [MQTT-3.3.1-9] [MQTT-3.3.1-8 (3.1.1)]
  test('a new subscription gets them with RETAIN, after its answer', async () => {
    const pub = await connect(hub, 'pub')
    await publish(pub, 'a/1', 'one', 1, { retain: true })
    await publish(pub, 'a/2', 'two', 1, { retain: true })
    const sub = await connect(hub, 'sub')
    await sub.client.subscribe([subscription('a/+', 1, { identifier: 9 })])
    expect(sub.receiver.deliveries).toEqual([])
    await turns()
    expect(sub.receiver.texts.sort()).toEqual(['a/1=one', 'a/2=two'])
    expect(sub.receiver.deliveries[0]).toMatchObject({ retain: true, qos: 1, subscriptionIds: [9] })
  })

  // [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]
  test('retain handling: 0 always, 1 if new, 2 never; shared subscriptions get none', async () => {
    const sub = await connect(hub, 'sub')
    await publish(sub, 't', 'x', 0, { retain: true })
    const got = async (changes: object, filter = 't') => {
      const before = sub.receiver.deliveries.length
      await sub.client.subscribe([subscription(filter, 0, changes)])
      await turns()
      return sub.receiver.deliveries.length - before
    }
    expect(await got({ retainHandling: 1 })).toBe(1)
    expect(await got({ retainHandling: 1 })).toBe(0)
    expect(await got({ retainHandling: 0 })).toBe(1)
    expect(await got({ retainHandling: 2 })).toBe(0)
    expect(await got({}, '$share/g/t')).toBe(0)
  })

  // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
  test('RETAIN is forwarded to live subscribers only as published', async () => {
    const plain = await connect(hub, 'plain')
    const bridge = await connect(hub, 'bridge')
    await plain.client.subscribe([subscription('t')])
    await bridge.client.subscribe([subscription('t', 0, { retainAsPublished: true })])
    await publish(plain, 't', 'x', 0, { retain: true })
    expect(plain.receiver.deliveries[0]?.retain).toBe(false)
    expect(bridge.receiver.deliveries[0]?.retain).toBe(true)
  })

  test('a large match is handed over as fast as the client takes it, and none is lost', async () => {
    const pub = await connect(hub, 'pub')
    for (let i = 0; i < 3000; i++) await publish(pub, `r/${i}`, 'x', 1, { retain: true })
    const sub = await connect(hub, 'sub', { receiveMaximum: 10 })
    await sub.client.subscribe([subscription('r/+', 1)])
    for (let acked = 0; acked < 3000; ) {
      await turns(1)
      expect(sub.client.session.inflightCount).toBeLessThanOrEqual(10)
      for (const id of sub.receiver.packetIds.slice(acked)) {
        sub.client.acked(id)
        acked++
      }
    }
    expect(new Set(sub.receiver.texts).size).toBe(3000)
    expect(sub.client.session.queueLength).toBe(0)
  })

  // [MQTT-3.3.1-6] [MQTT-3.3.1-7]
  test('an empty retained message deletes and is still delivered', async () => {
    const sub = await connect(hub, 'sub')
    await publish(sub, 't', 'x', 0, { retain: true })
    await sub.client.subscribe([subscription('t', 0, { retainHandling: 2 })])
    await publish(sub, 't', '', 0, { retain: true })
    expect(sub.receiver.texts).toEqual(['t='])
    expect(hub.kernel.storage.retainedCount).toBe(0)
  })
})

describe('shared subscriptions', () => {
  test('each message goes to one member in turn, and a plain subscription of a member gets its own copy', async () => {
    const [a, b] = [await connect(hub, 'a'), await connect(hub, 'b')]
    for (const { client } of [a, b]) await client.subscribe([subscription('$share/g/t/+')])
    await a.client.subscribe([subscription('t/1')])
    for (let i = 0; i < 4; i++) await publish(a, 't/1', `${i}`)
    expect(b.receiver.texts).toEqual(['t/1=1', 't/1=3'])
    expect(a.receiver.texts).toHaveLength(6)
  })

  test('a member that is away gets nothing while another is there', async () => {
    const a = await connect(hub, 'a', persistent)
    const b = await connect(hub, 'b', persistent)
    for (const { client } of [a, b]) await client.subscribe([subscription('$queue/t', 1)])
    a.client.close('tcp_closed')
    for (let i = 0; i < 3; i++) await publish(b, 't', `${i}`, 1)
    expect(b.receiver.texts).toEqual(['t=0', 't=1', 't=2'])
    b.client.close('tcp_closed')
    await publish(await connect(hub, 'pub'), 't', 'all away', 1)
    const queued = [hub.session('a')?.queueLength, hub.session('b')?.queueLength]
    expect(queued.toSorted((a = 0, b = 0) => a - b)).toEqual([0, 1])
  })

  test('the last member takes the group with it', async () => {
    const a = await connect(hub, 'a')
    await a.client.subscribe([subscription('$share/g/t')])
    expect(await a.client.unsubscribe(['$share/g/t', '$share/g/t'])).toEqual([
      ReasonCode.Success,
      ReasonCode.NoSubscriptionExisted,
    ])
    expect(publish(a, 't')).toBe(ReasonCode.NoMatchingSubscribers)
  })
})
