import { X509Certificate } from 'node:crypto'
import type { PeerCertificate } from '../../model/client-info.ts'
import type { Logger } from '../../model/log.ts'
import { plainHost } from '../access-rules.ts'
import { DatagramPeer } from '../datagram-peer.ts'
import type { Address, CloseReason } from '../transport.ts'
import type { Association } from './association.ts'

/** Longest plaintext of a record (RFC 6347 4.1); nothing is cut into several. */
const MAX_RECORD_BYTES = 16_384

/** A peer that has finished its handshake. */
export class DtlsPeer extends DatagramPeer {
  readonly kind = 'dtls'
  readonly maxDatagramBytes = MAX_RECORD_BYTES
  readonly association: Association
  #isReplaced = false

  constructor(association: Association, listenerId: string, local: Address, log: Logger) {
    const { address, port } = association.from
    const { peerCertificates, pskIdentity } = association.info
    const certificate = certificateOf(peerCertificates?.[0])
    super({ listenerId, peer: { host: plainHost(address), port }, local, certificate, pskIdentity }, log)
    this.association = association
  }

  /** The same client has shaken hands anew, from the same address. */
  replaced(): void {
    this.#isReplaced = true
    this.closeBecause({ kind: 'peer_closed' })
  }

  keep(): boolean {
    return this.isOpen
  }

  protected transmit(datagram: Uint8Array): boolean {
    return this.association.send(datagram)
  }

  protected release(reason: CloseReason): void {
    this.association.close(reason, this.#isReplaced)
  }
}

function certificateOf(der: Buffer | undefined): PeerCertificate | undefined {
  if (der === undefined) return undefined
  const certificate = new X509Certificate(der)
  const name: unknown = certificate.toLegacyObject().subject.CN
  const commonName: unknown = Array.isArray(name) ? name[0] : name
  return {
    // One attribute a line, with RFC 2253 escapes, in the order of the certificate.
    subject: (certificate.subject ?? '').split('\n').join(','),
    commonName: typeof commonName === 'string' ? commonName : '',
    raw: certificate.raw,
  }
}
