/** From bytes to packets, strictly: what breaks a rule of the specification is refused with the code that names it. */
import { BrokerError } from '../../model/errors.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { decodeSubscribe, decodeUnsubscribe, readPacketId } from './decode-subscribe.ts'
import { bodyStart } from './frame.ts'
import { malformed, protocolError } from './mqtt-error.ts'
import {
  type AckPacket,
  type AuthPacket,
  type ClientPacket,
  type ConnectPacket,
  type DisconnectPacket,
  PacketType,
  type PingreqPacket,
  type ProtocolVersion,
  type PublishPacket,
} from './packets.ts'
import { decodeProperties } from './properties.ts'
import { Scope } from './property-table.ts'
import { Reader } from './read.ts'

/** CONNECT and PUBLISH have decoders of their own. */
export type DecodedPacket = Exclude<ClientPacket, ConnectPacket | PublishPacket>

/** Bit 3 of the first byte, which 3.1 allows wherever an answer is expected. */
const DUP = 8

/**
 * Decodes the whole packet `buf[start..end)`, as cut off by `frameLength`, after CONNECT. Keeps nothing of `buf`.
 * PUBLISH goes to `decodePublish`, the first packet to `decodeConnect`.
 * @throws MqttError FRAME_MALFORMED, PROTOCOL_VIOLATED
 */
export function decodePacket(
  version: ProtocolVersion,
  buf: Buffer,
  start: number,
  end: number,
): DecodedPacket {
  const first = buf[start] as number
  const type = first >> 4
  checkHeaderFlags(version, type, first & 15)
  const reader = new Reader(buf, bodyStart(buf, start), end)
  switch (type) {
    case PacketType.PUBACK:
    case PacketType.PUBREC:
    case PacketType.PUBREL:
    case PacketType.PUBCOMP:
      return decodeAck(version, type, reader)
    case PacketType.SUBSCRIBE:
      return decodeSubscribe(version, reader)
    case PacketType.UNSUBSCRIBE:
      return decodeUnsubscribe(version, reader)
    case PacketType.PINGREQ:
      return decodePingreq(reader)
    case PacketType.DISCONNECT:
      return decodeDisconnect(version, reader)
    case PacketType.AUTH:
      return decodeAuth(version, reader)
    default:
      throw misplaced(type)
  }
}

function misplaced(type: number): BrokerError {
  if (type === 0) return malformed('packet type is 0') // §2.1.2
  if (type === PacketType.CONNECT) return protocolError('second CONNECT') // [MQTT-3.1.0-2]
  if (type === PacketType.PUBLISH) return new BrokerError('INTERNAL', 'PUBLISH goes to decodePublish')
  return protocolError(`packet type ${type} is only sent by servers`) // §2.1.2
}

/**
 * [MQTT-2.1.3-1]; PUBREL [MQTT-3.6.1-1], SUBSCRIBE [MQTT-3.8.1-1], UNSUBSCRIBE [MQTT-3.10.1-1],
 * DISCONNECT [MQTT-3.14.1-1], AUTH [MQTT-3.15.1-1]
 */
function checkHeaderFlags(version: ProtocolVersion, type: number, flags: number): void {
  if (type === PacketType.PUBLISH) return
  const answered =
    type === PacketType.PUBREL || type === PacketType.SUBSCRIBE || type === PacketType.UNSUBSCRIBE
  const expected = answered ? 2 : 0
  if (flags === expected) return
  // 3.1 §2.1: these are QoS 1 packets and may be sent again with DUP.
  if (version === 3 && answered && flags === (expected | DUP)) return
  throw malformed(`packet type ${type} has reserved flags set`)
}

const { Success } = ReasonCode

/** §3.4.2.1, §3.5.2.1 */
const PUBLISH_ACK_CODES: ReadonlySet<number> = new Set([
  Success,
  ReasonCode.NoMatchingSubscribers,
  ReasonCode.UnspecifiedError,
  ReasonCode.ImplementationSpecificError,
  ReasonCode.NotAuthorized,
  ReasonCode.TopicNameInvalid,
  ReasonCode.PacketIdentifierInUse,
  ReasonCode.QuotaExceeded,
  ReasonCode.PayloadFormatInvalid,
])

