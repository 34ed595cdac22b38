/** MQTT clients for the interop tests: mqtt.js, which shares no code with the broker. */
import { readFileSync } from 'node:fs'
import mqtt, { type IClientOptions, type IClientSubscribeOptions, type MqttClient } from 'mqtt'
import type { IConnackPacket, IDisconnectPacket, IPublishPacket, ISubackPacket, Packet } from 'mqtt-packet'
import { expect, inject, onTestFinished } from 'vitest'
import type { Ports } from '../support/broker.ts'
import { Inbox, within } from '../support/inbox.ts'

export type Version = '3.1' | '3.1.1' | '5.0'
export type Transport = 'tcp' | 'tls' | 'ws' | 'wss'

export const VERSIONS: readonly Version[] = ['3.1', '3.1.1', '5.0']
export const TRANSPORTS: readonly Transport[] = ['tcp', 'tls', 'ws', 'wss']

export interface PeerOptions extends IClientOptions {
  version?: Version
  via?: Transport
}

export interface Received {
  topic: string
  payload: string
  qos: number
  retain: boolean
}

type SubscribeOptions = Partial<IClientSubscribeOptions>
type PublishOptions = Parameters<MqttClient['publishAsync']>[2]

const PROTOCOLS: Record<Version, IClientOptions> = {
  '3.1': { protocolVersion: 3, protocolId: 'MQIsdp' },
  '3.1.1': { protocolVersion: 4 },
  '5.0': { protocolVersion: 5 },
}

/** One connected mqtt.js client and everything it got. */
export class MqttPeer {
  readonly client: MqttClient
  readonly messages: Inbox<IPublishPacket>
  /** Resolves when the connection is gone; with the DISCONNECT of the broker, if it sent one. */
  readonly closed: Promise<IDisconnectPacket | undefined>
  connack: IConnackPacket | undefined
  readonly #pongs: Inbox<Packet>
  readonly #subacks: Inbox<ISubackPacket>

  constructor(client: MqttClient, name: string) {
    this.client = client
    this.messages = new Inbox(`a message for ${name}`)
    this.#pongs = new Inbox(`PINGRESP for ${name}`)
    this.#subacks = new Inbox(`SUBACK for ${name}`)
    let farewell: IDisconnectPacket | undefined
    client.on('message', (_topic, _payload, packet) => this.messages.put(packet))
    client.on('disconnect', (packet) => (farewell = packet))
    client.on('error', () => {}) // 'close' follows
    client.on('packetreceive', (packet) => {
      if (packet.cmd === 'pingresp') this.#pongs.put(packet)
      if (packet.cmd === 'suback') this.#subacks.put(packet)
    })
    this.closed = new Promise((resolve) => client.once('close', () => resolve(farewell)))
  }

  /** @returns what SUBACK says per filter: the granted QoS or a failure */
  async subscribe(filters: string | string[], options: SubscribeOptions = {}): Promise<number[]> {
    this.client.subscribe(filters, { qos: 0, ...options }, () => {}) // a refusal is in SUBACK too
    return (await this.#subacks.next()).granted as number[]
  }

  /** Resolves when the broker has it: at QoS 0 that is shown by a ping. */
  async publish(
    topic: string,
    payload: string | Buffer,
    options: PublishOptions = {},
  ): Promise<Packet | undefined> {
    const answer = await within(this.client.publishAsync(topic, payload, options), 'the answer to a publish')
    if ((options.qos ?? 0) === 0) await this.ping()
    return answer
  }

  async next(): Promise<Received> {
    return received(await this.messages.next())
  }

  async take(count: number): Promise<Received[]> {
    return (await this.messages.take(count)).map(received)
  }

  /** The payloads of the next `count` messages. */
  async payloads(count: number): Promise<string[]> {
    return (await this.take(count)).map(({ payload }) => payload)
  }

  /** Everything sent to it before has arrived when this resolves. */
  async ping(): Promise<void> {
    this.client.sendPing()
    await this.#pongs.next()
  }

  /** A ping is answered and nothing came before the answer. */
  async expectSilence(): Promise<void> {
    await this.ping()
    expect(this.messages.drain().map(received)).toEqual([])
  }

  /** A clean goodbye. */
  async end(): Promise<void> {
    this.client.end()
    await this.gone()
  }

  /** The connection breaks without a goodbye. */
  async breakOff(): Promise<void> {
    this.client.stream.destroy()
    await this.gone()
  }

  /** Waits until the broker has closed the connection. @returns its DISCONNECT, undefined when it sent none */
  gone(): Promise<IDisconnectPacket | undefined> {
    return within(this.closed, 'the end of a connection')
  }
}

/** @throws ErrorWithReasonCode when the login is refused: see `refusal` */
export async function connectMqtt(ports: Ports, options: PeerOptions = {}): Promise<MqttPeer> {
  const { version = '5.0', via = 'tcp', ...rest } = options
  const client = mqtt.connect({
    ...addressOf(ports, via),
    ...PROTOCOLS[version],
    host: '127.0.0.1',
    reconnectPeriod: 0,
    ...rest,
  })
  onTestFinished(() => void client.end(true))
  const peer = new MqttPeer(client, `${options.clientId ?? 'a client'} over ${via}`)
  const connected = new Promise<IConnackPacket>((resolve, reject) => {
    client.once('connect', resolve)
    client.once('error', reject)
    client.once('close', () => reject(new Error(`the broker closed instead of sending CONNACK over ${via}`)))
  })
  peer.connack = await within(connected, `CONNACK over ${via}`)
  return peer
}

/** The CONNACK code of a login that is expected to fail. */
export async function refusal(ports: Ports, options: PeerOptions): Promise<number | undefined> {
  const outcome = await connectMqtt(ports, options).then(
    () => new Error('the login was accepted'),
    (error: Error & { code?: number }) => error,
  )
  if (typeof (outcome as { code?: unknown }).code !== 'number') throw outcome
  return (outcome as { code?: number }).code
}

export function received(packet: IPublishPacket): Received {
  const { topic, payload, qos, retain } = packet
  return { topic, payload: payload.toString(), qos, retain }
}

function addressOf(ports: Ports, via: Transport): IClientOptions {
  switch (via) {
    case 'tcp':
      return { protocol: 'mqtt', port: ports.mqttPort }
    case 'tls':
      return { protocol: 'mqtts', port: ports.tlsPort, ca: authority() }
    case 'ws':
      return { protocol: 'ws', port: ports.wsPort, path: '/mqtt' }
    case 'wss':
      return { protocol: 'wss', port: ports.wssPort, path: '/mqtt', ca: authority() }
  }
}

/** The CA that signed the broker's certificate. */
export function authority(): Buffer {
  return readFileSync(inject('certs').ca)
}
