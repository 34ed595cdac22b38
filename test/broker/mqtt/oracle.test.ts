/** mqtt-packet, an independent codec, and ours must say the same of random packets. */
import { generate, type Packet, parser, type UserProperties } from 'mqtt-packet'
import { expect, test } from 'vitest'
import { encodePacket } from '../../../broker/mqtt/encode.ts'
import { writePublish } from '../../../broker/mqtt/encode-publish.ts'
import type {
  UserProperties as Pairs,
  Properties,
  ProtocolVersion,
  ServerPacket,
} from '../../../broker/mqtt/packets.ts'
import { TopicBytes } from '../../../broker/mqtt/topic-bytes.ts'
import { TopicCache } from '../../../broker/mqtt/topic-cache.ts'
import type { MessageProperties, QoS } from '../../../model/message.ts'
import type { ReasonCode } from '../../../model/reason-codes.ts'
import { CLIENT_COMMANDS, compact, randomConnect, randomPacket, randomTopic } from './random-packets.ts'
import { connect, decode, delivery, message, Random, TestOutbox, VERSIONS } from './support.ts'

const RUNS = 150

const TYPES = {
  connect: 1,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  unsubscribe: 10,
  pingreq: 12,
  disconnect: 14,
  auth: 15,
} as const

/** What differs in form only: binary data, and flags that are booleans there and bits here. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return `hex ${Buffer.from(value).toString('hex')}`
  if (typeof value === 'boolean') return Number(value)
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).filter(([, v]) => v !== undefined)
  return Object.fromEntries(entries.map(([k, v]) => [k, plain(v)]))
}

function pairsOf(theirs: UserProperties): Pairs {
  return Object.entries(theirs).flatMap(([name, values]) =>
    [values].flat().map((value): Pairs[number] => [name, value]),
  )
}

/** Their properties in our words. */
function ourProperties(theirs: Record<string, unknown> | undefined): unknown {
  if (theirs === undefined || Object.keys(theirs).length === 0) return undefined
  const { userProperties, subscriptionIdentifier, subscriptionIdentifiersAvailable, ...rest } = theirs
  return compact({
    ...rest,
    userProperties: userProperties === undefined ? undefined : pairsOf(userProperties as UserProperties),
    subscriptionIdentifiers:
      subscriptionIdentifier === undefined ? undefined : [subscriptionIdentifier].flat(),
    subscriptionIdentifierAvailable: subscriptionIdentifiersAvailable,
  })
}

/** Their client packet in our words. */
function ours(packet: Packet): unknown {
  const type = TYPES[packet.cmd as keyof typeof TYPES]
  const given = packet as unknown as Record<string, unknown>
  const properties = ourProperties(given.properties as Record<string, unknown> | undefined)
  switch (packet.cmd) {
    case 'connect': {
      const will = packet.will
      return {
        type,
        version: packet.protocolVersion,
        isBridge: false,
        cleanStart: packet.clean,
        keepAliveSeconds: packet.keepalive,
        clientId: packet.clientId,
        username: packet.username,
        password: packet.password,
        will: will && { ...will, properties: ourProperties(will.properties) },
        properties,
      }
    }
    case 'publish': {
      const { topic, payload, qos, retain, dup, messageId = 0 } = packet
      return { type, topic, payload, qos, retain, dup, packetId: messageId, properties }
    }
    case 'subscribe': {
      const subscriptions = packet.subscriptions.map(({ topic, qos, nl = false, rap = false, rh = 0 }) => ({
        filter: topic,
        qos,
        noLocal: nl,
        retainAsPublished: rap,
        retainHandling: rh,
      }))
      return { type, packetId: packet.messageId, subscriptions, properties }
    }
    case 'unsubscribe':
      return { type, packetId: packet.messageId, filters: packet.unsubscriptions, properties }
    case 'pingreq':
      return { type }
    default:
      return { type, packetId: packet.messageId, code: given.reasonCode ?? 0, properties }
  }
}

test('CONNECT as mqtt-packet writes it', () => {
  const random = new Random(311)
  for (const version of VERSIONS) {
    for (let run = 0; run < RUNS; run++) {
      const packet = randomConnect(random, version)
      expect(plain(connect(generate(packet)))).toEqual(plain(ours(packet)))
    }
  }
})

