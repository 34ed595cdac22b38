/**
 * A listener accepts peers at one address and makes transports of them:
 *
 *   accept -> access rules, limits -> PROXY header -> TLS handshake -> WebSocket handshake -> transport
 *
 * Each step has a deadline, and a peer that fails one is closed without a word to the others.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import type { Bind } from '../model/schema.ts'
import { plainHost } from './access-rules.ts'
import type { BaseTransport, Traffic } from './base-transport.ts'
import { type Admission, ConnectionGate, type ListenerCounters } from './connection-limits.ts'
import { FlushQueue } from './flush-queue.ts'
import type { ListenerOptions } from './options.ts'
import { Pipeline } from './pipeline.ts'
import { SharedReads } from './shared-reads.ts'
import { createTlsMemory, type PskLookup, type TlsMemory } from './tls-step.ts'
import type { Address, Transport } from './transport.ts'
import { TurnBudget } from './turn-budget.ts'

export interface Listener {
  readonly id: string
  readonly counters: Readonly<ListenerCounters>
  readonly running: boolean
  /** Resolves once bound. @throws BrokerError LISTEN_FAILED */
  start(): Promise<void>
  /** Where it listens: with port 0 in `bind` the port is known only here. Undefined while stopped. */
  address(): Address | undefined
  /**
   * Takes new options without dropping anybody; certificates are read again. What it cannot take
   * changes nothing.
   * @throws BrokerError CONFIG_INVALID, also for another `bind` or kind: those need another listener
   */
  update(options: ListenerOptions): void
  /** Stops accepting and cuts peers in the middle of a handshake. Transports stay. Safe to call twice. */
  stop(): Promise<void>
  /** Resolves when no peer is left, or when `signal` aborts. */
  drained(signal: AbortSignal): Promise<void>
  /** Destroys every transport that came through this listener. */
  closeAll(): void
}

/** What listeners of one process may share. */
export interface ListenerContext {
  flushQueue?: FlushQueue
  turns?: TurnBudget
  reads?: SharedReads
  /** Where the bytes of all their transports are counted. */
  traffic?: Traffic
  pskLookup?: PskLookup
}

/**
 * @param onTransport - sets `transport.handler` before it returns
 * @throws BrokerError CONFIG_INVALID: bad access rule, unreadable certificate
 */
export function createListener(
  options: ListenerOptions,
  onTransport: (transport: Transport) => void,
  log: Logger,
  context: ListenerContext = {},
): Listener {
  return new StreamListener(options, onTransport, log, context)
}

/** A full listener is news every so often, not for every peer that knocks. */
const WARNING_PAUSE_MS = 10_000
const REFUSALS = {
  rule: 'access_rules',
  limit: 'max_connections is reached',
  rate: 'max_conn_rate is reached',
} as const satisfies Record<Exclude<Admission, 'admitted'>, string>

class StreamListener implements Listener {
  readonly id: string
  readonly #onTransport: (transport: Transport) => void
  readonly #log: Logger
  readonly #context: ListenerContext
  readonly #flushQueue: FlushQueue
  readonly #turns: TurnBudget
  readonly #reads: SharedReads
  readonly #gate: ConnectionGate
  /** Every open socket; `undefined` until a transport has come out of it. */
  readonly #peers = new Map<Socket, BaseTransport | undefined>()
  readonly #onPause = (): void => void this.#gate.counters.ratePauses++
  #tlsMemory: TlsMemory | undefined
  /** Who waits for the last peer to leave. */
  readonly #waiting: (() => void)[] = []
  #pipeline: Pipeline
  #server: Server | undefined
  #quietUntilMs = 0

  constructor(
    options: ListenerOptions,
    onTransport: (transport: Transport) => void,
    log: Logger,
    context: ListenerContext,
  ) {
    this.id = options.id
    this.#onTransport = onTransport
    this.#log = log.child({ listener: options.id })
    this.#context = context
    this.#flushQueue = context.flushQueue ?? new FlushQueue()
    this.#turns = context.turns ?? new TurnBudget()
    this.#reads = context.reads ?? new SharedReads(this.#flushQueue)
    this.#pipeline = this.#build(options)
    this.#gate = new ConnectionGate({ ...options, rules: this.#pipeline.rules })
  }

  get counters(): Readonly<ListenerCounters> {
    return this.#gate.counters
  }

  get running(): boolean {
    return this.#server !== undefined
  }

