/** Everything that attaches to the broker through hooks, as one. */
import type { Hub } from '../broker/hub.ts'
import type { Logger } from '../model/log.ts'
import { packageRoot, packageVersion } from '../model/packaged.ts'
import { AutoSubscribe } from './auto-subscribe/auto-subscribe.ts'
import type { AutoSubscribeConfig } from './auto-subscribe/config.ts'
import { BanRecords } from './bans/ban-records.ts'
import type { BannedConfig } from './bans/config.ts'
import { Bans } from './bans/index.ts'
import type { DelayedConfig } from './delayed/config.ts'
import { DelayedPublish } from './delayed/delayed.ts'
import { DelayedRecords } from './delayed/delayed-records.ts'
import { type FlappingDetectConfig, FlappingDetector, type FlappingOfZones } from './flapping.ts'
import type { RewriteConfig } from './rewrite/config.ts'
import { TopicRewrite } from './rewrite/rewrite.ts'
import type { SysTopicsConfig } from './sys-topics/config.ts'
import { SysTopics } from './sys-topics/sys-topics.ts'

/** The parts of the config that are about features. */
export interface FeaturesConfig {
  banned: BannedConfig
  flapping_detect: FlappingDetectConfig
  zones: FlappingOfZones
  rewrite: RewriteConfig
  auto_subscribe: AutoSubscribeConfig
  delayed: DelayedConfig
  sys_topics: SysTopicsConfig
}

export interface FeatureSurroundings {
  readonly hub: Hub
  readonly log: Logger
  /** What relative paths in the config start from. */
  readonly configDir: string
  /** Names of all gateways: a client id is banned in each of them. */
  readonly gateways: readonly string[]
}

export class Features {
  readonly bans: Bans
  readonly delayed: DelayedPublish
  readonly #flapping: FlappingDetector
  readonly #rewrite: TopicRewrite
  readonly #autoSubscribe: AutoSubscribe
  readonly #sysTopics: SysTopics

  /** @throws BrokerError CONFIG_INVALID */
  constructor(config: FeaturesConfig, { hub, log, configDir, gateways }: FeatureSurroundings) {
    const now = Date.now
    const { durable } = hub.kernel.storage
    const bans = durable === undefined ? undefined : new BanRecords(durable.table('bans'))
    this.bans = new Bans({ hub, log, configDir, now, gateways, records: bans })
    this.#flapping = new FlappingDetector({ bans: this.bans, now })
    this.#rewrite = new TopicRewrite(config.rewrite, { log })
    const subscribe: Hub['subscribe'] = (client, subscriptions) => hub.subscribe(client, subscriptions)
    this.#autoSubscribe = new AutoSubscribe(config.auto_subscribe, { log, subscribe })
    const isBanned: Bans['isBanned'] = (client) => this.bans.isBanned(client)
    const records = durable === undefined ? undefined : new DelayedRecords(durable.table('delayed'))
    const { metrics } = hub
    this.delayed = new DelayedPublish(config.delayed, { hub, log, now, isBanned, metrics, records })
    this.#sysTopics = new SysTopics(config.sys_topics, {
      hub,
      log,
      now,
      nodeName: hub.options.nodeName,
      version: packageVersion(packageRoot(import.meta.dirname)),
    })
    hub.stats.provide('delayed', () => this.delayed.count)
    const all = [this.bans, this.#flapping, this.#rewrite, this.#autoSubscribe, this.delayed, this.#sysTopics]
    for (const feature of all) feature.attach(hub.hooks)
  }

  /** Takes up what the storage has kept. Once, before `update` and before clients come. */
  async load(): Promise<void> {
    await this.bans.load()
    await this.delayed.load()
  }

  /**
   * Takes a new config, and reads the files it names again. To be called once before clients come.
   * @throws BrokerError CONFIG_INVALID; what was updated before stays so
   */
  async update(config: FeaturesConfig): Promise<void> {
    this.#rewrite.update(config.rewrite)
    this.#autoSubscribe.update(config.auto_subscribe)
    this.delayed.update(config.delayed)
    this.#sysTopics.update(config.sys_topics)
    this.#flapping.update(config.flapping_detect, config.zones)
    await this.bans.update(config.banned)
  }

  /** After the last client has gone: wills of banned ones are dropped until then. */
  close(): void {
    this.#sysTopics.close()
    this.delayed.close()
    this.#rewrite.close()
    this.#autoSubscribe.close()
    this.#flapping.close()
    this.bans.close()
  }
}