test.each(CLIENT_COMMANDS)('%s as mqtt-packet writes it', (cmd) => {
  const random = new Random(cmd.length * 7 + cmd.charCodeAt(3))
  const topics = new TopicCache(64)
  for (const version of cmd === 'auth' ? ([5] as const) : VERSIONS) {
    for (let run = 0; run < RUNS; run++) {
      const packet = randomPacket(random, version, cmd)
      const bytes = generate(packet, { protocolVersion: version })
      expect(plain(decode(version, bytes, topics))).toEqual(plain(ours(packet)))
    }
  }
})

/** The one packet in `bytes`, as mqtt-packet reads it. */
function parse(version: ProtocolVersion, bytes: Buffer): Record<string, unknown> {
  const packets: Packet[] = []
  const reader = parser({ protocolVersion: version })
  reader.on('packet', (packet) => packets.push(packet))
  reader.on('error', (error: Error) => {
    throw error
  })
  expect(reader.parse(bytes)).toBe(0)
  expect(packets).toHaveLength(1)
  return packets[0] as unknown as Record<string, unknown>
}

function randomPairs(random: Random): Pairs {
  return Array.from({ length: 1 + random.int(4) }, () => [random.pick(['na', 'nb', 'nc']), random.text()])
}

/** User properties as their object keeps them: names in order of first appearance. */
function grouped(pairs: Pairs): Pairs {
  const names = [...new Set(pairs.map(([name]) => name))]
  return names.flatMap((name) => pairs.filter((pair) => pair[0] === name))
}

function reasons(random: Random): Properties {
  return compact({
    reasonString: random.maybe(() => random.text()),
    userProperties: random.maybe(() => randomPairs(random)),
  })
}

function connackProperties(random: Random): Properties {
  const flag = () => random.int(2) as 0 | 1
  return compact({
    ...reasons(random),
    sessionExpiryInterval: random.maybe(() => random.int(2 ** 32)),
    receiveMaximum: random.maybe(() => 1 + random.int(65_535)),
    maximumQoS: random.maybe(flag),
    retainAvailable: random.maybe(flag),
    maximumPacketSize: random.maybe(() => 1 + random.int(2 ** 32 - 1)),
    assignedClientIdentifier: random.maybe(() => random.text()),
    topicAliasMaximum: random.maybe(() => random.int(65_536)),
    wildcardSubscriptionAvailable: random.maybe(flag),
    subscriptionIdentifierAvailable: random.maybe(flag),
    sharedSubscriptionAvailable: random.maybe(flag),
    serverKeepAlive: random.maybe(() => random.int(65_536)),
    responseInformation: random.maybe(() => random.text()),
    serverReference: random.maybe(() => random.text()),
    authenticationMethod: random.maybe(() => random.text()),
    authenticationData: random.maybe(() => random.bytes(20)),
  })
}

function expectProperties(theirs: unknown, properties: Properties | undefined): void {
  const empty = properties === undefined || Object.keys(properties).length === 0
  const { userProperties } = properties ?? {}
  const sorted = userProperties === undefined ? {} : { userProperties: grouped(userProperties) }
  const expected = empty ? undefined : { ...properties, ...sorted }
  expect(plain(ourProperties(theirs as Record<string, unknown> | undefined))).toEqual(plain(expected))
}

test('CONNACK is what mqtt-packet reads', () => {
  const random = new Random(2)
  for (let run = 0; run < RUNS * 2; run++) {
    const code = random.pick<ReasonCode>([0, 0x80, 0x87, 0x97])
    const properties = connackProperties(random)
    const sessionPresent = code === 0 && run % 2 === 0
    const v5 = parse(5, encodePacket(5, { type: 2, sessionPresent, code, properties }))
    expect(v5).toMatchObject({ cmd: 'connack', sessionPresent, reasonCode: code })
    expectProperties(v5.properties, properties)
    const v4 = parse(4, encodePacket(4, { type: 2, sessionPresent, code, properties }))
    expect(v4).toMatchObject({ cmd: 'connack', sessionPresent })
  }
})

