import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import type { TestContext } from 'vitest'
import type { DatagramHandler, DatagramTransport } from '../../listeners/datagram.ts'
import type { DatagramListener } from '../../listeners/datagram-listener.ts'
import { createDatagramListener, type DatagramContext } from '../../listeners/datagram-listeners.ts'
import type { DatagramListenerOptions, DtlsOptions } from '../../listeners/datagram-options.ts'
import {
  CLOSED,
  type ContextOptions,
  FAILED,
  HANDSHAKING,
  loadNative,
  type NativeContext,
  type NativeSession,
} from '../../listeners/dtls/native.ts'
import type { CloseReason } from '../../listeners/transport.ts'
import type { Logger } from '../../model/log.ts'
import { silentLogger } from '../../model/log.ts'
import { LOOPBACK } from './support.ts'

/** A udp listener on a free port, with the defaults of gateways but no rate. */
export function udpOptions(changes: Partial<DatagramListenerOptions> = {}): DatagramListenerOptions {
  return {
    id: 'echo:udp:test',
    kind: 'udp',
    bind: { host: LOOPBACK, port: 0 },
    maxConnections: 1024,
    maxConnRate: { count: Number.POSITIVE_INFINITY, perMs: 1000 },
    maxConnBurst: undefined,
    accessRules: [],
    healthCheck: undefined,
    udp: { recbufBytes: undefined, sndbufBytes: undefined, bufferBytes: undefined, reuseAddress: false },
    dtls: undefined,
    ...changes,
  }
}

export function dtlsOptions(
  dtls: Partial<DtlsOptions> = {},
  changes: Partial<DatagramListenerOptions> = {},
): DatagramListenerOptions {
  const defaults: DtlsOptions = {
    cacertfile: undefined,
    certfile: undefined,
    keyfile: undefined,
    dhfile: undefined,
    password: undefined,
    verifyPeer: false,
    failIfNoPeerCert: false,
    depth: 10,
    partialChain: false,
    versions: ['dtlsv1.2'],
    ciphers: [],
    honorCipherOrder: true,
    handshakeTimeoutMs: 15_000,
    reuseSessions: true,
    sessionTickets: 'disabled',
    mtuBytes: 1200,
  }
  return udpOptions({ id: 'echo:dtls:test', kind: 'dtls', dtls: { ...defaults, ...dtls }, ...changes })
}

/** Keeps whoever comes, sends back what comes, and remembers both. */
export class Echo {
  readonly peers: DatagramTransport[] = []
  readonly closed: CloseReason[] = []
  readonly #waiting: { count: number; list: readonly unknown[]; resolve: () => void }[] = []

  readonly serve = (transport: DatagramTransport): void => {
    this.peers.push(transport)
    const handler: DatagramHandler = {
      onDatagram(datagram) {
        transport.keep()
        transport.send(datagram)
      },
      onClose: (reason) => {
        this.closed.push(reason)
        this.#tell()
      },
    }
    transport.handler = handler
    this.#tell()
  }

  /** Resolves once so many peers have come, or gone. */
  has(list: 'peers' | 'closed', count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push({ count, list: this[list], resolve })
      this.#tell()
    })
  }

  #tell(): void {
    for (const one of this.#waiting.slice()) {
      if (one.list.length < one.count) continue
      this.#waiting.splice(this.#waiting.indexOf(one), 1)
      one.resolve()
    }
  }
}

export interface RunningDatagrams {
  listener: DatagramListener
  port: number
}

/** Starts a listener that is gone with the test. */
export async function listenDatagrams(
  t: TestContext,
  options: DatagramListenerOptions,
  serve: (transport: DatagramTransport) => void,
  context?: DatagramContext,
  log: Logger = silentLogger,
): Promise<RunningDatagrams> {
  const listener = createDatagramListener(options, serve, log, context)
  await listener.start()
  t.onTestFinished(async () => {
    await listener.stop()
    listener.closeAll()
  })
  return { listener, port: listener.address()?.port ?? 0 }
}

/** A socket that sends to one port and hands out what comes back, in order. */
export class UdpProbe {
  readonly socket: Socket
  readonly #host: string
  readonly #port: number
  readonly #arrived: Buffer[] = []
  readonly #waiting: ((datagram: Buffer) => void)[] = []

  private constructor(socket: Socket, port: number, host: string) {
    this.socket = socket
    this.#host = host
    this.#port = port
    socket.on('message', (datagram) => {
      const waiter = this.#waiting.shift()
      if (waiter === undefined) this.#arrived.push(datagram)
      else waiter(datagram)
    })
  }

