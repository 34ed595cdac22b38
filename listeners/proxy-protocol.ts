/**
 * PROXY protocol, versions 1 and 2: what a load balancer says about its client before the
 * client's own bytes (HAProxy, proxy-protocol.txt).
 *
 *   v1  "PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n", at most 107 bytes
 *   v2  12 bytes signature | version 2, command | family, protocol | u16 length | addresses | TLVs
 *
 * Pure: no socket, no timer.
 */
import { isIPv4, isIPv6 } from 'node:net'
import { BrokerError } from '../model/errors.ts'
import type { Address } from './transport.ts'

export interface ProxyHeader {
  /** The client's address. Undefined: the balancer speaks for itself (health check), or does not know. */
  source: Address | undefined
  /** Common name of the client certificate which the balancer has verified. */
  commonName: string | undefined
}

export type DecodedProxy = { kind: 'need' } | { kind: 'header'; header: ProxyHeader; used: number } // `used` bytes belong to the header

const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex')
const V1_START = Buffer.from('PROXY ', 'latin1')
const MAX_V1_BYTES = 107
/** v2 announces up to 64 KB; addresses and TLVs of real balancers need a few hundred bytes. */
const MAX_V2_BYTES = 4096
const V2_FIXED_BYTES = 16
const NOBODY: ProxyHeader = { source: undefined, commonName: undefined }

const PP2_TYPE_SSL = 0x20
const PP2_SUBTYPE_SSL_CN = 0x22
const PP2_CLIENT_CERT_CONN = 0x02
const PP2_CLIENT_CERT_SESS = 0x04

/**
 * Cuts a PROXY header off the front of `bytes`. Wrong bytes are found as soon as they are there.
 * @throws BrokerError FRAME_MALFORMED, FRAME_TOO_LARGE
 */
export function decodeProxyHeader(bytes: Buffer): DecodedProxy {
  if (bytes.length === 0) return { kind: 'need' }
  if (startsLike(bytes, V1_START)) return decodeV1(bytes)
  if (startsLike(bytes, SIGNATURE)) return decodeV2(bytes)
  throw malformed('the connection does not start with a PROXY header')
}

/** True as long as `bytes` may still turn out to begin with `start`. */
function startsLike(bytes: Buffer, start: Buffer): boolean {
  const length = Math.min(bytes.length, start.length)
  return bytes.compare(start, 0, length, 0, length) === 0
}

function decodeV1(bytes: Buffer): DecodedProxy {
  const end = bytes.subarray(0, MAX_V1_BYTES).indexOf('\r\n')
  if (end === -1) {
    if (bytes.length >= MAX_V1_BYTES) throw malformed('no line end within 107 bytes')
    return { kind: 'need' }
  }
  const used = end + 2
  const [, family = '', source = '', destination = '', port = '', toPort = '', ...rest] = bytes
    .toString('latin1', 0, end)
    .split(' ')
  if (family === 'UNKNOWN') return { kind: 'header', header: NOBODY, used }
  const isAddress = family === 'TCP4' ? isIPv4 : family === 'TCP6' ? isIPv6 : undefined
  if (isAddress === undefined) throw malformed(`protocol "${family}" is not TCP4, TCP6 or UNKNOWN`)
  if (!isAddress(source) || !isAddress(destination)) throw malformed('an address is wrong')
  if (!isPort(port) || !isPort(toPort) || rest.length > 0) throw malformed('a port is wrong')
  const header = { source: { host: source, port: Number(port) }, commonName: undefined }
  return { kind: 'header', header, used }
}

function isPort(text: string): boolean {
  return /^(0|[1-9]\d{0,4})$/.test(text) && Number(text) <= 65_535
}

function decodeV2(bytes: Buffer): DecodedProxy {
  if (bytes.length < V2_FIXED_BYTES) return { kind: 'need' }
  const version = bytes.readUInt8(12) >> 4
  const command = bytes.readUInt8(12) & 0x0f
  const used = V2_FIXED_BYTES + bytes.readUInt16BE(14)
  if (version !== 2) throw malformed(`version ${version} is not 2`)
  if (command > 1) throw malformed(`command ${command} is unknown`)
  // Tested before the rest is awaited: an announced length must not cost memory.
  if (used > MAX_V2_BYTES)
    throw new BrokerError('FRAME_TOO_LARGE', `PROXY header: ${used} bytes are announced`)
  if (bytes.length < used) return { kind: 'need' }
  // LOCAL: the balancer's own connection. What follows means nothing.
  const header =
    command === 0 ? NOBODY : decodeProxied(bytes.readUInt8(13), bytes.subarray(V2_FIXED_BYTES, used))
  return { kind: 'header', header, used }
}

function decodeProxied(family: number, body: Buffer): ProxyHeader {
  const length = addressBytes(family)
  if (body.length < length) throw malformed('addresses are cut short')
  const commonName = decodeTlvs(body.subarray(length))
  if (length === 12)
    return { source: { host: [...body.subarray(0, 4)].join('.'), port: body.readUInt16BE(8) }, commonName }
  if (length === 36) return { source: { host: ipv6Text(body), port: body.readUInt16BE(32) }, commonName }
  return { source: undefined, commonName }
}

/** High half: address family, low half: stream or datagram. */
function addressBytes(family: number): number {
  if ((family & 0x0f) > 2) throw malformed(`protocol 0x${family.toString(16)} is unknown`)
  switch (family >> 4) {
    case 0: // unspecified: whatever the length says is skipped as TLVs
      return 0
    case 1:
      return 12
    case 2:
      return 36
    case 3: // unix sockets: two paths of 108 bytes
      return 216
    default:
      throw malformed(`address family 0x${family.toString(16)} is unknown`)
  }
}

function ipv6Text(body: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, i) => body.readUInt16BE(i * 2).toString(16))
  // URL writes the canonical form of RFC 5952.
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1)
}

function decodeTlvs(bytes: Buffer): string | undefined {
  let commonName: string | undefined
  eachTlv(bytes, (type, value) => {
    if (type === PP2_TYPE_SSL) commonName = decodeSsl(value)
  })
  return commonName
}

/** u8 what the client did | u32 0 = its certificate was verified | TLVs */
function decodeSsl(value: Buffer): string | undefined {
  if (value.length < 5) throw malformed('the TLS part is cut short')
  const presented = (value.readUInt8(0) & (PP2_CLIENT_CERT_CONN | PP2_CLIENT_CERT_SESS)) !== 0
  const verified = value.readUInt32BE(1) === 0
  let commonName: string | undefined
  eachTlv(value.subarray(5), (type, name) => {
    if (type === PP2_SUBTYPE_SSL_CN) commonName = name.toString('utf8')
  })
  // A name from a certificate nobody verified proves nothing.
  return presented && verified ? commonName : undefined
}

function eachTlv(bytes: Buffer, visit: (type: number, value: Buffer) => void): void {
  let at = 0
  while (at < bytes.length) {
    if (at + 3 > bytes.length) throw malformed('a TLV is cut short')
    const end = at + 3 + bytes.readUInt16BE(at + 1)
    if (end > bytes.length) throw malformed('a TLV is cut short')
    visit(bytes.readUInt8(at), bytes.subarray(at + 3, end))
    at = end
  }
}

function malformed(why: string): BrokerError {
  return new BrokerError('FRAME_MALFORMED', `PROXY header: ${why}`)
}
