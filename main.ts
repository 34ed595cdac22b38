/**
 * The composition root: config -> log -> storage -> access -> broker -> gateways, and the
 * life of the process: reload on SIGHUP, an orderly stop on SIGTERM and SIGINT.
 */
import { dirname, resolve } from 'node:path'
import {
  authnConfigOf,
  type Config,
  hubOptionsOf,
  mqttListenersOf,
  mqttOptionsOf,
  withSafeBinds,
} from './assemble.ts'
import { UserTable } from './authn/built-in-table.ts'
import { Authn } from './authn/index.ts'
import { RuleTable } from './authz/built-in-table.ts'
import { Authz } from './authz/index.ts'
import { parseAcl } from './authz/json-rule.ts'
import { backendReports } from './backend-reports.ts'
import { Hub } from './broker/hub.ts'
import { Metrics } from './broker/metrics.ts'
import { MqttServer } from './broker/mqtt/server.ts'
import { createStorage } from './broker/storage/config.ts'
import type { Storage } from './broker/storage/storage.ts'
import { loadConfig } from './config/load.ts'
import { configSchema } from './config/schema.ts'
import { describeUnused, type UnusedOption } from './config/unused-options.ts'
import type { ListenerStatus } from './control/client/protocol.ts'
import { ControlServer } from './control/server.ts'
import { explainAccess } from './explain-access.ts'
import { Features } from './features/features.ts'
import type { GatewayConfig } from './gateways/config.ts'
import { createContext } from './gateways/context.ts'
import { listenerFactory } from './gateways/datagram-listeners.ts'
import { GatewayHost } from './gateways/host.ts'
import { gateways } from './gateways/index.ts'
import { HookBus } from './hooks/bus.ts'
import type { ListenerCounters } from './listeners/connection-limits.ts'
import { PskFile } from './listeners/dtls/psk-file.ts'
import { FlushQueue } from './listeners/flush-queue.ts'
import type { ListenerContext } from './listeners/listener.ts'
import { Moderation } from './listeners/moderation.ts'
import { SharedReads } from './listeners/shared-reads.ts'
import type { Address } from './listeners/transport.ts'
import { TurnBudget } from './listeners/turn-budget.ts'
import { CoarseClock } from './model/coarse-clock.ts'
import { tuneEngine } from './model/engine.ts'
import { messageOf } from './model/errors.ts'
import { packageRoot, packageVersion } from './model/packaged.ts'
import { createLog, type Log } from './observability/log.ts'

export interface RunOptions {
  configFile: string | undefined
  env: NodeJS.ProcessEnv
  /** Strongest layer of the config, in the spelling of the file. */
  overrides?: object
}

/**
 * Starts a broker and lets signals of the process control it.
 * @throws BrokerError CONFIG_INVALID, LISTEN_FAILED: nothing is left open
 */
export async function run(options: RunOptions): Promise<{ stop(): Promise<void> }> {
  tuneEngine()
  const { config, unused } = load(options)
  const log = createLog(config.log)
  warnOfUnused(unused, log)
  const broker = await Hubbub.start(config, configDirOf(options), log)
  obeySignals(broker, options, log)
  return broker
}

function obeySignals(broker: Hubbub, options: RunOptions, log: Log): void {
  const exit = (code: number) => process.exit(code)
  const stop = (signal: string) => {
    log.info({ signal }, 'stopping')
    broker.stop().then(
      () => {
        log.info({ signal }, 'stopped')
        exit(0)
      },
      (error: unknown) => {
        log.error({ error }, 'not stopped in order')
        exit(1)
      },
    )
  }
  // A second signal changes nothing: the stop is under way and has a deadline.
  process.once('SIGTERM', stop).on('SIGTERM', ignore)
  process.once('SIGINT', stop).on('SIGINT', ignore)
  process.on('SIGHUP', () => void broker.reload(options))
  // A throw that nobody owns: what it has left behind is unknown, so the process ends, and its supervisor starts a new one.
  process.on('uncaughtException', (error) => {
    log.error({ error }, 'uncaught error, the process ends')
    exit(1)
  })
}

function ignore(): void {}

function warnOfUnused(unused: readonly UnusedOption[], log: Log): void {
  if (unused.length > 0) log.warn({}, describeUnused(unused))
}

