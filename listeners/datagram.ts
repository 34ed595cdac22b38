/**
 * Peers that speak in datagrams. UDP has no connections, so a peer of a udp listener is an address that a
 * gateway wants to remember; a peer of a dtls listener is an association that has finished its handshake.
 */
import type { PeerCertificate } from '../model/client-info.ts'
import type { Address, CloseReason } from './transport.ts'

/** What a gateway does with its peer's events. No method may throw: the peer is closed if one does. */
export interface DatagramHandler {
  /** One datagram, whole. Nobody else uses its bytes. */
  onDatagram(datagram: Buffer): void
  /** Called once, last. */
  onClose(reason: CloseReason): void
}

/** One peer. What is sent may be lost, doubled and overtaken on its way, as with any datagram. */
export interface DatagramTransport {
  readonly kind: 'udp' | 'dtls'
  /** `coap:udp:default` */
  readonly listenerId: string
  readonly peer: Address
  readonly local: Address
  /** The peer's own, verified. Only with DTLS. */
  readonly certificate: PeerCertificate | undefined
  /** The identity whose key the peer has shown to know. Only with DTLS. */
  readonly pskIdentity: string | undefined
  /** Bytes of datagrams received and sent so far. */
  readonly bytesReceived: number
  readonly bytesSent: number
  /** Longest datagram that can be sent. Longer than about 1,200 bytes may not arrive everywhere. */
  readonly maxDatagramBytes: number
  /** False from its end on. */
  readonly isOpen: boolean
  /**
   * Set when the transport is handed out. It may be replaced later: that is how a session moves to the
   * address that its device has now.
   */
  handler: DatagramHandler
  /** The transport is closed when nothing has come for this long, within a second. Default 5 minutes, Infinity = never. */
  idleTimeoutMs: number
  /**
   * Remembers a peer of a udp listener. Until then it is a stranger, of whom nothing is left when `onDatagram`
   * returns: so datagrams with made-up senders cost no memory. With DTLS there is nothing to do.
   * @param farewell - sent when it is not kept; no longer than what it answers, or the broker would be of use to attackers
   * @returns false if the listener has no room for it, or too many came lately: the transport is closed then
   */
  keep(farewell?: Uint8Array): boolean
  /** @returns false if it was not sent: closed, too long, or the socket takes no more. Never waits. */
  send(datagram: Uint8Array): boolean
  close(): void
}

/** How long silence is taken for granted where the gateway does not say. */
export const DEFAULT_IDLE_TIMEOUT_MS = 300_000
