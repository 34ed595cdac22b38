/**
 * What udp and dtls listeners have in common: one socket, a table of peers with a bound, and the order
 *
 *     datagram -> too long? -> health check? -> access rules -> the peer it belongs to, or a new one
 */
import type { RemoteInfo } from 'node:dgram'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { AccessRules, plainHost } from './access-rules.ts'
import { type Admission, ConnectionGate, type ListenerCounters } from './connection-limits.ts'
import type { DatagramTransport } from './datagram.ts'
import type { DatagramListenerOptions } from './datagram-options.ts'
import type { DatagramPeer } from './datagram-peer.ts'
import { DatagramSocket } from './datagram-socket.ts'
import type { Address } from './transport.ts'

/** Like `Listener`, for datagrams. */
export interface DatagramListener {
  readonly id: string
  readonly counters: Readonly<ListenerCounters>
  readonly running: boolean
  /** Resolves once bound. @throws BrokerError LISTEN_FAILED */
  start(): Promise<void>
  /** Where it listens. Undefined while stopped. */
  address(): Address | undefined
  /** Takes new options without dropping anybody. @throws BrokerError CONFIG_INVALID, and then nothing has changed */
  update(options: DatagramListenerOptions): void
  /** Takes no new peers. The socket is closed when the last peer has gone. Safe to call twice. */
  stop(): Promise<void>
  drained(signal: AbortSignal): Promise<void>
  closeAll(): void
}

export type OnDatagramTransport = (transport: DatagramTransport) => void

/** A full listener is news every so often, not for every peer that knocks. */
const WARNING_PAUSE_MS = 10_000
const SWEEP_EVERY_MS = 1000
const REFUSALS = {
  rule: 'access_rules',
  limit: 'max_connections is reached',
  rate: 'max_conn_rate is reached',
} as const satisfies Record<Exclude<Admission, 'admitted'>, string>

export abstract class BaseDatagramListener<Peer extends DatagramPeer> implements DatagramListener {
  readonly id: string
  /** By `keyOf`, the address they send from. */
  protected readonly peers = new Map<string, Peer>()
  protected readonly onTransport: OnDatagramTransport
  protected readonly log: Logger
  protected readonly gate: ConnectionGate
  protected options: DatagramListenerOptions
  #rules: AccessRules
  #socket: DatagramSocket | undefined
  #stopping = false
  #sweep: NodeJS.Timeout | undefined
  readonly #waiting: (() => void)[] = []
  #quietUntilMs = 0

