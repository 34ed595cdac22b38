import { EventEmitter, once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import type { Duplex } from 'node:stream'
import { afterAll, beforeAll, expect, type TestContext, test, vi } from 'vitest'
import { type ClientOptions, WebSocket } from 'ws'
import type { TransportContext, TransportInfo } from '../../listeners/base-transport.ts'
import { FlushQueue } from '../../listeners/flush-queue.ts'
import type { ListenerOptions } from '../../listeners/options.ts'
import { TurnBudget } from '../../listeners/turn-budget.ts'
import type { WebSocketOptions } from '../../listeners/ws-step.ts'
import { WsTransport } from '../../listeners/ws-transport.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { dial, echo, listen, readAll, tcpOptions, tlsOptions, wsOptions } from './support.ts'

let certs: Certs
beforeAll(() => {
  certs = makeCerts()
})
afterAll(() => rmSync(certs.dir, { recursive: true }))

const ws = (changes: Partial<WebSocketOptions> = {}, more: Partial<ListenerOptions> = {}): ListenerOptions =>
  tcpOptions({ id: 'ws:test', kind: 'ws', webSocket: wsOptions(changes), ...more })

const wss = (): ListenerOptions =>
  ws({}, { kind: 'wss', tls: tlsOptions({ certfile: certs.serverCert, keyfile: certs.serverKey }) })

interface DialOptions extends ClientOptions {
  path?: string
  subprotocols?: string[]
  scheme?: 'ws' | 'wss'
}

async function dialWs(t: TestContext, port: number, options: DialOptions = {}): Promise<WebSocket> {
  const { path = '/mqtt', subprotocols = ['mqtt'], scheme = 'ws', ...rest } = options
  const socket = new WebSocket(`${scheme}://127.0.0.1:${port}${path}`, subprotocols, rest)
  t.onTestFinished(() => socket.terminate())
  await once(socket, 'open')
  return socket
}

const nextMessage = async (socket: WebSocket): Promise<Buffer> => (await once(socket, 'message'))[0] as Buffer
const closeCode = async (socket: WebSocket): Promise<number> => (await once(socket, 'close'))[0] as number

/** The bytes of so many messages as it takes. */
function gather(socket: WebSocket, bytes: number): Promise<Buffer> {
  return new Promise((resolve) => {
    let seen = Buffer.alloc(0)
    socket.on('message', (data: Buffer) => {
      seen = Buffer.concat([seen, data])
      if (seen.length >= bytes) resolve(seen)
    })
  })
}

/** The answer to a plain HTTP request, whole. */
async function ask(t: TestContext, port: number, lines: string[]): Promise<string> {
  const socket = await dial(t, port)
  const all = readAll(socket)
  socket.write(`${lines.join('\r\n')}\r\n\r\n`)
  return String(await all)
}

test('bytes go through a WebSocket both ways', async (t) => {
  const { port } = await listen(t, ws(), echo)
  const socket = await dialWs(t, port)
  expect(socket.protocol).toBe('mqtt')
  socket.send(Buffer.from('hello'))
  expect(String(await nextMessage(socket))).toBe('hello')
})

test('bytes go through a WebSocket over TLS', async (t) => {
  const { port, next } = await listen(t, wss())
  const socket = await dialWs(t, port, { scheme: 'wss', ca: readFileSync(certs.ca) })
  const probe = await next()
  socket.send(Buffer.from('hello'))
  await probe.has(5)
  expect(probe.transport.kind).toBe('wss')
  probe.transport.outbox.append(Buffer.from('hi'))
  expect(String(await nextMessage(socket))).toBe('hi')
})

test('the writes of a turn leave as one binary message', async (t) => {
  const { port, next } = await listen(t, ws())
  const socket = await dialWs(t, port)
  const { transport } = await next()
  for (let i = 0; i < 100; i++) transport.outbox.append(Buffer.from('ab'))
  const [data, isBinary] = (await once(socket, 'message')) as [Buffer, boolean]
  expect([String(data), isBinary]).toEqual(['ab'.repeat(100), true])
})

// [MQTT-4.2.0-1] [MQTT-6.0.0-2]
test('large pieces arrive whole and in order, compressed or not', async (t) => {
  const deflate = {
    level: 1,
    memLevel: 8,
    strategy: 0,
    serverContextTakeover: true,
    clientContextTakeover: true,
    serverMaxWindowBits: 15,
  }
  for (const options of [ws(), ws({ deflate }), ws({}, { frames: 'text' })]) {
    const { port, next } = await listen(t, options)
    const socket = await dialWs(t, port)
    expect(socket.extensions).toBe(options.webSocket?.deflate === undefined ? '' : 'permessage-deflate')
    const { transport } = await next()
    const whole = Buffer.concat([Buffer.from('head'), Buffer.alloc(40_000, 65), Buffer.from('tail')])
    const received = gather(socket, whole.length)
    transport.outbox.append(Buffer.from('head'))
    transport.outbox.append(Buffer.alloc(40_000, 65))
    transport.outbox.append(Buffer.from('tail'))
    expect((await received).equals(whole)).toBe(true)
  }
})

test('[MQTT-6.0.0-1] a text frame on a binary listener is closed with 1003', async (t) => {
  const { port, next } = await listen(t, ws())
  const socket = await dialWs(t, port)
  const probe = await next()
  socket.send('text')
  expect(await closeCode(socket)).toBe(1003)
  expect(await probe.closed).toMatchObject({ kind: 'error', error: { code: 'PROTOCOL_VIOLATED' } })
  expect(probe.chunks).toHaveLength(0)
})

test('a text listener takes both and answers in text where it can', async (t) => {
  const { port } = await listen(t, ws({}, { frames: 'text' }), echo)
  const socket = await dialWs(t, port)
  socket.send('héllo')
  expect(await once(socket, 'message')).toEqual([Buffer.from('héllo'), false])
  socket.send(Buffer.from([0xff, 0xfe]))
  expect(await once(socket, 'message')).toEqual([Buffer.from([0xff, 0xfe]), true])
})

test('a listener for any frames takes both and answers in binary', async (t) => {
  const { port } = await listen(t, ws({}, { frames: 'any' }), echo)
  const socket = await dialWs(t, port)
  socket.send('text')
  expect(await once(socket, 'message')).toEqual([Buffer.from('text'), true])
})

test('what was read before a pause waits for resume, in order', async (t) => {
  const { port, next } = await listen(t, ws())
  const socket = await dialWs(t, port)
  const probe = await next()
  const onData = probe.onData.bind(probe)
  let paused = false
  probe.onData = (bytes, start, end) => {
    expect(paused).toBe(false)
    onData(bytes, start, end)
    paused = true
    probe.transport.pause()
    setImmediate(() => {
      paused = false
      probe.transport.resume()
    })
  }
  for (let i = 0; i < 26; i++) socket.send(Buffer.from([97 + i]))
  await probe.has(26)
  expect(String(probe.received)).toBe('abcdefghijklmnopqrstuvwxyz')
})

test('a peer that does not read is closed after the send timeout', async (t) => {
  const { tcp } = tcpOptions()
  const limits = { ...tcp, sendTimeoutMs: 50, highWatermarkBytes: 10_000 }
  const { port, next } = await listen(t, ws({}, { tcp: limits }))
  const socket = await dialWs(t, port)
  socket.pause()
  const probe = await next()
  probe.transport.outbox.append(Buffer.alloc(64 * 1_048_576))
  expect(probe.transport.outbox.congested).toBe(true)
  expect(await probe.closed).toEqual({ kind: 'send_timeout' })
})

test('end sends the last bytes and a close frame', async (t) => {
  const { port, next } = await listen(t, ws())
  const socket = await dialWs(t, port)
  const probe = await next()
  const [message, code] = [nextMessage(socket), closeCode(socket)]
  probe.transport.outbox.append(Buffer.from('bye'))
  probe.transport.end()
  expect([String(await message), await code]).toEqual(['bye', 1000])
  expect(await probe.closed).toEqual({ kind: 'local' })
})

test('a peer that closes is noticed, and so is one that vanishes', async (t) => {
  const { listener, port, next } = await listen(t, ws())
  const polite = await dialWs(t, port)
  const first = await next()
  polite.close()
  expect(await first.closed).toEqual({ kind: 'peer_closed' })
  const rude = await dialWs(t, port)
  const second = await next()
  rude.terminate()
  expect(['peer_closed', 'error']).toContain((await second.closed).kind)
  await expect.poll(() => listener.counters.current).toBe(0)
})

test('a message above max_frame_size is closed with 1009', async (t) => {
  const { port, next } = await listen(t, ws({ maxFrameBytes: 1000 }))
  const socket = await dialWs(t, port)
  const probe = await next()
  socket.send(Buffer.alloc(1001))
  expect(await closeCode(socket)).toBe(1009)
  expect((await probe.closed).kind).toBe('error')
})

test('a silent peer is closed after idle_timeout, a pinging one is not', async (t) => {
  const { port, next } = await listen(t, ws({ idleTimeoutMs: 300 }))
  const silent = await dialWs(t, port)
  const probe = await next()
  const alive = await dialWs(t, port)
  const pinging = setInterval(() => alive.ping(), 50)
  t.onTestFinished(() => clearInterval(pinging))
  await once(silent, 'close')
  expect(await probe.closed).toMatchObject({ kind: 'error', error: { code: 'LIMIT_EXCEEDED' } })
  expect(alive.readyState).toBe(WebSocket.OPEN)
})

test('a silent peer is not closed for it while it is not read', async (t) => {
  const { port, next } = await listen(t, ws({ idleTimeoutMs: 50 }))
  await dialWs(t, port)
  const paused = await next()
  paused.transport.pause()
  const silent = await dialWs(t, port)
  await once(silent, 'close') // a whole idle timeout later
  let isClosed = false
  void paused.closed.then(() => (isClosed = true))
  await new Promise((resolve) => setImmediate(resolve))
  expect(isClosed).toBe(false)
  paused.transport.resume()
  expect(await paused.closed).toMatchObject({ error: { code: 'LIMIT_EXCEEDED' } })
})

test('what unfolds from a chunk that was read before a pause is bounded', () => {
  const close = vi.fn()
  const socket = { protocol: '', bufferedAmount: 0, pause() {}, resume() {}, terminate() {}, close }
  const peer = Object.assign(new EventEmitter(), socket)
  const onData = vi.fn()
  const [info, context] = [
    { kind: 'ws' },
    { flushQueue: new FlushQueue(), turns: new TurnBudget(), limits: tcpOptions().tcp },
  ]
  const settings = { frames: 'binary', idleTimeoutMs: Number.POSITIVE_INFINITY } as const
  const transport = new WsTransport(
    peer as unknown as WebSocket,
    peer as unknown as Duplex,
    '/',
    settings,
    info as unknown as TransportInfo,
    context as unknown as TransportContext,
  )
  transport.handler = { onData, onDrain() {}, onClose() {} }
  transport.pause()
  for (let i = 0; i < 16; i++) peer.emit('message', Buffer.alloc(1_048_576), true)
  expect(close).not.toHaveBeenCalled()
  peer.emit('message', Buffer.alloc(1), true)
  expect([close.mock.calls[0], onData.mock.calls.length]).toEqual([[1009], 0])
  peer.emit('close')
})

test.for([
  { what: 'a wrong path', options: { path: '/other' }, status: 404 },
  { what: 'no subprotocol', options: { subprotocols: [] }, status: 400 },
  { what: 'an unknown subprotocol', options: { subprotocols: ['soap'] }, status: 400 },
])('$what is refused with $status', async ({ options, status }, t) => {
  const { port } = await listen(t, ws())
  await expect(dialWs(t, port, options)).rejects.toThrow(`Unexpected server response: ${status}`)
})

// [MQTT-6.0.0-4]
test('of the subprotocols a client offers the first one of our list is chosen', async (t) => {
  const { port } = await listen(t, ws())
  expect((await dialWs(t, port, { subprotocols: ['soap', 'mqtt-v5', 'mqtt'] })).protocol).toBe('mqtt')
})

test('a path with a query is the same path, and an empty path is any', async (t) => {
  const { port } = await listen(t, ws())
  await dialWs(t, port, { path: '/mqtt?token=1' })
  const any = await listen(t, ws({ path: '', failIfNoSubprotocol: false }))
  expect((await dialWs(t, any.port, { path: '/what/ever', subprotocols: [] })).protocol).toBe('')
})

test('a plain HTTP request gets a text that says what is here', async (t) => {
  const { listener, port } = await listen(t, ws())
  const answer = await ask(t, port, ['GET /mqtt HTTP/1.1', 'Host: x'])
  expect(answer).toMatch(/^HTTP\/1\.1 426 Upgrade Required\r\n/)
  expect(answer).toContain('This is a WebSocket endpoint')
  expect(await ask(t, port, ['GET / HTTP/1.1', 'Host: x'])).toMatch(/^HTTP\/1\.1 404 /)
  await expect.poll(() => listener.counters).toMatchObject({ current: 0, failedHandshakes: 2 })
})

test('a broken handshake is refused with 400', async (t) => {
  const { port } = await listen(t, ws())
  const request = [
    'GET /mqtt HTTP/1.1',
    'Host: x',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Protocol: mqtt',
  ]
  expect(await ask(t, port, request)).toMatch(/^HTTP\/1\.1 400 .*Sec-WebSocket-Key/s)
  expect(await ask(t, port, ['nonsense'])).toMatch(/^HTTP\/1\.1 400 /)
})

test('origins are checked where asked', async (t) => {
  const origins = ['http://good.example']
  const open = await listen(t, ws({ origins }))
  await dialWs(t, open.port)
  await dialWs(t, open.port, { origin: 'http://good.example' })
  await expect(dialWs(t, open.port, { origin: 'http://bad.example' })).rejects.toThrow('403')
  const strict = await listen(t, ws({ origins, allowOriginAbsence: false }))
  await expect(dialWs(t, strict.port)).rejects.toThrow('403')
})

test("a proxy's headers are believed only where told", async (t) => {
  const headers = { 'X-Forwarded-For': '203.0.113.9, 10.0.0.1', 'X-Forwarded-Port': '4711' }
  const proxyHeaders = { address: 'x-forwarded-for', port: 'x-forwarded-port' }
  const trusting = await listen(t, ws({ proxyHeaders }))
  await dialWs(t, trusting.port, { headers })
  expect((await trusting.next()).transport.peer).toEqual({ host: '203.0.113.9', port: 4711 })
  await dialWs(t, trusting.port, { headers: { 'X-Forwarded-For': 'unknown' } })
  expect((await trusting.next()).transport.peer.host).toBe('127.0.0.1')
  const careful = await listen(t, ws())
  await dialWs(t, careful.port, { headers })
  expect((await careful.next()).transport.peer.host).toBe('127.0.0.1')
})
