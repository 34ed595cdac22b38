/** Authorization: builds the chain from the config and answers `client.authorize`. */
import { AuthorizationCounts } from '../broker/metrics.ts'
import type { FoldResult, HookBus } from '../hooks/bus.ts'
import type { Authorization } from '../hooks/hookpoints.ts'
import type { Action } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { isValidFilter } from '../model/topic.ts'
import { BUILT_IN, type BuiltInConfig, DEFAULT_MAX_RULES } from './built-in-database.ts'
import { BuiltInRules } from './built-in-rules.ts'
import { RuleTable } from './built-in-table.ts'
import { AuthzCache } from './cache.ts'
import { AuthzChain } from './chain.ts'
import type { AuthorizationConfig } from './config.ts'
import { sourceModules } from './modules.ts'
import { ConditionalSource, preconditionOf } from './precondition.ts'
import type { Source, SourceBase } from './source.ts'

export { checkedTopic } from './checked-topic.ts'

export const AUTHZ_PRIORITY = 960

export interface AuthzSurroundings {
  readonly log: Logger
  readonly configDir: string
  /** Unix time in milliseconds. */
  readonly now: () => number
  /** Rules in the broker's storage; undefined: they are forgotten with this object. */
  readonly rules?: RuleTable | undefined
}

export class Authz {
  /** Of all that was decided since the start, whatever the config was. */
  readonly counters = new AuthorizationCounts()
  /** Rules of the built-in database, whether it is asked or not. */
  readonly rules: BuiltInRules
  readonly #surroundings: AuthzSurroundings & { readonly rules: RuleTable }
  /** Replaced ones that still decide something. */
  readonly #retiring = new Set<AuthzChain>()
  #config: AuthorizationConfig
  #chain: AuthzChain
  #cache: AuthzCache | undefined

  private constructor(
    surroundings: AuthzSurroundings & { readonly rules: RuleTable },
    config: AuthorizationConfig,
    sources: readonly Source[],
  ) {
    this.#surroundings = surroundings
    this.#config = config
    this.#cache = cacheOf(config, surroundings)
    this.#chain = this.#chainOf(sources)
    this.rules = new BuiltInRules(surroundings.rules, {
      maxRules: () => maxRulesOf(this.#config),
      onChange: () => this.#cache?.clear(),
    })
  }

  /** @throws BrokerError CONFIG_INVALID, leaving nothing open */
  static async create(config: AuthorizationConfig, given: AuthzSurroundings): Promise<Authz> {
    const surroundings = { ...given, rules: given.rules ?? new RuleTable() }
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
    bus.put('client.authorize', 'authz', this.authorize, { priority: AUTHZ_PRIORITY, known: this.#known })
    // Who authenticates again may do something else from now on.
    bus.put('client.check_authn_complete', 'authz', (client) => this.#chain.forget(client))
  }

  /** The function for `client.authorize`. */
  readonly authorize = (
    value: Authorization,
    client: ClientInfo,
    action: Action,
    topic: string,
  ): MaybePromise<FoldResult<Authorization>> => this.#chain.authorize(value, client, action, topic)

  /** The same where nobody has to be asked. */
  readonly #known = (
    times: number,
    _: Authorization,
    client: ClientInfo,
    action: Action,
    topic: string,
  ): Authorization | undefined => this.#chain.known(times, client, action, topic)

  /** Reads rule files again. @throws the first error after all sources were tried; one that failed keeps its rules */
  async reload(): Promise<void> {
    const reloads = this.#chain.links.map(async ({ source }) => source.reload?.())
    const results = await Promise.allSettled(reloads)
    this.#chain.forget()
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  /**
   * Takes a new config; caches, and counters of single sources, start anew. What is being decided is decided by the
   * old one, whose backends are let go of after that.
   * @throws BrokerError CONFIG_INVALID, and goes on as before
   */
  async update(config: AuthorizationConfig): Promise<void> {
    const sources = await buildSources(config, this.#surroundings)
    const before = this.#chain
    this.#config = config
    this.#cache = cacheOf(config, this.#surroundings)
    this.#chain = this.#chainOf(sources)
    if (before.isIdle) return before.close()
    this.#retiring.add(before)
    void before.retire().then(() => this.#retiring.delete(before))
  }

  async close(): Promise<void> {
    await Promise.all([this.#chain, ...this.#retiring].map((chain) => chain.close()))
  }

  #chainOf(sources: readonly Source[]): AuthzChain {
    const { no_match: noMatch, ignore_backend_failures: ignoreBackendFailures } = this.#config
    const { include_mountpoint: includeMountpoint, sources: configs } = this.#config
    const denyOnFailure = new Set(
      configs.filter(({ on_failure }) => on_failure === 'deny').map(({ type }) => type),
    )
    const options = { noMatch, ignoreBackendFailures, includeMountpoint, denyOnFailure }
    const { now, log } = this.#surroundings
    return new AuthzChain(sources, options, this.#cache, now, log, this.counters)
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

async function build(config: SourceBase, surroundings: AuthzSurroundings): Promise<Source> {
  const { type, precondition = '' } = config
  const module = sourceModules.find((one) => one.type === type)
  if (module === undefined)
    throw new BrokerError('CONFIG_INVALID', `there is no authorization source ${type}`)
  const { configDir, rules } = surroundings
  try {
    const condition = precondition === '' ? undefined : preconditionOf(precondition)
    const log = surroundings.log.child({ source: type })
    const source = await module.create(config, { log, configDir, rules })
    return condition === undefined ? source : new ConditionalSource(source, condition)
  } catch (error) {
    throw named(error, type)
  }
}

/** Which source it was, where its own text does not say. */
function named(error: unknown, type: string): unknown {
  if (!(error instanceof BrokerError) || type === 'file') return error
  return new BrokerError(error.code, `authorization source ${type}: ${error.message}`, { cause: error.cause })
}

function maxRulesOf({ sources }: AuthorizationConfig): number {
  const config = sources.find(({ type }) => type === BUILT_IN) as BuiltInConfig | undefined
  return config?.max_rules ?? DEFAULT_MAX_RULES
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
