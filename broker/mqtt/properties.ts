/**
 * The property part of an MQTT 5 packet (§2.2.2):
 *
 *     property length (variable byte integer) | identifier (variable byte integer) value | identifier value | ...
 */
import { ReasonCode } from '../../model/reason-codes.ts'
import { hasWildcard } from '../../model/topic.ts'
import { cutShort, malformed, mqttError, protocolError } from './mqtt-error.ts'
import type { Properties, UserProperties } from './packets.ts'
import { PROPERTIES, PROPERTY_BY_ID, type Property, type Scope } from './property-table.ts'
import type { Reader } from './read.ts'
import { putBinary, putString, putU16, putU32, putVarint, utf8Length, varintLength } from './write.ts'

type ScopeBit = (typeof Scope)[keyof typeof Scope]

/** Room in the longest string or binary field. */
const MAX_FIELD_BYTES = 65_535

/**
 * Reads the properties a client sent, length included.
 * @returns undefined when there are none
 * @throws MqttError FRAME_MALFORMED (0x81) for what is not known or not allowed in this packet,
 *   PROTOCOL_VIOLATED (0x82) for values out of range and for what is given twice,
 *   TOPIC_ALIAS_INVALID (0x94) for topic alias 0
 */
export function decodeProperties(reader: Reader, scope: ScopeBit): Properties | undefined {
  // [MQTT-2.2.2-1] the length is there even when nothing follows
  const length = reader.varint('property length')
  if (length === 0) return undefined
  const outerEnd = reader.end
  if (length > reader.left) throw cutShort('property list')
  reader.end = reader.at + length
  const found: Record<string, unknown> = {}
  let seen = 0
  while (reader.at < reader.end) {
    const property = nextProperty(reader, scope)
    if (property.kind === 'pair') {
      addUserProperty(reader, found)
      continue
    }
    if ((seen & property.bit) !== 0) throw protocolError(`${property.name} is given twice`)
    seen |= property.bit
    const value = readValue(reader, property)
    found[property.name] = property.kind === 'varint' ? [value] : value
  }
  reader.end = outerEnd
  return found as Properties
}

/**
 * Bytes of all properties the server may send in this scope, without their length field.
 * @returns Infinity if one of them cannot be written at all, being longer than 65535 bytes
 */
export function propertiesLength(properties: Properties | undefined, scope: ScopeBit): number {
  if (properties === undefined) return 0
  let length = 0
  for (const property of PROPERTIES) {
    const value = properties[property.name]
    if (value !== undefined && (property.fromServer & scope) !== 0) length += valueLength(property, value)
  }
  return length
}

/** Writes what `propertiesLength` has counted, after its length field. @returns where it ended */
export function putProperties(
  buf: Buffer,
  at: number,
  properties: Properties | undefined,
  scope: ScopeBit,
  length: number,
): number {
  let to = putVarint(buf, at, length)
  if (properties === undefined || length === 0) return to
  for (const property of PROPERTIES) {
    const value = properties[property.name]
    if (value !== undefined && (property.fromServer & scope) !== 0) to = putValue(buf, to, property, value)
  }
  return to
}

/** Bytes of user properties, identifiers included; Infinity if one is too long to be written. */
export function userPropertiesLength(pairs: UserProperties): number {
  let length = 0
  for (const [name, value] of pairs) length += 1 + stringLength(name) + stringLength(value)
  return length
}

/** [MQTT-3.3.2-18] in their order. */
export function putUserProperties(buf: Buffer, at: number, pairs: UserProperties): number {
  let to = at
  for (const [name, value] of pairs) {
    buf[to] = 0x26
    to = putString(buf, to + 1, name, utf8Length(name))
    to = putString(buf, to, value, utf8Length(value))
  }
  return to
}

/** Bytes of a string field, its length included; Infinity if it is too long to be written. */
export function stringLength(text: string): number {
  const bytes = utf8Length(text)
  return bytes > MAX_FIELD_BYTES ? Number.POSITIVE_INFINITY : bytes + 2
}

