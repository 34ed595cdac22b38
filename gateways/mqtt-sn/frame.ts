/**
 * MQTT-SN 1.2 §5: one message per datagram.
 *
 *     length 1 | type 1 | rest            length 2 to 255, itself included
 *     01 | length 2 | type 1 | rest       longer ones, all integers big-endian
 *
 * Decoding is pure and never throws: what is no message from a client is undefined.
 */
import { isUtf8 } from 'node:buffer'
import type { QoS } from '../../model/message.ts'

/** §5.2.2 */
export const Type = {
  ADVERTISE: 0x00,
  SEARCHGW: 0x01,
  GWINFO: 0x02,
  CONNECT: 0x04,
  CONNACK: 0x05,
  WILLTOPICREQ: 0x06,
  WILLTOPIC: 0x07,
  WILLMSGREQ: 0x08,
  WILLMSG: 0x09,
  REGISTER: 0x0a,
  REGACK: 0x0b,
  PUBLISH: 0x0c,
  PUBACK: 0x0d,
  PUBCOMP: 0x0e,
  PUBREC: 0x0f,
  PUBREL: 0x10,
  SUBSCRIBE: 0x12,
  SUBACK: 0x13,
  UNSUBSCRIBE: 0x14,
  UNSUBACK: 0x15,
  PINGREQ: 0x16,
  PINGRESP: 0x17,
  DISCONNECT: 0x18,
  WILLTOPICUPD: 0x1a,
  WILLTOPICRESP: 0x1b,
  WILLMSGUPD: 0x1c,
  WILLMSGRESP: 0x1d,
} as const
type Types = typeof Type

/** §5.3.10, and 0x80 as EMQX has it: not authorized. */
export const Code = {
  Accepted: 0x00,
  Congestion: 0x01,
  InvalidTopicId: 0x02,
  NotSupported: 0x03,
  NotAuthorized: 0x80,
} as const
export type Code = (typeof Code)[keyof typeof Code]

/** §5.3.4: kinds of topic, the lowest two bits of the flags. */
export const TopicKind = { Normal: 0, Predefined: 1, Short: 2, Reserved: 3 } as const
export type TopicKind = (typeof TopicKind)[keyof typeof TopicKind]

const DUP = 0x80
const RETAIN = 0x10
const WILL = 0x08
const CLEAN = 0x04

/** What a client may say. `qos` is -1 for the wire's 3. */
export type Frame =
  | { type: Types['SEARCHGW'] }
  | ConnectFrame
  | WillTopicFrame
  | { type: Types['WILLMSG'] | Types['WILLMSGUPD']; payload: Buffer }
  | { type: Types['REGISTER']; topicId: number; msgId: number; topic: string }
  | { type: Types['REGACK'] | Types['PUBACK']; topicId: number; msgId: number; code: number }
  | PublishFrame
  | { type: Types['PUBREC'] | Types['PUBREL'] | Types['PUBCOMP']; msgId: number }
  | SubscribeFrame
  | { type: Types['PINGREQ']; clientId: string | undefined }
  | { type: Types['DISCONNECT']; seconds: number | undefined }

export interface ConnectFrame {
  type: Types['CONNECT']
  hasWill: boolean
  clean: boolean
  protocolId: number
  seconds: number
  clientId: string
}

export interface WillTopicFrame {
  type: Types['WILLTOPIC'] | Types['WILLTOPICUPD']
  qos: QoS | -1
  retain: boolean
  /** Undefined: there is to be no will. */
  topic: string | undefined
}

export interface PublishFrame {
  type: Types['PUBLISH']
  dup: boolean
  qos: QoS | -1
  retain: boolean
  kind: TopicKind
  topicId: number
  msgId: number
  bytes: Buffer
  /** Where the payload begins in `bytes`; it goes to the end. */
  start: number
}

export interface SubscribeFrame {
  type: Types['SUBSCRIBE'] | Types['UNSUBSCRIBE']
  qos: QoS | -1
  kind: TopicKind
  msgId: number
  /** For predefined topics and short names. */
  topicId: number
  /** The name for normal topics. */
  topic: string
}

