/** What a broker on durable storage promises: nothing acknowledged is forgotten with the process. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Will } from '../../broker/broker.ts'
import { Hub } from '../../broker/hub.ts'
import { LevelStorage } from '../../broker/storage/storage-level.ts'
import { BanRecords } from '../../features/bans/ban-records.ts'
import { Bans } from '../../features/bans/index.ts'
import { DelayedPublish } from '../../features/delayed/delayed.ts'
import { DelayedRecords } from '../../features/delayed/delayed-records.ts'
import { HookBus } from '../../hooks/bus.ts'
import { silentLogger } from '../../model/log.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { connect, HUB_OPTIONS, publish, subscription } from './support.ts'

const KEPT = { cleanStart: false, expiryIntervalMs: 60_000 }

let directory: string
let hub: Hub

async function start(): Promise<void> {
  const storage = new LevelStorage(join(directory, 'store'), silentLogger)
  hub = new Hub(HUB_OPTIONS, storage, new HookBus(silentLogger), silentLogger)
  await hub.start()
}

async function restart(): Promise<void> {
  await hub.stop()
  await start()
}

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'hubbub-durable-'))
  await start()
})

afterEach(async () => {
  vi.useRealTimers()
  await hub.stop()
  rmSync(directory, { recursive: true, force: true })
})

describe('after a restart', () => {
  test('a session is there with its subscriptions and all their options', async () => {
    const { client } = await connect(hub, 'keeper', KEPT)
    const wanted = [
      subscription('$share/g/b/#', 2, { retainAsPublished: true }),
      subscription('a/+', 1, { noLocal: true, identifier: 7 }),
    ]
    expect(await client.subscribe(wanted)).toEqual([2, 1])
    await restart()
    const session = hub.session('keeper')
    expect([...(session?.subscriptions.values() ?? [])].map((entry) => entry.subscription)).toEqual(wanted)
    expect(session?.expiryIntervalMs).toBe(60_000)
    expect((await connect(hub, 'keeper', KEPT)).sessionPresent).toBe(true)
  })

  test('what was published while the client was away reaches it, in order, with its properties', async () => {
    const { client } = await connect(hub, 'keeper', KEPT)
    await client.subscribe([subscription('t', 2)])
    client.close('normal')
    const { client: publisher } = await connect(hub, 'publisher')
    for (let i = 0; i < 50; i++) {
      const properties = { userProperties: [['i', String(i)]] as [string, string][] }
      expect(await publish({ client: publisher }, 't', `m${i}`, i % 2 === 0 ? 1 : 2, { properties })).toBe(0)
    }
    await restart()
    const back = await connect(hub, 'keeper', { ...KEPT, receiveMaximum: 100 })
    await vi.waitFor(() => expect(back.receiver.texts).toHaveLength(32))
    expect(back.receiver.texts).toEqual(Array.from({ length: 32 }, (_, i) => `t=m${i}`))
    expect(
      back.receiver.deliveries.map(({ message }) => message.properties?.userProperties?.[0]?.[1]),
    ).toEqual(Array.from({ length: 32 }, (_, i) => String(i)))
  })

  test('what was not acknowledged comes again with its packet id and DUP, what was does not', async () => {
    const { client, receiver } = await connect(hub, 'keeper', KEPT)
    await client.subscribe([subscription('t', 1)])
    for (const text of ['one', 'two', 'three']) await publish({ client }, 't', text, 1)
    const [first, second, third] = receiver.packetIds
    client.acked(second as number)
    client.close('tcp_closed')
    await restart()
    const back = await connect(hub, 'keeper', KEPT)
    expect(back.receiver.deliveries.map(({ packetId, dup }) => [packetId, dup])).toEqual([
      [first, true],
      [third, true],
    ])
    expect(back.receiver.texts).toEqual(['t=one', 't=three'])
  })

  test('a QoS 2 delivery that the peer has received is only released', async () => {
    const { client, receiver } = await connect(hub, 'keeper', KEPT)
    await client.subscribe([subscription('t', 2)])
    await publish({ client }, 't', 'once', 2)
    await vi.waitFor(() => expect(receiver.packetIds).toHaveLength(1))
    client.received(receiver.packetIds[0] as number)
    client.close('tcp_closed')
    await restart()
    const back = await connect(hub, 'keeper', KEPT)
    expect([back.receiver.released, back.receiver.texts]).toEqual([receiver.packetIds, []])
    expect(back.client.completed(receiver.packetIds[0] as number)).toBe(true)
    await restart()
    expect((await connect(hub, 'keeper', KEPT)).receiver.released).toEqual([])
  })

  test('a QoS 2 packet id of the publisher still waits for its PUBREL', async () => {
    const { client } = await connect(hub, 'keeper', KEPT)
    client.session.incoming.add(9, Date.now())
    await restart()
    expect(hub.session('keeper')?.incoming.since(9)).toBeDefined()
  })

  test('retained messages are there with their expiry', async () => {
    const { client } = await connect(hub, 'publisher')
    await publish({ client }, 'r/kept', 'on', 1, { retain: true })
    await publish({ client }, 'r/gone', 'x', 1, { retain: true })
    await publish({ client }, 'r/gone', '', 1, { retain: true })
    const properties = { messageExpiryInterval: 1 }
    await publish({ client }, 'r/short', 'x', 1, { retain: true, properties })
    await restart()
    vi.useFakeTimers({ now: Date.now() + 2000, toFake: ['Date'] })
    const reader = await connect(hub, 'reader')
    await reader.client.subscribe([subscription('r/#')])
    await vi.waitFor(() => expect(reader.receiver.texts).toEqual(['r/kept=on']))
  })

  test('a session whose time ran out meanwhile is gone, one that has time left goes on from there', async () => {
    for (const [id, seconds] of [
      ['short', 10],
      ['long', 100],
    ] as const) {
      const { client } = await connect(hub, id, { cleanStart: false, expiryIntervalMs: seconds * 1000 })
      await client.subscribe([subscription('t', 1)])
      client.close('normal')
    }
    await hub.stop()
    vi.useFakeTimers({ now: Date.now() + 60_000, toFake: ['Date'] })
    await start()
    expect([hub.session('short'), hub.session('long')?.key]).toEqual([undefined, 'long'])
  })

  test('sessions that end with their connection leave nothing', async () => {
    const { client } = await connect(hub, 'passing')
    await client.subscribe([subscription('t', 1)])
    await restart()
    expect(hub.sessionCount).toBe(0)
  })

  test('a session that was ended is not there again', async () => {
    const { client } = await connect(hub, 'keeper', KEPT)
    await client.subscribe([subscription('t', 1)])
    await publish({ client }, 't', 'x', 1)
    hub.kick('keeper')
    await restart()
    expect(hub.sessionCount).toBe(0)
    expect(await publish(await connect(hub, 'publisher'), 't', 'y', 1)).toBe(ReasonCode.NoMatchingSubscribers)
  })

  test('a will that waits for its delay waits on, unless its client comes back', async () => {
    const will: Will = {
      topic: 'w',
      payload: Buffer.from('gone'),
      qos: 1,
      retain: false,
      delaySeconds: 30,
      properties: undefined,
    }
    for (const id of ['lost', 'found']) {
      const { client } = await connect(hub, id, { ...KEPT, will: { ...will, payload: Buffer.from(id) } })
      client.close('tcp_closed')
    }
    await restart()
    const watcher = await connect(hub, 'watcher', KEPT)
    await watcher.client.subscribe([subscription('w', 1)])
    await connect(hub, 'found', KEPT)
    await hub.stop()
    vi.useFakeTimers({ now: Date.now() + 31_000, toFake: ['Date'] })
    await start()
    const later = await connect(hub, 'watcher', KEPT)
    await vi.waitFor(() => expect(later.receiver.texts).toEqual(['w=lost']))
  })
})

describe('a will of which a hook or a database has to be asked', () => {
  const will: Will = {
    topic: 'w',
    payload: Buffer.from('gone'),
    qos: 1,
    retain: true,
    delaySeconds: 0,
    properties: undefined,
  }
  const wills = () => hub.kernel.storage.durable?.wills
  const waiting = async () => {
    const found: string[] = []
    for await (const [client] of wills()?.load() ?? []) found.push(client.key)
    return found
  }
  /** Whoever wants to publish waits for it. */
  function holdAll(): () => void {
    let goOn = () => {}
    const asked = new Promise<void>((resolve) => {
      goOn = resolve
    })
    hub.hooks.put('client.authorize', 'slow', () => asked.then(() => undefined))
    return goOn
  }

  test.each([0, 30])('is kept until it has been published (delay %i s)', async (delaySeconds) => {
    const { client } = await connect(hub, 'lost', { ...KEPT, will: { ...will, delaySeconds } })
    const goOn = holdAll()
    client.close('tcp_closed')
    hub.kick('lost')
    await hub.kernel.storage.durable?.unsafe
    expect(await waiting()).toEqual(['lost'])
    goOn()
    await vi.waitFor(() => expect(hub.kernel.storage.hasRetained('w')).toBe(true))
    await hub.kernel.storage.durable?.unsafe
    expect(await waiting()).toEqual([])
  })

  test('is published by the next start if the broker ended meanwhile', async () => {
    const { client } = await connect(hub, 'lost', { will })
    holdAll()
    client.close('tcp_closed')
    await restart()
    await vi.waitFor(() => expect(hub.kernel.storage.hasRetained('w')).toBe(true))
    await hub.kernel.storage.durable?.unsafe
    expect(await waiting()).toEqual([])
  })

  test('does not take the next will of its client with it', async () => {
    const { client } = await connect(hub, 'lost', { will })
    const goOn = holdAll()
    client.close('tcp_closed')
    await connect(hub, 'lost', { will: { ...will, topic: 'next' } })
    goOn()
    await vi.waitFor(() => expect(hub.kernel.storage.hasRetained('w')).toBe(true))
    await hub.kernel.storage.durable?.unsafe
    expect(await waiting()).toEqual(['lost'])
  })
})

