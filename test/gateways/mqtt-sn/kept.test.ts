/** What a session keeps while its device is away or asleep, and what of it outlives the process. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { nextTurn } from '../../../model/async.ts'
import {
  connectFrame,
  hex,
  overhear,
  publishTo,
  type SnPeer,
  sized,
  snPeer,
  startDurableHub,
  startSn,
} from '../support/sn-peer.ts'

function directory(): string {
  const path = mkdtempSync(join(tmpdir(), 'hubbub-sn-'))
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

async function connectWithWill(peer: SnPeer, flags: string): Promise<void> {
  expect(await peer.ask(connectFrame('w', flags))).toBe('0206')
  expect(await peer.ask(sized(`0720${hex('abc')}`))).toBe('0208')
  expect(await peer.ask(sized(`09${hex('x')}`))).toBe('030500')
}

test('a will that was left with a goodbye is there after a restart, and is not published by it', async () => {
  const path = directory()
  const before = await startSn({}, {}, await startDurableHub(path))
  const peer = await before.peer()
  await connectWithWill(peer, '08')
  expect(await peer.ask(sized(`1c${hex('y')}`))).toBe('031d00')
  expect(await peer.ask('0218')).toBe('0218')
  await before.stop()

  const after = await startSn({}, {}, await startDurableHub(path))
  const seen = overhear(after)
  const again = await (await snPeer(after.port)).connect('w', '00', '0001')
  expect(seen).toEqual([])
  expect(await again.next()).toBe('0218') // silent for too long
  expect(seen).toEqual(['abc=y q1'])
})

test('a will goes with a session that is taken over, and not with one that is begun anew or kicked', async () => {
  const started = await startSn()
  const seen = overhear(started)
  await connectWithWill(await started.peer(), '08')
  const second = await (await started.peer()).connect('w', '00')
  expect(await second.ask(sized(`1c${hex('z')}`))).toBe('031d00')
  const third = await (await started.peer()).connect('w', '04')
  expect(await third.ask(sized(`1c${hex('z')}`))).toBe('031d03')
  await connectWithWill(third, '08')
  started.broker.hub.kick('mqttsn\0w')
  expect(await second.next()).toBe('0218')
  expect(seen).toEqual([])
})

test('an empty WILLTOPIC takes back the will that the session has kept', async () => {
  const started = await startSn()
  const peer = await started.peer()
  await connectWithWill(peer, '08')
  expect(await peer.ask('0218')).toBe('0218')
  expect(await peer.ask(connectFrame('w', '08'))).toBe('0206')
  expect(await peer.ask('0207')).toBe('030500')
  expect(await peer.ask(sized(`1c${hex('z')}`))).toBe('031d03')
})

test('after a restart a device that uses a number from before is told, and no number means another topic', async () => {
  const path = directory()
  const before = await startSn({}, {}, await startDurableHub(path))
  const peer = await (await before.peer()).connect('d', '00')
  expect(await peer.ask(sized(`0a00000001${hex('first')}`))).toBe('070b0401000100')
  expect(await peer.ask(sized(`12200002${hex('second')}`))).toBe('0813200402000200')
  expect(await peer.ask('0218')).toBe('0218')
  await before.stop()

  const after = await startSn({}, {}, await startDurableHub(path))
  await publishTo(after, 'second', 'm', 1)
  const again = await (await snPeer(after.port)).connect('d', '00')
  const register = await again.next()
  expect(register.slice(12)).toBe(hex('second'))
  const topicId = register.slice(4, 8)
  expect(Number.parseInt(topicId, 16)).toBeGreaterThan(0x0401)
  const publish = await again.ask(`070b${register.slice(4, 12)}00`)
  expect(publish).toMatch(new RegExp(`^080c.0${topicId}....${hex('m')}$`))
  expect(await again.ask('080c20040100097 8'.replace(' ', ''))).toBe('070d0401000902')
})

/** Sleeps, gets `count` messages meanwhile and asks for them. @returns what came before PINGRESP */
async function fetched(
  started: Awaited<ReturnType<typeof startSn>>,
  qos: 1 | 2,
  count: number,
): Promise<string[]> {
  const peer = await (await started.peer()).connect('s', '00', '0000')
  const flags = qos === 1 ? '20' : '40'
  await peer.ask(sized(`12${flags}0001${hex('t')}`))
  expect(await peer.ask('041800c8')).toBe('0218')
  for (let i = 0; i < count; i++) await publishTo(started, 't', `m${i}`, qos)
  peer.send(sized(`16${hex('s')}`))
  const got: string[] = []
  for (;;) {
    const one = await peer.next()
    if (one === '0217') return got
    const msgId = one.slice(10, 14)
    if (one.startsWith('0410')) peer.send(`040e${one.slice(4)}`)
    else {
      got.push(Buffer.from(one.slice(14), 'hex').toString())
      peer.send(qos === 1 ? `070d0401${msgId}00` : `040f${msgId}`)
    }
  }
}

test.each([1, 2] as const)(
  'PINGRESP comes after everything that waits, behind a slow hook too (QoS %i)',
  async (qos) => {
    const started = await startSn()
    const { hooks } = started.broker
    hooks.put('message.delivered', 'slow', async () => {
      for (let i = 0; i < 5; i++) await nextTurn()
      return undefined
    })
    expect(await fetched(started, qos, 4)).toEqual(['m0', 'm1', 'm2', 'm3'])
  },
)

test.each([1, 2] as const)('and behind a durable store (QoS %i)', async (qos) => {
  const started = await startSn({}, {}, await startDurableHub(directory()))
  expect(await fetched(started, qos, 4)).toEqual(['m0', 'm1', 'm2', 'm3'])
})
