import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { afterAll, beforeAll, expect, type TestContext, test } from 'vitest'
import { WebSocket } from 'ws'
import type { ListenerOptions } from '../../listeners/options.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { dial, listen, type Running, readAll, tcpOptions, tlsOptions, wsOptions } from './support.ts'

let certs: Certs
beforeAll(() => {
  certs = makeCerts()
})
afterAll(() => rmSync(certs.dir, { recursive: true }))

const V1 = Buffer.from('PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n')
/** 192.0.2.1:56324, with a verified client certificate of CN meter-9 */
const V2 = Buffer.from(
  '0d0a0d0a000d0a515549540a2111001ec0000201c6336401dc0401bb20000f07000000002200076d657465722d39',
  'hex',
)
const CLIENT = { host: '192.0.2.1', port: 56_324 }

const behindProxy = (changes: Partial<ListenerOptions> = {}): ListenerOptions =>
  tcpOptions({ proxyProtocol: { timeoutMs: 3000 }, ...changes })
const secure = () => ({ tls: tlsOptions({ certfile: certs.serverCert, keyfile: certs.serverKey }) })

test.for([
  { version: 1, header: V1, commonName: undefined },
  { version: 2, header: V2, commonName: 'meter-9' },
])(
  'tcp: the client of a version $version header is the peer, and its bytes follow',
  async ({ header, commonName }, t) => {
    await using(t, behindProxy(), async (dialled, next) => {
      dialled.write(Buffer.concat([header, Buffer.from('hello')]))
      const probe = await next()
      await probe.has(5)
      expect(probe.transport.peer).toEqual(CLIENT)
      expect(probe.transport.certificate?.commonName).toBe(commonName)
      expect(String(probe.received)).toBe('hello')
      dialled.write(' again')
      await probe.has(11)
    })
  },
)

test('a header may come byte by byte', async (t) => {
  const { port, next } = await listen(t, behindProxy())
  const socket = await dial(t, port)
  socket.setNoDelay(true)
  for (const byte of Buffer.concat([V1, Buffer.from('hello')])) {
    socket.write(Buffer.from([byte]))
    await new Promise((resolve) => setImmediate(resolve))
  }
  const probe = await next()
  await probe.has(5)
  expect([probe.transport.peer, String(probe.received)]).toEqual([CLIENT, 'hello'])
})

test.for([1, 2])('tls: a version %i header comes before the handshake', async (version, t) => {
  await using(t, behindProxy({ kind: 'tls', ...secure() }), async (dialled, next) => {
    dialled.write(version === 1 ? V1 : V2)
    const socket = connectTls({ socket: dialled, ca: readFileSync(certs.ca), host: '127.0.0.1' })
    await once(socket, 'secureConnect')
    socket.write('hello')
    const probe = await next()
    await probe.has(5)
    expect([probe.transport.peer, probe.transport.kind]).toEqual([CLIENT, 'tls'])
    expect(probe.transport.certificate?.commonName).toBe(version === 2 ? 'meter-9' : undefined)
  })
})

test('tls: header and ClientHello may come in one chunk', async (t) => {
  const { port, next } = await listen(t, behindProxy({ kind: 'tls', ...secure() }))
  const dialled = await dial(t, port)
  dialled.cork()
  dialled.write(V1)
  const socket = connectTls({ socket: dialled, ca: readFileSync(certs.ca), host: '127.0.0.1' })
  setImmediate(() => dialled.uncork())
  await once(socket, 'secureConnect')
  expect((await next()).transport.peer).toEqual(CLIENT)
})

test.for(['ws', 'wss'] as const)('%s: a header comes before the handshake', async (kind, t) => {
  const options = behindProxy({ kind, webSocket: wsOptions(), ...(kind === 'wss' ? secure() : {}) })
  await using(t, options, async (dialled, next) => {
    dialled.write(V2)
    const carrier =
      kind === 'ws' ? dialled : connectTls({ socket: dialled, ca: readFileSync(certs.ca), host: '127.0.0.1' })
    if (kind === 'wss') await once(carrier, 'secureConnect')
    const socket = new WebSocket('ws://127.0.0.1/mqtt', ['mqtt'], { createConnection: () => carrier })
    await once(socket, 'open')
    socket.send(Buffer.from('hello'))
    const probe = await next()
    await probe.has(5)
    expect([probe.transport.peer, probe.transport.kind]).toEqual([CLIENT, kind])
    socket.terminate()
  })
})

test('ws: header and HTTP request may come in one chunk', async (t) => {
  const { port, next } = await listen(t, behindProxy({ kind: 'ws', webSocket: wsOptions() }))
  const socket = await dial(t, port)
  const request = [
    'GET /mqtt HTTP/1.1',
    'Host: x',
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==',
    'Sec-WebSocket-Protocol: mqtt',
  ].join('\r\n')
  // An unmasked frame would be an error: this is "hi" with a mask of zeros.
  const frame = Buffer.from('8282000000006869', 'hex')
  socket.write(Buffer.concat([V1, Buffer.from(`${request}\r\n\r\n`), frame]))
  const probe = await next()
  await probe.has(2)
  expect([probe.transport.peer, String(probe.received)]).toEqual([CLIENT, 'hi'])
})

test('a connection without header is closed', async (t) => {
  const { listener, port } = await listen(t, behindProxy())
  const socket = await dial(t, port)
  socket.write(Buffer.from('100c00044d515454', 'hex'))
  expect((await readAll(socket)).length).toBe(0)
  await expect.poll(() => listener.counters).toMatchObject({ current: 0, failedHandshakes: 1 })
})

test('a late header closes the connection', async (t) => {
  const { listener, port } = await listen(t, behindProxy({ proxyProtocol: { timeoutMs: 50 } }))
  const socket = await dial(t, port)
  socket.write(V1.subarray(0, 20))
  await readAll(socket)
  await expect.poll(() => listener.counters.failedHandshakes).toBe(1)
})

test('a balancer that says nothing and leaves is no problem', async (t) => {
  const { listener, port } = await listen(t, behindProxy())
  const socket = await dial(t, port)
  socket.end()
  await readAll(socket)
  await expect.poll(() => listener.counters.current).toBe(0)
})

test("a balancer's own connection keeps its own address", async (t) => {
  const { port, next } = await listen(t, behindProxy())
  const socket = await dial(t, port)
  socket.write('PROXY UNKNOWN\r\n')
  expect((await next()).transport.peer).toEqual({ host: '127.0.0.1', port: socket.localPort })
})

async function using(
  t: TestContext,
  options: ListenerOptions,
  use: (dialled: Socket, next: Running['next']) => Promise<void>,
): Promise<void> {
  const { port, next } = await listen(t, options)
  await use(await dial(t, port), next)
}
