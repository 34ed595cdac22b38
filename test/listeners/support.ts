import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import Ajv from 'ajv'
import type { TestContext } from 'vitest'
import { createListener, type Listener, type ListenerContext } from '../../listeners/listener.ts'
import type { ListenerOptions } from '../../listeners/options.ts'
import type { TlsOptions } from '../../listeners/tls-options.ts'
import type { CloseReason, Transport, TransportHandler } from '../../listeners/transport.ts'
import type { WebSocketOptions } from '../../listeners/ws-step.ts'
import { silentLogger } from '../../model/log.ts'

export const LOOPBACK = '127.0.0.1'

/** A tcp listener on a free port, with the defaults of MQTT. */
export function tcpOptions(changes: Partial<ListenerOptions> = {}): ListenerOptions {
  return {
    id: 'tcp:test',
    kind: 'tcp',
    bind: { host: LOOPBACK, port: 0 },
    maxConnections: Number.POSITIVE_INFINITY,
    maxConnRate: { count: Number.POSITIVE_INFINITY, perMs: 1000 },
    maxConnBurst: undefined,
    rates: { messages: undefined, bytes: undefined, subscribes: undefined },
    accessRules: [],
    proxyProtocol: undefined,
    tcp: {
      backlog: 1024,
      sendTimeoutMs: 15_000,
      highWatermarkBytes: 1_048_576,
      nodelay: true,
      nolinger: false,
      keepaliveMs: undefined,
    },
    tls: undefined,
    webSocket: undefined,
    frames: 'binary',
    ...changes,
  }
}

export function tlsOptions(changes: Partial<TlsOptions> = {}): TlsOptions {
  return {
    cacertfile: undefined,
    certfile: undefined,
    keyfile: undefined,
    dhfile: undefined,
    password: undefined,
    verifyPeer: false,
    failIfNoPeerCert: false,
    depth: 10,
    versions: ['tlsv1.3', 'tlsv1.2'],
    ciphers: [],
    honorCipherOrder: true,
    handshakeTimeoutMs: 15_000,
    reuseSessions: false,
    sessionTickets: 'disabled',
    partialChain: false,
    clientRenegotiation: true,
    ...changes,
  }
}

export function wsOptions(changes: Partial<WebSocketOptions> = {}): WebSocketOptions {
  return {
    path: '/mqtt',
    subprotocols: ['mqtt', 'mqtt-v5'],
    failIfNoSubprotocol: true,
    idleTimeoutMs: 7_200_000,
    maxFrameBytes: 1_048_576,
    deflate: undefined,
    origins: undefined,
    allowOriginAbsence: true,
    proxyHeaders: undefined,
    ...changes,
  }
}

/** A transport as a test sees it: what came, and a promise for the end. */
export class Probe implements TransportHandler {
  readonly transport: Transport
  readonly chunks: Buffer[] = []
  readonly closed: Promise<CloseReason>
  drains = 0
  #close: (reason: CloseReason) => void = () => {}
  #waiters: { bytes: number; resolve: () => void }[] = []
  #drainWaiters: (() => void)[] = []

  constructor(transport: Transport) {
    this.transport = transport
    this.closed = new Promise((resolve) => {
      this.#close = resolve
    })
    transport.handler = this
  }

  get received(): Buffer {
    return Buffer.concat(this.chunks)
  }

  onData(bytes: Buffer, start: number, end: number): void {
    this.chunks.push(Buffer.from(bytes.subarray(start, end)))
    this.#waiters = this.#waiters.filter(({ bytes, resolve }) => this.received.length < bytes || resolve())
  }

  onDrain(): void {
    this.drains++
    for (const resolve of this.#drainWaiters.splice(0)) resolve()
  }

  onClose(reason: CloseReason): void {
    this.#close(reason)
  }

  /** Resolves once so many bytes have come altogether. */
  has(bytes: number): Promise<void> {
    if (this.received.length >= bytes) return Promise.resolve()
    return new Promise((resolve) => this.#waiters.push({ bytes, resolve }))
  }

  drained(): Promise<void> {
    return new Promise((resolve) => this.#drainWaiters.push(resolve))
  }
}

export interface Running {
  listener: Listener
  port: number
  /** The next transport, now or when it comes. */
  next: () => Promise<Probe>
}

/** Starts a listener that is gone with the test. */
export async function listen(
  t: TestContext,
  options: ListenerOptions,
  serve?: (transport: Transport) => void,
  context?: ListenerContext,
): Promise<Running> {
  const arrived: Probe[] = []
  const waiting: ((probe: Probe) => void)[] = []
  const take = (transport: Transport): void => {
    const probe = new Probe(transport)
    const waiter = waiting.shift()
    if (waiter === undefined) arrived.push(probe)
    else waiter(probe)
  }
  const listener = createListener(options, serve ?? take, silentLogger, context)
  await listener.start()
  t.onTestFinished(async () => {
    await listener.stop()
    listener.closeAll()
  })
  const next = (): Promise<Probe> => {
    const probe = arrived.shift()
    return probe === undefined ? new Promise((resolve) => waiting.push(resolve)) : Promise.resolve(probe)
  }
  return { listener, port: listener.address()?.port ?? 0, next }
}

/** Sends back whatever comes. */
export function echo(transport: Transport): void {
  transport.handler = {
    onData: (bytes, start, end) => transport.outbox.append(bytes.subarray(start, end)),
    onDrain() {},
    onClose() {},
  }
}

export async function dial(t: TestContext, port: number): Promise<Socket> {
  const socket = connect({ port, host: LOOPBACK })
  t.onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  await once(socket, 'connect')
  return socket
}

/** What a socket receives until it has so many bytes. */
export function read(socket: NodeJS.ReadableStream, bytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let seen = Buffer.alloc(0)
    const onClose = (): void =>
      reject(new Error(`closed after ${seen.length} of ${bytes} bytes: ${seen.toString()}`))
    socket.on('data', function onData(chunk: Buffer) {
      seen = Buffer.concat([seen, chunk])
      if (seen.length < bytes) return
      socket.off('data', onData)
      socket.off('close', onClose)
      resolve(seen)
    })
    socket.on('close', onClose)
  })
}

/** Everything until the socket is closed, however that ends. */
export function readAll(socket: Socket): Promise<Buffer> {
  return new Promise((resolve) => {
    const chunks: Buffer[] = []
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => {})
    socket.on('close', () => resolve(Buffer.concat(chunks)))
  })
}

/** Fills in defaults and checks, as the config loader does, but reads no units. */
export function fill(schema: object, value: unknown): Record<string, unknown> {
  const ajv = new Ajv.default({ useDefaults: true, strict: false, allErrors: true })
  const copy = structuredClone(value) as Record<string, unknown>
  const validate = ajv.compile(schema)
  if (!validate(copy)) throw new Error(ajv.errorsText(validate.errors))
  return copy
}
