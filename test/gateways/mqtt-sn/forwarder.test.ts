/** Devices behind a forwarder (§5.5): `05 fe 00 <node id>` before each message. */
import { expect, test } from 'vitest'
import { forwarderHeader } from '../../../gateways/mqtt-sn/forwarder.ts'
import { connectFrame, hex, overhear, publishTo, sized, startSn } from '../support/sn-peer.ts'

const ONE = '05fe000001'
const TWO = '05fe000002'

test('the node id keeps devices with one address apart, in both directions', async () => {
  const started = await startSn()
  const forwarder = await started.peer()
  expect(await forwarder.ask(`${ONE}030100`)).toBe(`${ONE}030201`)
  expect(await forwarder.ask(ONE + connectFrame('one'))).toBe(`${ONE}030500`)
  expect(await forwarder.ask(TWO + connectFrame('two'))).toBe(`${TWO}030500`)
  expect(started.broker.hub.clientCount).toBe(2)
  expect(await forwarder.ask(ONE + sized(`12000001${hex('a')}`))).toBe(`${ONE}0813000401000100`)
  expect(await forwarder.ask(TWO + sized(`12000001${hex('b')}`))).toBe(`${TWO}0813000401000100`)
  await publishTo(started, 'b', 'x')
  expect(await forwarder.next()).toBe(`${TWO}080c00040100007 8`.replace(' ', ''))
  expect(await forwarder.ask(`${ONE}0216`)).toBe(`${ONE}0217`)
  expect(await forwarder.ask(`${ONE}0218`)).toBe(`${ONE}0218`)
  expect(started.broker.hub.clientCount).toBe(1)
  // The radius it was broadcast with says nothing about an answer.
  expect(await forwarder.ask('05fe030002 0216'.replace(' ', ''))).toBe(`${TWO}0217`)
})

test('a forwarder may be a device itself, and its devices come and go like others', async () => {
  const started = await startSn()
  const forwarder = await started.peer()
  expect(await forwarder.ask(`${ONE}0216`)).toBe(`${ONE}0218`)
  expect(await forwarder.ask(ONE + connectFrame('one', '04', '0001'))).toBe(`${ONE}030500`)
  expect(await forwarder.ask(connectFrame('itself'))).toBe('030500')
  expect(await forwarder.ask('0216')).toBe('0217')
  // The one with the short keep-alive is lost, alone.
  expect(await forwarder.next()).toBe(`${ONE}0218`)
  expect(await forwarder.ask('0216')).toBe('0217')
  // A sleeper wakes up behind another node.
  expect(await forwarder.ask(TWO + connectFrame('two'))).toBe(`${TWO}030500`)
  expect(await forwarder.ask(`${TWO}041800c8`)).toBe(`${TWO}0218`)
  expect(await forwarder.ask(ONE + sized(`16${hex('two')}`))).toBe(`${ONE}0217`)
})

test('QoS -1 needs no connection behind a forwarder either', async () => {
  const started = await startSn()
  const seen = overhear(started)
  const forwarder = await started.peer()
  forwarder.send(`${ONE}080c625452000078`)
  expect(await forwarder.heard()).toEqual([])
  expect(seen).toEqual(['TR=x q0'])
})

test.each([
  ['no node id', '03fe000216'],
  ['no message', '05fe000001'],
  ['a header that is longer than the datagram', '09fe00000102'],
  ['a node id that is too long', `24fe00${'aa'.repeat(33)}0216`],
  ['another forwarder inside', `${ONE}${TWO}0216`],
  ['no message of the protocol inside', `${ONE}ffff`],
])('%s is ignored', async (_name, frame) => {
  const { peer: open, context } = await startSn()
  const forwarder = await open()
  expect(await forwarder.send(frame).heard()).toEqual([])
  expect(context.counters.get('packets.malformed')).toBe(1)
})

test('what looks like a header does not hurt a device that has no forwarder', async () => {
  const { peer: open } = await startSn()
  const peer = await (await open()).connect('a')
  expect(await peer.send(`${ONE}0218`).heard()).toEqual([])
  expect(await peer.ask('0216')).toBe('0217')
  expect(forwarderHeader(Buffer.from('01fe00000102', 'hex'))).toBeUndefined()
})

test('a forwarder has at most 1024 devices, and one more is told', async () => {
  const { peer: open } = await startSn()
  const forwarder = await open()
  const header = (i: number) => `05fe00${i.toString(16).padStart(4, '0')}`
  // Those that have been asked for their will.
  for (let i = 0; i < 1024; i++)
    expect(await forwarder.ask(header(i) + connectFrame('n', '0c'))).toBe(`${header(i)}0206`)
  expect(await forwarder.ask(header(1024) + connectFrame('more'))).toBe(`${header(1024)}030501`)
  expect(await forwarder.ask(`${header(7)}0218`)).toBe(`${header(7)}0218`)
  expect(await forwarder.ask(header(1024) + connectFrame('more'))).toBe(`${header(1024)}030500`)
})