/** §3.6.2.1, §3.7.2.1 */
const RELEASE_CODES: ReadonlySet<number> = new Set([Success, ReasonCode.PacketIdentifierNotFound])

/** §3.14.2.1, those a client may send */
const DISCONNECT_CODES: ReadonlySet<number> = new Set([
  Success,
  ReasonCode.DisconnectWithWill,
  ReasonCode.UnspecifiedError,
  ReasonCode.MalformedPacket,
  ReasonCode.ProtocolError,
  ReasonCode.ImplementationSpecificError,
  ReasonCode.TopicNameInvalid,
  ReasonCode.ReceiveMaximumExceeded,
  ReasonCode.TopicAliasInvalid,
  ReasonCode.PacketTooLarge,
  ReasonCode.MessageRateTooHigh,
  ReasonCode.QuotaExceeded,
  ReasonCode.AdministrativeAction,
  ReasonCode.PayloadFormatInvalid,
])

/** §3.15.2.1, those a client may send */
const AUTH_CODES: ReadonlySet<number> = new Set([
  ReasonCode.ContinueAuthentication,
  ReasonCode.ReAuthenticate,
])

/** packet id | [reason code | [properties]] (§3.4.2) */
function decodeAck(version: ProtocolVersion, type: AckPacket['type'], reader: Reader): AckPacket {
  const packet: AckPacket = { type, packetId: readPacketId(reader), code: Success, properties: undefined }
  if (reader.left === 0) return packet
  if (version === 5) {
    // [MQTT-3.4.2-1] [MQTT-3.5.2-1] [MQTT-3.6.2-1] [MQTT-3.7.2-1]
    packet.code = readCode(reader, type < PacketType.PUBREL ? PUBLISH_ACK_CODES : RELEASE_CODES)
    if (reader.left > 0) packet.properties = decodeProperties(reader, ACK_SCOPES[type])
  }
  reader.done('acknowledgement')
  return packet
}

const ACK_SCOPES = { 4: Scope.PUBACK, 5: Scope.PUBREC, 6: Scope.PUBREL, 7: Scope.PUBCOMP } as const

const PINGREQ: PingreqPacket = Object.freeze({ type: PacketType.PINGREQ })

function decodePingreq(reader: Reader): PingreqPacket {
  reader.done('PINGREQ')
  return PINGREQ
}

/** [reason code | [properties]] (§3.14.2); empty in 3.x */
function decodeDisconnect(version: ProtocolVersion, reader: Reader): DisconnectPacket {
  const packet: DisconnectPacket = { type: PacketType.DISCONNECT, code: Success, properties: undefined }
  if (version === 5 && reader.left > 0) {
    packet.code = readCode(reader, DISCONNECT_CODES) // [MQTT-3.14.2-1]
    if (reader.left > 0) packet.properties = decodeProperties(reader, Scope.DISCONNECT)
  }
  reader.done('DISCONNECT')
  return packet
}

/** reason code | properties (§3.15.2). The short form means Success, which only servers send. */
function decodeAuth(version: ProtocolVersion, reader: Reader): AuthPacket {
  if (version !== 5) throw malformed('packet type 15 is reserved') // 3.1.1 §2.2.1
  if (reader.left === 0) throw protocolError('AUTH with Success from a client')
  const code = readCode(reader, AUTH_CODES) // [MQTT-3.15.2-1]
  const properties = decodeProperties(reader, Scope.AUTH)
  reader.done('AUTH')
  // §3.15.2.2.2
  if (properties?.authenticationMethod === undefined)
    throw protocolError('AUTH without authentication method')
  return { type: PacketType.AUTH, code, properties }
}

function readCode(reader: Reader, allowed: ReadonlySet<number>): ReasonCode {
  const code = reader.u8('reason code')
  if (!allowed.has(code)) throw protocolError(`reason code 0x${code.toString(16)} is not for this packet`)
  return code as ReasonCode
}
