/** Every MQTT 5 property (§2.2.2.2, table 2-4): how it is written, and who may send it in which packet. */
import { PacketType, type Properties } from './packets.ts'

/** `flag` is a byte of 0 or 1, `topic` a string that names a topic, `pair` a name and a value. */
export type PropertyKind = 'flag' | 'u16' | 'u32' | 'varint' | 'string' | 'topic' | 'binary' | 'pair'

export interface Property {
  readonly id: number
  readonly name: keyof Properties
  readonly kind: PropertyKind
  /** Smallest value allowed, of numbers. */
  readonly min: 0 | 1
  /** Scopes in which a client may send it. */
  readonly fromClient: number
  /** Scopes in which the server may send it. */
  readonly fromServer: number
  /** Its bit in the set of properties already seen. */
  readonly bit: number
}

/** One bit for each place that can carry properties. The will is a place of its own, inside CONNECT. */
export const Scope = {
  WILL: 1,
  CONNECT: 1 << PacketType.CONNECT,
  CONNACK: 1 << PacketType.CONNACK,
  PUBLISH: 1 << PacketType.PUBLISH,
  PUBACK: 1 << PacketType.PUBACK,
  PUBREC: 1 << PacketType.PUBREC,
  PUBREL: 1 << PacketType.PUBREL,
  PUBCOMP: 1 << PacketType.PUBCOMP,
  SUBSCRIBE: 1 << PacketType.SUBSCRIBE,
  SUBACK: 1 << PacketType.SUBACK,
  UNSUBSCRIBE: 1 << PacketType.UNSUBSCRIBE,
  UNSUBACK: 1 << PacketType.UNSUBACK,
  DISCONNECT: 1 << PacketType.DISCONNECT,
  AUTH: 1 << PacketType.AUTH,
} as const

const { WILL, CONNECT, CONNACK, PUBLISH, SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH } = Scope
const ACKS = Scope.PUBACK | Scope.PUBREC | Scope.PUBREL | Scope.PUBCOMP
const REASONS_FROM_SERVER = CONNACK | ACKS | SUBACK | UNSUBACK | DISCONNECT | AUTH
const USERS_FROM_CLIENT = CONNECT | WILL | PUBLISH | ACKS | SUBSCRIBE | UNSUBSCRIBE | DISCONNECT | AUTH

type Row = [
  id: number,
  name: keyof Properties,
  kind: PropertyKind,
  min: 0 | 1,
  fromClient: number,
  fromServer: number,
]

// biome-ignore format: a table is read by its columns
const ROWS: readonly Row[] = [
  [0x01, 'payloadFormatIndicator', 'flag', 0, PUBLISH | WILL, PUBLISH],
  [0x02, 'messageExpiryInterval', 'u32', 0, PUBLISH | WILL, PUBLISH],
  [0x03, 'contentType', 'string', 0, PUBLISH | WILL, PUBLISH],
  [0x08, 'responseTopic', 'topic', 0, PUBLISH | WILL, PUBLISH],
  [0x09, 'correlationData', 'binary', 0, PUBLISH | WILL, PUBLISH],
  // The server sends as many of them in a PUBLISH as subscriptions matched: encode-publish.ts.
  [0x0b, 'subscriptionIdentifiers', 'varint', 1, SUBSCRIBE, PUBLISH],
  // [MQTT-3.14.2-2] never sent in DISCONNECT by the server
  [0x11, 'sessionExpiryInterval', 'u32', 0, CONNECT | DISCONNECT, CONNACK],
  [0x12, 'assignedClientIdentifier', 'string', 0, 0, CONNACK],
  [0x13, 'serverKeepAlive', 'u16', 0, 0, CONNACK],
  [0x15, 'authenticationMethod', 'string', 0, CONNECT | AUTH, CONNACK | AUTH],
  [0x16, 'authenticationData', 'binary', 0, CONNECT | AUTH, CONNACK | AUTH],
  [0x17, 'requestProblemInformation', 'flag', 0, CONNECT, 0],
  [0x18, 'willDelayInterval', 'u32', 0, WILL, 0],
  [0x19, 'requestResponseInformation', 'flag', 0, CONNECT, 0],
  [0x1a, 'responseInformation', 'string', 0, 0, CONNACK],
  [0x1c, 'serverReference', 'string', 0, 0, CONNACK | DISCONNECT],
  [0x1f, 'reasonString', 'string', 0, ACKS | DISCONNECT | AUTH, REASONS_FROM_SERVER],
  [0x21, 'receiveMaximum', 'u16', 1, CONNECT, CONNACK],
  [0x22, 'topicAliasMaximum', 'u16', 0, CONNECT, CONNACK],
  [0x23, 'topicAlias', 'u16', 1, PUBLISH, PUBLISH],
  [0x24, 'maximumQoS', 'flag', 0, 0, CONNACK],
  [0x25, 'retainAvailable', 'flag', 0, 0, CONNACK],
  [0x26, 'userProperties', 'pair', 0, USERS_FROM_CLIENT, PUBLISH | REASONS_FROM_SERVER],
  [0x27, 'maximumPacketSize', 'u32', 1, CONNECT, CONNACK],
  [0x28, 'wildcardSubscriptionAvailable', 'flag', 0, 0, CONNACK],
  [0x29, 'subscriptionIdentifierAvailable', 'flag', 0, 0, CONNACK],
  [0x2a, 'sharedSubscriptionAvailable', 'flag', 0, 0, CONNACK],
]

export const PROPERTIES: readonly Property[] = ROWS.map(
  ([id, name, kind, min, fromClient, fromServer], i) => ({
    id,
    name,
    kind,
    min,
    fromClient,
    fromServer,
    bit: 1 << i,
  }),
)

/** By identifier; holes are identifiers that do not exist. */
export const PROPERTY_BY_ID: readonly (Property | undefined)[] = Array.from({ length: 0x2b }, (_, id) =>
  PROPERTIES.find((property) => property.id === id),
)
