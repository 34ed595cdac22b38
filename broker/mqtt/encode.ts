/** From packets to bytes: all that the server sends but PUBLISH, which is in encode-publish.ts. */
import type { Outbox } from '../../listeners/transport.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { MAX_PACKET_BYTES } from './frame.ts'
import { PacketType, type Properties, type ProtocolVersion, type ServerPacket } from './packets.ts'
import { propertiesLength, putProperties } from './properties.ts'
import { Scope } from './property-table.ts'
import { v3ConnackCode, v3SubackCode } from './v3-codes.ts'
import { putVarint, varintLength } from './write.ts'

/** The same for everybody, so never to be changed. */
export const PINGRESP: Readonly<Buffer> = Buffer.from([PacketType.PINGRESP << 4, 0])

type AckType = 4 | 5 | 6 | 7
type ScopeBit = (typeof Scope)[keyof typeof Scope]

/** PUBREL has flags 0010 [MQTT-3.6.1-1], the others none. */
const ACK_HEADERS = { 4: 0x40, 5: 0x50, 6: 0x62, 7: 0x70 } as const

/**
 * Puts an acknowledgement without properties straight into the outbox: 4 bytes, or 5 with an
 * MQTT 5 code other than Success (§3.4.2.1).
 */
export function writeAck(
  outbox: Outbox,
  version: ProtocolVersion,
  type: AckType,
  packetId: number,
  code: ReasonCode,
): void {
  const withCode = version === 5 && code !== ReasonCode.Success
  const at = outbox.reserve(withCode ? 5 : 4)
  const { buffer } = outbox
  buffer[at] = ACK_HEADERS[type]
  buffer[at + 1] = withCode ? 3 : 2
  buffer[at + 2] = packetId >>> 8 // [MQTT-2.2.1-5] the id of what it answers
  buffer[at + 3] = packetId & 0xff
  if (withCode) buffer[at + 4] = code
}

/**
 * Encodes a packet for a client of that version.
 * @param maxBytes - the client's Maximum Packet Size. User properties, then the reason string, are left out
 *   of a packet that would exceed it [MQTT-3.2.2-19] [MQTT-3.2.2-20] and likewise in the other packets.
 * @returns no bytes at all if there is nothing to be sent: 3.x has no DISCONNECT from the
 *   server and no AUTH, and a packet may be larger than the client takes even so [MQTT-3.1.2-24]
 */
export function encodePacket(
  version: ProtocolVersion,
  packet: ServerPacket,
  maxBytes = MAX_PACKET_BYTES,
): Buffer {
  switch (packet.type) {
    case PacketType.PINGRESP:
      return PINGRESP as Buffer
    case PacketType.DISCONNECT:
      return version === 5 ? encodeDisconnect(packet.code, packet.properties, maxBytes) : NOTHING
    case PacketType.AUTH:
      return version === 5 ? encodeAuth(packet.code, packet.properties, maxBytes) : NOTHING
    case PacketType.CONNACK:
      return encodeConnack(version, packet.sessionPresent, packet.code, packet.properties, maxBytes)
    case PacketType.SUBACK:
    case PacketType.UNSUBACK:
      return encodeSuback(version, packet.type, packet.packetId, packet.codes, packet.properties, maxBytes)
    default:
      return encodeAck(version, packet.type, packet.packetId, packet.code, packet.properties, maxBytes)
  }
}

const NOTHING = Buffer.alloc(0)
const EMPTY: readonly number[] = []

function encodeConnack(
  version: ProtocolVersion,
  sessionPresent: boolean,
  code: ReasonCode,
  properties: Properties | undefined,
  maxBytes: number,
): Buffer {
  // [MQTT-3.2.2-1] one flag and no other; [MQTT-3.2.2-6] no session with a refusal; 3.1 has no such flag
  const flags = sessionPresent && code === ReasonCode.Success && version !== 3 ? 1 : 0
  if (version !== 5) return compose(0x20, [flags, v3ConnackCode(code)], EMPTY, maxBytes)
  const fitting = shrink(properties, Scope.CONNACK, 2, maxBytes)
  return composeV5(0x20, [flags, code], fitting, Scope.CONNACK, EMPTY, maxBytes)
}

/** [MQTT-3.9.3-1] [MQTT-3.11.3-1] codes in the order of the filters */
function encodeSuback(
  version: ProtocolVersion,
  type: 9 | 11,
  packetId: number,
  codes: readonly ReasonCode[],
  properties: Properties | undefined,
  maxBytes: number,
): Buffer {
  const head = [packetId >>> 8, packetId & 0xff] // [MQTT-2.2.1-6] [MQTT-3.8.4-2]
  if (version === 5) {
    const scope = type === PacketType.SUBACK ? Scope.SUBACK : Scope.UNSUBACK
    // [MQTT-3.9.2-1] [MQTT-3.9.2-2], UNSUBACK [MQTT-3.11.2-1] [MQTT-3.11.2-2]
    const fitting = shrink(properties, scope, head.length + codes.length, maxBytes)
    return composeV5(type << 4, head, fitting, scope, codes, maxBytes)
  }
  // [MQTT-3.9.3-2 (3.1.1)] 0x80 for every failure. A 3.x UNSUBACK says no more than that it was done.
  const v3Codes = type === PacketType.SUBACK ? codes.map(v3SubackCode) : EMPTY
  return compose(type << 4, head, v3Codes, maxBytes)
}

