/** Authentication: builds the chains from the config and answers `client.authenticate`. */
import type { FoldResult, HookBus } from '../hooks/bus.ts'
import type { Login, Rule, Verdict } from '../model/access.ts'
import { andThen, type MaybePromise } from '../model/async.ts'
import { BrokerError } from '../model/errors.ts'
import type { Expression } from '../model/expression.ts'
import type { Logger } from '../model/log.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import { type Authenticator, type AuthenticatorContext, authenticatorId } from './authenticator.ts'
import { BuiltInDatabase } from './built-in-database.ts'
import type { UserMechanism, UserTable } from './built-in-table.ts'
import type { BuiltInUsers } from './built-in-users.ts'
import { AuthnChain, type ChainPart } from './chain.ts'
import { AuthnChains, gatewayChain, MQTT_CHAIN } from './chains.ts'
import { type AuthenticationConfig, type AuthenticatorConfig, authenticatorList } from './config.ts'
import { authenticatorModules } from './modules.ts'
import { loginExpression } from './precondition.ts'
import { ScramDatabase } from './scram/built-in.ts'
import { WorkGate } from './work-gate.ts'

export const AUTHN_PRIORITY = 970

/** The `authentication` parts of the config, wherever they stand. */
export interface AuthnConfig {
  /** For MQTT. */
  global?: AuthenticationConfig
  /** By gateway name. */
  gateways?: ReadonlyMap<string, AuthenticationConfig>
  /** By listener id, those of gateways included: `tcp:default`, `stomp:tcp:default`. */
  listeners?: ReadonlyMap<string, AuthenticationConfig>
}

export interface AuthnSurroundings {
  readonly log: Logger
  readonly dataDir: string
  readonly configDir: string
  /** Users in the broker's storage; undefined: in files below `dataDir`. */
  readonly users?: UserTable | undefined
  /** Reads the rules that come with logins; undefined: nobody is let in with rules of its own. @throws BrokerError */
  readonly readAcl?: ((value: unknown) => readonly Rule[]) | undefined
  /** Unix time in milliseconds; the system's if left out. */
  readonly now?: (() => number) | undefined
}

const ANONYMOUS: Verdict = { kind: 'allow', principal: { isSuperuser: false, isAnonymous: true } }
const NOT_AUTHORIZED: Verdict = { kind: 'deny', reason: ReasonCode.NotAuthorized }
const SKIPPED: FoldResult<Verdict> = { stop: ANONYMOUS }
const NOBODY_TO_ASK: FoldResult<Verdict> = { ok: ANONYMOUS }
const NOBODY_KNEW: FoldResult<Verdict> = { ok: NOT_AUTHORIZED }
const METHOD_UNKNOWN: FoldResult<Verdict> = {
  ok: { kind: 'deny', reason: ReasonCode.BadAuthenticationMethod },
}
const QUICKLY_DENIED: FoldResult<Verdict> = { stop: NOT_AUTHORIZED }

export class Authn {
  readonly #surroundings: AuthnSurroundings
  readonly #hashing = new WorkGate()
  readonly #keySets = new Map<string, string>()
  #chains: AuthnChains
  /** Replaced ones that still decide logins. */
  readonly #retiring = new Set<AuthnChain>()

  private constructor(surroundings: AuthnSurroundings) {
    this.#surroundings = surroundings
    this.#chains = new AuthnChains([])
  }

  /** @throws BrokerError CONFIG_INVALID, leaving nothing open */
  static async create(config: AuthnConfig, surroundings: AuthnSurroundings): Promise<Authn> {
    const authn = new Authn(surroundings)
    await authn.update(config)
    return authn
  }

  get chains(): AuthnChains {
    return this.#chains
  }

  /** Users of the built-in database of a chain (`mqtt:global`, `stomp:global`, `tcp:default`), if it has one. */
  users(chain: string, mechanism: UserMechanism = 'password_based'): BuiltInUsers | undefined {
    const Database = mechanism === 'scram' ? ScramDatabase : BuiltInDatabase
    for (const { authenticator } of this.#chains.get(chain)?.links ?? []) {
      if (authenticator instanceof Database) return authenticator.users
    }
    return undefined
  }

  attach(bus: HookBus): void {
    bus.put('client.authenticate', 'authn', this.authenticate, { priority: AUTHN_PRIORITY })
  }

  /**
   * The function for `client.authenticate`. A definite answer ends the chain of hooks. If
   * nobody knew the client it is a no, if nobody was configured a yes, and later hooks may change either.
   */
  readonly authenticate = (value: Verdict, login: Login): MaybePromise<FoldResult<Verdict>> => {
    if (login.enableAuthn === false) return SKIPPED
    if (login.enableAuthn === 'quick_deny_anonymous' && isAnonymous(login)) return QUICKLY_DENIED
    const chain = this.#chains.chainFor(login.client)
    if (chain !== undefined) return andThen(chain.authenticate(login), (verdict) => resultOf(verdict, login))
    // What an earlier hook has said already is better than "nobody was asked".
    return value.kind === 'ignore' ? NOBODY_TO_ASK : undefined
  }