  static async open(t: TestContext, port: number, host = LOOPBACK): Promise<UdpProbe> {
    const socket = createSocket(host.includes(':') ? 'udp6' : 'udp4')
    socket.bind(0, host)
    await once(socket, 'listening')
    t.onTestFinished(() => void socket.close())
    return new UdpProbe(socket, port, host)
  }

  get localPort(): number {
    return this.socket.address().port
  }

  send(datagram: Uint8Array | string): Promise<void> {
    return new Promise((resolve) => this.socket.send(datagram, this.#port, this.#host, () => resolve()))
  }

  next(): Promise<Buffer> {
    const datagram = this.#arrived.shift()
    return datagram === undefined
      ? new Promise((resolve) => this.#waiting.push(resolve))
      : Promise.resolve(datagram)
  }

  async ask(datagram: Uint8Array | string): Promise<string> {
    await this.send(datagram)
    return (await this.next()).toString()
  }
}

const native = loadNative()

/** A DTLS client on the addon. */
export class DtlsProbe {
  readonly opened: Promise<void>
  /** Why it ended: an error of OpenSSL's, or `closed` by the server. */
  readonly ended: Promise<string>
  readonly socket: Socket
  readonly #port: number
  readonly #session: NativeSession
  readonly #messages: Buffer[] = []
  readonly #waiting: ((message: Buffer) => void)[] = []
  #open: () => void = () => {}
  #end: (why: string) => void = () => {}
  #state: number = HANDSHAKING
  #timer: NodeJS.Timeout | undefined
  #isGone = false

  constructor(socket: Socket, port: number, context: NativeContext) {
    this.socket = socket
    this.#port = port
    this.#session = native.createSession(context, '')
    this.opened = new Promise((resolve) => {
      this.#open = resolve
    })
    this.ended = new Promise((resolve) => {
      this.#end = resolve
    })
    socket.on('message', (datagram) => this.#feed(datagram))
    this.#feed(null)
  }

  static context(options: ContextOptions): NativeContext {
    return native.createContext({ ciphers: 'ALL:@SECLEVEL=0', ...options, server: false })
  }

  static psk(identity: string, key: string, ciphers = 'PSK-AES128-GCM-SHA256'): NativeContext {
    return DtlsProbe.context({ identity, pskKey: Buffer.from(key), ciphers })
  }

  /** A client on a socket of its own, gone with the test. */
  static async open(t: TestContext, port: number, context: NativeContext): Promise<DtlsProbe> {
    const { socket } = await UdpProbe.open(t, port)
    const probe = new DtlsProbe(socket, port, context)
    t.onTestFinished(() => probe.vanish())
    return probe
  }

  get info() {
    return native.info(this.#session)
  }

  send(message: Uint8Array | string): void {
    const out: Buffer[] = []
    native.write(this.#session, Buffer.from(message), out)
    this.#send(out)
  }

  next(): Promise<Buffer> {
    const message = this.#messages.shift()
    return message === undefined
      ? new Promise((resolve) => this.#waiting.push(resolve))
      : Promise.resolve(message)
  }

  async ask(message: Uint8Array | string): Promise<string> {
    this.send(message)
    return (await this.next()).toString()
  }

  /** Says goodbye. */
  close(): void {
    const out: Buffer[] = []
    native.shutdown(this.#session, out)
    this.#send(out)
    this.vanish()
  }

  /** Is gone without a word. */
  vanish(): void {
    if (this.#isGone) return
    this.#isGone = true
    clearTimeout(this.#timer)
    this.socket.removeAllListeners('message')
    native.destroy(this.#session)
  }

  #feed(datagram: Buffer | null): void {
    const out: Buffer[] = []
    const data: Buffer[] = []
    const was = this.#state
    this.#state = native.feed(this.#session, datagram, out, data)
    this.#send(out)
    clearTimeout(this.#timer)
    if (this.#state === FAILED) return this.#stop(native.error(this.#session))
    if (this.#state === HANDSHAKING) return this.#arm()
    if (was === HANDSHAKING) this.#open()
    for (const message of data) {
      const waiter = this.#waiting.shift()
      if (waiter === undefined) this.#messages.push(message)
      else waiter(message)
    }
    if (this.#state === CLOSED) this.#stop('closed')
  }

  #stop(why: string): void {
    this.vanish()
    this.#end(why)
  }

  #arm(): void {
    const waitMs = native.timeout(this.#session)
    if (waitMs < 0) return
    this.#timer = setTimeout(() => {
      const out: Buffer[] = []
      native.retransmit(this.#session, out)
      this.#send(out)
      this.#arm()
    }, waitMs + 1)
  }

  #send(out: readonly Buffer[]): void {
    for (const datagram of out) this.socket.send(datagram, this.#port, LOOPBACK)
  }
}
