/** Hooks that keep nothing are shown the same message again and again: nobody may notice. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Message } from '../../../model/message.ts'
import { ACTS, at, COUNT, LAST, play, playBoth, type Setup, textOf } from './runs-play.ts'
import { atOnce, countRuns, series, shown, singly } from './runs-support.ts'

const KEEPS_NOTHING = { keepsNothing: true }
const NOTHING = () => undefined

let runs: ReturnType<typeof countRuns>
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
  runs = countRuns()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

/** Notes which messages it sees, the very objects: what is in them is another matter. */
const collecting = (into: Message[], options?: object): Setup => {
  return ({ hub }) =>
    hub.hooks.add(
      'message.publish',
      'collector',
      (message) => void into.push(message as Message) as undefined,
      options,
    )
}

describe.each([0, 1] as const)('a message.publish hook at QoS %i that keeps nothing and', (qos) => {
  test.each(ACTS)('%s', async (_, act) => {
    for (const k of [0, 1, 2, 5, LAST]) await playBoth(runs, at(k, act, KEEPS_NOTHING), { qos })
  })

  test('sees every message', async () => {
    const { seen } = await playBoth(runs, at(COUNT, NOTHING, KEEPS_NOTHING), { qos }, true)
    expect(seen).toEqual(Array.from({ length: COUNT }, (_, i) => `published t=m${i} q${qos} by pub`))
  })
})

test('the message of a run at QoS 0 is always the same one, of others it is not', async () => {
  const countOf = async (qos: 0 | 1, options?: object) => {
    const seen: Message[] = []
    await play(atOnce, collecting(seen, options), { qos })
    expect(seen).toHaveLength(COUNT)
    // Its topic was not known yet, so the first one is not part of the run.
    return new Set(seen.slice(1)).size
  }
  expect(await countOf(0, KEEPS_NOTHING)).toBe(1)
  expect(await countOf(1, KEEPS_NOTHING)).toBe(LAST)
  expect(await countOf(0)).toBe(LAST)
})

test('one hook that may keep them is enough, whenever it comes', async () => {
  const kept: Message[] = []
  const setup: Setup = (world) => {
    at(COUNT, NOTHING, KEEPS_NOTHING)(world)
    const attach = (message: unknown) => {
      const text = textOf(message as Message)
      if (text === 'm2') collecting(kept)(world)
      if (text === 'm5') world.hub.hooks.del('message.publish', 'collector')
      return undefined
    }
    world.hub.hooks.add('message.publish', 'attacher', attach, { ...KEEPS_NOTHING, priority: 10 })
  }
  await play(atOnce, setup, { packets: [...series(5, 't', 0, COUNT), ...series(5, 't', 0, COUNT, 100)] })
  expect(kept.map(shown)).toEqual(['m3', 'm4', 'm5', 'm3', 'm4', 'm5'].map((text) => `t=${text} q0 by pub`))
  expect(new Set(kept).size).toBe(6)
})

test('a run in the middle of a hook has a message of its own', async () => {
  const texts: string[] = []
  const setup: Setup = (world) => {
    const busy = world.connect('busy')
    const inner = Buffer.concat(series(5, 't', 0, COUNT))
    busy.send(...series(5, 't', 0, 2))
    at(
      4,
      (_, message) => {
        busy.transport.receive(inner)
        texts.push(textOf(message))
      },
      KEEPS_NOTHING,
    )(world)
  }
  await play(atOnce, setup, {})
  await play(singly, setup, {})
  expect(texts).toEqual(['m4', 'm4'])
})

test('a message that a hook has changed is left to who gets it', async () => {
  const seen: Message[] = []
  const setup: Setup = (world) => {
    collecting(seen, KEEPS_NOTHING)(world)
    // The one that is delayed is kept by another hook, which is only about such topics.
    at(2, (_, message) => void (message.topic = '$mine/t'), { ...KEEPS_NOTHING, priority: -1 })(world)
    world.hub.hooks.add('message.publish', 'reserved', () => ({ stop: 'drop' }), {
      onlyReserved: true,
      priority: -2,
    })
  }
  await play(atOnce, setup, {})
  const delayed = seen[2] as Message
  expect([delayed.topic, textOf(delayed)]).toEqual(['$mine/t', 'm2'])
  expect(seen.slice(3)).not.toContain(delayed)
})
