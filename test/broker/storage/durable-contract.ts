/** What every durable storage has to do, wherever it keeps its records. */
import { describe, expect, type TestContext, test } from 'vitest'
import type { SessionDelivery } from '../../../broker/delivery.ts'
import type { DurableStorage } from '../../../broker/storage/durable-storage.ts'
import { Message } from '../../../model/message.ts'
import {
  clientInfo,
  delivery,
  message,
  NEVER,
  payloadsOf,
  sessionRecord,
  sessionsOf,
  storedClient,
  subscription,
} from './support.ts'

/** A new, empty place. @returns opens a storage on it; it is called again after the storage was destroyed */
export type MakePlace = (t: TestContext) => Promise<() => DurableStorage>

export function durableContract(name: string, makePlace: MakePlace): void {
  /** Opens, lets `work` note what it wants, closes, and opens again. */
  async function reopened(
    t: TestContext,
    work: (storage: DurableStorage) => void | Promise<void>,
  ): Promise<DurableStorage> {
    const open = await makePlace(t)
    const before = open()
    await before.setup({ id: 'node' })
    await work(before)
    await before.destroy()
    const after = open()
    await after.setup({ id: 'node' })
    t.onTestFinished(() => after.destroy())
    return after
  }

  async function everything<T>(from: AsyncIterable<T>): Promise<T[]> {
    const all: T[] = []
    for await (const one of from) all.push(one)
    return all
  }

  describe(`sessions: ${name}`, () => {
    test('a session comes back as it was saved last', async (t) => {
      const client = storedClient('c', {
        username: 'u',
        mountpoint: 'm/',
        isSuperuser: true,
        attributes: [
          ['site', 'x'],
          ['__proto__', 'y'],
        ],
      })
      const after = await reopened(t, ({ durable: { sessions } }) => {
        sessions.save({ client, expiryIntervalMs: NEVER, disconnectedAtMs: undefined })
        sessions.save({ client, expiryIntervalMs: 5000, disconnectedAtMs: 17 })
        sessions.save(sessionRecord('forever'))
      })
      const sessions = await sessionsOf(after)
      expect(sessions.get('c')?.record).toEqual({ client, expiryIntervalMs: 5000, disconnectedAtMs: 17 })
      expect(sessions.get('forever')?.record).toEqual(sessionRecord('forever'))
    })

    test('subscriptions come back with all their options, without those that were given up', async (t) => {
      const all = [
        subscription('a/+', { qos: 2, noLocal: true, retainHandling: 2, identifier: 268_435_455 }),
        subscription('$share/g/ä/#', { qos: 0, retainAsPublished: true, retainHandling: 1 }),
      ]
      const after = await reopened(t, ({ durable: { sessions } }) => {
        sessions.save(sessionRecord('c'))
        for (const one of [...all, subscription('gone')]) sessions.subscribed('c', one)
        sessions.subscribed('c', subscription('a/+', { qos: 0 }))
        sessions.subscribed('c', all[0] as (typeof all)[0])
        sessions.unsubscribed('c', 'gone')
      })
      const { subscriptions = [] } = (await sessionsOf(after)).get('c') ?? {}
      expect([...subscriptions].sort((a, b) => (a.filter < b.filter ? 1 : -1))).toEqual(all)
    })

    test('keys of gateways, empty ones and such with any character do not get mixed up', async (t) => {
      const keys = [
        'a',
        'a\0',
        'a\0b',
        'a\u0001',
        'a\u00010',
        'a!',
        '!',
        '\0',
        '',
        'ä',
        '😀',
        '\ud83d',
        '\ude00',
      ]
      const after = await reopened(t, ({ durable: { sessions } }) => {
        for (const key of keys) {
          sessions.save(sessionRecord(key))
          sessions.subscribed(key, subscription(`${key}/own`))
        }
      })
      const sessions = await sessionsOf(after)
      expect([...sessions.keys()].sort()).toEqual([...keys].sort())
      for (const key of keys)
        expect(sessions.get(key)?.subscriptions.map(({ filter }) => filter)).toEqual([`${key}/own`])
    })

    test('a session that has ended does not come back', async (t) => {
      const after = await reopened(t, async ({ durable }) => {
        const { sessions } = durable
        const waiting = delivery(message('a'))
        sessions.save(sessionRecord('c'))
        sessions.subscribed('c', subscription('a'))
        sessions.added('c', waiting)
        await durable.unsafe
        sessions.unsubscribed('c', 'a')
        sessions.dropped('c', waiting)
        sessions.remove('c')
      })
      expect((await sessionsOf(after)).size).toBe(0)
    })

    test('inbound packet ids come back until they are released', async (t) => {
      const after = await reopened(t, ({ durable: { sessions } }) => {
        sessions.save(sessionRecord('c'))
        for (const id of [1, 2, 65_535]) sessions.received('c', id, 1000 + id)
        sessions.released('c', 2)
      })
      const incoming = (await sessionsOf(after)).get('c')?.incoming ?? []
      expect([...incoming].sort(([a], [b]) => a - b)).toEqual([
        [1, 1001],
        [65_535, 66_535],
      ])
    })
  })

  describe(`deliveries: ${name}`, () => {
    test('they come back in the order in which they were added, beyond several restarts', async (t) => {
      const open = await makePlace(t)
      const expected: string[] = []
      for (let round = 0; round < 3; round++) {
        const storage = open()
        await storage.setup({ id: 'node' })
        expect(await payloadsOf(storage, 'c')).toEqual(expected)
        storage.durable.sessions.save(sessionRecord('c'))
        for (let i = 0; i < 50; i++) {
          expected.push(`${round}/${i}`)
          storage.durable.sessions.added('c', delivery(message('t', `${round}/${i}`)))
          if (i % 20 === 0) await storage.durable.unsafe
        }
        await storage.destroy()
      }
    })

    test('a message comes back with everything it carries', async (t) => {
      const publisher = clientInfo('gateway\0p', {
        clientId: 'p',
        username: 'jo',
        gateway: 'stomp',
        protocol: 'stomp',
        attributes: new Map([['a', 'b']]),
        mountpoint: 'm/',
      })
      const properties = {
        payloadFormatIndicator: 1 as const,
        messageExpiryInterval: 60,
        contentType: 'text/plain',
        responseTopic: 'r/ä',
        correlationData: Buffer.from([0, 255, 128]),
        userProperties: [
          ['b', '1'],
          ['a', '2'],
          ['b', '1'],
        ] as [string, string][],
      }
      const bytes = Buffer.from('..payload..')
      const original = Message.of('t/ä', bytes, 2, true, properties, publisher, 1_700_000_000_123.5, 2, 9)
      const after = await reopened(t, ({ durable: { sessions } }) => {
        sessions.save(sessionRecord('c'))
        sessions.added(
          'c',
          delivery(original, { qos: 2, ids: [1, 268_435_455], group: { name: 'g', filter: 't/#' } }),
        )
      })
      const [kept] = (await sessionsOf(after)).get('c')?.deliveries ?? []
      expect(kept).toMatchObject({
        qos: 2,
        retain: false,
        subscriptionIds: [1, 268_435_455],
        group: { name: 'g', filter: 't/#' },
        packetId: 0,
        state: 'queued',
      })
      const back = kept?.message
      expect(back).toMatchObject({ topic: 't/ä', qos: 2, retain: true, properties, from: 'gateway\0p' })
      expect([back?.timestampMs, back?.expiresAtMs]).toEqual([original.timestampMs, original.expiresAtMs])
      expect(Buffer.from(back?.payload ?? []).toString()).toBe('payload')
      const { peerHost, attributes, clientId, username, gateway, mountpoint } = publisher
      expect(back?.publisher).toMatchObject({ peerHost, attributes, clientId, username, gateway, mountpoint })
    })

    test('a message without anything comes back without anything', async (t) => {
      const after = await reopened(t, ({ durable: { sessions } }) => {
        sessions.save(sessionRecord('c'))
        sessions.added('c', delivery(message('t', '')))
      })
      const [kept] = (await sessionsOf(after)).get('c')?.deliveries ?? []
      expect(kept?.message).toMatchObject({ properties: undefined, publisher: undefined, expiresAtMs: 0 })
      expect(kept).toMatchObject({ subscriptionIds: undefined, group: undefined })
      expect(kept?.message.payload.length).toBe(0)
    })

    test('packet id and state come back, noted before the first write or later', async (t) => {
      const after = await reopened(t, async ({ durable }) => {
        const { sessions } = durable
        sessions.save(sessionRecord('c'))
        const [early, late, queued] = ['early', 'late', 'queued'].map((name) => delivery(message(name)))
        const sent = (one: SessionDelivery, packetId: number, state: SessionDelivery['state']) => {
          one.packetId = packetId
          one.state = state
          sessions.changed('c', one)
        }
        for (const one of [early, late, queued]) sessions.added('c', one as SessionDelivery)
        sent(early as SessionDelivery, 1, 'sent')
        await durable.unsafe
        sent(late as SessionDelivery, 65_535, 'sent')
        await durable.unsafe
        sent(late as SessionDelivery, 65_535, 'released')
      })
      const { deliveries = [] } = (await sessionsOf(after)).get('c') ?? {}
      expect(deliveries.map(({ message: { topic }, packetId, state }) => [topic, packetId, state])).toEqual([
        ['early', 1, 'sent'],
        ['late', 65_535, 'released'],
        ['queued', 0, 'queued'],
      ])
    })

    test('what was dropped does not come back, whenever it was', async (t) => {
      const open = await makePlace(t)
      const first = open()
      await first.setup({ id: 'node' })
      const { sessions } = first.durable
      sessions.save(sessionRecord('c'))
      const some = ['at once', 'later', 'after a restart', 'stays'].map((name) => delivery(message(name)))
      for (const one of some) sessions.added('c', one)
      sessions.dropped('c', some[0] as SessionDelivery)
      await first.durable.unsafe
      sessions.dropped('c', some[1] as SessionDelivery)
      await first.destroy()

      const second = open()
      await second.setup({ id: 'node' })
      const [kept] = (await sessionsOf(second)).get('c')?.deliveries ?? []
      const back = delivery(kept?.message as Message)
      back.kept = kept?.kept
      second.durable.sessions.changed('c', Object.assign(back, { packetId: 3, state: 'sent' }))
      await second.durable.unsafe
      second.durable.sessions.dropped('c', back)
      await second.destroy()

      const third = open()
      await third.setup({ id: 'node' })
      t.onTestFinished(() => third.destroy())
      expect(await payloadsOf(third, 'c')).toEqual(['stays'])
    })

    test('a message for many sessions is one message for all of them, until the last one has it', async (t) => {
      const open = await makePlace(t)
      const keys = ['a', 'b', 'c']
      const first = open()
      await first.setup({ id: 'node' })
      const shared = message('t', 'x'.repeat(5000))
      for (const key of keys) {
        first.durable.sessions.save(sessionRecord(key))
        first.durable.sessions.added(key, delivery(shared))
      }
      await first.destroy()

      for (let left = keys.length; left >= 0; left--) {
        const storage = open()
        await storage.setup({ id: 'node' })
        const sessions = await sessionsOf(storage)
        const having = keys.flatMap((key) =>
          (sessions.get(key)?.deliveries ?? []).map((one) => ({ key, one })),
        )
        expect(having.length).toBe(left)
        expect(new Set(having.map(({ one }) => one.message)).size).toBe(Math.min(left, 1))
        for (const { one, key } of having.slice(0, 1)) {
          expect(one.message.payload.length).toBe(5000)
          const back = delivery(one.message)
          back.kept = one.kept
          storage.durable.sessions.dropped(key, back)
        }
        await storage.destroy()
      }
    })
  })

  describe(`everything else: ${name}`, () => {
    test('wills come back with their client and the time they are due', async (t) => {
      const will = {
        topic: 'w',
        payload: Buffer.from([1, 0, 255]),
        qos: 1 as const,
        retain: true,
        delaySeconds: 5,
        properties: { correlationData: Buffer.from([9]), userProperties: [['a', 'b']] as [string, string][] },
      }
      const after = await reopened(t, ({ durable: { wills } }) => {
        wills.save(storedClient('a'), { will, dueAtMs: undefined })
        wills.save(storedClient('b'), { will: { ...will, properties: undefined }, dueAtMs: undefined })
        wills.save(storedClient('b'), { will: { ...will, properties: undefined }, dueAtMs: 99 })
        wills.save(storedClient('gone'), { will, dueAtMs: 1 })
        wills.remove('gone')
      })
      expect(await everything(after.durable.wills.load())).toEqual([
        [storedClient('a'), { will, dueAtMs: undefined }],
        [storedClient('b'), { will: { ...will, properties: undefined }, dueAtMs: 99 }],
      ])
    })

    test('records of others come back in the order of their keys', async (t) => {
      const after = await reopened(t, async ({ durable }) => {
        const bans = durable.table('bans')
        for (const key of ['b', 'a\0b', 'a', 'gone', 'ä', '😀']) bans.put(key, Buffer.from(`of ${key}`))
        durable.table('delayed').put('a', new Uint8Array([1, 2]).subarray(1))
        await durable.unsafe
        bans.put('b', Buffer.from('new'))
        bans.delete('gone')
        bans.delete('never there')
      })
      const entries = await everything(after.durable.table('bans').load())
      expect(entries.map(([key, value]) => [key, Buffer.from(value).toString()])).toEqual([
        ['a', 'of a'],
        ['a\0b', 'of a\0b'],
        ['b', 'new'],
        ['ä', 'of ä'],
        ['😀', 'of 😀'],
      ])
      const [[, value] = ['', new Uint8Array()]] = await everything(after.durable.table('delayed').load())
      expect([...value]).toEqual([2])
      expect(await everything(after.durable.table('users').load())).toEqual([])
    })

    test('retained messages come back, the last one of each topic, while their time is not over', async (t) => {
      const nowMs = Date.now()
      const after = await reopened(t, async (storage) => {
        storage.storeRetained(message('a', 'old'), NEVER)
        storage.storeRetained(message('b', 'gone'), NEVER)
        await storage.durable.unsafe
        storage.storeRetained(message('a', 'new'), nowMs + 60_000)
        storage.storeRetained(message('b', ''), NEVER)
        storage.storeRetained(message('over'), nowMs - 1)
        storage.storeRetained(message('$SYS/x/'), NEVER)
      })
      expect(after.retainedCount).toBe(2)
      expect(after.hasRetained('$SYS/x/')).toBe(true)
      const found = await after.retained('a').next()
      expect(found).toMatchObject({ topic: 'a', qos: 1 })
      expect(Buffer.from(found?.payload ?? []).toString()).toBe('new')
      after.dropExpired(nowMs + 60_001)
      expect(after.hasRetained('a')).toBe(false)
    })

    test('wills of other nodes come back for the one that sweeps', async (t) => {
      const will = (topic: string) => ({ topic, payload: Buffer.from('x'), qos: 1, retain: false })
      const after = await reopened(t, (storage) => {
        storage.putWill({ id: 'a' }, will('a'))
        storage.putWill({ id: 'b' }, will('b'))
        storage.delWill({ id: 'b' })
      })
      expect(await after.streamWill({ node: 1 }).toArray()).toEqual([])
      expect(await after.streamWill({}).toArray()).toEqual([
        { ...will('a'), clientId: 'a', brokerId: 'node' },
      ])
    })

    test('everything is safe at first, and again once what was noted is written', async (t) => {
      const storage = (await makePlace(t))()
      await storage.setup({ id: 'node' })
      t.onTestFinished(() => storage.destroy())
      expect(storage.durable.unsafe).toBeUndefined()
      storage.durable.sessions.save(sessionRecord('c'))
      const settled: number[] = []
      const first = storage.durable.unsafe?.then(() => settled.push(1))
      await new Promise((resolve) => setImmediate(resolve))
      storage.durable.sessions.save(sessionRecord('d'))
      await storage.durable.unsafe?.then(() => settled.push(2))
      await first
      expect(settled).toEqual([1, 2])
      expect([storage.durable.unsafe, storage.durable.refusal]).toEqual([undefined, undefined])
    })

    test('what was added and dropped in one turn is never written', async (t) => {
      const storage = (await makePlace(t))()
      await storage.setup({ id: 'node' })
      t.onTestFinished(() => storage.destroy())
      const one = delivery(message('a'))
      storage.durable.sessions.added('c', one)
      storage.durable.sessions.dropped('c', one)
      expect([storage.durable.unsafe, one.kept]).toEqual([undefined, undefined])
    })

    test('closing twice is no mistake', async (t) => {
      const storage = (await makePlace(t))()
      await storage.setup({ id: 'node' })
      await storage.destroy()
      await storage.destroy()
    })
  })
}
