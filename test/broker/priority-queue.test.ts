import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SessionDelivery } from '../../broker/delivery.ts'
import type { Hub } from '../../broker/hub.ts'
import { type Priorities, PriorityQueue } from '../../broker/priority-queue.ts'
import { Message, type QoS } from '../../model/message.ts'
import { connect, HUB_OPTIONS, publish, startHub, subscription } from './support.ts'

const byTopic = new Map([
  ['fire', 3],
  ['door', 1],
])
const LOWEST: Priorities = { byTopic, others: 'lowest' }

function delivery(topic: string, payload = '', qos: QoS = 1): SessionDelivery {
  const message = Message.of(topic, Buffer.from(payload), qos, false, undefined, undefined, 0)
  return new SessionDelivery(message, qos, false, undefined)
}

const nameOf = (one: SessionDelivery | undefined) =>
  one === undefined ? 'none' : one.message.topic + Buffer.from(one.message.payload).toString()

function filled(queue: PriorityQueue, topics: string[], count: number): PriorityQueue {
  for (let i = 0; i < count; i++) for (const topic of topics) queue.push(delivery(topic, `${i}`))
  return queue
}

/** Topics in the order they go, runs taken together. */
function runs(queue: PriorityQueue): string[] {
  const found: [topic: string, count: number][] = []
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    const last = found.at(-1)
    if (last?.[0] === next.message.topic) last[1]++
    else found.push([next.message.topic, 1])
  }
  return found.map(([topic, count]) => `${topic} ${count}`)
}

describe('the queue', () => {
  test('goes in rounds, ten deliveries times their priority each', () => {
    const queue = filled(new PriorityQueue(100, LOWEST), ['rest', 'door', 'fire'], 40)
    expect(queue.length).toBe(120)
    expect(runs(queue).join(', ')).toBe(
      'fire 30, door 10, rest 10, fire 10, door 10, rest 10, door 10, rest 10, door 10, rest 10',
    )
    expect(queue.length).toBe(0)
  })

  test('topics without a priority can go first', () => {
    const queue = filled(new PriorityQueue(100, { byTopic, others: 'highest' }), ['fire', 'rest'], 40)
    expect(runs(queue)).toEqual(['rest 40', 'fire 40'])
  })

  test('keeps the order of a topic, and shows what it will give', () => {
    const queue = filled(new PriorityQueue(100, LOWEST), ['rest', 'fire'], 2)
    const given: string[] = []
    while (queue.length > 0) {
      given.push(nameOf(queue.peek()))
      expect(nameOf(queue.shift())).toBe(given.at(-1))
    }
    expect(given).toEqual(['fire0', 'fire1', 'rest0', 'rest1'])
    expect([nameOf(queue.peek()), nameOf(queue.shift())]).toEqual(['none', 'none'])
  })

  test('is bounded for each priority', () => {
    const queue = filled(new PriorityQueue(2, LOWEST), ['rest'], 2)
    expect(queue.push(delivery('fire'))).toBeUndefined()
    expect(nameOf(queue.push(delivery('other')))).toBe('rest0')
    expect([queue.length, [...queue].map(nameOf)]).toEqual([3, ['fire', 'rest1', 'other']])
    const none = new PriorityQueue(0, LOWEST)
    expect([nameOf(none.push(delivery('fire'))), none.length]).toEqual(['fire', 0])
  })

  test('counts what has QoS 0, and forgets everything when cleared', () => {
    const queue = new PriorityQueue(10, LOWEST)
    for (const qos of [0, 1, 0] as const) queue.push(delivery(qos === 0 ? 'fire' : 'rest', '', qos))
    expect(queue.qos0Count).toBe(2)
    queue.shift()
    expect(queue.qos0Count).toBe(1)
    queue.clear()
    expect([queue.length, queue.qos0Count, [...queue]]).toEqual([0, 0, []])
  })
})

describe('a session', () => {
  let hub: Hub
  beforeEach(async () => {
    hub = await startHub({ session: { ...HUB_OPTIONS.session, maxInflight: 1, priorities: LOWEST } })
  })
  afterEach(() => hub.stop())

  test('whose client comes back gets what is urgent first', async () => {
    const kept = { cleanStart: false, expiryIntervalMs: 60_000 }
    const sub = await connect(hub, 'sub', kept)
    await sub.client.subscribe([subscription('#', 1)])
    sub.client.close('tcp_closed')
    const pub = await connect(hub, 'pub')
    for (const topic of ['rest', 'door', 'fire']) {
      await publish(pub, topic, '1', 1)
      await publish(pub, topic, '2', 0)
    }
    expect(hub.session('sub')?.queueLength).toBe(6)
    const { client, receiver } = await connect(hub, 'sub', kept)
    for (let i = 0; i < receiver.packetIds.length; i++) client.acked(receiver.packetIds[i] as number)
    expect(receiver.texts).toEqual(['fire=1', 'fire=2', 'door=1', 'door=2', 'rest=1', 'rest=2'])
  })
})