  constructor(options: DatagramListenerOptions, onTransport: OnDatagramTransport, log: Logger) {
    this.id = options.id
    this.options = options
    this.onTransport = onTransport
    this.log = log.child({ listener: options.id })
    this.#rules = new AccessRules(options.accessRules)
    this.gate = new ConnectionGate({ ...options, rules: this.#rules })
  }

  get counters(): Readonly<ListenerCounters> {
    return this.gate.counters
  }

  get running(): boolean {
    return this.#socket !== undefined && !this.#stopping
  }

  async start(): Promise<void> {
    this.#stopping = false
    if (this.#socket !== undefined) return
    const { bind, udp } = this.options
    try {
      this.#socket = await DatagramSocket.open(bind, udp, {
        onDatagram: (datagram, from) => this.#onDatagram(datagram, from),
        onError: (error) => this.log.error({ err: error }, 'the socket of a listener failed'),
      })
    } catch (error) {
      const where = `port ${bind.port} of ${bind.host ?? 'all addresses'}`
      const text = `listener ${this.id} cannot listen on ${where}: ${messageOf(error)}`
      throw new BrokerError('LISTEN_FAILED', text, { cause: error })
    }
    if (this.#stopping) return this.#closeWhenEmpty()
    this.#sweep = setInterval(() => this.#closeIdle(), SWEEP_EVERY_MS)
    this.log.info({ address: this.address() }, 'listening')
  }

  address(): Address | undefined {
    return this.running ? this.#socket?.address : undefined
  }

  update(options: DatagramListenerOptions): void {
    const { kind, bind } = this.options
    if (options.kind !== kind || options.bind.host !== bind.host || options.bind.port !== bind.port) {
      throw new BrokerError(
        'CONFIG_INVALID',
        `listener ${this.id}: another bind or type needs a restart of it`,
      )
    }
    const rules = new AccessRules(options.accessRules)
    this.prepare(options)
    this.#rules = rules
    this.options = options
    this.gate.update({ ...options, rules })
    this.#socket?.tune(options.udp)
  }

  async stop(): Promise<void> {
    this.#stopping = true
    this.abandonHandshakes()
    await this.#closeWhenEmpty()
  }

  async drained(signal: AbortSignal): Promise<void> {
    if (this.gate.counters.current === 0 || signal.aborted) return
    await new Promise<void>((resolve) => {
      this.#waiting.push(resolve)
      signal.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  closeAll(): void {
    this.abandonHandshakes()
    for (const peer of this.peers.values()) peer.close()
  }

  /** Takes a datagram that may concern a peer. */
  protected abstract dispatch(key: string, datagram: Buffer, from: RemoteInfo): void
  /** Makes what new options need. @throws BrokerError CONFIG_INVALID: then they are not taken */
  protected prepare(_options: DatagramListenerOptions): void {}
  /** Ends what has not become a peer yet. */
  protected abandonHandshakes(): void {}

  protected send(datagram: Uint8Array, { port, address }: RemoteInfo): boolean {
    return this.#socket?.send(datagram, port, address) ?? false
  }

  protected localAddress(): Address {
    const { host, port } = this.#socket?.address ?? { host: '', port: 0 }
    return { host: plainHost(host), port }
  }

  /** Whether an address that is not known yet may come in; whoever may not is only counted. */
  protected allows(from: RemoteInfo): boolean {
    if (this.#stopping) return false
    const isAllowed = this.#rules.allows(plainHost(from.address))
    if (!isAllowed) this.gate.counters.refusedByRule++
    return isAllowed
  }

  /** Counts a peer if there is room for it: call `left` once when it has gone. */
  protected admit(peer: Address): boolean {
    const admission = this.gate.admit(peer.host)
    if (admission !== 'admitted') this.#sayTurnedAway(peer, admission)
    return admission === 'admitted'
  }

  protected left(): void {
    this.gate.left()
    if (this.gate.counters.current > 0) return
    for (const resolve of this.#waiting.splice(0)) resolve()
    if (this.#stopping) void this.#closeWhenEmpty()
  }

  #onDatagram(datagram: Buffer, from: RemoteInfo): void {
    const { udp, healthCheck } = this.options
    try {
      if (datagram.length > (udp.bufferBytes ?? Number.POSITIVE_INFINITY)) return
      if (healthCheck?.request.equals(datagram)) return this.#answerHealthCheck(healthCheck.reply, from)
      this.dispatch(keyOf(from), datagram, from)
    } catch (error) {
      this.log.error({ peer: from, err: error }, 'a bug met while taking a datagram')
    }
  }

  #answerHealthCheck(reply: Buffer, from: RemoteInfo): void {
    if (this.allows(from)) this.send(reply, from)
  }

  #closeIdle(): void {
    const now = performance.now()
    for (const peer of this.peers.values()) {
      if (now - peer.heardAtMs < peer.idleTimeoutMs) continue
      const text = `nothing came for ${peer.idleTimeoutMs} ms`
      peer.closeBecause({ kind: 'error', error: new BrokerError('LIMIT_EXCEEDED', text) })
    }
  }

  /** Peers share the socket of their listener, so it stays for as long as there is one. */
  async #closeWhenEmpty(): Promise<void> {
    if (this.gate.counters.current > 0) return
    clearInterval(this.#sweep)
    const socket = this.#socket
    this.#socket = undefined
    await socket?.close()
  }

  #sayTurnedAway(peer: Address, admission: Exclude<Admission, 'admitted'>): void {
    const text = `a peer was turned away: ${REFUSALS[admission]}`
    const now = performance.now()
    if (admission === 'rule' || now < this.#quietUntilMs) return this.log.debug({ peer }, text)
    this.#quietUntilMs = now + WARNING_PAUSE_MS
    this.log.warn({ peer, counters: { ...this.counters } }, text)
  }
}

export function keyOf({ address, port }: RemoteInfo): string {
  return `${address}|${port}`
}
