/**
 * Guards the hot path without a clock: what a delivery allocates, from the chunk that came to the bytes that go to
 * the socket. `bench/` tells what it costs in time.
 */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { STOP } from '../../hooks/bus.ts'
import type { PublishDecision } from '../../hooks/hookpoints.ts'
import { Message } from '../../model/message.ts'
import { startHub } from '../broker/support.ts'
import { type Load, measureAllocations } from './allocation-bench.ts'

let hub: Hub

beforeEach(async () => {
  hub = await startHub({
    session: {
      maxInflight: 1000,
      maxQueueLength: 1000,
      priorities: undefined,
      queuesQos0: true,
      upgradesQos: false,
    },
  })
})
afterEach(() => hub.stop())

const PAIRS = { publishers: 10, subscribersEach: 1 }
/** In turns, so that no message goes on with a run. */
const TWO_TOPICS = { ...PAIRS, hasTwoTopics: true }
const FAN_OUT = { publishers: 1, subscribersEach: 50 }

const ALLOWED = { stop: { result: 'allow', from: 'bench' } } as const
/** The measuring itself makes one or two. */
const MAX_PROMISES = 0.01

/** Bytes: what was measured with Node 20 to 24, and room for less than a closure. */
const CASES: { name: string; load: Load; maxBytes: number; attach?: (hub: Hub) => void }[] = [
  { name: 'a pair at QoS 0', load: { version: 4, qos: 0, ...PAIRS }, maxBytes: 30 },
  { name: 'a pair at QoS 1', load: { version: 4, qos: 1, ...PAIRS }, maxBytes: 350 },
  { name: 'a pair at QoS 2', load: { version: 4, qos: 2, ...PAIRS }, maxBytes: 460 },
  { name: 'a pair of MQTT 5 at QoS 0', load: { version: 5, qos: 0, ...PAIRS }, maxBytes: 30 },
  { name: 'a pair of MQTT 5 at QoS 1', load: { version: 5, qos: 1, ...PAIRS }, maxBytes: 350 },
  { name: 'a pair with two topics at QoS 0', load: { version: 4, qos: 0, ...TWO_TOPICS }, maxBytes: 130 },
  { name: 'a pair with two topics at QoS 1', load: { version: 4, qos: 1, ...TWO_TOPICS }, maxBytes: 460 },
  {
    name: 'a pair with hooks at QoS 0',
    load: { version: 4, qos: 0, ...PAIRS },
    maxBytes: 410,
    attach: attachHooks,
  },
  {
    name: 'a pair with a hook that keeps nothing at QoS 0',
    load: { version: 4, qos: 0, ...PAIRS },
    maxBytes: 50,
    attach: ({ hooks }) => hooks.add('message.publish', 'bench', stopLarge, { keepsNothing: true }),
  },
  { name: 'one of fifty subscribers at QoS 0', load: { version: 4, qos: 0, ...FAN_OUT }, maxBytes: 10 },
  { name: 'one of fifty subscribers at QoS 1', load: { version: 4, qos: 1, ...FAN_OUT }, maxBytes: 170 },
]

for (const { name, load, maxBytes, attach } of CASES) {
  test(`a delivery to ${name} makes no promise and allocates at most ${maxBytes} bytes`, async () => {
    attach?.(hub)
    const { bytes, promises } = await measureAllocations(hub, load)
    expect(promises).toBeLessThan(MAX_PROMISES)
    expect(bytes).toBeGreaterThan(0)
    expect(bytes).toBeLessThanOrEqual(maxBytes)
  })
}

/** Synchronous, as access rules from a file and most plugins are. */
function attachHooks({ hooks }: Hub): void {
  hooks.add('client.authorize', 'bench', () => ALLOWED)
  hooks.add('message.publish', 'bench', (message) =>
    message !== 'drop' && message !== 'disconnect' && message.payload.length > 1000 ? STOP : undefined,
  )
}

function stopLarge(message: PublishDecision) {
  return message instanceof Message && message.payloadLength > 1000 ? STOP : undefined
}
