/** Packets that are handled together have to come out as if each had come on its own: seeded scenarios, each four ways. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { HubOptions } from '../../../broker/hub.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import type { QoS } from '../../../model/message.ts'
import { HUB_OPTIONS } from '../support.ts'
import { PINGREQ, type RawPeer, text, u16 } from './raw-peer.ts'
import {
  atOnce,
  countRuns,
  cutBy,
  type Feed,
  type Outcome,
  oneByOne,
  type PeerWish,
  publishing,
  rememberingAuthorization,
  series,
  shown,
  singly,
  subscribing,
  World,
} from './runs-support.ts'
import { frame, packet, Random, VERSIONS } from './support.ts'

const TOPICS = ['t', 'a/b', 'a/b', 'a/bb', 'sensors/room 7/temperature', `long/${'x'.repeat(80)}`]
const RARE_TOPICS = ['nobody/listens', 'denied/x', '$own/x', '$SYS/x', `longest/${'y'.repeat(300)}`, 'ä/中']
const FILTERS = ['#', 't', 'a/b', 'a/+', 'a/#', 'sensors/+/temperature', 'long/#', '+/+']
const RARE_FILTERS = ['$own/#', '$share/g/a/b', '$share/g/#']
/** Around what one and two bytes of remaining length can say, whatever the topic. */
const SIZES = [0, 1, 2, 30, 100, 110, 118, 120, 121, 122, 123, 124, 125, 128, 300, 1000]
const RARE_SIZES = [16_360, 16_370, 16_374, 16_376, 16_380, 16_384, 20_000]

interface Subscriber {
  id: string
  wish: PeerWish
  subscriptions: Buffer[]
  isAway: boolean
}

interface Scenario {
  options: Partial<HubOptions>
  authorization: 'none' | 'remembered' | 'asked' | 'later'
  isSeen: boolean
  publisher: PeerWish
  own: Buffer[]
  subscribers: Subscriber[]
  packets: Buffer[]
}

class Dice extends Random {
  /** What rules out runs is in half of the scenarios only. */
  readonly #isOdd = this.int(2) === 0

  rarely(oneIn: number): boolean {
    return this.int(oneIn) === 0 && this.#isOdd
  }
}

function scenarioOf(random: Dice): Scenario {
  const version = random.pick(VERSIONS)
  const mountpoint = random.rarely(6) ? 'm/' : ''
  const mark = random.int(8) === 0 ? { mark: 500 + random.int(20_000) } : {}
  return {
    options: {
      session: {
        ...HUB_OPTIONS.session,
        upgradesQos: random.rarely(5),
        maxInflight: random.pick([1, 5, 32]),
        maxQueueLength: random.pick([3, 1000]),
      },
      messageExpiryMs: random.rarely(8) ? 60_000 : Number.POSITIVE_INFINITY,
      denyAction: random.int(10) === 0 ? 'disconnect' : 'ignore',
    },
    authorization: random.rarely(3) ? random.pick(['asked', 'later']) : random.pick(['none', 'remembered']),
    isSeen: random.int(3) === 0,
    publisher: { version, listener: { mountpoint }, ...mark },
    own: random.rarely(3) ? [subscriptionOf(random, version)] : [],
    subscribers: Array.from({ length: random.int(5) }, (_, i) => subscriberOf(random, `sub${i}`, version)),
    packets: streamOf(random, version),
  }
}

function subscriberOf(random: Dice, id: string, usual: ProtocolVersion): Subscriber {
  const version = random.int(4) === 0 ? random.pick(VERSIONS) : usual
  const isAway = random.int(10) === 0
  const properties = [
    random.rarely(5) ? '27 00000078' : '', // Maximum Packet Size
    random.rarely(5) ? '22 0005' : '', // Topic Alias Maximum
    random.rarely(5) ? '21 0003' : '', // Receive Maximum
    isAway ? '11 0000ffff' : '',
  ].join(' ')
  const bytes = frame(properties).length
  const clean = isAway ? '00' : '02'
  const rest =
    version === 5 ? `${clean} 003c ${bytes.toString(16).padStart(2, '0')} ${properties}` : `${clean} 003c`
  const mark = random.int(4) === 0 ? { mark: 200 + random.int(5000) } : {}
  const listener = { mountpoint: random.rarely(8) ? 'm/' : '' }
  const subscriptions = Array.from({ length: 1 + random.int(3) }, () => subscriptionOf(random, version))
  return { id, isAway, subscriptions, wish: { version, rest, listener, ...mark } }
}

