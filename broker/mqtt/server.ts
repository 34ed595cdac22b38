import { createListener, type Listener, type ListenerContext } from '../../listeners/listener.ts'
import { type ListenerPlan, ListenerSet } from '../../listeners/listener-set.ts'
import type { ListenerOptions } from '../../listeners/options.ts'
import type { Transport } from '../../listeners/transport.ts'
import type { Logger } from '../../model/log.ts'
import type { Hub } from '../hub.ts'
import { MqttConnection } from './connection.ts'
import type { MqttContext, MqttListenerSettings, MqttOptions } from './options.ts'
import { TopicBytes } from './topic-bytes.ts'
import { TopicCache } from './topic-cache.ts'

/** One MQTT listener: where and how it listens, and what it means for its clients. */
export interface MqttListener {
  options: ListenerOptions
  settings: MqttListenerSettings
}

const NO_ZONES: ReadonlyMap<string, MqttOptions> = new Map()

type MqttListenerPlan = ListenerOptions & ListenerPlan

/** MQTT clients over TCP, TLS, WebSocket and secure WebSocket. */
export class MqttServer {
  readonly listeners: ListenerSet<MqttListenerPlan, Listener>
  readonly #context: MqttContext

  /** @param zones - options of clients in zones that have their own */
  constructor(
    hub: Hub,
    options: MqttOptions,
    log: Logger,
    context: ListenerContext,
    zones: ReadonlyMap<string, MqttOptions> = NO_ZONES,
  ) {
    this.#context = {
      hub,
      options,
      zones: someOf(zones),
      log,
      topics: new TopicCache(),
      topicBytes: new TopicBytes(),
      newcomers: new Set(),
    }
    const counted = { ...context, traffic: hub.metrics }
    this.listeners = new ListenerSet((plan, accept) => createListener(plan, accept, log, counted), log)
  }

  /** @throws BrokerError CONFIG_INVALID, LISTEN_FAILED, and then nothing is left open */
  start(listeners: readonly MqttListener[]): Promise<void> {
    return this.listeners.start(listeners.map((listener) => this.#plan(listener)))
  }

  /**
   * Takes new options without dropping clients; a listener is bound anew only for another type or address.
   * @param zones - options of clients in zones that have their own
   */
  update(
    options: MqttOptions,
    listeners: readonly MqttListener[],
    zones: ReadonlyMap<string, MqttOptions> = NO_ZONES,
  ): Promise<void> {
    this.#context.options = options
    this.#context.zones = someOf(zones)
    return this.listeners.update(listeners.map((listener) => this.#plan(listener)))
  }

  /** Stops accepting, and closes who has not sent a CONNECT yet. Clients are the hub's to end. */
  async stop(): Promise<void> {
    await this.listeners.stop()
    for (const newcomer of this.#context.newcomers) newcomer.close('server_shutting_down')
  }

  #plan({ options, settings }: MqttListener): MqttListenerPlan {
    const accept = (transport: Transport) => {
      new MqttConnection(transport, this.#context, settings)
    }
    return { ...options, accept }
  }
}

/** Undefined costs less to look into than an empty map: it is asked for each packet. */
function someOf(zones: ReadonlyMap<string, MqttOptions>): ReadonlyMap<string, MqttOptions> | undefined {
  return zones.size === 0 ? undefined : zones
}
