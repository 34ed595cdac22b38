/**
 * CONNECT (MQTT 5.0 §3.1):
 *
 *     0x10, remaining length
 *     protocol name (string) | level (byte) | flags (byte) | keep alive (2 bytes) | properties (5.0)
 *     client id | [will properties (5.0) | will topic | will payload] | [user name] | [password]
 *
 *     flags: user name 0x80 | password 0x40 | will retain 0x20 | will QoS 0x18 | will 0x04 | clean start 0x02 | reserved 0x01
 */
import type { QoS } from '../../model/message.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { isValidTopicName } from '../../model/topic.ts'
import { bodyStart } from './frame.ts'
import { type MqttError, malformed, mqttError, protocolError, topicInvalid } from './mqtt-error.ts'
import {
  type ConnectPacket,
  PacketType,
  type Properties,
  type ProtocolVersion,
  type WillPacket,
} from './packets.ts'
import { decodeProperties } from './properties.ts'
import { Scope } from './property-table.ts'
import { Reader } from './read.ts'

const USERNAME = 0x80
const PASSWORD = 0x40
const WILL_RETAIN = 0x20
const WILL_QOS = 0x18
const WILL = 0x04
const CLEAN_START = 0x02
const RESERVED = 0x01

/** Set by bridges of Mosquitto's kind in levels 3 and 4; 5.0 has options of its own for them. */
const BRIDGE = 0x80

/**
 * Decodes the whole packet `buf[start..end)`, which must be a CONNECT. Keeps nothing of `buf`.
 * @throws MqttError PROTOCOL_VIOLATED, FRAME_MALFORMED, TOPIC_INVALID. With `reasonCode`
 *   0x84 for an unknown protocol name or level; `connectVersion` tells how to answer.
 */
export function decodeConnect(buf: Buffer, start: number, end: number): ConnectPacket {
  const first = buf[start] as number
  // [MQTT-3.1.0-1] nothing may come before CONNECT
  if (first >> 4 !== PacketType.CONNECT) throw protocolError('the first packet is not CONNECT')
  if ((first & 15) !== 0) throw malformed('CONNECT has reserved flags set') // [MQTT-2.1.3-1]
  const reader = new Reader(buf, bodyStart(buf, start), end)
  const name = reader.string('protocol name')
  const level = reader.u8('protocol level')
  const version = versionOf(name, level)
  const flags = reader.u8('connect flag byte')
  checkFlags(version, flags)
  const keepAliveSeconds = reader.u16('keep alive')
  const properties = version === 5 ? connectProperties(reader) : undefined
  // [MQTT-3.1.3-1] in this order, [MQTT-3.1.3-3] the client id first, always
  const clientId = reader.string('client id') // [MQTT-3.1.3-4]
  const will = (flags & WILL) !== 0 ? decodeWill(reader, version, flags) : undefined
  const username = has(reader, version, flags, USERNAME) ? reader.string('user name') : undefined // [MQTT-3.1.3-12]
  const password = has(reader, version, flags, PASSWORD) ? reader.binary('password') : undefined
  reader.done('CONNECT')
  return {
    type: PacketType.CONNECT,
    version,
    isBridge: (level & BRIDGE) !== 0,
    cleanStart: (flags & CLEAN_START) !== 0,
    keepAliveSeconds,
    clientId,
    will,
    username,
    password,
    properties,
  }
}

/**
 * The version in which to answer a CONNECT that could not be decoded: 5 for levels from 5
 * on, 4 for lower ones, 3 for MQTT 3.1.
 * @returns undefined if the packet does not tell: then the connection is closed without an answer
 */
export function connectVersion(buf: Buffer, start: number, end: number): ProtocolVersion | undefined {
  if (end - start < 2 || buf[start] !== PacketType.CONNECT << 4) return undefined
  const at = bodyStart(buf, start)
  if (at + 7 <= end && buf.toString('latin1', at, at + 6) === '\0\x04MQTT') {
    return ((buf[at + 6] as number) & ~BRIDGE) >= 5 ? 5 : 4
  }
  if (at + 9 <= end && buf.toString('latin1', at, at + 8) === '\0\x06MQIsdp') return 3
  return undefined
}

function versionOf(name: string, level: number): ProtocolVersion {
  if (name === 'MQTT') {
    if (level === 4 || level === (4 | BRIDGE)) return 4
    if (level === 5) return 5
    // [MQTT-3.1.2-2], which 3.1.1 wants answered with 0x01 [MQTT-3.1.2-2 (3.1.1)]
    throw unsupported(`protocol level ${level} is not supported`)
  }
  // [MQTT-3.1.2-1] [MQTT-3.1.2-1 (3.1.1)] MQIsdp is served as 3.1 wants it
  if (name !== 'MQIsdp') throw unsupported('protocol name is neither MQTT nor MQIsdp')
  if (level === 3 || level === (3 | BRIDGE)) return 3
  throw unsupported(`protocol level ${level} is not supported with MQIsdp`)
}

function unsupported(message: string): MqttError {
  return mqttError('PROTOCOL_VIOLATED', ReasonCode.UnsupportedProtocolVersion, message)
}

function checkFlags(version: ProtocolVersion, flags: number): void {
  if ((flags & RESERVED) !== 0) throw malformed('reserved connect flag is set') // [MQTT-3.1.2-3]
  if ((flags & WILL_QOS) === WILL_QOS) throw malformed('will QoS is 3') // [MQTT-3.1.2-12]
  if ((flags & WILL) === 0) {
    if ((flags & WILL_QOS) !== 0) throw malformed('will QoS is set without a will') // [MQTT-3.1.2-11]
    if ((flags & WILL_RETAIN) !== 0) throw malformed('will retain is set without a will') // [MQTT-3.1.2-13]
  }
  // [MQTT-3.1.2-22 (3.1.1)]; 5.0 allows it, for tokens
  if (version !== 5 && (flags & (USERNAME | PASSWORD)) === PASSWORD) {
    throw protocolError('password without user name')
  }
}

function connectProperties(reader: Reader): Properties | undefined {
  const properties = decodeProperties(reader, Scope.CONNECT)
  if (properties?.authenticationData !== undefined && properties.authenticationMethod === undefined) {
    throw protocolError('authentication data without authentication method') // §3.1.2.11.10
  }
  return properties
}

/** [MQTT-3.1.2-9] the will's fields are there when its flag is set. */
function decodeWill(reader: Reader, version: ProtocolVersion, flags: number): WillPacket {
  const properties = version === 5 ? decodeProperties(reader, Scope.WILL) : undefined
  const topic = reader.string('will topic') // [MQTT-3.1.3-11]
  if (!isValidTopicName(topic)) throw topicInvalid('will topic is not a topic name')
  return {
    topic,
    payload: reader.binary('will payload'),
    qos: ((flags & WILL_QOS) >> 3) as QoS,
    retain: (flags & WILL_RETAIN) !== 0,
    properties,
  }
}

/**
 * User name [MQTT-3.1.2-16] [MQTT-3.1.2-17] and password [MQTT-3.1.2-18] [MQTT-3.1.2-19] are there exactly
 * when their flags say so.
 * In 3.1 the remaining length takes precedence: a flag whose field is missing at the end counts as not set.
 */
function has(reader: Reader, version: ProtocolVersion, flags: number, flag: number): boolean {
  return (flags & flag) !== 0 && !(version === 3 && reader.left === 0)
}