/** @returns undefined for what is cut short, too long, unknown, not UTF-8 or only ever said by gateways */
export function decodeFrame(bytes: Buffer): Frame | undefined {
  const isLong = bytes[0] === 1
  const at = isLong ? 4 : 2
  if (bytes.length < at) return undefined
  if ((isLong ? bytes.readUInt16BE(1) : bytes[0]) !== bytes.length) return undefined
  return decodeBody(bytes[at - 1] as number, bytes, at)
}

function decodeBody(type: number, bytes: Buffer, at: number): Frame | undefined {
  const size = bytes.length - at
  switch (type) {
    case Type.SEARCHGW:
      return size === 1 ? { type } : undefined
    case Type.CONNECT:
      return size < 4 ? undefined : connect(bytes, at)
    case Type.WILLTOPIC:
    case Type.WILLTOPICUPD:
      return willTopic(type, bytes, at)
    case Type.WILLMSG:
    case Type.WILLMSGUPD:
      return { type, payload: bytes.subarray(at) }
    case Type.REGISTER:
      return size < 5 ? undefined : register(bytes, at)
    case Type.REGACK:
    case Type.PUBACK:
      if (size !== 5) return undefined
      return {
        type,
        topicId: bytes.readUInt16BE(at),
        msgId: bytes.readUInt16BE(at + 2),
        code: bytes[at + 4] as number,
      }
    case Type.PUBLISH:
      return size < 5 ? undefined : publish(bytes, at)
    case Type.PUBREC:
    case Type.PUBREL:
    case Type.PUBCOMP:
      return size === 2 ? { type, msgId: bytes.readUInt16BE(at) } : undefined
    case Type.SUBSCRIBE:
    case Type.UNSUBSCRIBE:
      return size < 4 ? undefined : subscribe(type, bytes, at)
    case Type.PINGREQ: {
      const clientId = text(bytes, at)
      return clientId === undefined ? undefined : { type, clientId: size === 0 ? undefined : clientId }
    }
    case Type.DISCONNECT:
      if (size !== 0 && size !== 2) return undefined
      return { type, seconds: size === 0 ? undefined : bytes.readUInt16BE(at) }
    default:
      return undefined
  }
}

function connect(bytes: Buffer, at: number): Frame | undefined {
  const flags = bytes[at] as number
  const clientId = text(bytes, at + 4)
  if (clientId === undefined) return undefined
  return {
    type: Type.CONNECT,
    hasWill: (flags & WILL) !== 0,
    clean: (flags & CLEAN) !== 0,
    protocolId: bytes[at + 1] as number,
    seconds: bytes.readUInt16BE(at + 2),
    clientId,
  }
}

function willTopic(
  type: Types['WILLTOPIC'] | Types['WILLTOPICUPD'],
  bytes: Buffer,
  at: number,
): Frame | undefined {
  if (bytes.length === at) return { type, qos: 0, retain: false, topic: undefined }
  const flags = bytes[at] as number
  const topic = text(bytes, at + 1)
  if (topic === undefined) return undefined
  return { type, qos: qosOf(flags), retain: (flags & RETAIN) !== 0, topic: topic === '' ? undefined : topic }
}

function register(bytes: Buffer, at: number): Frame | undefined {
  const topic = text(bytes, at + 4)
  if (topic === undefined) return undefined
  return { type: Type.REGISTER, topicId: bytes.readUInt16BE(at), msgId: bytes.readUInt16BE(at + 2), topic }
}

function publish(bytes: Buffer, at: number): PublishFrame {
  const flags = bytes[at] as number
  return {
    type: Type.PUBLISH,
    dup: (flags & DUP) !== 0,
    qos: qosOf(flags),
    retain: (flags & RETAIN) !== 0,
    kind: (flags & 3) as TopicKind,
    topicId: bytes.readUInt16BE(at + 1),
    msgId: bytes.readUInt16BE(at + 3),
    bytes,
    start: at + 5,
  }
}

function subscribe(
  type: Types['SUBSCRIBE'] | Types['UNSUBSCRIBE'],
  bytes: Buffer,
  at: number,
): SubscribeFrame | undefined {
  const flags = bytes[at] as number
  const kind = (flags & 3) as TopicKind
  const frame = { type, qos: qosOf(flags), kind, msgId: bytes.readUInt16BE(at + 1), topicId: 0, topic: '' }
  if (kind === TopicKind.Reserved) return frame
  if (kind !== TopicKind.Normal)
    return bytes.length === at + 5 ? { ...frame, topicId: bytes.readUInt16BE(at + 3) } : undefined
  const topic = text(bytes, at + 3)
  return topic === undefined ? undefined : { ...frame, topic }
}