  /**
   * Takes a new config. Logins in progress are decided by the old one, whose backends are let go of after them.
   * @throws BrokerError CONFIG_INVALID, and goes on as before
   */
  async update(config: AuthnConfig): Promise<void> {
    const chains: AuthnChain[] = []
    try {
      for (const [name, list] of chainConfigs(config)) {
        const chain = await this.#buildChain(name, authenticatorList(list))
        if (chain !== undefined) chains.push(chain)
      }
    } catch (error) {
      await closeAll(chains)
      throw error
    }
    const before = this.#chains
    this.#chains = new AuthnChains(chains)
    const busy = [...before].filter((chain) => !chain.isIdle)
    for (const chain of busy) {
      this.#retiring.add(chain)
      void chain.retire().then(() => this.#retiring.delete(chain))
    }
    await closeAll([...before].filter((chain) => !busy.includes(chain)))
  }

  async close(): Promise<void> {
    await closeAll([...this.#chains, ...this.#retiring])
  }

  /** Undefined if nothing in it is enabled. */
  async #buildChain(name: string, list: readonly AuthenticatorConfig[]): Promise<AuthnChain | undefined> {
    refuseTwins(name, list)
    const built: ChainPart[] = []
    try {
      for (const config of list.filter(({ enable }) => enable)) {
        const precondition = preconditionOf(name, config)
        built.push({
          authenticator: await this.#build(name, config),
          timeoutMs: config.timeout,
          deniesOnFailure: config.on_failure === 'deny',
          precondition,
        })
      }
    } catch (error) {
      await Promise.allSettled(built.map(async ({ authenticator }) => authenticator.close()))
      throw error
    }
    return built.length === 0 ? undefined : new AuthnChain(name, built, this.#surroundings.log)
  }

  async #build(chain: string, config: AuthenticatorConfig): Promise<Authenticator> {
    const id = authenticatorId(config)
    const module = authenticatorModules.find((known) => authenticatorId(known) === id)
    if (module === undefined) {
      throw new BrokerError('CONFIG_INVALID', `chain ${chain}: there is no authenticator ${id}`)
    }
    const log = this.#surroundings.log.child({ chain, authenticator: id })
    const [hashing, keySets] = [this.#hashing, this.#keySets]
    const context: AuthenticatorContext = { ...this.#surroundings, log, chain, hashing, keySets }
    try {
      return await module.create(config, context)
    } catch (error) {
      throw named(error, chain, id)
    }
  }
}

/** Which authenticator it was, where its own text does not say. */
function named(error: unknown, chain: string, id: string): unknown {
  if (!(error instanceof BrokerError) || error.message.includes(id)) return error
  return new BrokerError(error.code, `${id} of ${chain}: ${error.message}`, { cause: error.cause })
}

function resultOf(verdict: Verdict, login: Login): FoldResult<Verdict> {
  if (verdict.kind !== 'ignore') return { stop: verdict }
  return login.authMethod === undefined ? NOBODY_KNEW : METHOD_UNKNOWN // [MQTT-4.12.0-1]
}

/** With an authentication method the name is in the data of the mechanism. */
function isAnonymous({ client, authMethod }: Login): boolean {
  return !client.username && authMethod === undefined
}

function chainConfigs(config: AuthnConfig): Map<string, AuthenticationConfig | undefined> {
  const chains = new Map<string, AuthenticationConfig | undefined>([[MQTT_CHAIN, config.global]])
  for (const [name, list] of config.gateways ?? []) chains.set(gatewayChain(name), list)
  for (const [id, list] of config.listeners ?? []) chains.set(id, list)
  return chains
}

function preconditionOf(
  chain: string,
  { precondition = '', ...config }: AuthenticatorConfig,
): Expression | undefined {
  if (precondition === '') return undefined
  return loginExpression(precondition, `chain ${chain}: ${authenticatorId(config)}.precondition`)
}

/** Users and counters go by id, so a chain has each authenticator once. */
function refuseTwins(chain: string, list: readonly AuthenticatorConfig[]): void {
  const ids = list.map(authenticatorId)
  const twin = ids.find((id, index) => ids.indexOf(id) !== index)
  if (twin !== undefined)
    throw new BrokerError('CONFIG_INVALID', `chain ${chain} has the authenticator ${twin} twice`)
}

async function closeAll(chains: readonly AuthnChain[]): Promise<void> {
  await Promise.allSettled(chains.map((chain) => chain.close()))
}
