import { once } from 'node:events'
import { expect, test } from 'vitest'
import type { Transport } from '../../listeners/transport.ts'
import { dial, echo, listen, read, readAll, tcpOptions } from './support.ts'

const tcp = tcpOptions().tcp

test('what a peer sends comes out, and what is written reaches it', async (t) => {
  const { port } = await listen(t, tcpOptions(), echo)
  const socket = await dial(t, port)
  socket.write('hello')
  expect(String(await read(socket, 5))).toBe('hello')
})

test('a transport tells who is there and counts bytes', async (t) => {
  const { port, next } = await listen(t, tcpOptions({ id: 'tcp:default' }))
  const socket = await dial(t, port)
  socket.write('hello')
  const probe = await next()
  await probe.has(5)
  probe.transport.outbox.append(Buffer.from('hi'))
  await read(socket, 2)

  expect(probe.transport).toMatchObject({
    kind: 'tcp',
    listenerId: 'tcp:default',
    peer: { host: '127.0.0.1', port: socket.localPort },
    local: { host: '127.0.0.1', port },
    certificate: undefined,
    bytesReceived: 5,
    bytesSent: 2,
  })
})

test('many small writes of a turn arrive as one chunk', async (t) => {
  const { port, next } = await listen(t, tcpOptions())
  const socket = await dial(t, port)
  const { transport } = await next()
  let chunks = 0
  socket.on('data', () => chunks++)
  const all = read(socket, 1000)
  for (let i = 0; i < 500; i++) transport.outbox.append(Buffer.from('ab'))

  expect(String(await all)).toBe('ab'.repeat(500))
  expect(chunks).toBe(1)
})

test('no byte is lost before there is a handler, and after a pause', async (t) => {
  const transports: Transport[] = []
  const { port } = await listen(t, tcpOptions(), (transport) => void transports.push(transport))
  const socket = await dial(t, port)
  socket.write('early')
  const other = await dial(t, port)
  other.write('x')
  await expect.poll(() => transports.length).toBe(2)

  const transport = transports[0] as Transport
  const seen: string[] = []
  const got = new Promise<void>((resolve) => {
    transport.handler = {
      onData(bytes, start, end) {
        seen.push(bytes.toString('utf8', start, end))
        transport.pause()
        if (seen.join('') === 'earlylate') resolve()
        else setImmediate(() => transport.resume())
      },
      onDrain() {},
      onClose() {},
    }
  })
  socket.write('late')
  await got
})

test('a paused transport makes the peer feel it', async (t) => {
  const { port, next } = await listen(t, tcpOptions())
  const socket = await dial(t, port)
  const probe = await next()
  probe.transport.pause()
  const block = Buffer.alloc(4 * 1_048_576)
  socket.write(block)
  socket.write(block)
  // The kernel's buffers are full, and nobody reads: the peer is left with most of it.
  const left = socket.writableLength
  await new Promise((resolve) => setImmediate(resolve))
  expect(left).toBeGreaterThan(0)
  expect(probe.chunks).toHaveLength(0)

  probe.transport.resume()
  await probe.has(2 * block.length)
  expect(probe.received.length).toBe(2 * block.length)
})

test('a slow reader congests its outbox, and reading ends that', async (t) => {
  const { port, next } = await listen(t, tcpOptions())
  const socket = await dial(t, port)
  socket.pause()
  const probe = await next()
  const { outbox } = probe.transport
  const block = Buffer.alloc(60_000, 7)
  let sent = 0
  while (!outbox.congested) {
    outbox.append(block)
    sent += block.length
    await new Promise((resolve) => setImmediate(resolve))
  }
  expect(outbox.unsentBytes).toBeGreaterThanOrEqual(1_048_576)

  const drained = probe.drained()
  const all = read(socket, sent)
  socket.resume()
  await drained
  expect(outbox.congested).toBe(false)
  expect((await all).every((byte) => byte === 7)).toBe(true)
})

