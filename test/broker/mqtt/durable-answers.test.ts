/** When a broker on durable storage answers, and what it says while it cannot store. */
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Hub } from '../../../broker/hub.ts'
import { DurableStorage } from '../../../broker/storage/durable-storage.ts'
import { MessageEncoder } from '../../../broker/storage/message-record.ts'
import { HookBus } from '../../../hooks/bus.ts'
import { silentLogger } from '../../../model/log.ts'
import { FakeRecords } from '../storage/support.ts'
import { connect, HUB_OPTIONS, publish as publishAs, subscription } from '../support.ts'
import { connectBytes, connected, mqttContext, publish, RawPeer, subscribe, text, u16 } from './raw-peer.ts'
import { countRuns, series } from './runs-support.ts'
import { packet } from './support.ts'

const KEPT = '00 003c 05 11 0000003c' // no clean start, session expiry 60 s
const KEPT_V3 = '00 003c'

let records: FakeRecords
let hub: Hub
let open: () => void

beforeEach(async () => {
  records = new FakeRecords()
  hub = new Hub(
    HUB_OPTIONS,
    new DurableStorage(records, silentLogger, { rejectedPrefix: join(tmpdir(), 'hubbub-unused') }),
    new HookBus(silentLogger),
    silentLogger,
  )
  await hub.start()
  const { client } = await connect(hub, 'away', { cleanStart: false, expiryIntervalMs: 60_000 })
  await client.subscribe([subscription('kept', 2)])
  client.close('normal')
  await hub.kernel.storage.durable?.unsafe
})

afterEach(async () => {
  vi.useRealTimers()
  records.failure = undefined
  records.gate = undefined
  await hub.stop()
})

/** Batches wait until `open`. */
function shut(): void {
  records.gate = new Promise((resolve) => {
    open = () => {
      records.gate = undefined
      resolve()
    }
  })
}

/** The answers that come once the storage has what it was given. */
async function answers(peer: RawPeer, count: number): Promise<string[]> {
  const said: string[] = []
  await vi.waitFor(() => {
    said.push(...peer.said())
    expect(said.length).toBeGreaterThanOrEqual(count)
  })
  return said
}

test('PUBACK waits for the storage, and answers keep their order', async () => {
  const peer = connected(hub)
  shut()
  peer.send(publish('2', 'kept', 'x', 1), publish('2', 'nobody', 'x', 2), publish('2', 'kept', 'y', 3))
  expect(peer.said()).toEqual([])
  open()
  expect(await answers(peer, 3)).toEqual(['puback 1', 'puback 2 0x10', 'puback 3'])
  peer.send(publish('2', 'nobody', 'x', 4))
  expect(peer.said()).toEqual(['puback 4 0x10'])
})

test('PUBREC, PUBREL and PUBCOMP wait where the step before must not be forgotten', async () => {
  const sub = new RawPeer(mqttContext(hub), 5)
  sub.send(connectBytes(5, 'sub', KEPT))
  expect(await answers(sub, 1)).toEqual(['connack 0x00'])
  sub.send(subscribe('t', '02'))
  expect(await answers(sub, 1)).toEqual(['suback 1 0x02'])
  sub.send(publish('4', 't', 'x', 9))
  expect(sub.said()).toEqual([])
  expect(await answers(sub, 2)).toEqual(['publish t=x q2 #1', 'pubrec 9'])
  shut()
  sub.send('50 02 0001', '62 02 0009')
  expect(sub.said()).toEqual([])
  open()
  expect(await answers(sub, 2)).toEqual(['pubrel 1', 'pubcomp 9'])
})

test('a QoS 2 message that waits for a hook is stored together with its packet id, never one without the other', async () => {
  let goOn = () => {}
  hub.hooks.put(
    'message.publish',
    'slow',
    () => new Promise<undefined>((yes) => (goOn = () => yes(undefined))),
  )
  const pub = new RawPeer(mqttContext(hub), 5)
  pub.send(connectBytes(5, 'pub', KEPT))
  await answers(pub, 1)
  pub.send(publish('4', 'kept', 'x', 9))
  await hub.kernel.storage.durable?.unsafe
  expect(records.ids('sessions')).not.toContain('i9')
  goOn()
  expect(await answers(pub, 1)).toEqual(['pubrec 9'])
  const batch = records.commits.find((writes) => writes.some(({ id }) => id === 'i9'))
  expect(batch?.map(({ id }) => id[0]).sort()).toEqual(['d', 'i'])
})

test('a will is safe before CONNACK, whatever becomes of its session', async () => {
  shut()
  const peer = new RawPeer(mqttContext(hub), 4).send(
    packet('10', text('MQTT'), '04 06 0000', text('passing'), text('will'), text('bye')),
  )
  expect(peer.said()).toEqual([])
  open()
  expect(await answers(peer, 1)).toEqual(['connack 0x00'])
})

