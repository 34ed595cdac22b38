/** An MQTT connection in memory: the peer speaks bytes, and what it is answered is read by another codec than ours. */
import { type Packet, parser } from 'mqtt-packet'
import type { Hub } from '../../../broker/hub.ts'
import { MqttConnection } from '../../../broker/mqtt/connection.ts'
import type { MqttContext, MqttListenerSettings, MqttOptions } from '../../../broker/mqtt/options.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import { TopicBytes } from '../../../broker/mqtt/topic-bytes.ts'
import { TopicCache } from '../../../broker/mqtt/topic-cache.ts'
import type { Authorization } from '../../../hooks/hookpoints.ts'
import { type Logger, silentLogger } from '../../../model/log.ts'
import { FakeTransport } from '../../gateways/support/fake-transport.ts'
import { frame, packet } from './support.ts'

export const MQTT_OPTIONS: MqttOptions = {
  idleTimeoutMs: 15_000,
  maxPacketBytes: 1024,
  maxClientIdBytes: 23,
  maxTopicAlias: 10,
  maxQos: 2,
  retainAvailable: true,
  wildcardSubscription: true,
  sharedSubscription: true,
  maxAwaitingRelease: 100,
  awaitReleaseTimeoutMs: 300_000,
  sessionExpiryMs: 7_200_000,
  maxSessionExpiryMs: Number.POSITIVE_INFINITY,
  serverKeepAliveSeconds: undefined,
  keepAliveMultiplier: 1.5,
  ignoreLoopDeliver: false,
  useUsernameAsClientId: false,
  responseInformation: '',
  peerCertAsUsername: undefined,
  peerCertAsClientId: undefined,
  clientAttributes: [],
  clientIdOverride: undefined,
  retryIntervalMs: Number.POSITIVE_INFINITY,
}

export function mqttContext(
  hub: Hub,
  options: Partial<MqttOptions> = {},
  log: Logger = silentLogger,
): MqttContext {
  return {
    hub,
    options: { ...MQTT_OPTIONS, ...options },
    log,
    topics: new TopicCache(16),
    topicBytes: new TopicBytes(),
    newcomers: new Set(),
  }
}

/** Protocol name and level. */
export const PROTOCOL = { 3: '0006 "MQIsdp" 03', 4: '0004 "MQTT" 04', 5: '0004 "MQTT" 05' } as const

/** A two-byte length and the text, for `frame`. */
export function text(value: string): string {
  return `${u16(Buffer.byteLength(value))} "${value}"`
}

export function u16(value: number): string {
  return value.toString(16).padStart(4, '0')
}

/** A CONNECT with clean start and keep alive 60 unless `rest` (flags, keep alive, properties in 5) says otherwise. */
export function connectBytes(version: ProtocolVersion, clientId = 'c', rest?: string): Buffer {
  const standard = version === 5 ? '02 003c 00' : '02 003c'
  return packet('10', PROTOCOL[version], rest ?? standard, text(clientId))
}

export class RawPeer {
  readonly transport: FakeTransport
  readonly connection: MqttConnection
  readonly version: ProtocolVersion

  constructor(
    context: MqttContext,
    version: ProtocolVersion = 5,
    listener: Partial<MqttListenerSettings> = {},
  ) {
    this.version = version
    this.transport = new FakeTransport('tcp:default')
    this.connection = new MqttConnection(this.transport, context, {
      enableAuthn: true,
      mountpoint: '',
      zone: 'default',
      ...listener,
    })
  }

  get isClosed(): boolean {
    return this.transport.state !== 'open'
  }

  /** Sends all of it as one chunk. Text is hex, see `frame`. */
  send(...packets: (Buffer | string)[]): this {
    this.transport.receive(Buffer.concat(packets.map((one) => (typeof one === 'string' ? frame(one) : one))))
    return this
  }

