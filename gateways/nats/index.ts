import { randomBytes } from 'node:crypto'
import type { ListenerConfig as StreamListenerConfig } from '../../listeners/config.ts'
import { type ListenerOptions, readListener, type TcpOptions } from '../../listeners/options.ts'
import type { TlsOptions } from '../../listeners/tls-options.ts'
import type { Transport } from '../../listeners/transport.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { defineGateway, type Gateway, type GatewayContext, type ListenerSettings } from '../gateway.ts'
import { StreamConnection } from '../stream-connection.ts'
import { TurnClock } from '../turn-clock.ts'
import { NatsChannel } from './channel.ts'
import { type NatsConfig, type NatsOptions, natsOptions, natsSchema } from './config.ts'
import { type DeliveryCounters, deliveryCounters } from './deliveries.ts'
import { explainInternalAuthn } from './explain.ts'
import { NatsDecoder, type NatsFrame } from './frame.ts'
import { infoLine, PROTOCOL_LEVEL, type ServerInfo } from './info.ts'
import { MessageWriter } from './message.ts'
import { type PacketCounters, packetCounters } from './packet-counters.ts'
import { SubjectCache } from './subject-cache.ts'
import { TlsUpgrade } from './tls-upgrade.ts'

/** NATS clients over TCP, TLS and WebSocket. README.md says how subjects map to topics. */
export const nats = defineGateway<NatsConfig>({
  name: 'nats',
  protocol: 'nats',
  listenerTypes: ['tcp', 'tls', 'ws', 'wss'],
  schema: natsSchema,
  webSocket: { path: '', subprotocols: ['NATS/1.0', 'NATS'], frames: 'any' },
  acceptsInClear: (config) => !config.tls_handshake_first,
  explainLogin: explainInternalAuthn,
  create: (config, context) => new NatsGateway(config, context),
})

class NatsGateway implements Gateway<NatsConfig> {
  readonly #context: GatewayContext
  readonly #writer = new MessageWriter()
  readonly #subjects = new SubjectCache()
  readonly #counters: DeliveryCounters
  readonly #received: PacketCounters
  readonly #clock: TurnClock
  readonly #channels = new Set<NatsChannel>()
  #options: NatsOptions
  #lastClient = 0

  /** @throws BrokerError CONFIG_INVALID */
  constructor(config: NatsConfig, context: GatewayContext) {
    this.#context = context
    this.#counters = deliveryCounters(context.counters)
    this.#received = packetCounters(context.counters)
    this.#clock = new TurnClock(() => context.now())
    this.#options = natsOptions(config)
  }

  accept(transport: Transport, listener: ListenerSettings): void {
    const { tls, tcp } = securityOf(transport, listener)
    const info = this.#infoOf(transport, listener, tls)
    if (tls === undefined || tcp === undefined || transport.kind !== 'tcp')
      return this.#open(transport, listener, info, false)
    const upgrade = { tls, tcp, allowsPlain: this.#options.allowsPlain, log: this.#context.log }
    new TlsUpgrade(transport, { ...upgrade, greeting: infoLine(info) }, (greeted) =>
      this.#open(greeted, listener, info, true),
    )
  }

  /**
   * For peers that come from now on; those who are here keep what they logged in with.
   * @throws BrokerError CONFIG_INVALID
   */
  update(config: NatsConfig): void {
    this.#options = natsOptions(config)
  }

  endAll(reason: DisconnectReason): void {
    for (const channel of this.#channels) channel.end(reason)
  }

  #open(transport: Transport, listener: ListenerSettings, info: ServerInfo, isGreeted: boolean): void {
    const options = this.#options
    const { log, counters } = this.#context
    const decoder = new NatsDecoder(options.frame, this.#subjects)
    const parts = {
      options,
      context: this.#context,
      listener,
      writer: this.#writer,
      counters: this.#counters,
      received: this.#received,
      decoder,
      clock: this.#clock,
      info,
      isGreeted,
      onClosed: (channel: NatsChannel) => this.#channels.delete(channel),
    }
    // The channel watches the time itself: it says why it ends.
    const stream = { idleTimeoutMs: Number.POSITIVE_INFINITY, log, counters }
    new StreamConnection<NatsFrame>(transport, decoder, stream, (connection) => {
      const channel = new NatsChannel(connection, parts)
      this.#channels.add(channel)
      return channel
    })
  }

  #infoOf(transport: Transport, listener: ListenerSettings, tls: TlsOptions | undefined): ServerInfo {
    const { serverId, serverName, connectUrls, frame, allowsPlain, internalAuthn } = this.#options
    const { kind, local, peer } = transport
    const isSecure = kind === 'tls' || kind === 'wss'
    const isUpgraded = tls !== undefined && !isSecure
    const hasMethods = !internalAuthn.isEmpty || listener.isGuarded === true
    return {
      server_id: serverId,
      server_name: serverName,
      version: PROTOCOL_LEVEL,
      proto: 1,
      host: local.host,
      port: local.port,
      headers: true,
      jetstream: false,
      max_payload: frame.maxPayloadBytes,
      client_id: ++this.#lastClient,
      client_ip: peer.host,
      auth_required: hasMethods && listener.enableAuthn !== false,
      tls_required: isSecure || (isUpgraded && !allowsPlain),
      ...(isUpgraded && allowsPlain ? { tls_available: true as const } : {}),
      ...(tls?.verifyPeer === true ? { tls_verify: true as const } : {}),
      ...(isSecure ? { tls_handshake_first: true as const } : {}),
      ...(internalAuthn.signs ? { nonce: randomBytes(18).toString('base64url') } : {}),
      ...(connectUrls.length === 0 ? {} : { connect_urls: connectUrls }),
    }
  }
}

/** The TLS and TCP options of a listener that has TLS. */
function securityOf(
  { listenerId }: Transport,
  { config }: ListenerSettings,
): Pick<ListenerOptions, 'tls'> & { tcp: TcpOptions | undefined } {
  const section = config as StreamListenerConfig | undefined
  if (section?.ssl_options === undefined) return { tls: undefined, tcp: undefined }
  return readListener(listenerId, 'ssl', section)
}