/** Code and properties are left out when they say nothing (§3.4.2.1). */
function encodeAck(
  version: ProtocolVersion,
  type: AckType,
  packetId: number,
  code: ReasonCode,
  properties: Properties | undefined,
  maxBytes: number,
): Buffer {
  const scope = ACK_SCOPES[type]
  // PUBACK [MQTT-3.4.2-2] [MQTT-3.4.2-3], PUBREC [MQTT-3.5.2-2] [MQTT-3.5.2-3],
  // PUBREL [MQTT-3.6.2-2] [MQTT-3.6.2-3], PUBCOMP [MQTT-3.7.2-2] [MQTT-3.7.2-3]
  const fitting = version === 5 ? shrink(properties, scope, 3, maxBytes) : undefined
  const head = [packetId >>> 8, packetId & 0xff]
  if (fitting !== undefined) {
    return composeV5(ACK_HEADERS[type], [...head, code], fitting, scope, EMPTY, maxBytes)
  }
  if (version === 5 && code !== ReasonCode.Success) head.push(code)
  return compose(ACK_HEADERS[type], head, EMPTY, maxBytes)
}

const ACK_SCOPES = { 4: Scope.PUBACK, 5: Scope.PUBREC, 6: Scope.PUBREL, 7: Scope.PUBCOMP } as const

function encodeDisconnect(code: ReasonCode, properties: Properties | undefined, maxBytes: number): Buffer {
  const fitting = shrink(properties, Scope.DISCONNECT, 1, maxBytes) // [MQTT-3.14.2-3] [MQTT-3.14.2-4]
  if (fitting !== undefined) return composeV5(0xe0, [code], fitting, Scope.DISCONNECT, EMPTY, maxBytes)
  return compose(0xe0, code === ReasonCode.Success ? EMPTY : [code], EMPTY, maxBytes) // §3.14.2.1
}

function encodeAuth(code: ReasonCode, properties: Properties | undefined, maxBytes: number): Buffer {
  const fitting = shrink(properties, Scope.AUTH, 1, maxBytes) // [MQTT-3.15.2-2] [MQTT-3.15.2-3]
  if (fitting === undefined && code === ReasonCode.Success) return compose(0xf0, EMPTY, EMPTY, maxBytes) // §3.15.2.1
  return composeV5(0xf0, [code], fitting, Scope.AUTH, EMPTY, maxBytes)
}

function compose(header: number, head: readonly number[], tail: readonly number[], maxBytes: number): Buffer {
  const length = head.length + tail.length
  const size = packetLength(length)
  if (size > maxBytes) return NOTHING
  const buf = Buffer.allocUnsafe(size)
  buf[0] = header
  const at = putVarint(buf, 1, length)
  putBytes(buf, putBytes(buf, at, head), tail)
  return buf
}

/** `head`, then properties and their length, 0 if there are none [MQTT-2.2.2-1], then `tail`. */
function composeV5(
  header: number,
  head: readonly number[],
  properties: Properties | undefined,
  scope: ScopeBit,
  tail: readonly number[],
  maxBytes: number,
): Buffer {
  const inner = propertiesLength(properties, scope)
  const length = head.length + varintLength(inner) + inner + tail.length
  const size = packetLength(length)
  if (size > maxBytes) return NOTHING
  const buf = Buffer.allocUnsafe(size)
  buf[0] = header
  const at = putBytes(buf, putVarint(buf, 1, length), head)
  putBytes(buf, putProperties(buf, at, properties, scope, inner), tail)
  return buf
}

/**
 * The properties without those that may be dropped to keep the packet within `maxBytes`.
 * @param others - bytes of the body that are not properties
 * @returns undefined if nothing is left
 */
function shrink(
  properties: Properties | undefined,
  scope: ScopeBit,
  others: number,
  maxBytes: number,
): Properties | undefined {
  if (properties === undefined || propertiesLength(properties, scope) === 0) return undefined
  if (fits(properties, scope, others, maxBytes)) return properties
  const { userProperties: _, ...shorter } = properties
  if (fits(shorter, scope, others, maxBytes)) return nonEmpty(shorter, scope)
  const { reasonString: __, ...shortest } = shorter
  return nonEmpty(shortest, scope)
}

function nonEmpty(properties: Properties, scope: ScopeBit): Properties | undefined {
  return propertiesLength(properties, scope) === 0 ? undefined : properties
}

function fits(properties: Properties, scope: ScopeBit, others: number, maxBytes: number): boolean {
  const inner = propertiesLength(properties, scope)
  return packetLength(others + varintLength(inner) + inner) <= maxBytes
}

/** Bytes of a whole packet with a body of `length` bytes. */
function packetLength(length: number): number {
  return 1 + varintLength(length) + length
}

function putBytes(buf: Buffer, at: number, bytes: readonly number[]): number {
  for (let i = 0; i < bytes.length; i++) buf[at + i] = bytes[i] as number
  return at + bytes.length
}
