/** What an authorization source promises, and how one is declared so that config and chain can build it. */
import type { TSchema } from 'typebox'
import type { ConnectorCounters, ConnectorStatus } from '../connectors/connector.ts'
import type { Action, Permission } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { Logger } from '../model/log.ts'
import type { RuleTable } from './built-in-table.ts'

/** `ignore`: no rule of this source is about it, ask the next one. Never means yes. */
export type SourceAnswer = 'allow' | 'deny' | 'ignore'

export interface Source {
  /** `file`, `http`, ...: each type at most once. */
  readonly type: string
  /**
   * Throws or rejects only when the backend itself failed; what that means is the chain's business.
   * Keeps its own deadline.
   * @param topic - the very string the rules are about: see `checkedTopic`
   * @throws BrokerError BACKEND_FAILED, BACKEND_TIMEOUT
   */
  authorize(client: ClientInfo, action: Action, topic: string): MaybePromise<SourceAnswer>
  /**
   * What `authorize` says to this client about every topic, until the client authenticates again or this is reloaded.
   * Undefined, or no such method: that depends on the topic, or may change at any time.
   */
  settled?(client: ClientInfo, action: Action): Permission | undefined
  /** How the connection to its backend is; undefined if it has none. */
  readonly status?: ConnectorStatus | undefined
  /** What it has asked its backend. */
  readonly calls?: Readonly<ConnectorCounters> | undefined
  /** Reads again what it read at the start; rejects and goes on with the old if that cannot be used. */
  reload?(): Promise<void>
  /** Safe to call twice. */
  close(): MaybePromise<void>
}

export interface SourceContext {
  readonly log: Logger
  /** Relative paths in the config start here. */
  readonly configDir: string
  /** Rules that the broker keeps; undefined: an empty table of its own. */
  readonly rules?: RuleTable | undefined
}

/** Fields every source has in the config. */
export interface SourceBase {
  type: string
  enable: boolean
  /** What it means when it fails: the next one is asked, or it is a no. Left out: `ignore`. */
  on_failure?: 'ignore' | 'deny'
  /** Expression that must give `true`; empty or left out: always asked. */
  precondition?: string
}

export interface SourceModule {
  readonly type: string
  readonly schema: TSchema
  /** @throws BrokerError CONFIG_INVALID */
  create(config: SourceBase, context: SourceContext): Promise<Source>
}

/** Declares a source; the list is modules.ts. Importing does nothing. */
export function defineSource<Config extends SourceBase>(module: {
  type: string
  schema: TSchema
  create(config: Config, context: SourceContext): Promise<Source>
}): SourceModule {
  return {
    type: module.type,
    schema: module.schema,
    // The schema was chosen by type, so the config is this module's.
    create: (config, context) => module.create(config as Config, context),
  }
}
