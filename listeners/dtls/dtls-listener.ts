/**
 * A dtls listener: whoever has returned a cookie may begin a handshake, whoever has finished one is a peer.
 *
 *     ClientHello -> cookie -> ClientHello with it -> association, half-open -> open: handed out
 *
 * The first two are answered without remembering anything, so made-up senders cost no memory.
 */
import type { RemoteInfo } from 'node:dgram'
import { BrokerError } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { plainHost } from '../access-rules.ts'
import { BaseDatagramListener, type OnDatagramTransport } from '../datagram-listener.ts'
import type { DatagramListenerOptions } from '../datagram-options.ts'
import type { CloseReason } from '../transport.ts'
import { Association, type AssociationOwner, type Hello } from './association.ts'
import { DtlsPeer } from './dtls-peer.ts'
import { createDtlsMemory, createServerContext, type DtlsMemory, type DtlsPskLookup } from './engine.ts'
import { clientRandom, sequenceOf } from './hello.ts'
import type { Native, NativeContext, NativeSession } from './native.ts'

/** Handshakes at a time. Beyond it the one that has lasted longest ends, so that slow ones cannot keep others out. */
const MAX_HALF_OPEN = 1024
/** An address with more of them then ends one of its own. Many devices may share one, so not before there is no room. */
const FAIR_SHARE = 12

export class DtlsListener extends BaseDatagramListener<DtlsPeer> {
  readonly #native: Native
  readonly #findKey: DtlsPskLookup | undefined
  readonly #memory: DtlsMemory = createDtlsMemory()
  /** Oldest first. */
  readonly #halfOpen = new Map<string, Association>()
  /** How many of them each address has. */
  readonly #countOf = new Map<string, number>()
  /** The one OpenSSL is working for, so that its look-up finds the right one. */
  #current: Association | undefined
  #context: NativeContext
  /** Sends cookies until one comes back; then it is that peer's. */
  #spare: NativeSession | undefined

  /** @throws BrokerError CONFIG_INVALID */
  constructor(
    options: DatagramListenerOptions,
    onTransport: OnDatagramTransport,
    log: Logger,
    native: Native,
    findKey: DtlsPskLookup | undefined,
  ) {
    super(options, onTransport, log)
    this.#native = native
    this.#findKey = findKey
    this.#context = this.#createContext(options)
  }

  /** Handshakes that are under way. */
  get halfOpen(): number {
    return this.#halfOpen.size
  }

  /** How many of them each address has. */
  get halfOpenOf(): ReadonlyMap<string, number> {
    return this.#countOf
  }

  protected dispatch(key: string, datagram: Buffer, from: RemoteInfo): void {
    const known = this.#halfOpen.get(key) ?? this.peers.get(key)?.association
    const random = clientRandom(datagram)
    // RFC 6347 4.2.8: a client that starts anew proves its address before its old association is touched.
    if (known !== undefined && (random === undefined || random === known.random)) {
      // A hello that comes late or twice is nothing for an association that has finished its handshake.
      if (random === undefined || !known.isOpen) known.feed(datagram)
      return
    }
    if (random !== undefined && this.allows(from)) this.#listen(key, datagram, from, random)
  }

  protected override prepare(options: DatagramListenerOptions): void {
    this.#context = this.#createContext(options)
    if (this.#spare !== undefined) this.#native.destroy(this.#spare)
    this.#spare = undefined
  }

  protected override abandonHandshakes(): void {
    for (const association of this.#halfOpen.values()) association.close({ kind: 'local' }, true)
  }

  #createContext({ id, dtls }: DatagramListenerOptions): NativeContext {
    if (dtls === undefined) throw new BrokerError('CONFIG_INVALID', `listener ${id}: no dtls_options`)
    const psk = this.#findKey === undefined ? undefined : (identity: string) => this.#current?.keyOf(identity)
    return createServerContext(this.#native, dtls, this.#memory, psk)
  }

  #listen(key: string, datagram: Buffer, from: RemoteInfo, random: string): void {
    this.#spare ??= this.#native.createSession(this.#context, key)
    const session = this.#spare
    const out: Buffer[] = []
    const isProven = this.#native.listen(session, datagram, out, key) === 1
    for (const answer of out) this.send(answer, from)
    if (!isProven) return
    this.#spare = undefined
    this.#halfOpen.get(key)?.close({ kind: 'peer_closed' }, true)
    if (!this.admit({ host: plainHost(from.address), port: from.port })) return this.#native.destroy(session)
    this.#begin(key, session, from, { random, sequence: sequenceOf(datagram) })
  }

  #begin(key: string, session: NativeSession, from: RemoteInfo, hello: Hello): void {
    if (this.#halfOpen.size >= MAX_HALF_OPEN) this.#oldestFor(from.address)?.close(TOO_MANY, true)
    const { handshakeTimeoutMs = 0 } = this.options.dtls ?? {}
    const owner = this.#ownerOf(key)
    const association = new Association(this.#native, session, from, hello, handshakeTimeoutMs, owner)
    this.#halfOpen.set(key, association)
    this.#countOf.set(from.address, (this.#countOf.get(from.address) ?? 0) + 1)
    association.feed(null)
  }

  /** The one that gives way to another of `address`. */
  #oldestFor(address: string): Association | undefined {
    const isGreedy = (this.#countOf.get(address) ?? 0) >= FAIR_SHARE
    for (const association of this.#halfOpen.values())
      if (!isGreedy || association.from.address === address) return association
    return undefined
  }

  #leaves(key: string, { from }: Association): void {
    this.#halfOpen.delete(key)
    const count = (this.#countOf.get(from.address) ?? 1) - 1
    if (count > 0) this.#countOf.set(from.address, count)
    else this.#countOf.delete(from.address)
  }

  #ownerOf(key: string): AssociationOwner {
    return {
      findKey: this.#findKey,
      send: (datagram, to) => void this.send(datagram, to),
      feeding: (association) => {
        this.#current = association
      },
      opened: (association) => this.#opened(key, association),
      received: (association, datagram) => this.#peerOf(key, association)?.receive(datagram),
      ended: (association, reason) => this.#ended(key, association, reason),
    }
  }

  #peerOf(key: string, association: Association): DtlsPeer | undefined {
    const peer = this.peers.get(key)
    return peer?.association === association ? peer : undefined
  }

  #opened(key: string, association: Association): void {
    this.#leaves(key, association)
    this.peers.get(key)?.replaced()
    const peer = new DtlsPeer(association, this.id, this.localAddress(), this.log)
    this.peers.set(key, peer)
    peer.handOver(this.onTransport)
  }

  #ended(key: string, association: Association, reason: CloseReason): void {
    if (this.#halfOpen.get(key) === association) {
      this.#leaves(key, association)
      this.gate.counters.failedHandshakes++
      this.log.debug({ peer: association.from, reason }, 'closed before it was connected')
    }
    const peer = this.#peerOf(key, association)
    if (peer !== undefined) {
      this.peers.delete(key)
      peer.closeBecause(reason)
    }
    this.left()
  }
}

const TOO_MANY: CloseReason = {
  kind: 'error',
  error: new BrokerError('LIMIT_EXCEEDED', `more than ${MAX_HALF_OPEN} handshakes at a time`),
}
