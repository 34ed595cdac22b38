import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'
import { expect, test, vi } from 'vitest'
import type { DatagramTransport } from '../../listeners/datagram.ts'
import { createDatagramListener } from '../../listeners/datagram-listeners.ts'
import { DatagramSocket } from '../../listeners/datagram-socket.ts'
import { type Logger, silentLogger } from '../../model/log.ts'
import { Random } from '../support/random.ts'
import { Echo, listenDatagrams, UdpProbe, udpOptions } from './datagram-support.ts'

const hasIpv6 = Object.values(networkInterfaces())
  .flat()
  .some((one) => one?.address === '::1')

test('datagrams become one transport per address, and what is sent goes back there', async (t) => {
  const echo = new Echo()
  const { listener, port } = await listenDatagrams(t, udpOptions(), echo.serve)
  const [ann, bob] = [await UdpProbe.open(t, port), await UdpProbe.open(t, port)]

  expect(await ann.ask('one')).toBe('one')
  expect(await bob.ask('two')).toBe('two')
  expect(await ann.ask('three')).toBe('three')

  expect(echo.peers.map(({ peer }) => peer)).toEqual([
    { host: '127.0.0.1', port: ann.localPort },
    { host: '127.0.0.1', port: bob.localPort },
  ])
  expect(echo.peers[0]).toMatchObject({
    kind: 'udp',
    listenerId: 'echo:udp:test',
    local: { host: '127.0.0.1', port },
    certificate: undefined,
    bytesReceived: 8,
    bytesSent: 8,
    isOpen: true,
  })
  expect(listener.counters).toMatchObject({ current: 2, accepted: 2 })
})

test('a peer that the gateway does not keep is forgotten at once', async (t) => {
  const seen: DatagramTransport[] = []
  const closed: string[] = []
  const { listener, port } = await listenDatagrams(t, udpOptions(), (transport) => {
    seen.push(transport)
    transport.handler = {
      onDatagram: (datagram) => void transport.send(Buffer.from(`no, ${datagram.toString()}`)),
      onClose: ({ kind }) => closed.push(kind),
    }
  })
  const probe = await UdpProbe.open(t, port)

  expect(await probe.ask('one')).toBe('no, one')
  expect(await probe.ask('two')).toBe('no, two')

  expect(seen).toHaveLength(2)
  expect(closed).toEqual(['local', 'local'])
  expect(seen[0]?.isOpen).toBe(false)
  expect(seen[0]?.send(Buffer.from('late'))).toBe(false)
  expect(listener.counters).toMatchObject({ current: 0, accepted: 0 })
})

test('max_connections and max_conn_rate refuse peers, not datagrams of those who are there', async (t) => {
  const echo = new Echo()
  const rate = { count: 2, perMs: 3_600_000 }
  const { listener, port } = await listenDatagrams(t, udpOptions({ maxConnections: 1 }), echo.serve)
  const [ann, bob] = [await UdpProbe.open(t, port), await UdpProbe.open(t, port)]
  expect(await ann.ask('one')).toBe('one')
  await bob.send('two')
  await echo.has('closed', 1)
  expect(await ann.ask('three')).toBe('three')
  expect(listener.counters).toMatchObject({ current: 1, accepted: 1, refusedByLimit: 1 })

  listener.update(udpOptions({ maxConnRate: rate, bind: { host: '127.0.0.1', port: 0 } }))
  expect(await bob.ask('four')).toBe('four')
  expect(await (await UdpProbe.open(t, port)).ask('five')).toBe('five')
  await (await UdpProbe.open(t, port)).send('six')
  await echo.has('closed', 2)
  expect(listener.counters).toMatchObject({ current: 3, refusedByRate: 1 })
})

test('access_rules keep addresses out before the gateway hears of them', async (t) => {
  const echo = new Echo()
  const options = udpOptions({
    accessRules: ['deny 127.0.0.1', 'allow all'],
    bind: { host: undefined, port: 0 },
  })
  const { listener, port } = await listenDatagrams(t, options, echo.serve)
  const probe = await UdpProbe.open(t, port)
  await probe.send('one')
  await vi.waitFor(() => expect(listener.counters.refusedByRule).toBe(1))
  expect(echo.peers).toEqual([])
  listener.update({ ...options, accessRules: ['allow 127.0.0.0/8', 'deny all'] })
  expect(await probe.ask('two')).toBe('two')
})

test('a health check is answered, and the gateway never sees it', async (t) => {
  const echo = new Echo()
  const healthCheck = { request: Buffer.from('ping?'), reply: Buffer.from('pong') }
  const { port } = await listenDatagrams(t, udpOptions({ healthCheck }), echo.serve)
  const probe = await UdpProbe.open(t, port)
  expect(await probe.ask('ping?')).toBe('pong')
  expect(echo.peers).toEqual([])
  expect(await probe.ask('ping? ')).toBe('ping? ')
})

