import type { Transport } from '../../listeners/transport.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { defineGateway, type Gateway, type GatewayContext, type ListenerSettings } from '../gateway.ts'
import { StreamConnection } from '../stream-connection.ts'
import { TurnClock } from '../turn-clock.ts'
import { StompChannel } from './channel.ts'
import { type StompConfig, type StompOptions, stompOptions, stompSchema } from './config.ts'
import { StompDecoder, type StompFrame } from './frame.ts'
import { MessageWriter } from './message-writer.ts'
import { type ReceivedCounters, receivedCounters } from './received-counters.ts'

/** STOMP 1.0, 1.1 and 1.2 over TCP, TLS and WebSocket. README.md says how destinations map to topics. */
export const stomp = defineGateway<StompConfig>({
  name: 'stomp',
  protocol: 'stomp',
  listenerTypes: ['tcp', 'tls', 'ws', 'wss'],
  schema: stompSchema,
  webSocket: { path: '/stomp', subprotocols: ['v12.stomp', 'v11.stomp', 'v10.stomp'], frames: 'text' },
  create: (config, context) => new StompGateway(config, context),
})

class StompGateway implements Gateway<StompConfig> {
  readonly #context: GatewayContext
  readonly #writer = new MessageWriter()
  readonly #clock: TurnClock
  readonly #received: ReceivedCounters
  readonly #channels = new Set<StompChannel>()
  #options: StompOptions

  constructor(config: StompConfig, context: GatewayContext) {
    this.#context = context
    this.#clock = new TurnClock(() => context.now())
    this.#received = receivedCounters(context.counters)
    this.#options = stompOptions(config)
  }

  accept(transport: Transport, listener: ListenerSettings): void {
    const options = this.#options
    const decoder = new StompDecoder(options.frame)
    const parts = {
      options,
      context: this.#context,
      listener,
      clock: this.#clock,
      received: this.#received,
      writer: this.#writer,
      decoder,
      onClosed: (channel: StompChannel) => this.#channels.delete(channel),
    }
    const { log, counters } = this.#context
    const stream = { idleTimeoutMs: options.idleTimeoutMs, log, counters }
    new StreamConnection<StompFrame>(transport, decoder, stream, (connection) => {
      const channel = new StompChannel(connection, parts)
      this.#channels.add(channel)
      return channel
    })
  }

  /** For peers that come from now on; those who are here keep what they logged in with. */
  update(config: StompConfig): void {
    this.#options = stompOptions(config)
  }

  endAll(reason: DisconnectReason): void {
    for (const channel of this.#channels) channel.end(reason)
  }
}
