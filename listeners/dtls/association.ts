/**
 * One DTLS association, from the returned cookie to its end: what the peer sends goes through OpenSSL and
 * becomes datagrams to answer with and datagrams for the gateway.
 */
import type { RemoteInfo } from 'node:dgram'
import { isPromise, type MaybePromise } from '../../model/async.ts'
import { BrokerError } from '../../model/errors.ts'
import type { CloseReason } from '../transport.ts'
import { pskIdentity, renumber, sequenceOf } from './hello.ts'
import { CLOSED, FAILED, HANDSHAKING, type Native, type NativeSession, type SessionInfo } from './native.ts'

/** Who keeps associations. */
export interface AssociationOwner {
  send(datagram: Buffer, to: RemoteInfo): void
  /** The key of an identity; undefined where nobody has pre-shared keys. */
  findKey: ((identity: string) => MaybePromise<Uint8Array | undefined>) | undefined
  /** OpenSSL is about to work for it, and may ask for its key. */
  feeding(association: Association): void
  opened(association: Association): void
  received(association: Association, datagram: Buffer): void
  /** Called once, last. */
  ended(association: Association, reason: CloseReason): void
}

/** The ClientHello that brought its cookie back. */
export interface Hello {
  readonly random: string
  readonly sequence: number
}

/** Datagrams of a peer that wait while its key is looked up; it sends lost ones again. */
const MAX_HELD = 8
/** Longest pause of OpenSSL's between two repetitions (RFC 6347 4.2.4.1). */
const MAX_WAIT_MS = 60_000

export class Association {
  readonly from: RemoteInfo
  /** Of the ClientHello it began with. */
  readonly random: string
  /** The number of that hello's record, from which ours must go on (RFC 6347 4.2.1). */
  readonly #firstSequence: number
  /** What our numbers lack to it. OpenSSL 3.2 and later begin anew, and the client takes that for a repetition. */
  #shift: number | undefined
  readonly #native: Native
  readonly #session: NativeSession
  readonly #owner: AssociationOwner
  readonly #deadlineMs: number
  #state: 'handshaking' | 'open' | 'gone' = 'handshaking'
  /** Inside OpenSSL: the session must not be freed under its feet. */
  #isFeeding = false
  #held: Buffer[] | undefined
  #found: { identity: string; key: Uint8Array | undefined } | undefined
  #timer: NodeJS.Timeout | undefined

  /** @param session - has seen the ClientHello with its cookie: see `Native.listen` */
  constructor(
    native: Native,
    session: NativeSession,
    from: RemoteInfo,
    hello: Hello,
    handshakeTimeoutMs: number,
    owner: AssociationOwner,
  ) {
    this.#native = native
    this.#session = session
    this.from = from
    this.random = hello.random
    this.#firstSequence = hello.sequence
    this.#owner = owner
    this.#deadlineMs = performance.now() + handshakeTimeoutMs
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  get info(): SessionInfo {
    return this.#native.info(this.#session)
  }

  /** @param datagram - null at the beginning */
  feed(datagram: Buffer | null): void {
    if (this.#state === 'gone') return
    if (this.#held !== undefined) {
      if (datagram !== null && this.#held.length < MAX_HELD) this.#held.push(datagram)
      return
    }
    if (datagram === null || this.#state === 'open' || this.#hasKeyFor(datagram)) this.#feedNow(datagram)
  }

  /** The key for `psk` of the context: what was looked up before, or what is known without waiting. */
  keyOf(identity: string): Uint8Array | undefined {
    if (this.#found?.identity === identity) return this.#found.key
    // Only for an identity that came in pieces.
    const key = this.#owner.findKey?.(identity)
    return isPromise(key) ? void key.catch(ignore) : key
  }

  send(datagram: Uint8Array): boolean {
    if (this.#state !== 'open') return false
    const out: Buffer[] = []
    const taken = this.#native.write(this.#session, datagram, out)
    this.#send(out)
    return taken === datagram.length
  }

  /** @param isReplaced - the peer has forgotten it already, so a goodbye would only confuse it */
  close(reason: CloseReason, isReplaced = false): void {
    if (this.#state === 'gone') return
    if (!isReplaced && !this.#isFeeding) {
      const out: Buffer[] = []
      this.#native.shutdown(this.#session, out)
      this.#send(out)
    }
    this.#state = 'gone'
    this.#held = undefined
    clearTimeout(this.#timer)
    if (!this.#isFeeding) this.#native.destroy(this.#session)
    this.#owner.ended(this, reason)
  }

  #feedNow(datagram: Buffer | null): void {
    const out: Buffer[] = []
    const data: Buffer[] = []
    this.#owner.feeding(this)
    this.#isFeeding = true
    const state = this.#native.feed(this.#session, datagram, out, data)
    this.#isFeeding = false
    if (this.#isGone) return this.#native.destroy(this.#session)
    const text = state === FAILED ? `DTLS: ${this.#native.error(this.#session)}` : undefined
    this.#send(out)
    if (text !== undefined) {
      return this.close({ kind: 'error', error: new BrokerError('PROTOCOL_VIOLATED', text) }, true)
    }
    if (state === HANDSHAKING) return this.#arm()
    if (this.#state === 'handshaking') this.#open()
    for (const one of data) if (!this.#isGone) this.#owner.received(this, one)
    if (state === CLOSED) this.close({ kind: 'peer_closed' })
  }

  get #isGone(): boolean {
    return this.#state === 'gone'
  }

  #open(): void {
    clearTimeout(this.#timer)
    this.#found = undefined
    this.#state = 'open'
    this.#owner.opened(this)
  }

  /** False if the datagram has to wait for a key. */
  #hasKeyFor(datagram: Buffer): boolean {
    if (this.#owner.findKey === undefined || this.#found !== undefined) return true
    const identity = pskIdentity(datagram)
    if (identity === undefined) return true
    const found = this.#owner.findKey(identity)
    if (!isPromise(found)) {
      this.#found = { identity, key: found }
      return true
    }
    this.#held = [datagram]
    // A look-up that fails knows nobody: why is the log of whoever looked.
    found.catch(ignore).then((key) => this.#goOn(identity, key), ignore)
    return false
  }

  #goOn(identity: string, key: Uint8Array | undefined): void {
    const held = this.#held ?? []
    this.#held = undefined
    this.#found = { identity, key }
    for (const datagram of held) this.feed(datagram)
  }

  /** Until OpenSSL wants to send again, at most until the handshake must be over. */
  #arm(): void {
    clearTimeout(this.#timer)
    const leftMs = this.#deadlineMs - performance.now()
    const resendMs = this.#native.timeout(this.#session)
    const waitMs = resendMs < 0 ? leftMs : Math.min(leftMs, resendMs)
    this.#timer = setTimeout(() => this.#onTimer(), Math.min(MAX_WAIT_MS, Math.max(1, Math.ceil(waitMs))))
  }

  #onTimer(): void {
    const isLate = performance.now() >= this.#deadlineMs
    const out: Buffer[] = []
    const result = isLate ? -1 : this.#native.retransmit(this.#session, out)
    this.#send(out)
    if (result >= 0) return this.#arm()
    const text = 'DTLS: the handshake took longer than handshake_timeout'
    this.close({ kind: 'error', error: new BrokerError('PROTOCOL_VIOLATED', text) }, true)
  }

  #send(out: readonly Buffer[]): void {
    for (const datagram of out) {
      this.#shift ??= Math.max(0, this.#firstSequence - sequenceOf(datagram))
      if (this.#shift > 0) renumber(datagram, this.#shift)
      this.#owner.send(datagram, this.from)
    }
  }
}

function ignore(): undefined {}