describe('while it runs', () => {
  test('a message for a kept session is acknowledged when it is safe, one for others at once', async () => {
    const { client } = await connect(hub, 'keeper', KEPT)
    await client.subscribe([subscription('kept', 1)])
    client.close('normal')
    const passing = await connect(hub, 'passing')
    await passing.client.subscribe([subscription('plain', 1)])
    const later = publish(passing, 'kept', 'x', 1)
    expect(later).toBeInstanceOf(Promise)
    expect(publish(passing, 'plain', 'x', 1)).toBe(ReasonCode.Success)
    expect(publish(passing, 'kept', 'x', 0)).toBe(ReasonCode.Success)
    expect(await later).toBe(ReasonCode.Success)
  })

  test('at QoS 2 a kept session is sent nothing whose packet id is not safe', async () => {
    const { client, receiver } = await connect(hub, 'keeper', KEPT)
    await client.subscribe([subscription('t', 2)])
    const published = publish({ client }, 't', 'x', 2)
    expect(receiver.texts).toEqual([])
    await published
    expect(receiver.texts).toEqual(['t=x'])
  })
})

test('a delayed message is published after a restart, late if its time has come meanwhile', async () => {
  const { client } = await connect(hub, 'publisher')
  const attach = async () => {
    const table = hub.kernel.storage.durable?.table('delayed')
    const records = table === undefined ? undefined : new DelayedRecords(table)
    const feature = new DelayedPublish(
      { enable: true, max_delayed_messages: 0 },
      { hub, log: silentLogger, now: Date.now, records },
    )
    await feature.load()
    feature.attach(hub.hooks)
    return feature
  }
  const feature = await attach()
  const published = publish({ client }, '$delayed/600/t', 'late', 1)
  expect(published).toBeInstanceOf(Promise)
  await published
  feature.close()
  await hub.stop()
  vi.useFakeTimers({ now: Date.now() + 601_000, toFake: ['Date'] })
  await start()
  const watcher = await connect(hub, 'watcher')
  await watcher.client.subscribe([subscription('t', 1)])
  const next = await attach()
  await vi.waitFor(() => expect(watcher.receiver.texts).toEqual(['t=late']))
  expect(next.count).toBe(0)
  next.close()
  await restart()
  const empty = await attach()
  expect(empty.count).toBe(0)
  empty.close()
})

test('bans hold after a restart until their time is over or they are deleted', async () => {
  const attach = async () => {
    const table = hub.kernel.storage.durable?.table('bans')
    const records = table === undefined ? undefined : new BanRecords(table)
    const bans = new Bans({ hub, log: silentLogger, configDir: '.', now: Date.now, gateways: [], records })
    await bans.load()
    bans.attach(hub.hooks)
    return bans
  }
  const bans = await attach()
  const untilMs = Date.now() + 3_600_000
  bans.add({ kind: 'clientid', who: 'a b', by: 'ops', reason: 'noise', untilMs })
  bans.add({ kind: 'username_re', who: '^guest' })
  bans.add({ kind: 'peerhost_net', who: '10.0.0.0/8' })
  bans.delete('username_re', '^guest')
  const before = bans.list(1, 10).bans
  bans.close()
  await restart()
  const next = await attach()
  expect(next.list(1, 10).bans).toEqual(before)
  expect(before).toHaveLength(2)
  await expect(connect(hub, 'a b')).rejects.toThrow('refused')
  next.deleteAll()
  next.close()
  await restart()
  expect((await attach()).size).toBe(0)
})
