/**
 * Runs one gateway: makes it, binds its listeners, hands it their transports, and carries
 * config changes to both without touching what did not change.
 *
 * It knows no sockets: a factory given from outside makes the listeners.
 */
import type { ListenerCounters } from '../listeners/connection-limits.ts'
import { type ListenerPlan, ListenerSet, type ManagedListener } from '../listeners/listener-set.ts'
import type { Address, Transport } from '../listeners/transport.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import { type GatewayConfig, LISTENER_TYPES, type ListenerConfig } from './config.ts'
import type { Gateway, GatewayContext, GatewayModule, ListenerSettings } from './gateway.ts'

/** One listener of a gateway as it should be. */
export interface GatewayListenerPlan extends ListenerPlan {
  readonly name: string
  readonly config: ListenerConfig
  readonly webSocket: GatewayModule['webSocket']
}

/** One bound address, as the host needs it. */
export interface HostListener extends ManagedListener<GatewayListenerPlan> {
  /** Where it listens, once bound: with port 0 in `bind` the port is known only here. */
  address?(): Address | undefined
  /** For metrics and API. */
  counters?(): Readonly<ListenerCounters>
}

export type CreateListener = (
  plan: GatewayListenerPlan,
  accept: (transport: Transport) => void,
) => HostListener

/** How long clients of a gateway that is switched off may take to leave. */
const DISABLE_TIMEOUT_MS = 5_000

export type HostStatus = 'running' | 'stopped'

/** `start`, `update` and `stop` may be called at any time; they run one after the other. */
export class GatewayHost<Config extends GatewayConfig = GatewayConfig> {
  readonly module: GatewayModule<Config>
  readonly context: GatewayContext
  readonly #listeners: ListenerSet<GatewayListenerPlan, HostListener>
  #config: Config
  #gateway: Gateway<Config> | undefined
  #turn: Promise<unknown> = Promise.resolve()

  constructor(
    module: GatewayModule<Config>,
    config: Config,
    context: GatewayContext,
    createListener: CreateListener,
  ) {
    this.module = module
    this.context = { ...context, connect: (...login) => this.#connect(context, ...login) }
    this.#config = config
    this.#listeners = new ListenerSet(createListener, context.log)
  }

  get status(): HostStatus {
    return this.#gateway === undefined ? 'stopped' : 'running'
  }

  get config(): Config {
    return this.#config
  }

  /** Ids of the listeners that are bound. */
  get listenerIds(): string[] {
    return this.#listeners.ids
  }

  /** The listener with `id`, for whoever made it to ask for its counts. */
  listener(id: string): HostListener | undefined {
    return this.#listeners.get(id)
  }

  /**
   * Resolves once every enabled listener is bound; at once if the gateway is not enabled.
   * @throws BrokerError LISTEN_FAILED, leaving nothing open
   */
  start(): Promise<void> {
    return this.#inTurn(() => this.#start())
  }

  /**
   * Takes a new config. Clients stay, except those of a listener that is gone; a listener whose
   * type, name and `bind` are the same is not bound anew.
   * @throws BrokerError LISTEN_FAILED, CONFIG_INVALID, the first one, after everything else has been updated
   */
  update(config: Config): Promise<void> {
    return this.#inTurn(async () => {
      this.#config = config
      if (!config.enable) return this.#stop('normal', AbortSignal.timeout(DISABLE_TIMEOUT_MS))
      if (this.#gateway === undefined) return this.#start()
      this.#gateway.update(config)
      await this.#listeners.update(this.#plans())
    })
  }

  /** Stops accepting, tells the clients, and cuts those that have not left when `signal` aborts. Safe to call twice. */
  stop(signal: AbortSignal): Promise<void> {
    return this.#inTurn(() => this.#stop('server_shutting_down', signal))
  }

  #connect(
    context: GatewayContext,
    ...[login, options, receiver]: Parameters<GatewayContext['connect']>
  ): ReturnType<GatewayContext['connect']> {
    const wanted = this.#config.enable_stats ? options : { ...options, hasStats: false }
    return context.connect(login, wanted, receiver)
  }

  #inTurn<T>(step: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(step)
    this.#turn = result.catch(() => undefined)
    return result
  }

  async #start(): Promise<void> {
    if (this.#gateway !== undefined || !this.#config.enable) return
    this.#gateway = this.module.create(this.#config, this.context)
    try {
      await this.#listeners.start(this.#plans())
    } catch (error) {
      await this.#stop('normal', AbortSignal.abort())
      throw error
    }
  }

  async #stop(reason: DisconnectReason, signal: AbortSignal): Promise<void> {
    const gateway = this.#gateway
    if (gateway === undefined) return
    this.#gateway = undefined
    await this.#listeners.stop()
    if (gateway.endAll === undefined) this.#listeners.closeAll()
    else gateway.endAll(reason)
    await this.#listeners.drain(signal)
  }

  #plans(): GatewayListenerPlan[] {
    const { name: gateway, listenerTypes, webSocket } = this.module
    const isClear = this.module.acceptsInClear?.(this.#config) === true
    return listenerTypes.flatMap((kind) =>
      Object.entries(this.#config.listeners[LISTENER_TYPES[kind]] ?? {})
        .filter(([, config]) => config.enable)
        .map(([name, config]) => {
          const accept = (transport: Transport) => this.#accept(transport, config)
          const id = `${gateway}:${LISTENER_TYPES[kind]}:${name}`
          const boundKind = isClear && kind === 'tls' ? ('tcp' as const) : kind
          return { id, kind: boundKind, bind: config.bind, name, config, webSocket, accept }
        }),
    )
  }

  #accept(transport: Transport, config: ListenerConfig): void {
    if (this.#gateway !== undefined) {
      return this.#gateway.accept(transport, settingsOf(config, this.#config.authentication))
    }
    transport.handler = NOBODY
    transport.destroy()
  }
}

/** Handler of a peer that came after the gateway had gone. */
const NOBODY: Transport['handler'] = { onData() {}, onDrain() {}, onClose() {} }

function settingsOf(config: ListenerConfig, ofGateway: unknown): ListenerSettings {
  const isGuarded = hasAuthenticator(config.authentication) || hasAuthenticator(ofGateway)
  return { enableAuthn: config.enable_authn, mountpoint: config.mountpoint, isGuarded, config }
}

/** A single authenticator or a list of them, at least one of which is enabled. */
function hasAuthenticator(authentication: unknown): boolean {
  return [authentication]
    .flat()
    .some((one) => one !== undefined && (one as { enable?: boolean }).enable !== false)
}
