/**
 * A peer's datagrams seen as a `Transport`, for gateways that treat streams and datagrams alike: each chunk
 * that comes is one datagram, and each `reserve` or `append` becomes one. Gateways that live on datagrams take
 * what is behind it: `datagramsOf`.
 */
import type { PeerCertificate } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import type { DatagramHandler, DatagramTransport } from './datagram.ts'
import type { Flushable, FlushQueue } from './flush-queue.ts'
import type { Address, CloseReason, Outbox, Transport, TransportHandler } from './transport.ts'

/** Datagrams kept while reading is paused; more are lost, as datagrams may be. */
const MAX_UNREAD = 32
/** From so much that is written in one turn on the outbox is congested, until the next turn. */
const HIGH_WATERMARK_BYTES = 256 * 1024

export class DatagramStream implements Transport, DatagramHandler {
  readonly datagrams: DatagramTransport
  readonly outbox: DatagramOutbox
  #handler: TransportHandler | undefined
  /** While paused. */
  #unread: Buffer[] | undefined

  constructor(datagrams: DatagramTransport, flushQueue: FlushQueue) {
    this.datagrams = datagrams
    this.outbox = new DatagramOutbox(datagrams, flushQueue, () => this.#handler?.onDrain())
  }

  get kind(): 'udp' | 'dtls' {
    return this.datagrams.kind
  }

  get listenerId(): string {
    return this.datagrams.listenerId
  }

  get peer(): Address {
    return this.datagrams.peer
  }

  get local(): Address {
    return this.datagrams.local
  }

  get certificate(): PeerCertificate | undefined {
    return this.datagrams.certificate
  }

  get bytesReceived(): number {
    return this.datagrams.bytesReceived
  }

  get bytesSent(): number {
    return this.datagrams.bytesSent
  }

  get handler(): TransportHandler {
    if (this.#handler === undefined) throw new BrokerError('INTERNAL', 'this transport has no handler yet')
    return this.#handler
  }

  /** Remembers the peer: who thinks in connections takes whoever comes. */
  set handler(handler: TransportHandler) {
    if (this.#handler !== undefined) throw new BrokerError('INTERNAL', 'this transport has a handler already')
    this.#handler = handler
    this.datagrams.handler = this
    this.datagrams.keep()
  }

  onDatagram(datagram: Buffer): void {
    if (this.#unread === undefined) this.#handler?.onData(datagram, 0, datagram.length)
    else if (this.#unread.length < MAX_UNREAD) this.#unread.push(datagram)
  }

  onClose(reason: CloseReason): void {
    this.#unread = undefined
    this.outbox.clear()
    this.#handler?.onClose(reason)
  }

  pause(): void {
    this.#unread ??= []
  }

  resume(): void {
    const unread = this.#unread ?? []
    this.#unread = undefined
    for (const [i, datagram] of unread.entries()) {
      if (!this.datagrams.isOpen) return
      // Paused again by what it got.
      if (this.#unread !== undefined) return void (this.#unread = unread.slice(i))
      this.#handler?.onData(datagram, 0, datagram.length)
    }
  }

  end(): void {
    this.outbox.flush()
    this.datagrams.close()
  }

  destroy(): void {
    this.datagrams.close()
  }
}

/** @throws BrokerError INTERNAL for a transport that is no udp or dtls one: `listenerTypes` of the gateway are wrong */
export function datagramsOf(transport: Transport): DatagramTransport {
  if (transport instanceof DatagramStream) return transport.datagrams
  throw new BrokerError('INTERNAL', `a ${transport.kind} transport carries no datagrams`)
}

class DatagramOutbox implements Outbox, Flushable {
  buffer: Buffer = Buffer.alloc(0)
  unsentBytes = 0
  /** Packets that are passed on together would be one datagram. */
  readonly room = 0
  readonly #datagrams: DatagramTransport
  readonly #flushQueue: FlushQueue
  readonly #onDrain: () => void
  readonly #unsent: Uint8Array[] = []

  constructor(datagrams: DatagramTransport, flushQueue: FlushQueue, onDrain: () => void) {
    this.#datagrams = datagrams
    this.#flushQueue = flushQueue
    this.#onDrain = onDrain
  }

  get congested(): boolean {
    return this.unsentBytes >= HIGH_WATERMARK_BYTES
  }

  reserve(size: number): number {
    this.buffer = Buffer.allocUnsafe(size)
    this.#add(this.buffer)
    return 0
  }

  append(bytes: Uint8Array): void {
    this.#add(bytes)
  }

  relay(bytes: Uint8Array, start: number, end: number, idAt: number, id: number): void {
    const datagram = Buffer.from(bytes.subarray(start, end))
    if (id !== 0) datagram.writeUInt16BE(id, idAt - start)
    this.#add(datagram)
  }

  flush(): void {
    const wasCongested = this.congested
    const datagrams = this.#unsent.splice(0)
    this.unsentBytes = 0
    for (const datagram of datagrams) this.#datagrams.send(datagram)
    if (wasCongested && this.#datagrams.isOpen) this.#onDrain()
  }

  clear(): void {
    this.#unsent.length = 0
    this.unsentBytes = 0
  }

  #add(datagram: Uint8Array): void {
    if (!this.#datagrams.isOpen) return
    if (this.#unsent.push(datagram) === 1) this.#flushQueue.add(this)
    this.unsentBytes += datagram.length
  }
}
