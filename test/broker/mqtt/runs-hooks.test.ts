/** What hooks see and do in the middle of a run is what they would have with each packet on its own. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { isPromise } from '../../../model/async.ts'
import type { Message } from '../../../model/message.ts'
import { clientInfo } from '../../support/client-info.ts'
import { connect, HUB_OPTIONS, RecordingReceiver, subscription } from '../support.ts'
import { turns } from './raw-peer.ts'
import {
  ACTS,
  at,
  COUNT,
  LAST,
  otherOf,
  own,
  play,
  playBoth,
  type Setup,
  textOf,
  type Wish,
} from './runs-play.ts'
import {
  atOnce,
  countRuns,
  type Feed,
  publishing,
  rememberingAuthorization,
  series,
  shown,
  singly,
  World,
} from './runs-support.ts'

let runs: ReturnType<typeof countRuns>
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] })
  runs = countRuns()
})
afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

const expectTheSame = (setup: Setup, wish?: Wish, isRun?: boolean) => playBoth(runs, setup, wish, isRun)

describe.each([0, 1] as const)('a message.publish hook at QoS %i that', (qos) => {
  test.each(ACTS)('%s', async (_, act) => {
    for (const k of [0, 1, 2, 5, LAST]) await expectTheSame(at(k, act), { qos })
  })

  test.each(ACTS)('%s, with subscribers of the other QoS', async (_, act) => {
    for (const k of [1, 4]) await expectTheSame(at(k, act), { qos, granted: qos === 0 ? 1 : 0 })
  })

  test('sees every message does not keep them from being a run', async () => {
    const { seen } = await expectTheSame(
      at(COUNT, () => undefined),
      { qos },
      true,
    )
    expect(seen).toEqual(Array.from({ length: COUNT }, (_, i) => `published t=m${i} q${qos} by pub`))
  })

  test('takes its time for each, or changes each', async () => {
    const all = (answer: (message: Message) => unknown): Setup => {
      return ({ hub }) =>
        hub.hooks.add('message.publish', 'all', (message) => answer(message as Message) as undefined)
    }
    await expectTheSame(
      all(async () => undefined),
      { qos },
    )
    await expectTheSame(
      all((message) => ({ ok: otherOf(message, 'other') })),
      { qos },
    )
    await expectTheSame(
      all((message) => void (message.topic = 'rewritten')),
      { qos },
    )
    await expectTheSame(
      all(() => ({ stop: 'drop' })),
      { qos },
    )
  })

  test('is for topics with $ alone sees each of those', async () => {
    const setup: Setup = ({ hub, note }) => {
      const see = (message: Message | string) => note(shown(message)) as undefined
      hub.hooks.add('message.publish', 'reserved', see, { onlyReserved: true })
    }
    const packets = [...series(5, 't', qos, COUNT), ...series(5, '$own/x', qos, COUNT)]
    const { seen } = await expectTheSame(setup, { qos, packets }, true)
    expect(seen).toHaveLength(COUNT)
  })

  test('keeps messages finds in them later what was in them', async () => {
    const kept: Message[] = []
    const setup: Setup = ({ hub }) =>
      hub.hooks.add('message.publish', 'keeper', (message) => void kept.push(message as Message) as undefined)
    await expectTheSame(setup, { qos }, true)
    const texts = kept.map((message) => shown(message))
    expect(texts).toHaveLength(3 * COUNT)
    for (const from of [COUNT, 2 * COUNT])
      expect(texts.slice(from, from + COUNT)).toEqual(texts.slice(0, COUNT))
  })
})

const POINTS = ['message.delivered', 'delivery.completed', 'delivery.dropped'] as const

/** Calls `act` with what a hook at that point is given. */
function attach(
  world: World,
  point: (typeof POINTS)[number],
  act: (clientId: string, message: Message) => void,
) {
  const { hooks } = world.hub
  if (point === 'message.delivered')
    hooks.add(point, 'test', (message, { clientId }) => act(clientId, message) as undefined)
  else if (point === 'delivery.completed')
    hooks.add(point, 'test', ({ clientId }, message) => act(clientId, message))
  else hooks.add(point, 'test', ({ clientId }, message) => act(clientId, message))
}

