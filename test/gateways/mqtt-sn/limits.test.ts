/** Times and numbers: what is waited for, how long, and what is said when there is no room. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { afterEach, expect, onTestFinished, test, vi } from 'vitest'
import { Inbox } from '../../support/inbox.ts'
import { connectFrame, hex, overhear, publishTo, type SnPeer, sized, startSn } from '../support/sn-peer.ts'

afterEach(() => void vi.useRealTimers())

/** The gateway's clock stands still from here on; sockets go on. */
const stopClock = () => void vi.useFakeTimers({ toFake: ['Date', 'setInterval', 'clearInterval'] })
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms)

async function connectWithWill(peer: SnPeer, flags: string, keepAlive = '0000'): Promise<SnPeer> {
  expect(await peer.ask(connectFrame('w', flags, keepAlive))).toBe('0206')
  expect(await peer.ask(sized(`0730${hex('abc')}`))).toBe('0208')
  expect(await peer.ask('07090a0b0c0d0e')).toBe('030500')
  return peer
}

test('9: REGISTER is repeated after 5, 10 and 15 seconds, and at 20 the client is lost', async () => {
  stopClock()
  const started = await startSn()
  const peer = await (await started.peer()).connect('r', '04', '0000')
  await peer.ask(sized(`12200001${hex('#')}`))
  await publishTo(started, 'topic-a', 'a', 1)
  const asked = sized(`0a04010001${hex('topic-a')}`)
  expect(await peer.heard()).toEqual([asked])
  for (const _ of [5, 10, 15]) {
    await pass(4800)
    expect(await peer.ask('0216')).toBe('0217')
    expect(await peer.heard()).toEqual([])
    await pass(200)
    expect(await peer.next()).toBe(asked)
  }
  await pass(4800)
  expect(await peer.heard()).toEqual([])
  await pass(200)
  expect(await peer.next()).toBe('0218')
  expect(started.broker.hub.clientCount).toBe(0)
})

test.each(['01', '05'])(
  'REGACK %s: congestion waits for the next repetition, anything else gives up',
  async (code) => {
    stopClock()
    const started = await startSn()
    const peer = await (await started.peer()).connect('r', '04', '0000')
    await peer.ask(sized(`12200001${hex('#')}`))
    await publishTo(started, 'topic-a', 'a', 1)
    const asked = sized(`0a04010001${hex('topic-a')}`)
    expect(await peer.next()).toBe(asked)
    expect(await peer.send(`070b04010001${code}`).heard()).toEqual([])
    await pass(5000)
    expect(await peer.heard()).toEqual(code === '01' ? [asked] : [])
  },
)

test('3: a will that may not be published is not', async () => {
  stopClock()
  const started = await startSn()
  started.broker.hooks.put('client.authorize', 'test', () => ({ stop: { result: 'deny', from: 'test' } }))
  const seen = overhear(started)
  const peer = await connectWithWill(await started.peer(), '0c', '0001')
  await pass(2000)
  expect(await peer.next()).toBe('0218')
  expect(seen).toEqual([])
})

test('a sleeper that does not come back is lost: its will is published after one and a half times its sleep', async () => {
  stopClock()
  const started = await startSn()
  const seen = overhear(started)
  const peer = await connectWithWill(await started.peer(), '0c')
  expect(await peer.ask('0418000a')).toBe('0218')
  await pass(14_500)
  expect(seen).toEqual([])
  await pass(1000)
  expect(seen).toEqual(['abc=\x0a\x0b\x0c\x0d\x0e q1 r'])
  expect(started.broker.hub.sessionCount).toBe(0)
})

test('a listener that is full says congestion and remembers nobody', async () => {
  const listeners = { udp: { default: { bind: '127.0.0.1:0', max_connections: 1 } } }
  const { peer: open } = await startSn({ listeners })
  const first = await (await open()).connect('first')
  const second = await open()
  expect(await second.ask(connectFrame('second'))).toBe('030501')
  expect(await second.ask('05fe00000b'.concat(connectFrame('behind')))).toBe('05fe00000b030501')
  expect(await first.ask('0218')).toBe('0218')
  await second.connect('second')
})

test('more than 64 messages that wait for a slow backend are refused as congestion, each in its way', async () => {
  const started = await startSn()
  const peer = await (await started.peer()).connect('a')
  const waiting: (() => void)[] = []
  started.broker.hooks.put(
    'message.publish',
    'test',
    () => new Promise<undefined>((done) => waiting.push(() => done(undefined))),
  )
  for (let i = 1; i <= 65; i++) peer.send(`080c225452${i.toString(16).padStart(4, '0')}78`)
  const refused = [
    '080c22545200aa78',
    sized(`120000ab${hex('t')}`),
    sized(`0a000000ac${hex('t')}`),
    connectFrame('a', '00'),
  ]
  expect(await peer.ask(refused[0] as string)).toBe('070d545200aa01')
  expect(await peer.ask(refused[1] as string)).toBe('08130000000 0ab01'.replace(' ', ''))
  expect(await peer.ask(refused[2] as string)).toBe('070b000000ac01')
  expect(await peer.ask(refused[3] as string)).toBe('030501')
  started.broker.hooks.del('message.publish', 'test')
  for (const go of waiting) go()
  for (let i = 1; i <= 65; i++) expect(await peer.next()).toBe(`070d5452${i.toString(16).padStart(4, '0')}00`)
})

test('session_expiry_interval: a session without CleanSession outlives its connection for so long', async () => {
  const started = await startSn({ session_expiry_interval: '100ms' })
  const peer = await (await started.peer()).connect('a', '00')
  expect(await peer.ask('0218')).toBe('0218')
  expect(started.broker.hub.sessionCount).toBe(1)
  await vi.waitFor(() => expect(started.broker.hub.sessionCount).toBe(0))
})

test('await_rel_timeout: a QoS 2 message that is never released makes room after a while', async () => {
  stopClock()
  const { peer: open } = await startSn({ max_awaiting_rel: 1, await_rel_timeout: '30s' })
  const peer = await (await open()).connect('a', '04', '0000')
  expect(await peer.ask('080c42545200 0178'.replace(' ', ''))).toBe('040f0001')
  expect(await peer.ask('080c42545200 0278'.replace(' ', ''))).toBe('070d5452000201')
  await pass(30_000)
  expect(await peer.ask('080c42545200 0278'.replace(' ', ''))).toBe('040f0002')
})

test('`broadcast: true` advertises the gateway where its listener is', async () => {
  const socket = createSocket({ type: 'udp4', reuseAddr: true })
  socket.bind(0)
  await once(socket, 'listening')
  onTestFinished(() => void socket.close())
  const heard = new Inbox<string>('ADVERTISE')
  socket.on('message', (datagram) => heard.put(datagram.toString('hex')))
  const { port } = socket.address()
  await startSn({
    broadcast: true,
    gateway_id: 7,
    listeners: { udp: { default: { bind: `127.0.0.1:${port}` } } },
  })
  expect(await heard.next()).toBe('0500070384')
})
