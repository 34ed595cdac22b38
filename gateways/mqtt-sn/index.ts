import { datagramsOf } from '../../listeners/datagram-stream.ts'
import type { Transport } from '../../listeners/transport.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { PayloadSlab } from '../../model/payload-slab.ts'
import { defineGateway, type Gateway, type GatewayContext, type ListenerSettings } from '../gateway.ts'
import { Advertiser } from './advertise.ts'
import { Anonymous } from './anonymous.ts'
import type { SnChannel } from './channel.ts'
import { type MqttsnConfig, type MqttsnOptions, mqttsnOptions, mqttsnSchema } from './config.ts'
import { ForwardedNode, Forwarder, type ForwarderOwner, forwarderHeader } from './forwarder.ts'
import { PacketCounters } from './packet-counters.ts'
import type { Place, Shared, SnSession } from './state.ts'
import { Stranger } from './stranger.ts'

/** MQTT-SN 1.2 over UDP and DTLS. README.md says how its verbs map to MQTT. */
export const mqttsn = defineGateway<MqttsnConfig>({
  name: 'mqttsn',
  protocol: 'mqtt-sn',
  listenerTypes: ['udp', 'dtls'],
  schema: mqttsnSchema,
  create: (config, context) => new MqttsnGateway(config, context),
})

/** How often retransmissions are looked at, and in how many of these everything else. */
const TICK_MS = 100
const TICKS_PER_SWEEP = 5
/** Answers to peers that are not connected, per sweep. */
const MAX_STRANGER_ANSWERS = 500

/** One timer for all clients: ten thousand sleepers cost no timers. */
class MqttsnGateway implements Gateway<MqttsnConfig>, Shared {
  options: MqttsnOptions
  readonly context: GatewayContext
  readonly slab = new PayloadSlab()
  readonly anonymous = new Anonymous()
  readonly packets: PacketCounters
  readonly kept = new Map<string, SnSession>()
  readonly channels = new Map<string, SnChannel>()
  readonly watched = new Set<SnChannel>()
  readonly #forwarders = new Set<Forwarder>()
  #strangerAnswers = 0
  #ticks = 0
  #advertiser: Advertiser | undefined
  readonly #timer: NodeJS.Timeout

  /** @throws BrokerError CONFIG_INVALID */
  constructor(config: MqttsnConfig, context: GatewayContext) {
    this.context = context
    this.packets = new PacketCounters(context.counters)
    this.options = mqttsnOptions(config)
    this.#advertise(config)
    this.#timer = setInterval(() => this.#tick(), TICK_MS)
    this.#timer.unref()
  }

  accept(transport: Transport, listener: ListenerSettings): void {
    const datagrams = datagramsOf(transport)
    datagrams.idleTimeoutMs = this.options.idleTimeoutMs
    datagrams.handler = this.stranger({ transport: datagrams, listener })
  }

  stranger(place: Place, previous?: SnChannel): Stranger {
    return new Stranger(place, this, previous)
  }

  forwarded({ transport, listener }: Place, datagram: Buffer): boolean {
    // Not a forwarder behind a forwarder.
    if (transport instanceof ForwardedNode || forwarderHeader(datagram) === undefined) return false
    const forwarder = new Forwarder(transport, this.#forwarderOwner(listener))
    this.#forwarders.add(forwarder)
    forwarder.onDatagram(datagram)
    return true
  }

  mayAnswerStranger(): boolean {
    return this.#strangerAnswers++ < MAX_STRANGER_ANSWERS
  }

  /** For everybody from the next datagram on, but what was agreed at login stays. @throws BrokerError CONFIG_INVALID */
  update(config: MqttsnConfig): void {
    this.options = mqttsnOptions(config)
    this.#advertise(config)
  }

  /** The gateway is switched off: nothing of it runs on. */
  endAll(reason: DisconnectReason): void {
    clearInterval(this.#timer)
    this.#advertiser?.close()
    this.#advertiser = undefined
    for (const channel of this.channels.values()) channel.end(reason)
    this.anonymous.clear()
    this.kept.clear()
  }

  #forwarderOwner(listener: ListenerSettings): ForwarderOwner {
    return {
      log: this.context.log,
      idleTimeoutMs: this.options.idleTimeoutMs,
      accept: (node) => {
        node.idleTimeoutMs = this.options.idleTimeoutMs
        node.handler = this.stranger({ transport: node, listener })
      },
      malformed: () => this.context.counters.add('packets.malformed'),
      gone: (forwarder) => void this.#forwarders.delete(forwarder),
    }
  }

  #advertise(config: MqttsnConfig): void {
    this.#advertiser?.close()
    this.#advertiser = undefined
    if (!this.options.advertises) return
    const listeners = Object.values(config.listeners.udp ?? {})
    const ports = listeners.filter(({ enable }) => enable).map(({ bind }) => bind.port)
    this.#advertiser = new Advertiser(this.options.gatewayId, ports, this.context.log)
  }

  #tick(): void {
    const nowMs = this.context.now()
    for (const channel of this.watched) channel.retry(nowMs)
    if (++this.#ticks % TICKS_PER_SWEEP !== 0) return
    this.#strangerAnswers = 0
    for (const channel of this.channels.values()) channel.tick(nowMs)
    for (const forwarder of this.#forwarders) forwarder.sweep()
    this.anonymous.sweep(nowMs)
    for (const [clientId, session] of this.kept) if (session.endsAtMs <= nowMs) this.kept.delete(clientId)
  }
}
