import { expect, test, vi } from 'vitest'
import type { Client } from '../../broker/broker.ts'
import type { FrameDecoder } from '../../gateways/frame-decoder.ts'
import { type Connection, type StreamChannel, StreamConnection } from '../../gateways/stream-connection.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { BrokerError } from '../../model/errors.ts'
import { silentLogger } from '../../model/log.ts'
import { FakeTransport } from './support/fake-transport.ts'

/** Frames are a length byte and so many bytes. 0xff is a fault. */
class LengthDecoder implements FrameDecoder<string> {
  position = 0
  wantedBytes = 0

  decode(bytes: Buffer, from: number): string | undefined {
    this.position = from
    const length = bytes[from] as number
    this.wantedBytes = length + 1
    if (length === 255) throw new BrokerError('FRAME_MALFORMED', 'bad length')
    if (bytes.length < from + 1 + length) return undefined
    this.position = from + 1 + length
    return bytes.toString('latin1', from + 1, this.position)
  }
}

class Listening implements StreamChannel<string> {
  readonly frames: string[] = []
  readonly errors: unknown[] = []
  closings = 0
  answer: (frame: string) => unknown = () => undefined

  handle(frame: string): unknown {
    this.frames.push(frame)
    return this.answer(frame)
  }

  failed(error: unknown): void {
    this.errors.push(error)
  }

  closed(): void {
    this.closings++
  }
}

function connect(options: { idleTimeoutMs?: number; maxUnreadBytes?: number } = {}) {
  const transport = new FakeTransport()
  const channel = new Listening()
  const error = vi.fn()
  const debug = vi.fn()
  let connection: Connection | undefined
  const log = { ...silentLogger, error, debug }
  new StreamConnection(transport, new LengthDecoder(), { idleTimeoutMs: 30_000, log, ...options }, (made) => {
    connection = made
    return channel
  })
  return { transport, channel, connection: connection as Connection, error, debug }
}

function fakeClient(): Client & { closings: DisconnectReason[]; drains: number } {
  const closings: DisconnectReason[] = []
  const client = {
    closings,
    drains: 0,
    close: (reason: DisconnectReason) => closings.push(reason),
    drained() {},
  }
  return client as unknown as Client & { closings: DisconnectReason[]; drains: number }
}

/** The very bytes, even while reading is stopped: TLS had read them already. */
function press(transport: FakeTransport, chunk: Buffer): void {
  transport.handler.onData(chunk, 0, chunk.length)
}

function frame(text: string): Buffer {
  return Buffer.concat([Buffer.from([text.length]), Buffer.from(text, 'latin1')])
}

test('the same frames come out however the bytes are split', () => {
  const texts = ['', 'a', 'bcd', 'x'.repeat(200), 'end']
  const stream = Buffer.concat(texts.map(frame))
  for (let size = 1; size <= stream.length; size++) {
    const { transport, channel } = connect()
    for (let at = 0; at < stream.length; at += size) transport.receive(stream.subarray(at, at + size))
    expect(channel.frames, `${size} bytes at a time`).toEqual(texts)
  }
})

test('the rest of a chunk is copied, so the chunk may be used again', () => {
  const { transport, channel } = connect()
  const chunk = Buffer.concat([frame('one'), frame('two').subarray(0, 2)])
  press(transport, chunk)
  chunk.fill(0)
  transport.receive('wo')
  expect(channel.frames).toEqual(['one', 'two'])
})

test('only what completes a frame is copied to its beginning', () => {
  const transport = new FakeTransport()
  const decoder = new LengthDecoder()
  const decode = vi.spyOn(decoder, 'decode')
  const channel = new Listening()
  new StreamConnection(transport, decoder, { idleTimeoutMs: 30_000, log: silentLogger }, () => channel)
  const chunk = Buffer.concat([frame('two').subarray(1), frame('three')])
  press(transport, Buffer.concat([frame('one'), frame('two').subarray(0, 1)]))
  decode.mockClear()
  press(transport, chunk)
  expect(channel.frames).toEqual(['one', 'two', 'three'])
  expect(decode.mock.calls.map(([bytes]) => [bytes.length, bytes.buffer === chunk.buffer])).toEqual([
    [4, false],
    [6, true],
  ])
})

test('what follows a completed frame waits behind it', async () => {
  const { transport, channel } = connect()
  let open = () => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  channel.answer = (text) => (text === 'slow' ? gate : undefined)
  transport.receive(frame('slow').subarray(0, 3))
  press(transport, Buffer.concat([frame('slow').subarray(3), frame('later')]))
  expect(channel.frames).toEqual(['slow'])
  open()
  await gate
  expect(channel.frames).toEqual(['slow', 'later'])
  expect(transport.isPaused).toBe(false)
})