  /** Packets since the last look. */
  packets(): Packet[] {
    const found: Packet[] = []
    const reader = parser({ protocolVersion: this.version })
    reader.on('packet', (one) => found.push(one))
    reader.on('error', (error) => {
      throw error
    })
    const bytes = this.transport.outbox.take()
    if (reader.parse(bytes) > 0) throw new Error(`half a packet at the end of ${bytes.toString('hex')}`)
    return found
  }

  /** The same in short, and `closed` at the end if it is. */
  said(): string[] {
    const said = this.packets().map(shortOf)
    return this.isClosed ? [...said, 'closed'] : said
  }
}

/** `suback 7 0x01`, `publish t=x q1 #5`, ... */
function shortOf(one: Packet): string {
  switch (one.cmd) {
    case 'connack':
      return `connack ${hex(one.reasonCode ?? one.returnCode ?? 0)}${one.sessionPresent ? ' present' : ''}`
    case 'publish': {
      const id = one.messageId === undefined ? '' : ` #${one.messageId}`
      const flags = `${one.dup ? ' dup' : ''}${one.retain ? ' retain' : ''}`
      return `publish ${one.topic}=${one.payload.toString()} q${one.qos}${id}${flags}`
    }
    case 'suback':
    case 'unsuback':
      return [one.cmd, one.messageId, ...((one.granted ?? []) as number[]).map(hex)].join(' ')
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return `${one.cmd} ${one.messageId}${one.reasonCode ? ` ${hex(one.reasonCode)}` : ''}`
    case 'disconnect':
      return `disconnect ${hex(one.reasonCode ?? 0)}`
    default:
      return one.cmd
  }
}

function hex(code: number): string {
  return `0x${code.toString(16).padStart(2, '0')}`
}

/** Everything that was put off to a later turn of the event loop has happened. */
export async function turns(count = 3): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve))
}

export const PINGREQ = 'c0 00'
export const DISCONNECT = 'e0 00'

export interface Wish {
  id?: string
  /** Flags, keep alive, and in 5.0 properties. */
  rest?: string
  options?: Partial<MqttOptions>
  listener?: Partial<MqttListenerSettings>
}

/** A peer that has been let in already. */
export function connected(hub: Hub, version: ProtocolVersion = 5, wish: Wish = {}): RawPeer {
  const { id = 'c', rest, options, listener } = wish
  const one = new RawPeer(mqttContext(hub, options), version, listener)
  one.send(connectBytes(version, id, rest))
  const [answer = 'none'] = one.said()
  if (!answer.startsWith('connack 0x00')) throw new Error(`not let in: ${answer}`)
  return one
}

/** An MQTT 5 PUBLISH without properties; `flags` is the low half of its first byte. */
export function publish(flags: string, topic: string, payload: string, packetId?: number): Buffer {
  return packet(`3${flags}`, text(topic), packetId === undefined ? '' : u16(packetId), '00', `"${payload}"`)
}

/** An MQTT 5 SUBSCRIBE to one filter. */
export function subscribe(filter: string, options = '00', packetId = 1): Buffer {
  return packet('82', u16(packetId), '00', text(filter), options)
}

/** An MQTT 5 peer with one subscription. */
export function subscriber(hub: Hub, filter: string, options = '00', wish: Wish = {}): RawPeer {
  const one = connected(hub, 5, { id: 'sub', ...wish })
  one.send(subscribe(filter, options))
  one.said()
  return one
}

/** Holds every authorization of `hub` until it is answered, oldest first. */
export function slowAuthorization(hub: Hub) {
  const waiting: ((answer: Authorization) => void)[] = []
  hub.hooks.add('client.authorize', 'slow', async () => ({
    stop: await new Promise<Authorization>((resolve) => waiting.push(resolve)),
  }))
  return {
    get count() {
      return waiting.length
    },
    async answer(result: 'allow' | 'deny' = 'allow') {
      waiting.shift()?.({ result, from: 'test' })
      await turns()
    },
  }
}
