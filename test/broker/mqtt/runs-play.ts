/** A publisher, two subscribers, and a hook that does something in the middle of what the publisher sends. */
import { expect } from 'vitest'
import type { HubOptions } from '../../../broker/hub.ts'
import type { HookOptions } from '../../../hooks/bus.ts'
import type { PublishDecision } from '../../../hooks/hookpoints.ts'
import { Message, type QoS } from '../../../model/message.ts'
import { subscription } from '../support.ts'
import { turns } from './raw-peer.ts'
import {
  atOnce,
  type countRuns,
  type Feed,
  oneByOne,
  type PeerWish,
  series,
  shown,
  singly,
  World,
} from './runs-support.ts'

export interface Wish {
  qos?: QoS
  /** Granted to the subscribers, else as published. */
  granted?: QoS
  options?: Partial<HubOptions>
  publisher?: PeerWish
  packets?: Buffer[]
}

export type Setup = (world: World) => unknown

export const COUNT = 8
export const LAST = COUNT - 1

/** A publisher and two subscribers of `t`, which the publisher sends `COUNT` messages about: m0, m1, ... */
export async function play(feed: Feed, setup: Setup, wish: Wish) {
  const { qos = 0, granted = qos, options, publisher, packets = series(5, 't', qos, COUNT) } = wish
  const world = await World.start(options)
  try {
    world.subscriber('one', 't', granted)
    world.subscriber('two', '#', granted)
    const pub = world.connect('pub', publisher)
    await setup(world)
    await world.feed(pub, feed, packets)
    await turns(5)
    return world.outcome()
  } finally {
    await world.hub.stop()
  }
}

/** @param isRun - whether a run of at least two is to be expected */
export async function playBoth(
  runs: ReturnType<typeof countRuns>,
  setup: Setup,
  wish: Wish = {},
  isRun?: boolean,
) {
  runs.take()
  const wanted = await play(singly, setup, wish)
  expect(runs.take()).toBe(0)
  expect(await play(oneByOne, setup, wish)).toEqual(wanted)
  expect(runs.take()).toBe(0)
  const outcome = await play(atOnce, setup, wish)
  expect(outcome).toEqual(wanted)
  if (isRun !== undefined) expect(runs.take() > 0, 'there were runs').toBe(isRun)
  return outcome
}

/** A `message.publish` hook that acts on the message `m<k>` of the publisher. */
export function at(
  k: number,
  act: (world: World, message: Message) => unknown,
  options?: HookOptions<[PublishDecision]>,
): Setup {
  return (world) => {
    const hook = (message: PublishDecision) => {
      if (typeof message === 'string') return undefined
      world.note('published', shown(message))
      const isIt = message.from === 'pub' && textOf(message) === `m${k}`
      return isIt ? (act(world, message) as undefined) : undefined
    }
    world.hub.hooks.add('message.publish', 'test', hook, options)
  }
}

export function textOf({ payload }: Message): string {
  return Buffer.from(payload).toString()
}

export function otherOf(message: Message, topic: string, payload = 'changed'): Message {
  return Message.of(topic, Buffer.from(payload), message.qos, false, undefined, message.publisher, Date.now())
}

export function own(topic: string, payload: string, qos: QoS = 0): Message {
  return Message.of(topic, Buffer.from(payload), qos, false, undefined, undefined, Date.now())
}

export const ACTS: [what: string, act: (world: World, message: Message) => unknown][] = [
  ['sees it', () => undefined],
  ['drops it', () => ({ stop: 'drop' })],
  ['ends its publisher by its answer', () => ({ stop: 'disconnect' })],
  ['puts another payload in its place', (_, message) => ({ ok: otherOf(message, 't') })],
  ['puts another topic in its place', (_, message) => ({ ok: otherOf(message, 'other') })],
  [
    'puts a topic of too many levels in its place',
    (_, message) => ({ ok: otherOf(message, '/'.repeat(40)) }),
  ],
  ['changes its topic in place', (_, message) => void (message.topic = 'other')],
  ['changes its topic in place to one that is reserved', (_, message) => void (message.topic = '$SYS/x')],
  ['lets it expire', (_, message) => void (message.expiresAtMs = Date.now() + 5000)],
  ['takes its time', async () => undefined],
  ['takes its time to drop it', async () => ({ stop: 'drop' })],
  ['takes its time to change it', async (_, message) => ({ ok: otherOf(message, 'other') })],
  [
    'fails',
    () => {
      throw new Error('hook')
    },
  ],
  ['fails later', () => Promise.reject(new Error('hook'))],
  ['ends its publisher', ({ hub }) => hub.client('pub')?.end('kicked')],
  ['ends its publisher and takes its time', async ({ hub }) => hub.client('pub')?.end('kicked')],
  ['kicks its publisher', ({ hub }) => void hub.kick('pub')],
  ['kicks a subscriber', ({ hub }) => void hub.kick('one')],
  ['kicks both subscribers', ({ hub }) => ['one', 'two'].forEach((id) => void hub.kick(id))],
  ['ends a subscriber', ({ hub }) => hub.client('two')?.end('takenover')],
  ['publishes to the same topic', ({ hub }) => void hub.publish(own('t', 'between'))],
  ['publishes to another topic at QoS 1', ({ hub }) => void hub.publish(own('x/y', 'between', 1))],
  [
    'publishes to nobody',
    ({ hub }) => {
      hub.kick('two')
      void hub.publish(own('nobody', 'between'))
    },
  ],
  [
    'lets a subscriber publish',
    ({ hub }, message) => {
      const subscriber = hub.client('one')
      void subscriber?.publish(
        Message.of('t', message.payload, 1, false, undefined, subscriber.info, Date.now()),
      )
    },
  ],
  [
    'subscribes somebody',
    ({ hub }) => {
      const { info } = hub.client('pub') ?? {}
      if (info !== undefined) hub.subscribe(info, [subscription('t', 1)])
    },
  ],
  [
    'changes a subscription',
    ({ hub }) => {
      const { info } = hub.client('two') ?? {}
      if (info !== undefined) hub.subscribe(info, [subscription('#', 0, { identifier: 7 })])
    },
  ],
  ['subscribes a group', ({ hub }) => void hub.client('one')?.subscribe([subscription('$share/g/t', 1)])],
  ['unsubscribes somebody', ({ hub }) => void hub.client('one')?.unsubscribe(['t'])],
  ['unsubscribes somebody from a wildcard', ({ hub }) => void hub.client('two')?.unsubscribe(['#'])],
  [
    'unsubscribes everybody',
    ({ hub }) => {
      void hub.client('one')?.unsubscribe(['t'])
      void hub.client('two')?.unsubscribe(['#'])
    },
  ],
]