test('a datagram longer than buffer is dropped, and nothing longer than UDP carries is sent', async (t) => {
  const echo = new Echo()
  const udp = { ...udpOptions().udp, bufferBytes: 10 }
  const { port } = await listenDatagrams(t, udpOptions({ udp }), echo.serve)
  const probe = await UdpProbe.open(t, port)
  await probe.send('01234567890')
  expect(await probe.ask('0123456789')).toBe('0123456789')
  expect(echo.peers[0]?.maxDatagramBytes).toBe(65_507)
  expect(echo.peers[0]?.send(Buffer.alloc(65_508))).toBe(false)
  expect(echo.peers[0]?.send(Buffer.alloc(65_507))).toBe(true)
})

test('the sizes of the kernel buffers are as they were asked for, and change on a reload', async (t) => {
  const events = { onDatagram() {}, onError() {} }
  const options = { ...udpOptions().udp, recbufBytes: 32_768, sndbufBytes: 16_384 }
  const socket = await DatagramSocket.open({ host: '127.0.0.1', port: 0 }, options, events)
  t.onTestFinished(() => socket.close())
  // Linux doubles them, for its own bookkeeping.
  const { recbufBytes, sndbufBytes } = socket.bufferSizes
  expect([32_768, 65_536]).toContain(recbufBytes)
  expect([16_384, 32_768]).toContain(sndbufBytes)
  socket.tune({ ...options, recbufBytes: 65_536 })
  expect(socket.bufferSizes.recbufBytes).toBe(recbufBytes * 2)
})

test('with reuseaddr off a port that is taken is an error that says so', async (t) => {
  const { port } = await listenDatagrams(t, udpOptions(), new Echo().serve)
  const bind = { host: '127.0.0.1', port }
  const second = createDatagramListener(udpOptions({ bind }), new Echo().serve, silentLogger)
  await expect(second.start()).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    message: expect.stringContaining('EADDRINUSE'),
  })
  expect(second.running).toBe(false)
  const reuse = { ...udpOptions().udp, reuseAddress: true }
  const [third, fourth] = [0, 1].map(() =>
    createDatagramListener(udpOptions({ udp: reuse }), new Echo().serve, silentLogger),
  )
  await third?.start()
  const shared = { host: '127.0.0.1', port: third?.address()?.port ?? 0 }
  const fifth = createDatagramListener(
    udpOptions({ udp: reuse, bind: shared }),
    new Echo().serve,
    silentLogger,
  )
  await fifth.start()
  for (const one of [third, fourth, fifth]) await one?.stop()
})

test.skipIf(!hasIpv6)('without an address IPv6 and IPv4 come in through one socket', async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, udpOptions({ bind: { host: undefined, port: 0 } }), echo.serve)
  expect(await (await UdpProbe.open(t, port, '::1')).ask('six')).toBe('six')
  expect(await (await UdpProbe.open(t, port)).ask('four')).toBe('four')
  expect(echo.peers.map(({ peer }) => peer.host)).toEqual(['::1', '127.0.0.1'])
})

test.skipIf(!hasIpv6)('a listener on one IPv6 address, and one on a host name', async (t) => {
  const one = await listenDatagrams(t, udpOptions({ bind: { host: '::1', port: 0 } }), new Echo().serve)
  expect(await (await UdpProbe.open(t, one.port, '::1')).ask('six')).toBe('six')
  const named = await listenDatagrams(
    t,
    udpOptions({ bind: { host: 'localhost', port: 0 } }),
    new Echo().serve,
  )
  const host = named.listener.address()?.host ?? ''
  expect(await (await UdpProbe.open(t, named.port, host)).ask('name')).toBe('name')
})

test('a silent peer is closed after its idle time, a talking one is not', async (t) => {
  vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'performance'] })
  t.onTestFinished(() => void vi.useRealTimers())
  const echo = new Echo()
  const { listener, port } = await listenDatagrams(t, udpOptions(), echo.serve)
  const [ann, bob] = [await UdpProbe.open(t, port), await UdpProbe.open(t, port)]
  await ann.ask('one')
  await bob.ask('one')
  const [first, second] = echo.peers as [DatagramTransport, DatagramTransport]
  first.idleTimeoutMs = 10_000
  second.idleTimeoutMs = 10_000
  vi.advanceTimersByTime(6000)
  await bob.ask('two')
  vi.advanceTimersByTime(5000)
  expect([first.isOpen, second.isOpen]).toEqual([false, true])
  expect(echo.closed).toEqual([{ kind: 'error', error: expect.objectContaining({ code: 'LIMIT_EXCEEDED' }) }])
  second.idleTimeoutMs = Number.POSITIVE_INFINITY
  vi.advanceTimersByTime(600_000)
  expect(listener.counters.current).toBe(1)
})

