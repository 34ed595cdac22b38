/** Topic aliases towards clients: who gets them, for what, and how many. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import { OutboundAliases } from '../../../broker/mqtt/outbound-aliases.ts'
import { connect, type Peer, publish, startHub } from '../support.ts'
import { connectBytes, connected, mqttContext, RawPeer, subscribe, subscriber } from './raw-peer.ts'

const LONG = 'building/7/room/1'
let hub: Hub
let pub: Peer

beforeEach(async () => {
  hub = await startHub()
  pub = await connect(hub, 'pub')
})
afterEach(() => hub.stop())

/** CONNECT flags, keep alive and properties with a Topic Alias Maximum. */
const allowing = (maximum: string) => ({ rest: `02 003c 03 22 ${maximum}` })

/** Topic and alias of what came since the last look. */
function seen(peer: RawPeer): string[] {
  return peer.packets().map((one) => {
    if (one.cmd !== 'publish') return one.cmd
    const alias = one.properties?.topicAlias
    return alias === undefined ? one.topic : `${one.topic}@${alias}`
  })
}

async function publishAll(...topics: string[]): Promise<void> {
  for (const topic of topics) await publish(pub, topic)
}

describe('a client', () => {
  // [MQTT-3.1.2-27]
  test.each([{}, allowing('0000')])('that wants none gets none (%o)', async (wish) => {
    const sub = subscriber(hub, '#', '00', wish)
    await publishAll(LONG, LONG, LONG)
    expect(seen(sub)).toEqual([LONG, LONG, LONG])
  })

  test('learns an alias with the second message of a topic, and then gets the alias only', async () => {
    const sub = subscriber(hub, '#', '00', allowing('000a'))
    await publishAll(LONG, LONG, LONG, 'short', 'short', 'short')
    await publish(pub, LONG, 'x', 0, { properties: { contentType: 'a' } })
    expect(seen(sub)).toEqual([LONG, `${LONG}@1`, '@1', 'short', 'short', 'short', '@1'])
  })

  test('gets the same message in full while another one gets the alias', async () => {
    const plain = subscriber(hub, '#', '00', { id: 'plain' })
    const sub = subscriber(hub, '#', '00', allowing('000a'))
    const others = [1, 2, 3, 4].map((i) => subscriber(hub, '#', '00', { id: `other${i}` }))
    await publishAll(LONG, LONG, LONG)
    expect(seen(sub)).toEqual([LONG, `${LONG}@1`, '@1'])
    for (const one of [plain, ...others]) expect(seen(one)).toEqual([LONG, LONG, LONG])
  })

  // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
  test('gets no more of them than it allows: the first one goes to another topic', async () => {
    const sub = subscriber(hub, '#', '00', allowing('0001'))
    await publishAll('topic/a', 'topic/a', 'topic/a', 'topic/b', 'topic/b', 'topic/b', 'topic/a', 'topic/a')
    expect(seen(sub).join(' ')).toBe('topic/a topic/a@1 @1 topic/b topic/b@1 @1 topic/a topic/a@1')
  })

  // [MQTT-3.3.2-7]
  test('that comes back is sent again with full topics, and learns anew', async () => {
    const wish = { id: 'sub', rest: `00 003c 08 11 00000064 22 000a` }
    const sub = connected(hub, 5, wish)
    sub.send(subscribe('#', '01'))
    sub.said()
    for (let i = 0; i < 3; i++) await publish(pub, LONG, `${i}`, 1)
    expect(seen(sub)).toEqual([LONG, `${LONG}@1`, '@1'])
    sub.transport.close()
    const back = new RawPeer(mqttContext(hub)).send(connectBytes(5, 'sub', wish.rest))
    expect(seen(back)).toEqual(['connack', LONG, LONG, LONG])
    await publishAll(LONG, LONG, LONG)
    expect(seen(back)).toEqual([LONG, `${LONG}@1`, '@1'])
  })

  test('whose largest packet has no room for the alias gets the message without it', async () => {
    // Fixed header, length, topic, no properties, one byte of payload: just the packet without alias.
    const most = (2 + 2 + LONG.length + 1 + 1).toString(16).padStart(8, '0')
    const context = mqttContext(hub, { maxPacketBytes: Number.POSITIVE_INFINITY })
    const sub = new RawPeer(context).send(connectBytes(5, 'sub', `02 003c 08 27 ${most} 22 000a`))
    sub.send(subscribe('#', '00'))
    sub.said()
    await publishAll(LONG, LONG, LONG)
    expect(seen(sub)).toEqual([LONG, LONG, LONG])
  })

  test('with a mountpoint gets aliases for topics as it knows them', async () => {
    const sub = subscriber(hub, '#', '00', { ...allowing('000a'), listener: { mountpoint: 'mounted/' } })
    await publishAll(`mounted/${LONG}`, `mounted/${LONG}`, `mounted/${LONG}`)
    expect(seen(sub)).toEqual([LONG, `${LONG}@1`, '@1'])
  })
})

describe('the table', () => {
  const introduce = (aliases: OutboundAliases, topic: string) => {
    aliases.candidate(topic)
    const alias = aliases.candidate(topic)
    aliases.introduced(topic, alias)
    return alias
  }

  test('holds 64 aliases whatever the client allows', () => {
    const aliases = new OutboundAliases(65_535)
    const given = Array.from({ length: 66 }, (_, i) => introduce(aliases, `topic/${i}`))
    expect([Math.max(...given), given.slice(-2)]).toEqual([64, [1, 2]])
    expect(['topic/0', 'topic/2', 'topic/64'].map((topic) => aliases.known(topic))).toEqual([0, 3, 1])
  })

  test('gives none where there are ever new topics', () => {
    const aliases = new OutboundAliases(10)
    const topics = Array.from({ length: 1000 }, (_, i) => `topic/${i % 100}`)
    expect(topics.map((topic) => aliases.candidate(topic)).filter((alias) => alias !== 0)).toEqual([])
  })

  test('offers the same alias again if it could not be introduced', () => {
    const aliases = new OutboundAliases(10)
    expect([1, 2, 3].map(() => aliases.candidate('topic/1'))).toEqual([0, 1, 1])
    expect(aliases.known('topic/1')).toBe(0)
  })
})