test('a frame waits until the promise for the one before has settled, and reading stops', async () => {
  const { transport, channel, connection } = connect()
  let open = () => {}
  const gate = new Promise<void>((resolve) => {
    open = resolve
  })
  channel.answer = (text) => (text === 'slow' ? gate : undefined)
  transport.receive(
    Buffer.concat([frame('first'), frame('slow'), frame('later'), frame('cut').subarray(0, 2)]),
  )
  expect(channel.frames).toEqual(['first', 'slow'])
  expect(transport.isPaused).toBe(true)
  expect(connection.isPaused).toBe(true)
  press(transport, Buffer.from('ut')) // what TLS had read already
  expect(channel.frames).toEqual(['first', 'slow'])
  open()
  await gate
  expect(channel.frames).toEqual(['first', 'slow', 'later', 'cut'])
  expect(transport.isPaused).toBe(false)
})

test('very much at once is not handled in one go, and others have their turn', async () => {
  const { transport, channel } = connect()
  const count = 3000
  transport.receive(Buffer.concat(Array.from({ length: count }, () => frame('x'.repeat(99)))))
  expect(channel.frames.length).toBeLessThan(1400)
  await expect.poll(() => channel.frames.length).toBe(count)
  expect(transport.isPaused).toBe(false)
})

test('what arrives although reading was stopped is bounded', () => {
  const { transport, channel } = connect({ maxUnreadBytes: 10 })
  channel.answer = () => new Promise(() => {})
  transport.receive(frame('slow'))
  press(transport, Buffer.alloc(10))
  expect(transport.state).toBe('open')
  press(transport, Buffer.alloc(1))
  expect(transport.state).toBe('ended')
  expect(channel.errors[0]).toMatchObject({ code: 'LIMIT_EXCEEDED' })
})

test('while the peer does not read, its frames wait', () => {
  const { transport, channel } = connect()
  transport.outbox.congested = true
  transport.receive(Buffer.concat([frame('one'), frame('two')]))
  expect(channel.frames).toEqual(['one'])
  expect(transport.isPaused).toBe(true)
  transport.drain()
  expect(channel.frames).toEqual(['one', 'two'])
  expect(transport.isPaused).toBe(false)
})

test("a peer's fault ends it with a line at debug level, and the channel may say so first", () => {
  const { transport, channel, error, debug } = connect()
  const client = fakeClient()
  const { connection } = connect()
  connection.login(client)
  transport.receive(Buffer.concat([frame('ok'), Buffer.from([255]), frame('never')]))
  expect(channel.frames).toEqual(['ok'])
  expect(channel.errors[0]).toMatchObject({ code: 'FRAME_MALFORMED' })
  expect(channel.closings).toBe(1)
  expect(transport.state).toBe('ended')
  expect(debug).toHaveBeenCalledOnce()
  expect(error).not.toHaveBeenCalled()
})

test.each([
  [
    'a throw',
    () => {
      throw new Error('a bug')
    },
  ],
  ['a rejection', () => Promise.reject(new Error('a bug'))],
])('%s while serving a peer closes that peer, with the error in the log', async (_name, answer) => {
  const { transport, channel, connection, error } = connect()
  const client = fakeClient()
  connection.login(client)
  channel.answer = answer
  transport.receive(Buffer.concat([frame('x'), frame('y')]))
  await vi.waitFor(() => expect(transport.state).toBe('ended'))
  expect(channel.frames).toEqual(['x'])
  expect(error).toHaveBeenCalledOnce()
  expect(error.mock.calls[0]?.[0]).toMatchObject({ error: expect.any(Error) })
  expect(client.closings).toEqual(['internal_error'])
})

test('the client is closed once, with the first reason', () => {
  const { transport, channel, connection } = connect()
  const client = fakeClient()
  connection.login(client)
  connection.end('kicked')
  connection.end('normal')
  transport.close()
  expect(client.closings).toEqual(['kicked'])
  expect(channel.closings).toBe(1)
})

test.each([
  [{ kind: 'peer_closed' }, 'tcp_closed'],
  [{ kind: 'send_timeout' }, 'send_timeout'],
  [{ kind: 'error', error: new Error('reset') }, 'socket_error'],
  [{ kind: 'local' }, 'normal'],
] as const)('%j is told as %s', (reason, told) => {
  const { transport, connection } = connect()
  const client = fakeClient()
  connection.login(client)
  transport.close(reason)
  expect(client.closings).toEqual([told])
})

test('a client that logs in after the end is closed at once', () => {
  const { transport, connection } = connect()
  const client = fakeClient()
  transport.close()
  expect(connection.login(client)).toBe(false)
  expect(client.closings).toEqual(['tcp_closed'])
  expect(connection.signal.aborted).toBe(true)
})

test('gathering a large frame costs in proportion to its bytes', () => {
  const { transport, channel } = connect()
  const before = process.cpuUsage()
  const many = Buffer.concat(Array.from({ length: 4000 }, () => frame('x'.repeat(254))))
  for (let at = 0; at < many.length; at += 7) press(transport, many.subarray(at, at + 7))
  expect(channel.frames).toHaveLength(4000)
  expect(process.cpuUsage(before).user).toBeLessThan(5_000_000)
})
