/** What is passed on as it came must be what would have been written anew. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Hub, HubOptions } from '../../../broker/hub.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { HUB_OPTIONS, startHub } from '../support.ts'
import { connected, type RawPeer, subscribe, text, u16 } from './raw-peer.ts'
import { atOnce, type Feed, oneByOne, type PeerWish, series, singly, World } from './runs-support.ts'
import { packet } from './support.ts'

let hub: Hub

beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

function publishing(version: ProtocolVersion, topic: string, payload: string, qos = 0, packetId = 0): Buffer {
  const id = qos === 0 ? '' : u16(packetId)
  return packet(`3${qos * 2}`, text(topic), id, version === 5 ? '00' : '', `"${payload}"`)
}

function subscribing(version: ProtocolVersion, id: string, filter: string, qos: number): RawPeer {
  const one = connected(hub, version, { id })
  one.send(version === 5 ? subscribe(filter, `0${qos}`) : packet('82', u16(1), text(filter), `0${qos}`))
  one.said()
  return one
}

describe.each([3, 4, 5] as const)('from a publisher of version %i', (version) => {
  test.each([0, 1, 2])('at QoS %i a run of messages comes in order, with ids of the subscriber', (qos) => {
    const subs = [3, 4, 5].map((other) => subscribing(other as ProtocolVersion, `s${other}`, 'a/#', qos))
    const pub = connected(hub, version, { id: 'pub' })
    const ids = [700, 701, 702]
    pub.send(...ids.map((id, i) => publishing(version, i === 1 ? 'a/other' : 'a/b', `m${i}`, qos, id)))

    const id = (n: number) => (qos === 0 ? '' : ` #${n}`)
    const wanted = ['a/b=m0', 'a/other=m1', 'a/b=m2'].map((what, i) => `publish ${what} q${qos}${id(i + 1)}`)
    for (const sub of subs) expect(sub.said()).toEqual(wanted)
  })

  test('a subscription with less QoS gets less', () => {
    const sub = subscribing(version, 'sub', 'a', 0)
    connected(hub, version, { id: 'pub' }).send(
      publishing(version, 'a', 'x', 1, 9),
      publishing(version, 'a', 'y', 0),
    )
    expect(sub.said()).toEqual(['publish a=x q0', 'publish a=y q0'])
  })

  test('a topic that a hook has changed is the one that is sent', () => {
    const sub = subscribing(version, 'sub', '#', 1)
    hub.hooks.add('message.publish', 'test', (message) => {
      if (typeof message === 'object') message.topic = `new/${message.topic}`
      return undefined
    })
    const pub = connected(hub, version, { id: 'pub' })
    pub.send(publishing(version, 'a', 'x'), publishing(version, 'a', 'y', 1, 5))
    expect(sub.said()).toEqual(['publish new/a=x q0', 'publish new/a=y q1 #1'])
  })

  test('mountpoints are put on and taken off', () => {
    const whole = subscribing(version, 'whole', '#', 0)
    const inside = connected(hub, version, { id: 'inside', listener: { mountpoint: 'm/' } })
    inside.send(version === 5 ? subscribe('#', '00') : packet('82', u16(1), text('#'), '00'))
    inside.said()
    const pub = connected(hub, version, { id: 'pub', listener: { mountpoint: 'm/' } })
    pub.send(publishing(version, 'a', 'x'), publishing(version, 'a', 'y'))
    expect(whole.said()).toEqual(['publish m/a=x q0', 'publish m/a=y q0'])
    expect(inside.said()).toEqual(['publish a=x q0', 'publish a=y q0'])
  })
})

test('what waits for its turn in the window is sent as it came, too', () => {
  const sub = subscribing(4, 'sub', 'a', 1)
  const pub = connected(hub, 4, { id: 'pub' })
  const count = 100
  for (let i = 1; i <= count; i++) pub.send(publishing(4, 'a', `m${i}`, 1, i))
  const got: string[] = []
  for (let round = 0; round < count; round++) {
    const said = sub.said()
    got.push(...said)
    for (const one of said) sub.send(packet('40', u16(Number(/#(\d+)/.exec(one)?.[1]))))
  }
  expect(got.map((one) => one.replace(/ #\d+/, ''))).toEqual(
    Array.from({ length: count }, (_, i) => `publish a=m${i + 1} q1`),
  )
})

test('a packet that is larger than the subscriber takes is not sent', () => {
  const sub = connected(hub, 5, { id: 'sub', rest: '02 003c 05 27 00000014' })
  sub.send(subscribe('a'))
  sub.said()
  connected(hub, 5, { id: 'pub' }).send(publishing(5, 'a', 'x'.repeat(20)), publishing(5, 'a', 'short'))
  expect(sub.said()).toEqual(['publish a=short q0'])
})

test('a large packet is not copied for each who gets it, whether others follow it or not', () => {
  const large = 'x'.repeat(20_000)
  const subs = ['one', 'two'].map((id) => subscribing(4, id, 'a', 0))
  const pub = connected(hub, 4, { id: 'pub', options: { maxPacketBytes: 30_000 } })
  pub.send(publishing(4, 'a', 'm0'), publishing(4, 'a', 'm1'))
  for (const sub of subs) sub.said()
  const append = subs.map(({ transport }) => vi.spyOn(transport.outbox, 'append'))
  for (const packets of [[large], [large, 'short'], ['short', large, 'short', 'short']]) {
    pub.send(Buffer.concat(packets.map((payload) => publishing(4, 'a', payload))))
    for (const sub of subs) expect(sub.said()).toEqual(packets.map((payload) => `publish a=${payload} q0`))
    const sizes = append.map((spy) => spy.mock.calls.map(([bytes]) => bytes.length))
    expect(sizes, `${packets.length} packets`).toEqual([[20_000], [20_000]])
    for (const spy of append) spy.mockClear()
  }
})

describe('what a run of packets is not passed on as it came for', () => {
  interface Case {
    options?: Partial<HubOptions>
    topic?: string
    publisher?: PeerWish
    subscriber?: PeerWish
    /** A SUBSCRIBE of the subscriber. */
    subscribe?: Buffer
    /** What the publisher subscribes to. */
    own?: Buffer
  }
  const LONG = 'a topic for which an alias is worth it'
  const upgrading = { session: { ...HUB_OPTIONS.session, upgradesQos: true } }
  const identified = packet('82', u16(1), '02 0b 07', text('t'), '00')
  const cases: [what: string, one: Case][] = [
    ['a mountpoint of the publisher', { publisher: { listener: { mountpoint: 'm/' } } }],
    [
      'a mountpoint of the subscriber',
      { topic: 'm/t', subscriber: { listener: { mountpoint: 'm/' } }, subscribe: subscribe('#') },
    ],
    ['messages that expire', { options: { messageExpiryMs: 60_000 } }],
    ['QoS that is raised', { options: upgrading, subscribe: subscribe('t', '01') }],
    ['a subscription identifier', { subscribe: identified }],
    [
      'topic aliases',
      { topic: LONG, subscribe: subscribe(LONG), subscriber: { rest: '02 003c 03 22 0005' } },
    ],
    [
      'a maximum packet size',
      { topic: LONG, subscribe: subscribe('#'), subscriber: { rest: '02 003c 05 27 0000002d' } },
    ],
    ['another version', { subscriber: { version: 4 }, subscribe: packet('82', u16(1), text('t'), '00') }],
    ['a group', { subscribe: subscribe('$share/g/t') }],
    ['a topic with too many levels', { options: { maxTopicLevels: 0 } }],
    ['its own messages', { own: subscribe('t', '01') }],
    ['its own messages, which it does not want', { own: subscribe('t', '05') }],
    [
      'its own messages, unless by another subscription',
      { own: Buffer.concat([subscribe('t', '05'), subscribe('#')]) },
    ],
    ['a client of the name of another one, which does not want its own', { subscribe: subscribe('t', '05') }],
  ]

  async function play(feed: Feed, one: Case, qos: 0 | 1) {
    const world = await World.start(one.options)
    // What it is mounted at or not, somebody hears it.
    world.subscriber('all', '#', 1)
    world.connect('sub', one.subscriber).send(one.subscribe ?? subscribe('t'))
    const { topic = 't' } = one
    world.warm([topic])
    const publisher = world.connect('pub', one.publisher)
    if (one.own !== undefined) publisher.send(one.own)
    await world.feed(publisher, feed, series(5, topic, qos, 12))
    const outcome = world.outcome()
    await world.hub.stop()
    return outcome
  }

  test.each(cases)('%s', async (_, one) => {
    vi.useFakeTimers({ toFake: ['Date'] })
    for (const qos of [0, 1] as const) {
      const wanted = await play(singly, one, qos)
      expect(await play(oneByOne, one, qos)).toEqual(wanted)
      expect(await play(atOnce, one, qos)).toEqual(wanted)
    }
    vi.useRealTimers()
  })
})

