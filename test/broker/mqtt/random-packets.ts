/** Random valid packets of clients, in the words of mqtt-packet. */
import type { Packet, UserProperties } from 'mqtt-packet'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import type { QoS } from '../../../model/message.ts'
import type { Random } from './support.ts'

export const CLIENT_COMMANDS = [
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'unsubscribe',
  'pingreq',
  'disconnect',
  'auth',
] as const

export type ClientCommand = (typeof CLIENT_COMMANDS)[number]

/** Drops what is undefined: mqtt-packet takes it for a value. */
export function compact<T extends object>(object: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(object).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> }
}

export function randomUserProperties(random: Random): UserProperties {
  const properties: UserProperties = {}
  for (let i = 0; i < 1 + random.int(3); i++) {
    const values = Array.from({ length: 1 + random.int(3) }, () => random.text())
    // Names that are numbers would be sorted by the object they are keys of.
    properties[`n${random.text()}`] = values.length === 1 ? (values[0] as string) : values
  }
  return properties
}

const u32 = (random: Random) => random.int(2 ** 32)
const u16 = (random: Random) => random.int(65_535) + 1
const flag = (random: Random) => random.int(2) === 1

export function randomTopic(random: Random): string {
  return random.text(40)
}

function messageProperties(random: Random) {
  return compact({
    payloadFormatIndicator: random.maybe(() => flag(random)),
    messageExpiryInterval: random.maybe(() => u32(random)),
    responseTopic: random.maybe(() => randomTopic(random)),
    correlationData: random.maybe(() => random.bytes(30)),
    userProperties: random.maybe(() => randomUserProperties(random)),
    contentType: random.maybe(() => random.text()),
  })
}

export function randomConnect(random: Random, version: ProtocolVersion): Packet {
  const v5 = version === 5
  const username = random.maybe(() => random.text())
  // 5.0 allows a password alone, mqtt-packet does not.
  const password = username !== undefined ? random.maybe(() => random.bytes(20)) : undefined
  const will = () => ({
    topic: randomTopic(random),
    payload: random.bytes(100),
    qos: random.int(3) as QoS,
    retain: flag(random),
    ...(v5 ? { properties: { ...messageProperties(random), willDelayInterval: u32(random) } } : {}),
  })
  const method = random.maybe(() => random.text())
  const properties = compact({
    sessionExpiryInterval: random.maybe(() => u32(random)),
    receiveMaximum: random.maybe(() => u16(random)),
    maximumPacketSize: random.maybe(() => random.int(2 ** 32 - 1) + 1),
    topicAliasMaximum: random.maybe(() => random.int(65_536)),
    requestResponseInformation: random.maybe(() => flag(random)),
    requestProblemInformation: random.maybe(() => flag(random)),
    userProperties: random.maybe(() => randomUserProperties(random)),
    authenticationMethod: method,
    authenticationData: method === undefined ? undefined : random.maybe(() => random.bytes(30)),
  })
  return compact({
    cmd: 'connect' as const,
    protocolId: version === 3 ? ('MQIsdp' as const) : ('MQTT' as const),
    protocolVersion: version,
    clean: true,
    keepalive: random.int(65_536),
    clientId: random.text(),
    username,
    password,
    will: random.maybe(will),
    properties: v5 ? properties : undefined,
  })
}

export function randomPacket(random: Random, version: ProtocolVersion, cmd: ClientCommand): Packet {
  const v5 = version === 5
  const reason = () =>
    compact({
      reasonString: random.maybe(() => random.text()),
      userProperties: random.maybe(() => randomUserProperties(random)),
    })
  const user = () => compact({ userProperties: random.maybe(() => randomUserProperties(random)) })
  const withProperties = (properties: () => object) => (v5 ? { properties: properties() } : {})
  switch (cmd) {
    case 'publish': {
      const qos = random.int(3) as QoS
      return {
        cmd,
        qos,
        dup: qos > 0 && flag(random),
        retain: flag(random),
        topic: randomTopic(random),
        payload: random.bytes(random.pick([0, 10, 200])),
        ...(qos === 0 ? {} : { messageId: u16(random) }),
        ...withProperties(() => ({
          ...messageProperties(random),
          ...compact({ topicAlias: random.maybe(() => u16(random)) }),
        })),
      }
    }
    case 'puback':
    case 'pubrec':
      return {
        cmd,
        messageId: u16(random),
        ...(v5 ? { reasonCode: random.pick([0, 0x10, 0x80, 0x83, 0x87, 0x97]) } : {}),
        ...withProperties(reason),
      }
    case 'pubrel':
    case 'pubcomp':
      return {
        cmd,
        messageId: u16(random),
        ...(v5 ? { reasonCode: random.pick([0, 0x92]) } : {}),
        ...withProperties(reason),
      }
    case 'subscribe':
      return {
        cmd,
        messageId: u16(random),
        subscriptions: Array.from({ length: 1 + random.int(5) }, () => ({
          topic: random.text(),
          qos: random.int(3) as QoS,
          ...(v5 ? { nl: flag(random), rap: flag(random), rh: random.int(3) } : {}),
        })),
        ...withProperties(() => ({
          ...user(),
          ...compact({ subscriptionIdentifier: random.maybe(() => 1 + random.int(268_435_455)) }),
        })),
      }
    case 'unsubscribe':
      return {
        cmd,
        messageId: u16(random),
        unsubscriptions: Array.from({ length: 1 + random.int(5) }, () => random.text()),
        ...withProperties(user),
      }
    case 'pingreq':
      return { cmd }
    case 'disconnect':
      return {
        cmd,
        ...(v5 ? { reasonCode: random.pick([0, 4, 0x80, 0x82, 0x98]) } : {}),
        ...withProperties(() => ({
          ...reason(),
          ...compact({ sessionExpiryInterval: random.maybe(() => u32(random)) }),
        })),
      }
    case 'auth':
      return {
        cmd,
        reasonCode: random.pick([0x18, 0x19]),
        properties: {
          ...reason(),
          authenticationMethod: random.text(),
          ...compact({ authenticationData: random.maybe(() => random.bytes(30)) }),
        },
      }
  }
}