function qosOf(flags: number): QoS | -1 {
  const qos = (flags >> 5) & 3
  return qos === 3 ? -1 : (qos as QoS)
}

function text(bytes: Buffer, at: number): string | undefined {
  if (bytes.length === at) return ''
  const part = bytes.subarray(at)
  return isUtf8(part) ? part.toString('utf8') : undefined
}

/** The name that two bytes in place of a topic id are; undefined if they are none. */
export function shortName(topicId: number): string | undefined {
  const pair = Buffer.from([topicId >> 8, topicId & 0xff])
  return isUtf8(pair) ? pair.toString('utf8') : undefined
}

/** The two bytes of a short name; undefined for a longer one. */
export function shortId(name: string): number | undefined {
  if (name.length > 2 || Buffer.byteLength(name) !== 2) return undefined
  return Buffer.from(name).readUInt16BE(0)
}

/** An outgoing PUBLISH, but for its payload. */
export interface PublishHead {
  kind: TopicKind
  topicId: number
  msgId: number
  qos: QoS
  retain: boolean
  dup: boolean
}

/** Longest payload whose PUBLISH has a length that can be said. */
export const MAX_PAYLOAD_BYTES = 0xffff - 9

export function encodePublish(head: PublishHead, payload: Uint8Array): Buffer {
  const frame = begin(Type.PUBLISH, payload.length + 5)
  const at = frame.length - payload.length - 5
  frame[at] = (head.dup ? DUP : 0) | (head.qos << 5) | (head.retain ? RETAIN : 0) | head.kind
  frame.writeUInt16BE(head.topicId, at + 1)
  frame.writeUInt16BE(head.msgId, at + 3)
  frame.set(payload, at + 5)
  return frame
}

export function encodeRegister(topicId: number, msgId: number, topic: string): Buffer {
  const size = Buffer.byteLength(topic)
  const frame = begin(Type.REGISTER, size + 4)
  const at = frame.length - size - 4
  frame.writeUInt16BE(topicId, at)
  frame.writeUInt16BE(msgId, at + 2)
  frame.write(topic, at + 4)
  return frame
}

/** REGACK, PUBACK. */
export function encodeTopicAck(
  type: Types['REGACK'] | Types['PUBACK'],
  topicId: number,
  msgId: number,
  code: Code,
): Buffer {
  return Buffer.from([7, type, topicId >> 8, topicId & 0xff, msgId >> 8, msgId & 0xff, code])
}

export function encodeSuback(qos: QoS, topicId: number, msgId: number, code: Code): Buffer {
  const ids = [topicId >> 8, topicId & 0xff, msgId >> 8, msgId & 0xff]
  return Buffer.from([8, Type.SUBACK, qos << 5, ...ids, code])
}

/** PUBREC, PUBREL, PUBCOMP, UNSUBACK. */
export function encodeId(type: number, msgId: number): Buffer {
  return Buffer.from([4, type, msgId >> 8, msgId & 0xff])
}

/** CONNACK, WILLTOPICRESP, WILLMSGRESP; GWINFO, whose byte is the gateway's id. */
export function encodeByte(type: number, byte: number): Buffer {
  return Buffer.from([3, type, byte])
}

/** PINGRESP, DISCONNECT, WILLTOPICREQ, WILLMSGREQ. */
export function encodeEmpty(type: number): Buffer {
  return Buffer.from([2, type])
}

/** @param seconds - until the next one */
export function encodeAdvertise(gatewayId: number, seconds: number): Buffer {
  return Buffer.from([5, Type.ADVERTISE, gatewayId, seconds >> 8, seconds & 0xff])
}

/** Length and type of a message, with room for `size` more bytes at its end. */
function begin(type: number, size: number): Buffer {
  const isLong = size + 2 > 255
  const frame = Buffer.allocUnsafe(size + (isLong ? 4 : 2))
  if (isLong) {
    frame[0] = 1
    frame.writeUInt16BE(frame.length, 1)
  } else frame[0] = frame.length
  frame[isLong ? 3 : 1] = type
  return frame
}
