import type { PeerCertificate } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { type DatagramHandler, type DatagramTransport, DEFAULT_IDLE_TIMEOUT_MS } from './datagram.ts'
import type { Address, CloseReason } from './transport.ts'

/** Who a peer is. */
export interface DatagramPeerInfo {
  readonly listenerId: string
  readonly peer: Address
  readonly local: Address
  readonly certificate?: PeerCertificate | undefined
  readonly pskIdentity?: string | undefined
}

/** What peers of udp and dtls listeners have in common: the handler, the counts and one way to end. */
export abstract class DatagramPeer implements DatagramTransport {
  abstract readonly kind: 'udp' | 'dtls'
  abstract readonly maxDatagramBytes: number
  readonly listenerId: string
  readonly peer: Address
  readonly local: Address
  readonly certificate: PeerCertificate | undefined
  readonly pskIdentity: string | undefined
  idleTimeoutMs = DEFAULT_IDLE_TIMEOUT_MS
  bytesReceived = 0
  bytesSent = 0
  /** On the clock of `performance.now()`. */
  heardAtMs = performance.now()
  readonly #log: Logger
  #handler: DatagramHandler | undefined
  #closed = false

  constructor(info: DatagramPeerInfo, log: Logger) {
    this.listenerId = info.listenerId
    this.peer = info.peer
    this.local = info.local
    this.certificate = info.certificate
    this.pskIdentity = info.pskIdentity
    this.#log = log
  }

  get isOpen(): boolean {
    return !this.#closed
  }

  get handler(): DatagramHandler {
    if (this.#handler === undefined) throw new BrokerError('INTERNAL', 'this transport has no handler yet')
    return this.#handler
  }

  set handler(handler: DatagramHandler) {
    this.#handler = handler
  }

  abstract keep(): boolean

  send(datagram: Uint8Array): boolean {
    if (this.#closed || datagram.length > this.maxDatagramBytes || !this.transmit(datagram)) return false
    this.bytesSent += datagram.length
    return true
  }

  close(): void {
    this.closeBecause({ kind: 'local' })
  }

  closeBecause(reason: CloseReason): void {
    if (this.#closed) return
    this.#closed = true
    this.release(reason)
    try {
      this.#handler?.onClose(reason)
    } catch (error) {
      this.#log.error({ peer: this.peer, err: error }, 'a bug met while closing a peer')
    }
  }

  /** Hands the peer to whoever serves it, who must set a handler at once. */
  handOver(onTransport: (transport: DatagramTransport) => void): void {
    try {
      onTransport(this)
      if (this.#handler === undefined) throw new BrokerError('INTERNAL', 'nobody took the transport')
    } catch (error) {
      this.failed(error)
    }
  }

  receive(datagram: Buffer): void {
    if (this.#closed) return
    this.heardAtMs = performance.now()
    this.bytesReceived += datagram.length
    try {
      this.#handler?.onDatagram(datagram)
    } catch (error) {
      this.failed(error)
    }
  }

  /** Something that must not throw did: this peer pays, no other one. */
  failed(error: unknown): void {
    this.#log.error({ peer: this.peer, err: error }, 'a bug met while serving a peer; it is closed')
    this.closeBecause({ kind: 'error', error: error instanceof Error ? error : new Error(String(error)) })
  }

  /** @returns whether it was sent */
  protected abstract transmit(datagram: Uint8Array): boolean
  /** Says goodbye if the protocol has a word for it, and forgets the peer. */
  protected abstract release(reason: CloseReason): void
}
