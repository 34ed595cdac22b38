/** What an authenticator promises, and how one is declared so that config and chains can build it. */
import type { TSchema } from 'typebox'
import type { ConnectorCounters, ConnectorStatus } from '../connectors/connector.ts'
import type { Login, Rule, Verdict } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import type { Logger } from '../model/log.ts'
import type { UserTable } from './built-in-table.ts'
import type { WorkGate } from './work-gate.ts'

/** One mechanism on one backend. */
export interface Authenticator {
  /** `password_based:built_in_database`, `jwt`, ...: unique within a chain. */
  readonly id: string
  /**
   * Decides one login. Throws or rejects only when the backend itself failed; what that
   * means for the client is the chain's business. A password authenticator ignores
   * logins with an `authMethod` and logins without a password. A mechanism of enhanced authentication
   * ignores other methods than its own, and may answer with a challenge; a client whose method is its own
   * should get a yes or a no, as one that all ignore is told that its method is bad.
   * @param signal - aborts when the client has gone or the authenticator's time is over
   * @throws BrokerError BACKEND_FAILED, BACKEND_TIMEOUT
   */
  authenticate(login: Login, signal: AbortSignal): MaybePromise<Verdict>
  /** Whether its backend is there; undefined where there is none. */
  readonly status?: ConnectorStatus | undefined
  /** What was asked of its backend, and how long that took. */
  readonly calls?: Readonly<ConnectorCounters> | undefined
  /** Lets go of connections, watchers and timers. Safe to call twice. */
  close(): MaybePromise<void>
}

/** What building an authenticator needs from its surroundings. */
export interface AuthenticatorContext {
  readonly log: Logger
  /** Everything durable lives below it. */
  readonly dataDir: string
  /** Relative paths in the config start here. */
  readonly configDir: string
  /** `mqtt:global`, `stomp:global`, `tcp:default`, ... */
  readonly chain: string
  /** Users in the broker's storage; undefined where it forgets with the process. */
  readonly users?: UserTable | undefined
  /** Slow password hashes go through it. */
  readonly hashing: WorkGate
  /** Key sets of tokens by where and how they were fetched, as they were last: a reload while the URL is away must not lose them. */
  readonly keySets?: Map<string, string> | undefined
  /**
   * Reads the rules that came with an answer (authz.md 3). Undefined: nobody is let in with rules of its own.
   * @throws BrokerError for rules that cannot be read
   */
  readonly readAcl?: ((value: unknown) => readonly Rule[]) | undefined
  /** Unix time in milliseconds; the system's if left out. */
  readonly now?: (() => number) | undefined
}

/** Fields every authenticator has in the config. */
export interface AuthenticatorBase {
  mechanism: string
  backend?: string
  enable: boolean
  /** Milliseconds; what takes longer counts as failed. */
  timeout: number
  /** What it means when it fails: the next one is asked, or the client is refused. Left out: `ignore`. */
  on_failure?: 'ignore' | 'deny'
  /** Expression about the login; '' and undefined: the authenticator is always asked. */
  precondition?: string
}

export interface AuthenticatorModule {
  readonly mechanism: string
  /** Undefined where the mechanism has only one. */
  readonly backend: string | undefined
  readonly schema: TSchema
  /**
   * @param config - as `schema` describes it, defaults filled in and units read
   * @throws BrokerError CONFIG_INVALID for what the schema cannot tell, e.g. a missing file
   */
  create(config: AuthenticatorBase, context: AuthenticatorContext): Promise<Authenticator>
}

/** Declares an authenticator; the list is modules.ts. Importing does nothing. */
export function defineAuthenticator<Config extends AuthenticatorBase>(module: {
  mechanism: string
  backend?: string
  schema: TSchema
  create(config: Config, context: AuthenticatorContext): Promise<Authenticator>
}): AuthenticatorModule {
  return {
    mechanism: module.mechanism,
    backend: module.backend,
    schema: module.schema,
    // The schema was chosen by mechanism and backend, so the config is this module's.
    create: (config, context) => module.create(config as Config, context),
  }
}

/** `{mechanism}:{backend}`, or the mechanism alone. */
export function authenticatorId(config: { mechanism: string; backend?: string | undefined }): string {
  return config.backend === undefined ? config.mechanism : `${config.mechanism}:${config.backend}`
}