test('acknowledgements, SUBACK, UNSUBACK, DISCONNECT and AUTH are what mqtt-packet reads', () => {
  const random = new Random(3)
  const packetId = () => 1 + random.int(65_535)
  for (let run = 0; run < RUNS; run++) {
    const codes = Array.from({ length: 1 + random.int(5) }, () => random.pick<ReasonCode>([0, 1, 2, 0x87]))
    const auth = { authenticationMethod: random.text(), ...reasons(random) }
    const expected: [ServerPacket, object][] = [
      [{ type: 4, packetId: packetId(), code: random.pick([0, 0x10, 0x97]) }, { cmd: 'puback' }],
      [{ type: 5, packetId: packetId(), code: random.pick([0, 0x10, 0x91]) }, { cmd: 'pubrec' }],
      [{ type: 6, packetId: packetId(), code: random.pick([0, 0x92]) }, { cmd: 'pubrel' }],
      [{ type: 7, packetId: packetId(), code: random.pick([0, 0x92]) }, { cmd: 'pubcomp' }],
      [
        { type: 9, packetId: packetId(), codes },
        { cmd: 'suback', granted: codes },
      ],
      [
        { type: 11, packetId: packetId(), codes: [0, 0x11, 0x87] },
        { cmd: 'unsuback', granted: [0, 0x11, 0x87] },
      ],
      [{ type: 14, code: random.pick([0, 0x8b, 0x8e]) }, { cmd: 'disconnect' }],
      [{ type: 15, code: 0x18, properties: auth }, { cmd: 'auth' }],
      [{ type: 13 }, { cmd: 'pingresp' }],
    ]
    for (const [plainPacket, seen] of expected) {
      const packet = { properties: reasons(random), ...plainPacket } as ServerPacket
      const theirs = parse(5, encodePacket(5, packet))
      expect(theirs).toMatchObject(seen)
      if ('packetId' in packet) expect(theirs.messageId).toBe(packet.packetId)
      if ('code' in packet) expect(theirs.reasonCode).toBe(packet.code)
      if (packet.type !== 13) expectProperties(theirs.properties, packet.properties)
    }
  }
})

test('SUBACK and UNSUBACK of 3.1.1 are what mqtt-packet reads', () => {
  const suback = parse(4, encodePacket(4, { type: 9, packetId: 5, codes: [0, 1, 2, 0x87] }))
  expect(suback).toMatchObject({ cmd: 'suback', messageId: 5, granted: [0, 1, 2, 0x80] })
  const unsuback = parse(4, encodePacket(4, { type: 11, packetId: 5, codes: [0, 0x11] }))
  expect(unsuback).toMatchObject({ cmd: 'unsuback', messageId: 5 })
})

test('PUBLISH is what mqtt-packet reads, to the first subscriber as to the last', () => {
  const random = new Random(4)
  const topics = new TopicBytes(16)
  for (let run = 0; run < RUNS; run++) {
    const properties: MessageProperties = compact({
      payloadFormatIndicator: random.maybe(() => random.int(2) as 0 | 1),
      messageExpiryInterval: random.maybe(() => 1 + random.int(2 ** 32 - 1)),
      contentType: random.maybe(() => random.text()),
      responseTopic: random.maybe(() => randomTopic(random)),
      correlationData: random.maybe(() => random.bytes(20)),
      userProperties: random.maybe(() => randomPairs(random)),
    })
    const of = message(randomTopic(random), random.bytes(300), properties)
    for (let subscriber = 0; subscriber < 12; subscriber++) {
      const version = VERSIONS[subscriber % 3] as ProtocolVersion
      const qos = random.int(3) as QoS
      const ids =
        version === 5 ? random.maybe(() => [1 + random.int(1000), 1 + random.int(268_435_455)]) : undefined
      const dup = qos > 0 && random.int(2) === 0
      const sent = delivery(of, { qos, retain: random.int(2) === 0, dup, subscriptionIds: ids })
      const outbox = new TestOutbox()
      expect(writePublish(outbox, version, sent, of.topic, 0, 10_000, 0, topics)).toBe(true)
      const theirs = parse(version, outbox.take())
      expect(theirs).toMatchObject({ cmd: 'publish', topic: of.topic, qos, retain: sent.retain, dup })
      expect(theirs.messageId ?? 0).toBe(sent.packetId)
      expect((theirs.payload as Buffer).equals(of.payload)).toBe(true)
      if (version === 5)
        expectProperties(theirs.properties, compact({ ...properties, subscriptionIdentifiers: ids }))
    }
  }
})