  async start(): Promise<void> {
    if (this.#server !== undefined) return
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket))
    this.#server = server
    const { bind, tcp } = this.#pipeline.options
    const host = bind.host === undefined ? {} : { host: bind.host }
    try {
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject)
        server.listen({ port: bind.port, backlog: tcp.backlog, ...host }, () => {
          server.off('error', reject)
          server.on('error', (error) => this.#acceptFailed(error))
          resolve()
        })
      })
    } catch (error) {
      if (this.#server === server) this.#server = undefined
      throw listenFailed(this.id, bind, error)
    }
    if (this.#server !== server) return void server.close() // stopped while it was starting
    this.#log.info({ address: this.address() }, 'listening')
  }

  address(): Address | undefined {
    const address = this.#server?.address()
    return typeof address === 'object' && address !== null
      ? { host: address.address, port: address.port }
      : undefined
  }

  update(options: ListenerOptions): void {
    const { kind, bind } = this.#pipeline.options
    if (options.kind !== kind || options.bind.host !== bind.host || options.bind.port !== bind.port) {
      throw new BrokerError(
        'CONFIG_INVALID',
        `listener ${this.id}: another bind or type needs a restart of it`,
      )
    }
    const pipeline = this.#build(options)
    this.#pipeline = pipeline
    this.#gate.update({ ...options, rules: pipeline.rules })
    for (const transport of this.#peers.values()) transport?.limit(options.rates, this.#onPause)
  }

  async stop(): Promise<void> {
    const server = this.#server
    if (server === undefined) return
    this.#server = undefined
    // The address is free at once; the callback would wait for the last transport to end.
    server.close()
    for (const [socket, transport] of this.#peers) if (transport === undefined) socket.destroy()
  }

  async drained(signal: AbortSignal): Promise<void> {
    if (this.#peers.size === 0 || signal.aborted) return
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve)
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  closeAll(): void {
    for (const [socket, transport] of this.#peers) {
      if (transport === undefined) socket.destroy()
      else transport.destroy()
    }
  }

  #build(options: ListenerOptions): Pipeline {
    return new Pipeline(options, {
      flushQueue: this.#flushQueue,
      turns: this.#turns,
      reads: this.#reads,
      log: this.#log,
      traffic: this.#context.traffic ?? { bytesReceived: 0, bytesSent: 0 },
      pskLookup: this.#context.pskLookup,
      tlsMemory: () => (this.#tlsMemory ??= createTlsMemory()),
    })
  }

  #accept(socket: Socket): void {
    socket.on('error', ignore) // 'close' follows and does the work
    const { remoteAddress, remotePort, localAddress, localPort } = socket
    // Gone before it was accepted.
    if (remoteAddress === undefined || remotePort === undefined) return void socket.destroy()
    const peer = { host: plainHost(remoteAddress), port: remotePort }
    const admission = this.#gate.admit(peer.host)
    if (admission !== 'admitted') return this.#turnAway(socket, peer, admission)
    this.#peers.set(socket, undefined)
    socket.once('close', () => this.#left(socket))
    const { tcp } = this.#pipeline.options
    if (tcp.nodelay) socket.setNoDelay(true)
    if (tcp.keepaliveMs !== undefined) socket.setKeepAlive(true, tcp.keepaliveMs)
    const local = { host: plainHost(localAddress ?? ''), port: localPort ?? 0 }
    this.#pipeline.run(
      socket,
      { peer, local, certificate: undefined },
      {
        done: (transport) => this.#handOver(socket, transport),
        failed: ({ peer: client }, error) =>
          this.#log.debug({ peer: client, err: error }, 'closed before it was connected'),
      },
    )
  }

  #turnAway(socket: Socket, peer: Address, admission: Exclude<Admission, 'admitted'>): void {
    socket.destroy()
    const text = `a peer was turned away: ${REFUSALS[admission]}`
    const now = performance.now()
    if (admission === 'rule' || now < this.#quietUntilMs) return this.#log.debug({ peer }, text)
    this.#quietUntilMs = now + WARNING_PAUSE_MS
    this.#log.warn({ peer, counters: { ...this.counters } }, text)
  }

  #left(socket: Socket): void {
    if (this.#peers.get(socket) === undefined) this.#gate.counters.failedHandshakes++
    this.#peers.delete(socket)
    this.#gate.left()
    if (this.#peers.size === 0) for (const resolve of this.#waiting.splice(0)) resolve()
  }

  #handOver(socket: Socket, transport: BaseTransport): void {
    // Stopped, or gone in the meantime.
    if (!this.#peers.has(socket)) return transport.destroy()
    this.#peers.set(socket, transport)
    transport.limit(this.#pipeline.options.rates, this.#onPause)
    try {
      this.#onTransport(transport)
    } catch (error) {
      transport.failed(error)
    }
  }

  /**
   * Out of file descriptors, mostly. libuv then closes whoever waits, so there is no busy loop
   * to break: what is left is to say so and go on.
   */
  #acceptFailed(error: Error): void {
    if (this.#gate.counters.acceptErrors++ === 0)
      this.#log.error({ err: error }, 'cannot accept a connection')
    else this.#log.debug({ err: error }, 'cannot accept a connection')
  }
}

function ignore(): void {}

const LISTEN_PROBLEMS: ReadonlyMap<string, string> = new Map([
  ['EADDRINUSE', 'another process uses this port'],
  ['EACCES', 'this process is not allowed to use this port'],
  ['EADDRNOTAVAIL', 'this machine does not have that address'],
  ['ENOTFOUND', 'that host name is unknown'],
])

function listenFailed(id: string, bind: Bind, cause: unknown): BrokerError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : ''
  const why = LISTEN_PROBLEMS.get(code) ?? messageOf(cause)
  const where = `port ${bind.port} of ${bind.host ?? 'all addresses'}`
  return new BrokerError('LISTEN_FAILED', `listener ${id} cannot listen on ${where}: ${why} (${code})`, {
    cause,
  })
}