/** The same of a binary field. */
export function binaryLength(bytes: Uint8Array): number {
  return bytes.length > MAX_FIELD_BYTES ? Number.POSITIVE_INFINITY : bytes.length + 2
}

function nextProperty(reader: Reader, scope: ScopeBit): Property {
  const id = reader.varint('property identifier')
  const property = PROPERTY_BY_ID[id]
  if (property === undefined) throw malformed(`property 0x${id.toString(16)} does not exist`)
  if ((property.fromClient & scope) !== 0) return property
  // [MQTT-3.3.4-6] the one misplaced property for which the specification wants another code
  if (property.kind === 'varint')
    throw protocolError('subscription identifier is not for clients to send here')
  throw malformed(`${property.name} is not allowed in this packet`)
}

function readValue(reader: Reader, property: Property): number | string | Uint8Array {
  const { name } = property
  switch (property.kind) {
    case 'u16':
      return inRange(property, reader.u16(name))
    case 'u32':
      return inRange(property, reader.u32(name))
    case 'varint':
      return inRange(property, reader.varint(name))
    case 'flag':
      return oneBit(name, reader.u8(name))
    case 'topic':
      return responseTopic(reader.string(name)) // [MQTT-3.3.2-13]
    case 'binary':
      return reader.binary(name)
    default:
      return reader.string(name) // Content Type: [MQTT-3.3.2-19]
  }
}

/** [MQTT-1.5.7-1] both are strings like any other. */
function addUserProperty(reader: Reader, found: Record<string, unknown>): void {
  const pair: UserProperties[number] = [
    reader.string('user property name'),
    reader.string('user property value'),
  ]
  if (found.userProperties === undefined) found.userProperties = [pair]
  else (found.userProperties as UserProperties).push(pair)
}

function inRange(property: Property, value: number): number {
  if (value >= property.min) return value
  // [MQTT-3.3.2-8] the one value out of range that has a code of its own
  if (property.name === 'topicAlias') {
    throw mqttError('TOPIC_ALIAS_INVALID', ReasonCode.TopicAliasInvalid, 'topic alias is 0')
  }
  throw protocolError(`${property.name} is 0`)
}

function oneBit(name: string, value: number): number {
  // §3.1.2.11.6, §3.1.2.11.7, §3.3.2.3.2: any other value is a protocol error
  if (value > 1) throw protocolError(`${name} is neither 0 nor 1`)
  return value
}

function responseTopic(topic: string): string {
  // [MQTT-3.3.2-14] no wildcards; [MQTT-4.7.3-1] at least one character
  if (topic === '' || hasWildcard(topic)) throw protocolError('responseTopic is not a topic name')
  return topic
}

function valueLength(property: Property, value: unknown): number {
  switch (property.kind) {
    case 'flag':
      return 2
    case 'u16':
      return 3
    case 'u32':
      return 5
    case 'varint':
      return (value as number[]).reduce((sum, id) => sum + 1 + varintLength(id), 0)
    case 'binary':
      return 1 + binaryLength(value as Uint8Array)
    case 'pair':
      return userPropertiesLength(value as UserProperties)
    default:
      return 1 + stringLength(value as string)
  }
}

function putValue(buf: Buffer, at: number, property: Property, value: unknown): number {
  if (property.kind === 'pair') return putUserProperties(buf, at, value as UserProperties)
  if (property.kind === 'varint') return putIdentifiers(buf, at, property.id, value as number[])
  buf[at] = property.id
  const from = at + 1
  switch (property.kind) {
    case 'flag':
      buf[from] = value as number
      return from + 1
    case 'u16':
      return putU16(buf, from, value as number)
    case 'u32':
      return putU32(buf, from, value as number)
    case 'binary':
      return putBinary(buf, from, value as Uint8Array)
    default:
      return putString(buf, from, value as string, utf8Length(value as string))
  }
}

function putIdentifiers(buf: Buffer, at: number, id: number, values: readonly number[]): number {
  let to = at
  for (const value of values) {
    buf[to] = id
    to = putVarint(buf, to + 1, value)
  }
  return to
}