function subscriptionOf(random: Dice, version: ProtocolVersion): Buffer {
  const filter = random.pick(random.rarely(2) ? RARE_FILTERS : FILTERS)
  const qos = random.int(3)
  if (version !== 5) return subscribing(version, filter, qos as QoS)
  const isShared = filter.startsWith('$share')
  const options = qos | (random.rarely(3) && !isShared ? 4 : 0) | (random.int(3) === 0 ? 8 : 0)
  const properties = random.rarely(4) ? `02 0b 0${1 + random.int(9)}` : '00'
  return packet('82', u16(1), properties, text(filter), `0${options.toString(16)}`)
}

function streamOf(random: Dice, version: ProtocolVersion): Buffer[] {
  const packets: Buffer[] = []
  let id = 1
  for (let i = 3 + random.int(10); i > 0; i--) {
    const topic = random.int(5) === 0 ? random.pick(RARE_TOPICS) : random.pick(TOPICS)
    const qos = random.pick([0, 0, 0, 1, 1, 2]) as QoS
    for (let k = random.pick([1, 2, 5, 12, 40]); k > 0; k--)
      packets.push(messageOf(random, version, topic, qos, id++))
    packets.push(...betweenOf(random, version, id++))
  }
  return packets
}

function messageOf(random: Dice, version: ProtocolVersion, topic: string, qos: QoS, id: number): Buffer {
  const size = random.int(60) === 0 ? random.pick(RARE_SIZES) : random.pick(SIZES)
  const payload = String.fromCharCode(97 + random.int(26)).repeat(size)
  const isPlain = !random.rarely(10)
  if (isPlain) return publishing(version, topic, payload, { qos, id })
  const properties = random.pick(['02 01 01', '05 02 0000003c', '03 23 0001', '08 26 0001 "k" 0002 "vv"'])
  const flags = (qos > 0 && random.int(2) === 0 ? 8 : 0) | random.int(2)
  return publishing(version, topic, payload, { qos, id, flags, properties })
}

/** What else a client sends, and seldom something that ends it. */
function betweenOf(random: Dice, version: ProtocolVersion, id: number): Buffer[] {
  const none = version === 5 ? '00' : ''
  switch (random.int(60)) {
    case 0:
      return [frame(PINGREQ)]
    case 1:
      return [packet('40', u16(1 + random.int(9)))]
    case 2:
      return Array.from({ length: 6 }, (_, i) => packet('40', u16(1 + i)))
    case 3:
      return [subscribing(version, random.pick(FILTERS), random.int(3) as QoS, id)]
    case 4:
      return [packet('a2', u16(id), none, text(random.pick(FILTERS)))]
    case 5:
      return [packet('62', u16(id - 1)), packet('62', u16(id))]
    case 6:
      return [publishing(version, 't', 'x', { qos: 1, id: 0 })]
    case 7:
      return [packet('36', text('t'), u16(id), none, '"x"')]
    case 8:
      return [publishing(version, 'a/+', 'x')]
    case 9:
      return [publishing(version, 't', 'x'.repeat(31_000))]
    case 10:
      return [packet('40', u16(0))]
    case 11:
      return [
        publishing(version, 't', 'x', { qos: 2, id: 1 }),
        publishing(version, 't', 'x', { qos: 2, id: 1 }),
      ]
    case 12:
      return [publishing(version, 't', 'x', { flags: 8 })]
    case 13:
      return [frame('e0 00')]
    default:
      return []
  }
}

async function play(scenario: Scenario, feed: Feed): Promise<Outcome> {
  const world = await World.start(scenario.options)
  const { hub } = world
  try {
    authorize(world, scenario.authorization)
    if (scenario.isSeen)
      hub.hooks.add(
        'message.publish',
        'seen',
        (message) => world.note('published', shown(message)) as undefined,
      )
    hub.hooks.add('client.disconnected', 'seen', ({ clientId }, reason) =>
      world.note(clientId, 'gone', reason),
    )
    const subscribers = scenario.subscribers.map((one) => join(world, one))
    world.warm(TOPICS)
    const publisher = world.connect('pub', scenario.publisher)
    publisher.send(...scenario.own)
    await world.feed(publisher, feed, scenario.packets)
    world.drainAll()
    for (const [i, one] of scenario.subscribers.entries())
      if (one.isAway && (subscribers[i] as RawPeer).isClosed) world.connect(one.id, one.wish)
    return world.outcome()
  } finally {
    await hub.stop()
  }
}

function join(world: World, { id, wish, subscriptions, isAway }: Subscriber): RawPeer {
  const peer = world.connect(id, wish).send(...subscriptions)
  if (isAway) peer.transport.close()
  return peer
}