function load(options: RunOptions): { config: Config; unused: readonly UnusedOption[] } {
  return loadConfig({
    schema: configSchema(),
    file: options.configFile,
    env: options.env,
    ...(options.overrides === undefined ? {} : { overrides: options.overrides }),
  })
}

function configDirOf(options: RunOptions): string {
  return options.configFile === undefined ? process.cwd() : dirname(resolve(options.configFile))
}

/** A running broker with everything that belongs to it. */
export class Hubbub {
  readonly hub: Hub
  readonly mqtt: MqttServer
  readonly hooks: HookBus
  readonly #log: Log
  readonly #authn: Authn
  readonly #authz: Authz
  readonly #features: Features
  readonly #control: ControlServer
  readonly #clock: CoarseClock
  readonly #listening: ListenerContext
  readonly #psk: PskFile
  readonly #gateways = new Map<string, GatewayHost>()
  #config: Config
  #stopped: Promise<void> | undefined
  #reloading: Promise<void> = Promise.resolve()

  private constructor(
    config: Config,
    configDir: string,
    log: Log,
    storage: Storage,
    authn: Authn,
    authz: Authz,
    clock: CoarseClock,
  ) {
    // First: it throws for an expression that is none, and then nothing runs yet.
    const { options, zones } = mqttOptionsOf(config)
    const flushQueue = new FlushQueue(config.node.pause_under_load ? new Moderation() : undefined)
    this.#listening = { flushQueue, turns: new TurnBudget(), reads: new SharedReads(flushQueue) }
    this.#psk = new PskFile(config.psk_authentication, configDir)
    if (this.#psk.lookup !== undefined) this.#listening.pskLookup = this.#psk.lookup
    this.#clock = clock
    this.#config = config
    this.#log = log
    this.#authn = authn
    this.#authz = authz
    this.hooks = new HookBus(log)
    this.hub = new Hub(hubOptionsOf(config), storage, this.hooks, log, new Metrics(authz.counters))
    this.mqtt = new MqttServer(this.hub, options, log, this.#listening, zones)
    authn.attach(this.hooks)
    authz.attach(this.hooks)
    const names = gateways.map(({ name }) => name)
    this.#features = new Features(config, { hub: this.hub, log, configDir, gateways: names })
    const version = packageVersion(packageRoot(import.meta.dirname))
    const { bans } = this.#features
    this.#control = new ControlServer(
      {
        hub: this.hub,
        authn,
        authz,
        bans,
        version,
        listeners: () => this.#listeners(),
        gateways: () => this.#gatewayCounters(),
        access: {
          explain: (question) => explainAccess(question, { config: this.#config, authn, authz, bans, log }),
          backends: () => backendReports(authn, authz),
        },
      },
      { dataDir: resolve(config.node.data_dir), version, log },
    )
  }

  /**
   * @param configDir - what relative paths in the config start from
   * @param prepare - called before anybody can connect, e.g. to attach hooks
   * @throws BrokerError CONFIG_INVALID, LISTEN_FAILED: nothing is left open
   */
  static async start(
    config: Config,
    configDir: string,
    log: Log,
    prepare?: (broker: Hubbub) => void,
  ): Promise<Hubbub> {
    const dataDir = resolve(config.node.data_dir)
    const storage = createStorage(config.storage, dataDir, log, configDir)
    const clock = new CoarseClock()
    let authn: Authn | undefined
    let authz: Authz | undefined
    try {
      // Before anything that is kept in it: users are.
      await storage.open(config.node.name)
      const { durable } = storage
      const users = durable === undefined ? undefined : await UserTable.load(durable, log)
      authn = await Authn.create(authnConfigOf(config), { log, dataDir, configDir, users, readAcl: parseAcl })
      const rules = durable === undefined ? undefined : await RuleTable.load(durable, log)
      authz = await Authz.create(config.authorization, { log, configDir, now: clock.now, rules })
      const broker = new Hubbub(config, configDir, log, storage, authn, authz, clock)
      prepare?.(broker)
      await broker.#start()
      return broker
    } catch (error) {
      clock.stop()
      await authn?.close()
      await authz?.close()
      await storage.destroy()
      throw error
    }
  }

  /** Reads the config again and takes it without dropping clients. A config that cannot be read changes nothing. */
  reload(options: RunOptions): Promise<void> {
    this.#reloading = this.#reloading.then(async () => {
      try {
        const { config, unused } = load(options)
        warnOfUnused(unused, this.#log)
        await this.#update(config)
        this.#log.info({}, 'configuration reloaded')
      } catch (error) {
        this.#log.error({ error: messageOf(error) }, 'configuration not reloaded, or only up to this error')
      }
    })
    return this.#reloading
  }

  /** Stops accepting, tells every client, and waits at most `node.shutdown_timeout` for them. Safe to call twice. */
  stop(): Promise<void> {
    this.#stopped ??= this.#stop()
    return this.#stopped
  }

  async #start(): Promise<void> {
    const config = this.#safe(this.#config)
    await this.hub.start()
    try {
      await this.#features.load()
      await this.#features.update(config)
      await this.#control.start()
      await this.mqtt.start(mqttListenersOf(config))
      for (const [name, gateway] of Object.entries(config.gateway)) await this.#startGateway(name, gateway)
    } catch (error) {
      await this.stop()
      throw error
    }
    if (this.mqtt.listeners.ids.length === 0) this.#log.warn({}, 'no MQTT listener is configured')
    const version = packageVersion(packageRoot(import.meta.dirname))
    this.#log.info({ node: config.node.name, version }, 'ready')
  }

  /** Says once what is not as it was written. */
  #safe(wanted: Config): Config {
    const { config, rebound } = withSafeBinds(wanted)
    if (rebound.length > 0) {
      this.#log.warn(
        { listeners: rebound.join(' ') },
        'nobody checks who connects, so these listen on loopback only: configure authentication (for gateways: gateway.NAME.authentication), or set allow_anonymous: true',
      )
    }
    return config
  }

  #listeners(): ListenerStatus[] {
    const mqtt = this.mqtt.listeners.ids.map((id) => statusOf(id, this.mqtt.listeners.get(id)))
    const others = [...this.#gateways.values()].flatMap((host) =>
      host.listenerIds.map((id) => {
        const listener = host.listener(id)
        return statusOf(id, { address: () => listener?.address?.(), counters: listener?.counters?.() })
      }),
    )
    return [...mqtt, ...others]
  }

  #gatewayCounters(): Record<string, Record<string, number>> {
    const counters = [...this.#gateways].map(
      ([name, { context }]) => [name, Object.fromEntries(context.counters.values)] as const,
    )
    return Object.fromEntries(counters)
  }

  async #startGateway(name: string, config: GatewayConfig): Promise<void> {
    const module = gateways.find((one) => one.name === name)
    if (module === undefined) return
    const connect = this.hub.connect.bind(this.hub)
    const context = createContext(name, { connect, log: this.#log })
    const host = new GatewayHost(module, config, context, listenerFactory(this.#log, this.#listening))
    this.#gateways.set(name, host)
    await host.start()
  }

  async #update(wanted: Config): Promise<void> {
    const config = this.#safe(wanted)
    // Before anything changes: an expression may be none.
    const mqtt = mqttOptionsOf(config)
    this.#psk.update(config.psk_authentication)
    this.#config = wanted
    this.#log.setLevel(config.log.level)
    this.#log.reopen()
    await this.#authn.update(authnConfigOf(config))
    await this.#authz.update(config.authorization)
    await this.#features.update(config)
    this.hub.update(hubOptionsOf(config))
    await this.mqtt.update(mqtt.options, mqttListenersOf(config), mqtt.zones)
    for (const [name, gateway] of Object.entries(config.gateway))
      await this.#gateways.get(name)?.update(gateway)
  }

  async #stop(): Promise<void> {
    const deadline = AbortSignal.timeout(this.#config.node.shutdown_timeout)
    await this.#control.stop()
    await this.mqtt.stop()
    await Promise.all([
      this.hub.stop(),
      this.mqtt.listeners.drain(deadline),
      ...[...this.#gateways.values()].map((host) => host.stop(deadline)),
    ])
    this.#features.close()
    await this.#authn.close()
    await this.#authz.close()
    this.#clock.stop()
  }
}

interface Listening {
  address(): Address | undefined
  readonly counters: Readonly<ListenerCounters> | undefined
}

function statusOf(id: string, listener: Listening | undefined): ListenerStatus {
  const address = listener?.address()
  const host = address?.host.includes(':') ? `[${address.host}]` : address?.host
  return {
    id,
    address: address === undefined ? undefined : `${host}:${address.port}`,
    connections: listener?.counters?.current,
  }
}
