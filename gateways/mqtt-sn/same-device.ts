import type { DatagramTransport } from '../../listeners/datagram.ts'

/** Whether a sleeping device may come back as `other`: with DTLS it has to show the same key or certificate. */
export function isSameDevice(known: DatagramTransport, other: DatagramTransport): boolean {
  const { kind, pskIdentity, certificate } = known
  if (other.kind !== kind) return false
  if (kind === 'udp') return true // a client id is all that UDP has to show
  if (pskIdentity !== undefined) return other.pskIdentity === pskIdentity
  if (certificate === undefined || other.certificate === undefined) return false
  return Buffer.compare(certificate.raw, other.certificate.raw) === 0
}