test('a peer that does not read is closed after the send timeout', async (t) => {
  const limits = { ...tcp, sendTimeoutMs: 50, highWatermarkBytes: 10_000 }
  const { port, next } = await listen(t, tcpOptions({ tcp: limits }))
  const socket = await dial(t, port)
  socket.pause()
  const probe = await next()
  probe.transport.outbox.append(Buffer.alloc(64 * 1_048_576))

  expect(await probe.closed).toEqual({ kind: 'send_timeout' })
})

test('large and small pieces arrive whole and in order', async (t) => {
  const { port, next } = await listen(t, tcpOptions())
  const socket = await dial(t, port)
  const { transport } = await next()
  const pieces = [3, 20_000, 5, 70_000, 100_000, 1, 16_384, 16_383].map((size, i) =>
    Buffer.alloc(size, i + 65),
  )
  const whole = Buffer.concat(pieces)
  const all = read(socket, whole.length)
  for (const piece of pieces) transport.outbox.append(piece)

  expect((await all).equals(whole)).toBe(true)
})

test('end sends what is in the outbox, then closes', async (t) => {
  const { port, next } = await listen(t, tcpOptions())
  const socket = await dial(t, port)
  const all = readAll(socket)
  const probe = await next()
  socket.write('unread')
  probe.transport.outbox.append(Buffer.from('bye'))
  probe.transport.end()
  probe.transport.outbox.append(Buffer.from('too late'))

  expect(String(await all)).toBe('bye')
  expect(await probe.closed).toEqual({ kind: 'local' })
})

test('a peer that has finished sending still gets the answers', async (t) => {
  const { port, next } = await listen(t, tcpOptions())
  const socket = await dial(t, port)
  socket.allowHalfOpen = true
  const all = readAll(socket)
  const probe = await next()
  const { transport } = probe
  const onData = probe.onData.bind(probe)
  probe.onData = (bytes, start, end) => {
    onData(bytes, start, end)
    transport.outbox.append(Buffer.from('answer'))
  }
  socket.end('question')

  expect(String(await all)).toBe('answer')
  expect(await probe.closed).toEqual({ kind: 'peer_closed' })
})

test('destroy loses what is in the outbox and tells the handler', async (t) => {
  const { port, next } = await listen(t, tcpOptions())
  const socket = await dial(t, port)
  const all = readAll(socket)
  const probe = await next()
  probe.transport.outbox.append(Buffer.from('lost'))
  probe.transport.destroy()
  probe.transport.destroy()

  expect(await probe.closed).toEqual({ kind: 'local' })
  expect((await all).length).toBe(0)
})

test('with nolinger a destroyed peer is reset', async (t) => {
  const { port, next } = await listen(t, tcpOptions({ tcp: { ...tcp, nolinger: true } }))
  const socket = await dial(t, port)
  const failed = once(socket, 'error')
  const probe = await next()
  probe.transport.destroy()

  expect(await failed).toMatchObject([{ code: 'ECONNRESET' }])
  expect(await probe.closed).toEqual({ kind: 'local' })
})

test('a reset by the peer is an error with its cause', async (t) => {
  const { port, next } = await listen(t, tcpOptions())
  const socket = await dial(t, port)
  const probe = await next()
  socket.resetAndDestroy()

  expect(await probe.closed).toMatchObject({ kind: 'error', error: { code: 'ECONNRESET' } })
})

test('a handler that throws loses its own peer only', async (t) => {
  const { port } = await listen(t, tcpOptions(), (transport) => {
    transport.handler = {
      onData(bytes, start, end) {
        const chunk = bytes.subarray(start, end)
        if (String(chunk) === 'boom') throw new Error('a bug')
        transport.outbox.append(chunk)
      },
      onDrain() {},
      onClose() {},
    }
  })
  const [bad, good] = [await dial(t, port), await dial(t, port)]
  const end = readAll(bad)
  bad.write('boom')
  await end
  good.write('fine')
  expect(String(await read(good, 4))).toBe('fine')
})