test('SUBACK, UNSUBACK and CONNACK of a kept session wait, those of others do not', async () => {
  shut()
  const passing = connected(hub, 5, { id: 'passing' })
  passing.send(subscribe('t', '01'), packet('a2', u16(2), '00', text('t')))
  expect(passing.said()).toEqual(['suback 1 0x01', 'unsuback 2 0x00'])
  const kept = new RawPeer(mqttContext(hub), 5)
  kept.send(connectBytes(5, 'kept', KEPT))
  expect(kept.said()).toEqual([])
  open()
  expect(await answers(kept, 1)).toEqual(['connack 0x00'])
  shut()
  kept.send(subscribe('t', '01'))
  expect(kept.said()).toEqual([])
  open()
  expect(await answers(kept, 1)).toEqual(['suback 1 0x01'])
})

test('a client whose answers wait in great number is not read until they leave', async () => {
  const peer = connected(hub)
  shut()
  for (let i = 1; i <= 1100; i++) peer.send(publish('2', 'kept', 'x', i))
  expect(peer.transport.isPaused).toBe(true)
  open()
  await vi.waitFor(() => expect(peer.transport.isPaused).toBe(false))
  expect((await answers(peer, 1100)).at(-1)).toBe('puback 1100')
})

test('while the disk is full, MQTT 5 publishers are told, and what needs no storage goes on', async () => {
  records.failure = Object.assign(new Error('ENOSPC: no space left on device'), { code: 'ENOSPC' })
  const peer = connected(hub)
  const watcher = connected(hub, 5, { id: 'watcher' })
  watcher.send(subscribe('plain', '01'))
  watcher.said()
  peer.send(publish('2', 'kept', 'x', 1))
  expect(await answers(peer, 1)).toEqual(['puback 1 0x97'])
  peer.send(publish('2', 'kept', 'x', 2), publish('4', 'kept', 'x', 3), publish('3', 'r', 'x', 4))
  expect(peer.said()).toEqual(['puback 2 0x97', 'pubrec 3 0x97', 'puback 4 0x97'])
  expect(hub.session('away')?.queueLength).toBe(1)
  peer.send(publish('2', 'plain', 'x', 5))
  expect([peer.said(), watcher.said()]).toEqual([['puback 5'], ['publish plain=x q1 #1']])
})

test('while the disk is full, new kept sessions and their subscriptions are refused', async () => {
  const { client } = await connect(hub, 'old', { cleanStart: false, expiryIntervalMs: 60_000 })
  records.failure = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
  expect(await publishAs({ client }, 'kept', 'x', 1)).toBe(0x97)
  expect(await client.subscribe([subscription('t', 1)])).toEqual([0x97])
  const fresh = new RawPeer(mqttContext(hub), 5).send(connectBytes(5, 'fresh', KEPT))
  expect(fresh.said()).toEqual(['connack 0x97', 'closed'])
  const back = new RawPeer(mqttContext(hub), 5).send(connectBytes(5, 'away', KEPT))
  expect(back.said()[0]).toBe('connack 0x00 present')
})

test('MQTT 3 publishers get no answer while nothing can be stored, and theirs when it can', async () => {
  records.failure = new Error('gone')
  const peer = connected(hub, 4, { id: 'old', rest: '02 003c' })
  const [one, two] = [1, 2].map((id) => packet('32', text('kept'), u16(id), '"x"')) as [Buffer, Buffer]
  peer.send(one)
  await vi.waitFor(() => expect(hub.kernel.storage.durable?.refusal).toBeDefined())
  peer.send(two)
  expect(peer.said()).toEqual([])
  records.failure = undefined
  expect(await answers(peer, 1)).toEqual(['puback 1'])
  await vi.waitFor(() => expect(hub.kernel.storage.durable?.refusal).toBeUndefined())
  peer.send(two)
  expect(await answers(peer, 1)).toEqual(['puback 2'])
})

test('nobody is acknowledged what a bug keeps from being stored', async () => {
  const encode = vi.spyOn(MessageEncoder.prototype, 'encode').mockImplementation(() => {
    throw new TypeError('bug')
  })
  const five = connected(hub)
  const three = connected(hub, 4, { id: 'old', rest: '02 003c' })
  five.send(publish('2', 'kept', 'x', 1))
  three.send(packet('32', text('kept'), u16(1), '"x"'))
  expect(await answers(five, 1)).toEqual(['puback 1 0x97'])
  expect(await answers(three, 1)).toEqual(['closed'])
  encode.mockRestore()
  five.send(publish('2', 'kept', 'x', 2))
  expect(await answers(five, 1)).toEqual(['puback 2'])
})

