import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { SHARING_STRATEGIES, type Sharing, type SharingStrategy } from '../../broker/routing/shared-groups.ts'
import { connect, HUB_OPTIONS, type Peer, publish, startHub, subscription } from './support.ts'

let hub: Hub
const persistent = { cleanStart: false, expiryIntervalMs: 60_000 }

beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

function share(strategy: SharingStrategy, groups: [string, Sharing][] = []): void {
  const sharing = { strategy, initialStickyPick: 'hash_topic', groups: new Map(groups) } as const
  hub.update({ ...HUB_OPTIONS, sharing })
}

async function members(count: number, filter = '$share/g/#', options = {}): Promise<Peer[]> {
  const peers: Peer[] = []
  for (let i = 0; i < count; i++) {
    const peer = await connect(hub, `member-${i}`, options)
    await peer.client.subscribe([subscription(filter, 1)])
    peers.push(peer)
  }
  return peers
}

/** How many messages each of them got. */
function shares(peers: Peer[]): number[] {
  return peers.map(({ receiver }) => receiver.deliveries.length)
}

describe('strategies', () => {
  test.each(SHARING_STRATEGIES)('%s: each message goes to exactly one member', async (strategy) => {
    share(strategy)
    const group = await members(4)
    const pub = await connect(hub, 'pub')
    for (let i = 0; i < 100; i++) await publish(pub, `t/${i}`)
    expect(shares(group).reduce((sum, count) => sum + count)).toBe(100)
  })

  test('round_robin: in turn for each publisher', async () => {
    share('round_robin')
    const group = await members(4)
    const [a, b] = [await connect(hub, 'a'), await connect(hub, 'b')]
    for (let i = 0; i < 40; i++) await publish(a, 't')
    expect(shares(group)).toEqual([10, 10, 10, 10])
    for (let i = 0; i < 4; i++) await publish(b, 't')
    expect(shares(group)).toEqual([11, 11, 11, 11])
  })

  test('round_robin_per_group: in turn, whoever publishes', async () => {
    share('round_robin_per_group')
    const group = await members(2)
    const [a, b] = [await connect(hub, 'a'), await connect(hub, 'b')]
    for (const [peer, expected] of [
      [a, [1, 0]],
      [b, [1, 1]],
      [b, [2, 1]],
      [a, [2, 2]],
    ] as const) {
      await publish(peer, 't')
      expect(shares(group)).toEqual(expected)
    }
  })

  test('sticky: one publisher keeps its member until that one leaves', async () => {
    share('sticky')
    const group = await members(3)
    const pub = await connect(hub, 'pub')
    for (let i = 0; i < 30; i++) await publish(pub, `t/${i}`)
    const chosen = group.findIndex(({ receiver }) => receiver.deliveries.length > 0)
    expect(shares(group)[chosen]).toBe(30)
    group[chosen]?.client.close('normal')
    for (let i = 0; i < 30; i++) await publish(pub, `t/${i}`)
    expect(shares(group).toSorted((a, b) => a - b)).toEqual([0, 30, 30])
  })

  test('hash_clientid and hash_topic: the same member for the same client, the same topic', async () => {
    const group = await members(3)
    const [a, b] = [await connect(hub, 'a'), await connect(hub, 'b')]
    share('hash_topic')
    for (const peer of [a, b, a, b]) await publish(peer, 'always/here')
    expect(shares(group).filter((count) => count > 0)).toEqual([4])
    share('hash_clientid')
    for (let i = 0; i < 50; i++) await publish(a, `t/${i}`)
    expect(Math.max(...shares(group))).toBeGreaterThanOrEqual(50)
  })

  test('a group may have a strategy of its own', async () => {
    share('random', [['g', { strategy: 'hash_topic', initialStickyPick: 'random' }]])
    const group = await members(5)
    const pub = await connect(hub, 'pub')
    for (let i = 0; i < 50; i++) await publish(pub, 'same')
    expect(shares(group).filter((count) => count > 0)).toEqual([50])
  })

  test.each(SHARING_STRATEGIES)(
    '%s: nobody who is away is chosen while another one is there',
    async (strategy) => {
      share(strategy)
      const group = await members(3, '$share/g/#', persistent)
      group[0]?.client.close('tcp_closed')
      group[2]?.client.close('tcp_closed')
      const pub = await connect(hub, 'pub')
      for (let i = 0; i < 20; i++) await publish(pub, `t/${i}`)
      expect(shares(group)).toEqual([0, 20, 0])
    },
  )
})

describe('when the session of a member ends', () => {
  // [MQTT-4.8.2-5]
  test('its unacknowledged QoS 1 messages and those that wait go to the others, QoS 2 in flight does not', async () => {
    const [a] = (await members(1, '$share/g/t', { ...persistent, receiveMaximum: 2 })) as [Peer]
    await a.client.subscribe([subscription('$share/g/two', 2)])
    const pub = await connect(hub, 'pub')
    await publish(pub, 't', 'in flight', 1)
    await publish(pub, 'two', 'stays', 2)
    await publish(pub, 't', 'waits', 1)
    await publish(pub, 'two', 'waits too', 2)
    const b = await connect(hub, 'b')
    await b.client.subscribe([subscription('$share/g/t', 1), subscription('$share/g/two', 2)])
    hub.kick('member-0')
    expect(b.receiver.texts).toEqual(['t=in flight', 't=waits', 'two=waits too'])
  })

  test('a message goes back to nobody when it was the last member', async () => {
    const [a] = (await members(1, '$share/g/t')) as [Peer]
    await publish(await connect(hub, 'pub'), 't', 'x', 1)
    a.client.close('tcp_closed')
    expect(hub.session('member-0')).toBeUndefined()
  })

  test('a takeover keeps them', async () => {
    await members(1, '$share/g/t', persistent)
    const b = await connect(hub, 'b')
    const pub = await connect(hub, 'pub')
    await publish(pub, 't', 'x', 1)
    await b.client.subscribe([subscription('$share/g/t', 1)])
    const again = await connect(hub, 'member-0', persistent)
    expect(again.receiver.texts).toEqual(['t=x'])
    expect(b.receiver.texts).toEqual([])
  })
})
