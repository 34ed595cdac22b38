/** Memory that was read into is used again while the broker passes on from it: nobody may get anything else than was sent. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { parser } from 'mqtt-packet'
import { afterEach, beforeEach, expect, type TestContext, test, vi } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import { dial, tcpOptions } from '../../listeners/support.ts'
import { Random } from '../../support/random.ts'
import { startHub } from '../support.ts'
import { connectBytes, connected, PINGREQ, publish, subscribe, subscriber } from './raw-peer.ts'
import { startServer } from './server-support.ts'
import { frame } from './support.ts'

const LAST = 'last'
const NOTHING_DROPPED = { tcp: { ...tcpOptions().tcp, highWatermarkBytes: 1e9 } }
/** More than the buffers of a connection hold. */
const [ROUNDS, LENGTHS] = [900, [8, 60, 700, 2500]] as const
const PING = Buffer.from('c000', 'hex')

let hub: Hub

beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

const range = (count: number) => Array.from({ length: count }, (_, i) => i)

async function login(t: TestContext, port: number, bytes: Buffer): Promise<Socket> {
  const socket = await dial(t, port)
  socket.write(bytes)
  await once(socket, 'data')
  return socket
}

/** Payloads in order, until one says that it is the last. */
function payloadsOf(socket: Socket): Promise<string[]> {
  const payloads: string[] = []
  const reader = parser({ protocolVersion: 5 })
  return new Promise((resolve, reject) => {
    reader.on('packet', (packet) => {
      if (packet.cmd !== 'publish') return
      payloads.push(packet.payload.toString('latin1'))
      if (payloads.at(-1) === LAST) resolve(payloads)
    })
    reader.on('error', reject)
    socket.on('data', (bytes) => reader.parse(bytes as Buffer))
    socket.on('close', () => reject(new Error('closed')))
  })
}

/** Text that tells which message it is, wherever one looks. */
const payloadOf = (from: number, n: number, length: number) =>
  `${from}:${n};`.repeat(Math.ceil(length / 4)).slice(0, length)

test.for([{ slow: 0 }, { slow: 2 }])(
  'bursts of six publishers, $slow of three subscribers read only later',
  async ({ slow }, t) => {
    const { port } = await startServer(t, hub, NOTHING_DROPPED, { maxPacketBytes: 10_000 })
    const random = new Random(5 + slow)
    const subscribers = await Promise.all(
      range(3).map((i) => login(t, port, Buffer.concat([connectBytes(5, `s${i}`), subscribe('#')]))),
    )
    const received = subscribers.map(payloadsOf)
    for (const socket of subscribers.slice(0, slow)) socket.pause()
    const publishers = await Promise.all(range(6).map((i) => login(t, port, connectBytes(5, `p${i}`))))

    const sent: string[][] = publishers.map(() => [])
    const burst = async (from: number, round: number) => {
      const length = random.pick(LENGTHS)
      const payloads = range(1 + random.int(20)).map((i) => payloadOf(from, round * 20 + i, length))
      sent[from]?.push(...payloads)
      const socket = publishers[from] as Socket
      socket.write(Buffer.concat([...payloads.map((payload) => publish('0', `t/${from}`, payload)), PING]))
      await once(socket, 'data') // then it has been heard
    }
    for (let round = 0; round < ROUNDS; round++) {
      // Alone, as what comes of one publisher is passed on without a copy.
      if (round % 3 > 0) await burst(random.int(publishers.length), round)
      else await Promise.all(publishers.map((_, from) => burst(from, round)))
    }
    publishers[0]?.write(publish('0', 'end', LAST))
    for (const socket of subscribers) socket.resume()
    for (const payloads of await Promise.all(received)) {
      const wrong = sent.map((wanted, from) => {
        const got = payloads.filter((payload) => payload.startsWith(`${from}:`))
        return got.length === wanted.length
          ? got.findIndex((payload, i) => payload !== wanted[i])
          : got.length
      })
      expect(wrong).toEqual(sent.map(() => -1))
    }
  },
)

const run = (qos: '0' | '2', count = 3) =>
  Buffer.concat(range(count).map((i) => publish(qos, 't', `m${i}`, qos === '0' ? undefined : i + 1)))

test.for([
  { what: 'a run at QoS 0', bytes: run('0'), leaves: false },
  { what: 'a run and the beginning of a packet', bytes: run('0').subarray(0, -1), leaves: false },
  { what: 'the beginning of a packet', bytes: run('0').subarray(0, 3), leaves: false },
  { what: 'a ping', bytes: frame(PINGREQ), leaves: false },
  {
    what: 'acknowledgements',
    bytes: frame('40 02 0001 40 02 0002 50 02 0003 62 02 0004 70 02 0005'),
    leaves: false,
  },
  { what: 'a message alone', bytes: run('0', 1), leaves: false },
  {
    what: 'a message of another topic, not met before, behind a run',
    bytes: Buffer.concat([run('0'), publish('0', 'other', 'x')]),
    leaves: true,
  },
  { what: 'messages at QoS 1', bytes: run('2'), leaves: true },
  { what: 'a subscription', bytes: subscribe('#'), leaves: true },
  { what: 'a bad packet behind a run', bytes: Buffer.concat([run('0'), frame('00 00')]), leaves: true },
])('$what may leave something behind: $leaves', ({ bytes, leaves }) => {
  subscriber(hub, 't')
  const one = connected(hub, 5, { id: 'one' })
  // A topic is known from its second message on.
  one.send(publish('0', 't', 'x'), publish('0', 't', 'y'))
  const chunk = Buffer.from(bytes)
  one.connection.onData(chunk, 0, chunk.length)
  expect(one.connection.leavesNothing).toBe(!leaves)
})

test('what follows the rest of a packet leaves nothing behind either, and is not copied', () => {
  const sub = subscriber(hub, 't')
  const one = connected(hub, 5, { id: 'one' })
  one.send(publish('0', 't', 'x'), publish('0', 't', 'y'))
  const bytes = run('0', 1000)
  one.send(bytes.subarray(0, 10))
  const alloc = vi.spyOn(Buffer, 'allocUnsafeSlow')
  const chunk = Buffer.from(bytes.subarray(10, -3))
  one.connection.onData(chunk, 0, chunk.length)
  expect(one.connection.leavesNothing).toBe(true)
  expect(Math.max(...alloc.mock.calls.map(([size]) => size))).toBeLessThan(100)
  alloc.mockRestore()
  one.send(bytes.subarray(-3))
  expect(sub.said()).toHaveLength(1002)
})

test('a hook that sees messages may keep them', () => {
  const seen: Uint8Array[] = []
  hub.hooks.add('message.publish', 'test', (message) => {
    if (typeof message === 'object') seen.push(message.payload)
    return undefined
  })
  subscriber(hub, 't')
  const one = connected(hub, 5, { id: 'one' })
  one.send(publish('0', 't', 'x'), publish('0', 't', 'y'))
  one.send(run('0'))
  expect(one.connection.leavesNothing).toBe(false)
  expect(seen.map((payload) => Buffer.from(payload).toString())).toEqual(['x', 'y', 'm0', 'm1', 'm2'])
})