describe.each([0, 1, 2] as const)('at QoS %i', (qos) => {
  test.each(POINTS)('hooks at %s see the same, in the same order', async (point) => {
    const setup: Setup = (world) => {
      if (point === 'delivery.dropped') world.subscriber('slow', 't', 0, { mark: 20 })
      attach(world, point, (clientId, message) => world.note(clientId, shown(message)))
    }
    const { seen } = await expectTheSame(setup, { qos })
    if (qos === 0 || point === 'message.delivered') expect(seen.length).toBeGreaterThan(COUNT / 2)
  })

  test('hooks at message.dropped see the same', async () => {
    const setup: Setup = (world) => {
      for (const id of ['one', 'two']) world.hub.kick(id)
      world.hub.hooks.add('message.dropped', 'test', (message, reason) => world.note(shown(message), reason))
    }
    const { seen } = await expectTheSame(setup, { qos }, false)
    expect(seen).toHaveLength(COUNT)
  })

  test.each<[string, (message: Message) => unknown]>([
    ['changes a message', (message) => ({ ok: otherOf(message, 'other') })],
    ['takes its time', async () => undefined],
    [
      'fails',
      () => {
        throw new Error('hook')
      },
    ],
  ])('a message.delivered hook that %s', async (_, answer) => {
    const setup: Setup = ({ hub }) =>
      hub.hooks.add('message.delivered', 'test', (message, { clientId }) =>
        clientId === 'one' && textOf(message) === 'm4' ? (answer(message) as undefined) : undefined,
      )
    await expectTheSame(setup, { qos }, false)
  })
})

test('what waits for a hook that is gone by now is not passed by a run', async () => {
  const playWith = async (feed: Feed) => {
    const world = await World.start()
    let goOn = () => {}
    const slow = () => new Promise<undefined>((resolve) => (goOn = () => resolve(undefined)))
    world.hub.hooks.add('message.delivered', 'slow', slow)
    world.subscriber('sub', 't')
    const pub = world.connect('pub').send(publishing(5, 't', 'first'))
    world.hub.hooks.del('message.delivered', 'slow')
    await world.feed(pub, feed, series(5, 't', 0, COUNT))
    goOn()
    await turns(COUNT)
    await world.hub.stop()
    return world.outcome()
  }
  expect(await playWith(atOnce)).toEqual(await playWith(singly))
})

describe.each([0, 1] as const)('what hooks do when a message at QoS %i is delivered', (qos) => {
  const acts: [what: string, act: (world: World) => unknown][] = [
    ['publish another message', ({ hub }) => hub.publish(own('t', 'after'))],
    ['kick the other subscriber', ({ hub }) => hub.kick('two')],
    ['end the publisher', ({ hub }) => hub.client('pub')?.end('kicked')],
    ['subscribe somebody', ({ hub }) => hub.client('pub')?.subscribe([subscription('#', 1)])],
  ]

  test.each(POINTS.flatMap((point) => acts.map(([what, act]) => [point, what, act] as const)))(
    '%s: %s',
    async (point, _, act) => {
      const setup: Setup = (world) => {
        if (point === 'delivery.dropped') world.subscriber('slow', 't', 0, { mark: 20 })
        attach(world, point, (clientId, message) => {
          if (clientId !== 'two' && textOf(message) === 'm4') void act(world)
        })
      }
      await expectTheSame(setup, { qos, granted: 0 })
      await expectTheSame(setup, { qos })
    },
  )
})

describe('at QoS 1 the answer', () => {
  test.each([
    ['at once', (code: number) => ({ ok: code })],
    ['later', async (code: number) => ({ ok: code })],
  ])('that message.puback hooks change %s is that of its packet', async (_, answer) => {
    const setup: Setup = ({ hub }) =>
      hub.hooks.add('message.puback', 'test', (_code, _message, packetId) =>
        packetId === 4 ? (answer(0x87) as { ok: 0x87 }) : undefined,
      )
    const { got } = await expectTheSame(setup, { qos: 1 }, false)
    expect(got.pub).toContain('400300048')
  })

  test('goes to who is being ended for a message only as far as the others were answered', async () => {
    const { got } = await expectTheSame(
      at(4, ({ hub }) => hub.client('pub')?.end('kicked')),
      { qos: 1 },
    )
    expect(got.pub).toMatch(/40020004e0/)
  })
})