function authorize(world: World, how: Scenario['authorization']): void {
  const isDenied = (topic: string) => topic.startsWith('denied')
  const { hooks } = world.hub
  if (how === 'remembered') rememberingAuthorization(world, isDenied)
  else if (how !== 'none')
    hooks.add('client.authorize', how, (_, { clientId }, action, topic) => {
      world.note('may', clientId, action.kind, topic)
      const answer = { stop: { result: isDenied(topic) ? 'deny' : 'allow', from: how } } as const
      return how === 'later' && clientId === 'pub' ? Promise.resolve(answer) : answer
    })
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'] }))
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const SEEDS = 420
const BATCHES = 6

describe('packets of any kind come out the same one by one, at once and cut anywhere', () => {
  test.each(Array.from({ length: BATCHES }, (_, i) => i))('scenarios of batch %i', async (batch) => {
    const runs = countRuns()
    let withRuns = 0
    for (let seed = batch; seed < SEEDS; seed += BATCHES) {
      const scenario = scenarioOf(new Dice(seed))
      const wanted = await play(scenario, singly)
      expect(runs.take(), 'what is charged for is no run').toBe(0)
      expect(await play(scenario, oneByOne), `seed ${seed}, one by one`).toEqual(wanted)
      expect(runs.take(), 'a packet alone is no run of several').toBe(0)
      expect(await play(scenario, atOnce), `seed ${seed}, at once`).toEqual(wanted)
      if (runs.take() > 0) withRuns++
      expect(await play(scenario, cutBy(new Random(seed))), `seed ${seed}, cut`).toEqual(wanted)
      runs.take()
    }
    // Else nothing is compared.
    expect(withRuns).toBeGreaterThan(SEEDS / BATCHES / 4)
  })
})

describe.each(VERSIONS)('in the middle of a run of version %i', (version) => {
  const none = version === 5 ? '00' : ''
  const others: [what: string, packets: Buffer[]][] = [
    ['nothing', []],
    ['packet id 0', [publishing(version, 't', 'x', { qos: 1, id: 0 })]],
    ['QoS 3', [packet('36', text('t'), u16(9), none, '"x"')]],
    ['DUP at QoS 0', [publishing(version, 't', 'x', { flags: 8 })]],
    ['a topic with a wildcard', [publishing(version, '+', 'x')]],
    ['an empty topic', [publishing(version, '', 'x')]],
    ['a topic of the same length', [publishing(version, 'u', 'x')]],
    ['one that is too large', [publishing(version, 't', 'x'.repeat(31_000))]],
    ['one that is too short', [frame('30 02 0001')]],
    ['RETAIN', ['x', 'y', 'z'].map((payload) => publishing(version, 't', payload, { flags: 1 }))],
    ['RETAIN at QoS 1', [50, 51, 52].map((id) => publishing(version, 't', 'x', { qos: 1, id, flags: 1 }))],
    ['copies', [4, 5, 6].map((id) => publishing(version, 't', 'm', { qos: 1, id, flags: 8 }))],
    ['properties', [publishing(version, 't', 'x', { properties: '02 01 01' })]],
    ['a topic alias', [publishing(version, 't', 'x', { properties: '03 23 0001' })]],
    ['a packet identifier at QoS 2', [publishing(version, 't', 'x', { qos: 2, id: 40 })]],
    ['the end', [frame('e0 00')]],
  ]

  test.each(others)('%s is what it would be on its own', async (_, between) => {
    for (const qos of [0, 1] as const) {
      const all = series(version, 't', qos, 12)
      const packets = [...all.slice(0, 6), ...between, ...all.slice(6)]
      const runs = countRuns()
      const play = async (feed: Feed) => {
        const world = await World.start()
        for (const granted of [0, 1, 2] as const)
          world.subscriber(`sub${granted}`, granted === 1 ? '#' : 't', granted, { version })
        await world.feed(world.connect('pub', { version }), feed, packets)
        const outcome = world.outcome()
        await world.hub.stop()
        return outcome
      }
      const wanted = await play(singly)
      expect(await play(oneByOne)).toEqual(wanted)
      expect(runs.take()).toBe(0)
      expect(await play(atOnce)).toEqual(wanted)
      expect(runs.take()).toBeGreaterThan(0)
    }
  })
})

async function playNarrow(feed: Feed, version: ProtocolVersion, mark: number, qos: QoS, granted: QoS) {
  const world = await World.start()
  try {
    world.subscriber('wide', 't', granted, { version })
    world.subscriber('narrow', '#', granted, { version, mark })
    const publisher = world.connect('pub', { version })
    await world.feed(publisher, feed, series(version, 't', qos, 20))
    const before = world.outcome()
    world.drainAll()
    return [before, world.outcome()]
  } finally {
    await world.hub.stop()
  }
}

describe.each(VERSIONS)('a run of version %i that is larger than the room a subscriber has', (version) => {
  test.each([
    [0, 0],
    [0, 1],
    [1, 0],
    [1, 1],
  ] as const)('loses what it would have lost one by one: QoS %i to %i', async (qos, granted) => {
    const runs = countRuns()
    const lost = new Set<number>()
    for (let mark = 4; mark < 250; mark += 9) {
      const outcome = await playNarrow(atOnce, version, mark, qos, granted)
      expect(outcome, `congested at ${mark}`).toEqual(await playNarrow(singly, version, mark, qos, granted))
      lost.add(outcome[0]?.metrics['delivery.dropped.queue_full'] as number)
    }
    expect(runs.take()).toBeGreaterThan(10)
    // At QoS 1 it waits.
    expect(lost.size > 5).toBe(qos === 0 || granted === 0)
  })
})

describe('PUBACKs in a row', () => {
  const puback = (id: number) => packet('40', u16(id))
  const WINDOW = '02 003c 03 21 0003' // Receive Maximum 3

  /** A subscriber that has 3 of 12 messages in flight sends its answers. */
  async function playAcks(
    feed: Feed,
    acks: readonly Buffer[],
    mark?: number,
    setup?: (world: World) => void,
  ) {
    const world = await World.start()
    try {
      const subscriber = world.subscriber('sub', 't', 1, {
        rest: WINDOW,
        ...(mark === undefined ? {} : { mark }),
      })
      world.connect('pub').send(...series(5, 't', 1, 12))
      world.hub.hooks.add('message.acked', 'test', ({ clientId }, message) =>
        world.note(clientId, shown(message)),
      )
      setup?.(world)
      world.drainAll()
      await world.feed(subscriber, feed, acks)
      return world.outcome()
    } finally {
      await world.hub.stop()
    }
  }

  async function expectTheSame(acks: readonly Buffer[], mark?: number, setup?: (world: World) => void) {
    const outcome = await playAcks(atOnce, acks, mark, setup)
    expect(outcome).toEqual(await playAcks(singly, acks, mark, setup))
    return outcome
  }

  test('let the queue go on, in order, up to the last one', async () => {
    const { sessions, seen } = await expectTheSame(Array.from({ length: 12 }, (_, i) => puback(i + 1)))
    expect(sessions[0]).toMatchObject({ sent: 12, queue: 0, inflight: 0 })
    expect(seen).toEqual(Array.from({ length: 12 }, (_, i) => `sub t=m${i} q1 by pub`))
  })

  test('with an unknown id in the middle count that as missed, and go on', async () => {
    const { metrics, sessions } = await expectTheSame([1, 77, 2, 2, 3].map(puback))
    expect([metrics['packets.puback.received'], metrics['packets.puback.missed']]).toEqual([5, 2])
    expect(sessions[0]).toMatchObject({ sent: 6, inflight: 3 })
  })

  test('with id 0 in the middle end the connection, and those before it are handled', async () => {
    const { metrics, got } = await expectTheSame([1, 2, 0, 3].map(puback))
    expect(metrics['packets.puback.received']).toBe(2)
    expect(metrics['connections.closed.protocol_error']).toBe(1)
    expect(got.sub).toMatch(/^ended /)
  })

  test('with longer forms, other packets and half of one between them', async () => {
    await expectTheSame([puback(1), packet('40', u16(2), '10'), puback(3), frame(PINGREQ), puback(4)])
    await expectTheSame([
      puback(1),
      frame('40 03 0002 00'),
      packet('50', u16(3)),
      puback(4),
      frame('40 02 01'),
    ])
  })

  test('are heard only as far as the subscriber takes what they let go', async () => {
    const acks = Array.from({ length: 12 }, (_, i) => puback(i + 1))
    for (let mark = 10; mark < 60; mark += 3) await expectTheSame(acks, mark)
  })

  test('stop where a subscriber becomes congested, and go on when it has read', async () => {
    const world = await World.start()
    const subscriber = world.subscriber('sub', 't', 1, { rest: WINDOW, mark: 60 })
    world.connect('pub').send(...series(5, 't', 1, 12))
    subscriber.transport.outbox.take()
    subscriber.send(...Array.from({ length: 12 }, (_, i) => puback(i + 1)))
    const { metrics } = world.hub
    expect(subscriber.transport.isPaused).toBe(true)
    expect(metrics.packetsPubackReceived).toBeLessThan(8)
    world.drainAll()
    expect([metrics.packetsPubackReceived, metrics.packetsPubackMissed]).toEqual([12, 0])
    await world.hub.stop()
  })

  test('end with their client where a hook ends it', async () => {
    const { metrics } = await expectTheSame([1, 2, 3].map(puback), undefined, (world) => {
      world.hub.hooks.add('message.acked', 'kick', ({ clientId }, { payload }) => {
        if (Buffer.from(payload).toString() === 'm1') world.hub.kick(clientId)
      })
    })
    expect(metrics['packets.puback.received']).toBe(2)
  })
})