test('an MQTT 3 session that is kept is told of its subscription when it is safe', async () => {
  const peer = new RawPeer(mqttContext(hub), 4)
  peer.send(connectBytes(4, 'three', KEPT_V3))
  expect(peer.said()).toEqual([])
  expect(await answers(peer, 1)).toEqual(['connack 0x00'])
  peer.send(packet('82', u16(1), text('t'), '01'))
  expect(await answers(peer, 1)).toEqual(['suback 1 0x01'])
})

test('a will for somebody who is away waits until the storage can be written', async () => {
  const will = packet('10', text('MQTT'), '04 06 003c', text('lost'), text('kept'), text('bye'))
  will[9] = 0x0e // at QoS 1
  const lost = new RawPeer(mqttContext(hub), 4).send(will)
  await answers(lost, 1)
  records.failure = new Error('gone')
  const peer = connected(hub)
  peer.send(publish('2', 'kept', 'x', 1))
  expect(await answers(peer, 1)).toEqual(['puback 1 0x97'])
  lost.transport.close()
  expect(hub.session('away')?.queueLength).toBe(1)
  records.failure = undefined
  await vi.waitFor(() => expect(hub.session('away')?.queueLength).toBe(2))
  await vi.waitFor(() => expect(records.ids('wills')).toEqual([]))
})

describe.each([4, 5] as const)('a run of QoS 1 messages of version %i', (version) => {
  const six = (firstId: number) => series(version, 'kept', 1, 6, firstId)
  const pubacks = (firstId: number) => Array.from({ length: 6 }, (_, i) => `puback ${firstId + i}`)
  const publisher = () =>
    connected(hub, version, { id: 'pub', rest: version === 5 ? '02 003c 00' : '02 003c' })

  test('is answered when all of it is stored, in order', async () => {
    const runs = countRuns()
    const peer = publisher()
    shut()
    peer.send(...six(1))
    expect(peer.said()).toEqual([])
    expect(hub.session('away')?.queueLength).toBe(6)
    expect(runs.take()).toBe(1)
    open()
    expect(await answers(peer, 6)).toEqual(pubacks(1))
    expect(records.ids('sessions').filter((id) => id.startsWith('d'))).toHaveLength(6)
    runs.restore()
  })

  test('is refused or left unanswered while nothing can be stored, as each of it would be', async () => {
    const said: string[][] = []
    const lengths: (number | undefined)[] = []
    for (const atOnce of [true, false]) {
      const peer = publisher()
      records.failure = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
      const send = (packets: Buffer[]) =>
        atOnce ? peer.send(...packets) : packets.map((one) => peer.send(one))
      send(six(1))
      await vi.waitFor(() => expect(hub.durable?.refusal).toBeDefined())
      if (version === 5) expect(await answers(peer, 6)).toEqual(pubacks(1).map((one) => `${one} 0x97`))
      send(six(11))
      if (version === 5) expect(peer.said()).toEqual(pubacks(11).map((one) => `${one} 0x97`))
      else expect(peer.said()).toEqual([])
      lengths.push(hub.session('away')?.queueLength)
      records.failure = undefined
      await vi.waitFor(() => expect(hub.durable?.refusal).toBeUndefined())
      // Of what MQTT 3 was refused nothing is said, so that it is sent again.
      send(six(21))
      said.push(await answers(peer, version === 5 ? 6 : 12))
      peer.transport.close()
    }
    expect(said[0]).toEqual(version === 5 ? pubacks(21) : [...pubacks(1), ...pubacks(21)])
    expect(said[1]).toEqual(said[0])
    expect(lengths).toEqual([6, 18])
  })
})

test('who sends runs is not read while very many of its answers wait', async () => {
  const peer = connected(hub)
  shut()
  peer.send(...series(5, 'kept', 1, 1100))
  expect(peer.transport.isPaused).toBe(true)
  expect(hub.metrics.packetsPublishReceived).toBeLessThan(1040)
  open()
  const wanted = Array.from({ length: 1100 }, (_, i) => `puback ${i + 1}`)
  expect(await answers(peer, 1100)).toEqual(wanted)
  expect(peer.transport.isPaused).toBe(false)
})

test('of a run in whose middle a kept session is ended nothing is kept for it', async () => {
  const peer = connected(hub)
  hub.hooks.add('message.publish', 'kick', (message) => {
    if (typeof message === 'object' && Buffer.from(message.payload).toString() === 'm4') hub.kick('away')
    return undefined
  })
  peer.send(...series(5, 'kept', 1, 8))
  expect((await answers(peer, 8)).slice(3)).toEqual([
    'puback 4',
    ...[5, 6, 7, 8].map((id) => `puback ${id} 0x10`),
  ])
  await hub.durable?.unsafe
  expect([records.ids('sessions'), records.ids('messages')]).toEqual([[], []])
})