describe.each([0, 1] as const)('authorization at QoS %i', (qos) => {
  const isDenied = (topic: string) => topic === 'denied'
  const packets = [
    ...series(5, 't', qos, 5),
    ...series(5, 'denied', qos, 5, 11),
    ...series(5, 't', qos, 5, 21),
    publishing(5, 'denied', 'x', { qos, id: 30 }),
  ]

  test.each(['ignore', 'disconnect'] as const)('that is remembered, denied ones: %s', async (denyAction) => {
    const setup: Setup = (world) => rememberingAuthorization(world, isDenied)
    await expectTheSame(setup, { qos, packets, options: { denyAction } }, true)
  })

  test.each(['at once', 'later'])('that is asked each time and answers %s', async (when) => {
    for (const denyAction of ['ignore', 'disconnect'] as const) {
      let calls = 0
      const setup: Setup = (world) => {
        calls = 0
        world.hub.hooks.add('client.authorize', 'test', (_, { clientId }, { kind }, topic) => {
          world.note(clientId, kind, topic)
          const answer = {
            stop: { result: isDenied(topic) || ++calls === 8 ? 'deny' : 'allow', from: 'test' },
          } as const
          return when === 'later' ? Promise.resolve(answer) : answer
        })
      }
      await expectTheSame(setup, { qos, packets, options: { denyAction } }, false)
    }
  })

  test('that is watched', async () => {
    const setup: Setup = (world) => {
      rememberingAuthorization(world, isDenied)
      world.hub.hooks.add(
        'client.check_authz_complete',
        'test',
        ({ clientId }, { kind }, topic, { result }) => world.note(clientId, kind, topic, result),
      )
    }
    const { seen } = await expectTheSame(setup, { qos, packets }, false)
    expect(seen).toHaveLength(packets.length)
  })
})

test('a session that is away and ended in the middle of a run keeps nothing of it', async () => {
  const away: Setup = async (world) => {
    const { client } = await connect(world.hub, 'away', { cleanStart: false, expiryIntervalMs: 60_000 })
    await client.subscribe([subscription('t', 1)])
    client.close('normal')
    at(4, ({ hub }) => void hub.kick('away'))(world)
  }
  await expectTheSame(away, { qos: 1 }, true)
})

test('who comes back in the middle of a run gets only what comes from then on, if nothing was to be kept', async () => {
  const kept = { cleanStart: false, expiryIntervalMs: 60_000, receiveMaximum: 10 }
  const receivers: RecordingReceiver[] = []
  const coming: Setup = async (world) => {
    const { client } = await connect(world.hub, 'away', kept)
    await client.subscribe([subscription('t', 0)])
    client.close('normal')
    at(4, ({ hub }) => {
      const receiver = new RecordingReceiver()
      receivers.push(receiver)
      const login = { client: clientInfo('away'), password: undefined, enableAuthn: true as const }
      const answer = hub.connect(login, kept, receiver)
      if (!isPromise(answer) && answer.kind === 'connected') answer.client.start()
    })(world)
  }
  const options = { session: { ...HUB_OPTIONS.session, queuesQos0: false } }
  await expectTheSame(coming, { qos: 1, options }, true)
  for (const { texts } of receivers) expect(texts).toEqual(['t=m4', 't=m5', 't=m6', 't=m7'])
})

test('a run of another client in the middle of one finds the room that is left', async () => {
  const total = 2 * COUNT * publishing(5, 't', 'm0').length
  const other = publishing(5, 't', 'm0')
  for (let mark = 1; mark < total; mark += 7) {
    // The other one's packets come one by one, and all at once.
    const playWith = (inner: Feed) => {
      const setup: Setup = (world) => {
        world.subscriber('slow', 't', 0, { mark })
        const busy = world.connect('busy')
        busy.send(other)
        const chunks = inner(series(5, 't', 0, COUNT))
        at(4, () => {
          for (const chunk of chunks) busy.transport.receive(chunk)
        })(world)
      }
      return play(inner, setup, {})
    }
    expect(await playWith(atOnce), `congested at ${mark}`).toEqual(await playWith(singly))
  }
})
