/** Whatever arrives: an answer of the specification or silence, never an exception, and nothing that piles up. */
import { expect, test } from 'vitest'
import { decodeFrame } from '../../../gateways/mqtt-sn/frame.ts'
import { Random } from '../../support/random.ts'
import { connectFrame, hex, sized, startSn } from '../support/sn-peer.ts'

test.each([
  { name: 'nothing', frame: '' },
  { name: 'a length alone', frame: '02' },
  { name: 'a length that is too short', frame: '0104' },
  { name: 'a length of nothing', frame: '0018' },
  { name: 'a length that is longer than the datagram', frame: '0318' },
  { name: 'a length that is shorter than the datagram', frame: '021800' },
  { name: 'a long form that is cut short', frame: '010004' },
  { name: 'a long form with another length', frame: '01000518' },
  { name: 'a reserved type', frame: '0203' },
  { name: 'a forwarder', frame: '03fe01' },
  { name: 'a CONNECT that is cut short', frame: '0504040100' },
  { name: 'a client id that is no UTF-8', frame: '07040401003cff' },
  { name: 'a REGACK with a byte too many', frame: '080b000100010000' },
  { name: 'a PUBREL without id', frame: '0210' },
  { name: 'a short topic of three bytes', frame: '08120200 01414243'.replace(' ', '') },
  { name: 'a DISCONNECT with one byte', frame: '031800' },
  { name: 'what only gateways say', frame: '030500' },
])('$name is no message', ({ frame }) => {
  expect(decodeFrame(Buffer.from(frame, 'hex'))).toBeUndefined()
})

test('a message in the wrong state is told or ignored, and hurts nobody', async () => {
  const { peer: open, broker } = await startSn()
  const peer = await open()
  for (const frame of ['0216', '080a000000016162', '0b0c200001000114151617', sized(`12000001${hex('a')}`)])
    expect(await peer.ask(frame)).toBe('0218')
  expect(await peer.send('070b0401000100', '070d0401000100', '040f0001', '040e0001', '0217').heard()).toEqual(
    [],
  )
  expect(await peer.ask(sized(`040c010000${hex('w')}`))).toBe('0206')
  expect(await peer.ask(sized(`09${hex('x')}`))).toBe('0218')
  await peer.connect('a')
  expect(await peer.send('070b0401000100', '070d0401000100', '040e0001', '03ff00', '02').heard()).toEqual([])
  expect(await peer.ask('040f0009')).toBe('04100009')
  expect(broker.hub.clientCount).toBe(1)
})

const SEEDS = [
  connectFrame('a'),
  '080a000000016162',
  '0b0c600001000014151617',
  '07120200015452',
  '04180001',
  '0216',
]

/** More of them than the suite has time for: `HUBBUB_SN_DATAGRAMS=1000000`. */
const WANTED = process.env.HUBBUB_SN_DATAGRAMS
const DATAGRAMS = Number(WANTED ?? 50_000)

test('random and mangled datagrams leave nothing behind', { timeout: 10_000 + DATAGRAMS }, async () => {
  const { broker, context, host, peer: open } = await startSn()
  const random = new Random(7)
  const mangled = () => {
    const seed = Buffer.from(random.pick(SEEDS), 'hex')
    seed[1 + random.int(seed.length - 1)] = random.int(256)
    return random.int(4) === 0 ? seed.subarray(0, random.int(seed.length)) : seed
  }
  const next = () => {
    const bytes = random.int(2) === 0 ? mangled() : random.bytes(random.int(24))
    if (bytes.length > 0 && random.int(2) === 0) bytes[0] = bytes.length
    return bytes
  }
  for (let i = 0; i < DATAGRAMS; i++) decodeFrame(next())
  const before = process.memoryUsage().heapUsed
  const peers = await Promise.all([open(), open(), open()])
  for (let round = 0; round < DATAGRAMS / 99; round++) {
    for (const peer of peers) for (let i = 0; i < 33; i++) peer.send(next().toString('hex'))
    for (const peer of peers) await peer.heard()
  }
  const grownMb = (process.memoryUsage().heapUsed - before) / 1024 / 1024
  if (WANTED !== undefined) console.log(`heap ${grownMb.toFixed(1)} MB, clients ${broker.hub.clientCount}`)
  expect(grownMb).toBeLessThan(50)
  // Some have become clients without a name that sleep, which is their right.
  expect(broker.hub.clientCount).toBeLessThan(300 + DATAGRAMS / 2000)
  expect(host.status).toBe('running')
  expect(context.counters.get('packets.malformed')).toBeGreaterThan(100)
  const last = await open()
  await last.connect('last')
})
