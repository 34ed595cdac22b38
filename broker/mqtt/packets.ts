/** MQTT control packets as values: what decode.ts yields and encode.ts takes. MQTT 5.0 §3; 3.1 and 3.1.1 are subsets. */
import type { KnownTopic } from '../../model/known-topic.ts'
import type { MessageProperties, QoS } from '../../model/message.ts'
import type { ReasonCode } from '../../model/reason-codes.ts'

/** MQTT 5.0 §2.1.2 */
export const PacketType = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const

/** 3 = MQTT 3.1, 4 = MQTT 3.1.1, 5 = MQTT 5.0 */
export type ProtocolVersion = 3 | 4 | 5

export type UserProperties = [name: string, value: string][]

/** Every MQTT 5 property (§2.2.2.2). Which packet may carry which is the codec's business. */
export interface Properties extends MessageProperties {
  subscriptionIdentifiers?: number[]
  sessionExpiryInterval?: number
  assignedClientIdentifier?: string
  serverKeepAlive?: number
  authenticationMethod?: string
  authenticationData?: Uint8Array
  requestProblemInformation?: 0 | 1
  willDelayInterval?: number
  requestResponseInformation?: 0 | 1
  responseInformation?: string
  serverReference?: string
  reasonString?: string
  receiveMaximum?: number
  topicAliasMaximum?: number
  topicAlias?: number
  maximumQoS?: 0 | 1
  retainAvailable?: 0 | 1
  maximumPacketSize?: number
  wildcardSubscriptionAvailable?: 0 | 1
  subscriptionIdentifierAvailable?: 0 | 1
  sharedSubscriptionAvailable?: 0 | 1
}

export interface WillPacket {
  topic: string
  payload: Uint8Array
  qos: QoS
  retain: boolean
  properties: Properties | undefined
}

export interface ConnectPacket {
  type: 1
  version: ProtocolVersion
  /** Bit 7 of the protocol level: a Mosquitto-style bridge. */
  isBridge: boolean
  cleanStart: boolean
  keepAliveSeconds: number
  clientId: string
  will: WillPacket | undefined
  username: string | undefined
  password: Uint8Array | undefined
  properties: Properties | undefined
}

export interface ConnackPacket {
  type: 2
  sessionPresent: boolean
  /** MQTT 5 code; the encoder maps it for 3.x. */
  code: ReasonCode
  properties?: Properties | undefined
}

/** One object per connection is filled again for each PUBLISH: it costs nothing, so take out what must last. */
export interface PublishPacket {
  type: 3
  topic: string
  /** The same, with what is known of it. */
  known: KnownTopic
  /** The chunk it arrived in; the payload is `bytes[payloadStart..payloadEnd)`. */
  bytes: Buffer
  payloadStart: number
  payloadEnd: number
  qos: QoS
  retain: boolean
  dup: boolean
  /** 0 for QoS 0. */
  packetId: number
  properties: Properties | undefined
}

/** PUBACK, PUBREC, PUBREL, PUBCOMP */
export interface AckPacket {
  type: 4 | 5 | 6 | 7
  packetId: number
  code: ReasonCode
  properties?: Properties | undefined
}

export interface SubscribeRequest {
  filter: string
  qos: QoS
  noLocal: boolean
  retainAsPublished: boolean
  retainHandling: 0 | 1 | 2
}

export interface SubscribePacket {
  type: 8
  packetId: number
  subscriptions: SubscribeRequest[]
  properties: Properties | undefined
}

export interface SubackPacket {
  type: 9
  packetId: number
  codes: ReasonCode[]
  properties?: Properties | undefined
}

export interface UnsubscribePacket {
  type: 10
  packetId: number
  filters: string[]
  properties: Properties | undefined
}

export interface UnsubackPacket {
  type: 11
  packetId: number
  /** Not on the wire in 3.x. */
  codes: ReasonCode[]
  properties?: Properties | undefined
}

export interface PingreqPacket {
  type: 12
}

export interface PingrespPacket {
  type: 13
}

export interface DisconnectPacket {
  type: 14
  code: ReasonCode
  properties?: Properties | undefined
}

export interface AuthPacket {
  type: 15
  code: ReasonCode
  properties?: Properties | undefined
}

/** What a client may send. */
export type ClientPacket =
  | ConnectPacket
  | PublishPacket
  | AckPacket
  | SubscribePacket
  | UnsubscribePacket
  | PingreqPacket
  | DisconnectPacket
  | AuthPacket

/** What the server sends; PUBLISH has a path of its own (encode-publish.ts). */
export type ServerPacket =
  | ConnackPacket
  | AckPacket
  | SubackPacket
  | UnsubackPacket
  | PingrespPacket
  | DisconnectPacket
  | AuthPacket
