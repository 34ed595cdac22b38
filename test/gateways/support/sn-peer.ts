/** A scripted MQTT-SN client, written from the specification: what it says and hears is hexadecimal. */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { Type } from 'typebox'
import { onTestFinished } from 'vitest'
import { Hub } from '../../../broker/hub.ts'
import { LevelStorage } from '../../../broker/storage/storage-level.ts'
import { loadConfig } from '../../../config/load.ts'
import { gatewaySchema } from '../../../gateways/config.ts'
import { createContext } from '../../../gateways/context.ts'
import { listenerFactory } from '../../../gateways/datagram-listeners.ts'
import { GatewayHost } from '../../../gateways/host.ts'
import type { MqttsnConfig } from '../../../gateways/mqtt-sn/config.ts'
import { mqttsn } from '../../../gateways/mqtt-sn/index.ts'
import { HookBus } from '../../../hooks/bus.ts'
import { gatewayListenerDefaults } from '../../../listeners/config.ts'
import { datagramListenerSchema } from '../../../listeners/datagram-config.ts'
import type { DatagramContext } from '../../../listeners/datagram-listeners.ts'
import { silentLogger } from '../../../model/log.ts'
import { Message, type QoS } from '../../../model/message.ts'
import { HUB_OPTIONS, startHub } from '../../broker/support.ts'
import { Inbox } from '../../support/inbox.ts'

export const hex = (text: string): string => Buffer.from(text).toString('hex')

/** Puts the length before a message. */
export function sized(rest: string): string {
  const length = rest.length / 2
  return length + 1 < 256
    ? (length + 1).toString(16).padStart(2, '0') + rest
    : `01${(length + 3).toString(16).padStart(4, '0')}${rest}`
}

type Started = Awaited<ReturnType<typeof startSn>>

/** What an MQTT client publishes. */
export const publishTo = (
  { broker }: Started,
  topic: string,
  payload: string,
  qos: QoS = 0,
  retain = false,
) =>
  broker.hub.publish(Message.of(topic, Buffer.from(payload), qos, retain, undefined, undefined, Date.now()))

/** Hears what is published, as an MQTT client would. */
export function overhear({ broker }: Started, seen: string[] = []): string[] {
  broker.hooks.put('message.publish', 'test', (message) => {
    if (typeof message === 'object' && !message.topic.startsWith('$')) {
      const { qos, retain } = message
      seen.push(`${message.topic}=${Buffer.from(message.payload).toString()} q${qos}${retain ? ' r' : ''}`)
    }
    return undefined
  })
  return seen
}

export const connectFrame = (id: string, flags = '04', keepAlive = '003c') =>
  sized(`04${flags}01${keepAlive}${hex(id)}`)

export class SnPeer {
  readonly inbox = new Inbox<string>('a datagram')
  readonly #send: (bytes: Buffer) => void

  constructor(send: (bytes: Buffer) => void) {
    this.#send = send
  }

  /** Each is one datagram; spaces are for the reader. */
  send(...frames: string[]): this {
    for (const frame of frames) this.#send(Buffer.from(frame.replaceAll(' ', ''), 'hex'))
    return this
  }

  next(): Promise<string> {
    return this.inbox.next()
  }

  async ask(frame: string): Promise<string> {
    return this.send(frame).next()
  }

  /** Logs in. @returns itself once CONNACK has come */
  async connect(id: string, flags?: string, keepAlive?: string): Promise<this> {
    const answer = await this.ask(connectFrame(id, flags, keepAlive))
    if (answer !== '030500') throw new Error(`not let in: ${answer}`)
    return this
  }

  /** What comes before the answer to a search for gateways. */
  async heard(): Promise<string[]> {
    this.send('030100')
    const heard: string[] = []
    for (;;) {
      const one = await this.next()
      if (one === '030201') return heard
      heard.push(one)
    }
  }
}

/** A peer on a UDP socket of its own, gone with the test. */
export async function snPeer(port: number): Promise<SnPeer & { socket: Socket }> {
  const socket = createSocket('udp4')
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  onTestFinished(() => void socket.close())
  const peer = new SnPeer((bytes) => socket.send(bytes, port, '127.0.0.1'))
  socket.on('message', (datagram) => peer.inbox.put(datagram.toString('hex')))
  return Object.assign(peer, { socket })
}

const LISTENERS = { udp: { default: { bind: '127.0.0.1:0', max_conn_rate: 'infinity' } } }
const schemas = {
  udp: datagramListenerSchema('udp', gatewayListenerDefaults),
  dtls: datagramListenerSchema('dtls', gatewayListenerDefaults),
}

/** A hub that finds in `directory` what an earlier one has left there. */
export async function startDurableHub(directory: string): Promise<Hub> {
  const storage = new LevelStorage(directory, silentLogger)
  const hub = new Hub(HUB_OPTIONS, storage, new HookBus(silentLogger), silentLogger)
  await hub.start()
  return hub
}

/**
 * The gateway with its listeners and a real hub.
 * @param changes - to `gateway.mqttsn`
 * @param given - a hub that is running; it is stopped with the gateway
 */
export async function startSn(changes: object = {}, datagrams: DatagramContext = {}, given?: Hub) {
  const hub = given ?? (await startHub())
  const { config } = loadConfig({
    schema: gatewaySchema(mqttsn, schemas, Type.Object({})),
    file: undefined,
    env: {},
    overrides: { listeners: LISTENERS, ...changes },
  })
  const connect = hub.connect.bind(hub)
  const context = createContext('mqttsn', { connect, log: silentLogger })
  const create = listenerFactory(silentLogger, { datagrams })
  const host = new GatewayHost(mqttsn, config as MqttsnConfig, context, create)
  await host.start()
  const stop = async () => {
    await hub.stop()
    await host.stop(AbortSignal.abort())
  }
  onTestFinished(stop)
  const portOf = (type: string) => host.listener(`mqttsn:${type}:default`)?.address?.()?.port ?? -1
  const port = portOf('udp')
  const peer = () => snPeer(port)
  return { broker: { hub, hooks: hub.hooks }, context, host, port, portOf, peer, stop }
}
