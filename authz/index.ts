/** Authorization: builds the chain from the config and answers `client.authorize`. */
import type { FoldResult, HookBus } from '../hooks/bus.ts'
import type { Authorization } from '../hooks/hookpoints.ts'
import type { Action } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { isValidFilter } from '../model/topic.ts'
import { AuthzCache } from './cache.ts'
import { AuthzChain } from './chain.ts'
import type { AuthorizationConfig } from './config.ts'
import { sourceModules } from './modules.ts'
import type { Source, SourceBase } from './source.ts'

export { checkedTopic } from './checked-topic.ts'

export const AUTHZ_PRIORITY = 960

export interface AuthzSurroundings {
  readonly log: Logger
  readonly configDir: string
  /** Unix time in milliseconds. */
  readonly now: () => number
}

export class Authz {
  readonly #surroundings: AuthzSurroundings
  #config: AuthorizationConfig
  #chain: AuthzChain
  #cache: AuthzCache | undefined

  private constructor(
    surroundings: AuthzSurroundings,
    config: AuthorizationConfig,
    sources: readonly Source[],
  ) {
    this.#surroundings = surroundings
    this.#config = config
    this.#cache = cacheOf(config, surroundings)
    this.#chain = this.#chainOf(sources)
  }

  /** @throws BrokerError CONFIG_INVALID, leaving nothing open */
  static async create(config: AuthorizationConfig, surroundings: AuthzSurroundings): Promise<Authz> {
    return new Authz(surroundings, config, await buildSources(config, surroundings))
  }

  /** For the API: counters and the state of the sources. */
  get chain(): AuthzChain {
    return this.#chain
  }

  /** Undefined when switched off. A client whose rights change while it is connected is to be forgotten there. */
  get cache(): AuthzCache | undefined {
    return this.#cache
  }

  /** What is to happen to a denied client. */
  get denyAction(): 'ignore' | 'disconnect' {
    return this.#config.deny_action
  }

  /** What `client.authorize` starts with. */
  get initial(): Authorization {
    return { result: this.#config.no_match, from: 'default' }
  }

  attach(bus: HookBus): void {
    bus.put('client.authorize', 'authz', this.authorize, { priority: AUTHZ_PRIORITY })
  }

  /** The function for `client.authorize`. */
  readonly authorize = (
    value: Authorization,
    client: ClientInfo,
    action: Action,
    topic: string,
  ): MaybePromise<FoldResult<Authorization>> => this.#chain.authorize(value, client, action, topic)

  /** Reads rule files again. @throws the first error after all sources were tried; one that failed keeps its rules */
  async reload(): Promise<void> {
    const reloads = this.#chain.links.map(async ({ source }) => source.reload?.())
    const results = await Promise.allSettled(reloads)
    this.#cache?.clear()
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  /** Takes a new config; counters and caches start anew. @throws BrokerError CONFIG_INVALID, and goes on as before */
  async update(config: AuthorizationConfig): Promise<void> {
    const sources = await buildSources(config, this.#surroundings)
    const before = this.#chain
    this.#config = config
    this.#cache = cacheOf(config, this.#surroundings)
    this.#chain = this.#chainOf(sources)
    await before.close()
  }

  close(): Promise<void> {
    return this.#chain.close()
  }

  #chainOf(sources: readonly Source[]): AuthzChain {
    const { no_match: noMatch, ignore_backend_failures: ignoreBackendFailures } = this.#config
    const { now, log } = this.#surroundings
    return new AuthzChain(sources, { noMatch, ignoreBackendFailures }, this.#cache, now, log)
  }
}

function cacheOf({ cache }: AuthorizationConfig, { now }: AuthzSurroundings): AuthzCache | undefined {
  if (!cache.enable) return undefined
  return new AuthzCache({ maxTopics: cache.max_size, ttlMs: cache.ttl, excludes: cache.excludes }, now)
}

async function buildSources(config: AuthorizationConfig, surroundings: AuthzSurroundings): Promise<Source[]> {
  check(config)
  const sources: Source[] = []
  try {
    for (const source of config.sources) if (source.enable) sources.push(await build(source, surroundings))
  } catch (error) {
    await Promise.allSettled(sources.map(async (source) => source.close()))
    throw error
  }
  return sources
}

function build(config: SourceBase, { log, configDir }: AuthzSurroundings): Promise<Source> {
  const module = sourceModules.find(({ type }) => type === config.type)
  if (module === undefined) {
    throw new BrokerError('CONFIG_INVALID', `there is no authorization source ${config.type}`)
  }
  return module.create(config, { log: log.child({ source: config.type }), configDir })
}

/** What the schema cannot tell. */
function check({ sources, cache }: AuthorizationConfig): void {
  const types = sources.map(({ type }) => type)
  const twin = types.find((type, index) => types.indexOf(type) !== index)
  if (twin !== undefined)
    throw new BrokerError('CONFIG_INVALID', `authorization has the source ${twin} twice`)
  const invalid = cache.excludes.find((filter) => !isValidFilter(filter))
  if (invalid !== undefined) {
    throw new BrokerError('CONFIG_INVALID', `authorization.cache.excludes: ${invalid} is not a topic filter`)
  }
}