test('a session moves to another address by taking over the transport there', async (t) => {
  const transports: DatagramTransport[] = []
  const heard: string[] = []
  const session = {
    onDatagram: (datagram: Buffer) => void heard.push(datagram.toString()),
    onClose: () => heard.push('closed'),
  }
  const { port } = await listenDatagrams(t, udpOptions(), (transport) => {
    transports.push(transport)
    transport.handler = {
      onDatagram(datagram) {
        transport.keep()
        // The session is known by what the datagram says, not by where it comes from.
        const old = transports.length > 1 ? transports[0] : undefined
        transport.handler = session
        if (old !== undefined) {
          old.handler = { onDatagram() {}, onClose() {} }
          old.close()
        }
        session.onDatagram(datagram)
        transport.send(datagram)
      },
      onClose() {},
    }
  })
  const [before, after] = [await UdpProbe.open(t, port), await UdpProbe.open(t, port)]
  await before.ask('one')
  await after.ask('two')
  expect(heard).toEqual(['one', 'two'])
  expect(transports.map(({ isOpen }) => isOpen)).toEqual([false, true])
})

test('stop takes no new peers and leaves the old ones; the last one to go frees the port', async (t) => {
  const echo = new Echo()
  const { listener, port } = await listenDatagrams(t, udpOptions(), echo.serve)
  const [ann, bob] = [await UdpProbe.open(t, port), await UdpProbe.open(t, port)]
  await ann.ask('one')
  await listener.stop()
  expect(listener.running).toBe(false)
  expect(listener.address()).toBeUndefined()
  await bob.send('nobody hears this')
  expect(await ann.ask('two')).toBe('two')
  expect(echo.peers).toHaveLength(1)
  const drained = listener.drained(new AbortController().signal)
  listener.closeAll()
  await drained
  const again = createSocket('udp4')
  again.bind(port, '127.0.0.1')
  await once(again, 'listening')
  again.close()
})

test('a gateway that throws loses this one peer, with a line in the log', async (t) => {
  const said: string[] = []
  const log: Logger = { ...silentLogger, error: (_, text) => said.push(text), child: () => log }
  const { listener, port } = await listenDatagrams(
    t,
    udpOptions(),
    (transport) => {
      transport.handler = {
        onDatagram(datagram) {
          transport.keep()
          if (datagram.toString() === 'bad') throw new Error('a bug')
          transport.send(datagram)
        },
        onClose() {},
      }
    },
    {},
    log,
  )
  const [ann, bob] = [await UdpProbe.open(t, port), await UdpProbe.open(t, port)]
  await ann.ask('one')
  await bob.send('bad')
  await vi.waitFor(() => expect(listener.counters).toMatchObject({ current: 1, accepted: 2 }))
  expect(await ann.ask('two')).toBe('two')
  expect(said).toEqual(['a bug met while serving a peer; it is closed'])
})

test('a flood of datagrams from made-up addresses leaves memory as it was', async (t) => {
  let strangers = 0
  const { listener } = await listenDatagrams(t, udpOptions(), (transport) => {
    strangers++
    transport.handler = {
      // As a gateway does: what is no message of its protocol is nothing to remember anybody for.
      onDatagram: (datagram) => void (datagram[0] === 0xff && datagram[1] === 0xff && transport.keep()),
      onClose() {},
    }
  })
  const random = new Random(1)
  const datagrams = Array.from({ length: 500 }, () => random.bytes(1 + random.int(1200)))
  // Loopback has one address: the socket's own event brings others.
  const inject = listener as unknown as {
    dispatch(key: string, datagram: Buffer, from: { address: string; port: number }): void
  }
  const flood = (count: number) => {
    for (let i = 0; i < count; i++) {
      const from = { address: `198.51.${random.int(256)}.${random.int(256)}`, port: 1 + random.int(65_535) }
      inject.dispatch(`${from.address}|${from.port}`, random.pick(datagrams), from)
    }
  }
  flood(20_000)
  const before = process.memoryUsage().rss
  flood(100_000)
  expect(strangers).toBe(120_000)
  expect(listener.counters.current).toBeLessThan(50)
  expect(process.memoryUsage().rss - before).toBeLessThan(64 * 1024 * 1024)
})

test('100,000 random datagrams through a real socket end nothing', async (t) => {
  const echo = new Echo()
  const { port } = await listenDatagrams(t, udpOptions({ maxConnections: 4 }), echo.serve)
  const flooder = await UdpProbe.open(t, port)
  flooder.socket.removeAllListeners('message')
  const random = new Random(2)
  const datagrams = Array.from({ length: 200 }, () => random.bytes(random.int(900)))
  for (let i = 0; i < 1000; i++) {
    for (let k = 0; k < 99; k++) flooder.socket.send(random.pick(datagrams), port, '127.0.0.1')
    await flooder.send(random.pick(datagrams))
  }
  const probe = await UdpProbe.open(t, port)
  const answer = probe.next()
  // The first ones may be lost behind the flood.
  const again = setInterval(() => void probe.send('still there?'), 20)
  t.onTestFinished(() => clearInterval(again))
  expect((await answer).toString()).toBe('still there?')
  expect(echo.peers).toHaveLength(2)
})