test('a subscriber that is congested until it has read half gets none of a run, though there is room again', async () => {
  const play = async (feed: Feed) => {
    const world = await World.start()
    const subscriber = world.subscriber('sub', 't', 0, { mark: 100 })
    const publisher = world.connect('pub')
    await world.feed(publisher, singly, series(5, 't', 0, 20))
    subscriber.transport.outbox.take()
    await world.feed(publisher, feed, series(5, 't', 0, 5))
    const outcome = world.outcome()
    await world.hub.stop()
    return outcome
  }
  const outcome = await play(atOnce)
  expect(outcome).toEqual(await play(singly))
  expect(outcome).toEqual(await play(oneByOne))
  expect(outcome.got.sub).toBe('open ')
})

test('a run at QoS 0 does not pass what waits in the queue of its subscriber', async () => {
  const play = async (feed: Feed) => {
    const world = await World.start()
    const kept = { rest: '00 003c 08 21 0001 11 0000ffff' } // Receive Maximum 1
    world.subscriber('sub', 't', 1, kept).transport.close()
    const publisher = world.connect('pub')
    await world.feed(publisher, feed, [...series(5, 't', 1, 2), ...series(5, 't', 0, 1)])
    const back = world.connect('sub', kept)
    await world.feed(publisher, feed, series(5, 't', 0, 6))
    const { sessions } = world.outcome()
    back.send(packet('40', u16(1)), packet('40', u16(2)))
    const outcome = world.outcome()
    await world.hub.stop()
    return { sessions, outcome }
  }
  const { sessions, outcome } = await play(atOnce)
  expect({ sessions, outcome }).toEqual(await play(singly))
  expect({ sessions, outcome }).toEqual(await play(oneByOne))
  expect(sessions[2]).toMatchObject({ queue: 8, inflight: 1 })
  expect(outcome.sessions[2]).toMatchObject({ queue: 0, sent: 9 })
})
