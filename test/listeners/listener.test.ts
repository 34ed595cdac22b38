import { once } from 'node:events'
import { createServer } from 'node:net'
import { expect, test } from 'vitest'
import { FlushQueue } from '../../listeners/flush-queue.ts'
import { createListener } from '../../listeners/listener.ts'
import type { Transport } from '../../listeners/transport.ts'
import { silentLogger } from '../../model/log.ts'
import { dial, echo, LOOPBACK, listen, read, readAll, tcpOptions } from './support.ts'

test('a port in use is named with address and listener', async (t) => {
  const other = createServer().listen(0, LOOPBACK)
  await once(other, 'listening')
  t.onTestFinished(() => void other.close())
  const { port } = other.address() as { port: number }
  const listener = createListener(
    tcpOptions({ id: 'tcp:default', bind: { host: LOOPBACK, port } }),
    echo,
    silentLogger,
  )

  await expect(listener.start()).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    message: `listener tcp:default cannot listen on port ${port} of 127.0.0.1: another process uses this port (EADDRINUSE)`,
  })
  expect([listener.running, listener.address()]).toEqual([false, undefined])
})

test('an address of another machine is refused in words', async () => {
  const listener = createListener(tcpOptions({ bind: { host: '192.0.2.1', port: 0 } }), echo, silentLogger)
  await expect(listener.start()).rejects.toThrow('this machine does not have that address')
})

test('without an address IPv4 peers come in, and look like it', async (t) => {
  const { port, next } = await listen(t, tcpOptions({ bind: { host: undefined, port: 0 } }))
  await dial(t, port)
  expect((await next()).transport.peer.host).toBe('127.0.0.1')
})

test('a peer against the rules is closed at once', async (t) => {
  const { listener, port } = await listen(t, tcpOptions({ accessRules: ['deny 127.0.0.0/8'] }), echo)
  await readAll(await dial(t, port))
  expect(listener.counters).toMatchObject({ refusedByRule: 1, accepted: 0, current: 0 })
})

test('above max_connections peers are closed until one leaves', async (t) => {
  const { listener, port } = await listen(t, tcpOptions({ maxConnections: 1 }), echo)
  const first = await dial(t, port)
  await expect.poll(() => listener.counters.current).toBe(1)
  await readAll(await dial(t, port))
  expect(listener.counters).toMatchObject({ current: 1, accepted: 1, refusedByLimit: 1 })

  first.end()
  await expect.poll(() => listener.counters.current).toBe(0)
  const third = await dial(t, port)
  third.write('in')
  expect(String(await read(third, 2))).toBe('in')
})

test('above max_conn_rate peers are closed', async (t) => {
  const { listener, port } = await listen(
    t,
    tcpOptions({ maxConnRate: { count: 2, perMs: 3_600_000 } }),
    echo,
  )
  const sockets = [await dial(t, port), await dial(t, port), await dial(t, port)]
  await readAll(sockets[2] as NonNullable<(typeof sockets)[2]>)
  expect(listener.counters).toMatchObject({ accepted: 2, refusedByRate: 1 })
})

test('an update counts for new peers and keeps the old ones', async (t) => {
  const { listener, port } = await listen(t, tcpOptions(), echo)
  const old = await dial(t, port)
  await expect.poll(() => listener.counters.current).toBe(1)
  listener.update(tcpOptions({ accessRules: ['deny all'] }))
  await readAll(await dial(t, port))
  old.write('still here')
  expect(String(await read(old, 10))).toBe('still here')
})

test('what an update cannot take changes nothing', async (t) => {
  const { listener, port } = await listen(t, tcpOptions(), echo)
  expect(() => listener.update(tcpOptions({ accessRules: ['bad'] }))).toThrow('"bad"')
  expect(() => listener.update(tcpOptions({ bind: { host: LOOPBACK, port: 1 } }))).toThrow('restart')
  const socket = await dial(t, port)
  socket.write('x')
  expect(String(await read(socket, 1))).toBe('x')
})

test('a stopped listener keeps its transports, and can start again', async (t) => {
  const { listener, port } = await listen(t, tcpOptions(), echo)
  const socket = await dial(t, port)
  await expect.poll(() => listener.counters.current).toBe(1)
  await listener.stop()
  await listener.stop()
  await expect(dial(t, port).then((late) => once(late, 'data'))).rejects.toThrow('ECONNREFUSED')
  socket.write('on')
  expect(String(await read(socket, 2))).toBe('on')

  await listener.start()
  const again = await dial(t, listener.address()?.port ?? 0)
  again.write('on')
  expect(String(await read(again, 2))).toBe('on')
})

test('a stopped listener cuts peers that are not connected yet', async (t) => {
  const { listener, port } = await listen(t, tcpOptions({ proxyProtocol: { timeoutMs: 60_000 } }))
  const socket = await dial(t, port)
  await expect.poll(() => listener.counters.current).toBe(1)
  await listener.stop()
  await readAll(socket)
  await expect.poll(() => listener.counters.current).toBe(0)
})

test('closeAll closes every transport as our own doing', async (t) => {
  const { listener, port, next } = await listen(t, tcpOptions())
  const ends = [readAll(await dial(t, port)), readAll(await dial(t, port))]
  const probes = [await next(), await next()]
  listener.closeAll()
  await Promise.all(ends)
  expect(await Promise.all(probes.map((probe) => probe.closed))).toEqual([
    { kind: 'local' },
    { kind: 'local' },
  ])
  expect(listener.counters.current).toBe(0)
})

test('a throw while taking over a peer closes that peer', async (t) => {
  const { port } = await listen(t, tcpOptions(), () => {
    throw new Error('a bug')
  })
  await readAll(await dial(t, port))
})

test('listeners may share one flush queue', async (t) => {
  const flushQueue = new FlushQueue()
  const transports: Transport[] = []
  const keep = (transport: Transport): void => void transports.push(transport)
  const first = await listen(t, tcpOptions(), keep, { flushQueue })
  const second = await listen(t, tcpOptions(), keep, { flushQueue })
  const sockets = [await dial(t, first.port), await dial(t, second.port)]
  await expect.poll(() => transports.length).toBe(2)
  for (const transport of transports) transport.outbox.append(Buffer.from('hi'))
  expect((await Promise.all(sockets.map((socket) => read(socket, 2)))).map(String)).toEqual(['hi', 'hi'])
})
