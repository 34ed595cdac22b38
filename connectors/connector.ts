/** What every connection to somebody else's database or service promises. */
import type { Logger } from '../model/log.ts'

/** What opening a connector needs from its surroundings. */
export interface ConnectorContext {
  readonly log: Logger
  /** Relative paths in the config start here. */
  readonly configDir: string
  readonly tuning?: Partial<Tuning>
}

/** How a connector looks after its backend; operators need not know. */
export interface Tuning {
  /** The pause before it is tried again for the first time; doubles up to `maxRetryMs`. */
  readonly firstRetryMs: number
  readonly maxRetryMs: number
  /** A backend that has answered nobody for so long is asked whether it is still there. */
  readonly healthIntervalMs: number
  /** Calls that may wait for others to end; one more is refused. */
  readonly maxWaiting: number
}

export interface ConnectorStatus {
  readonly state: 'connected' | 'connecting' | 'disconnected'
  /** Why it is, or was, not connected: without secrets. Undefined while all is well. */
  readonly lastError: string | undefined
}

export interface ConnectorCounters {
  total: number
  success: number
  failed: number
  /** Of the failed ones: no answer in time. */
  timeouts: number
  /** Of the failed ones: too many others were waiting. */
  dropped: number
  /** Nobody wanted the answer any more. */
  abandoned: number
  /** Being worked on now. */
  inflight: number
  /** For their turn, now. */
  waiting: number
  /** How long the last answers took, older ones counting less. */
  latencyMs: number
}

/**
 * Connections to one backend. Every call keeps the deadline of the config and rejects only with BrokerError
 * BACKEND_TIMEOUT or BACKEND_FAILED; its text names the connector, never a password or a value of a client.
 * A backend that is away is looked for until it is there again, and calls meanwhile reject at once.
 */
export interface Connector {
  /** Of the authenticator or source it belongs to, as in `password_based:mysql`. */
  readonly id: string
  readonly status: ConnectorStatus
  readonly counters: Readonly<ConnectorCounters>
  /** Lets go of everything; calls under way reject. Safe to call twice. */
  close(): Promise<void>
}

export type Row = Readonly<Record<string, unknown>>

/** A statement with a place for each value, as `compileSql` makes it. */
export interface SqlStatement {
  /** With `?` or `$1`, `$2`, ... in the places of values. */
  readonly text: string
  /** What stands between the values: always one more than there are values. */
  readonly pieces: readonly string[]
}

export interface SqlConnector extends Connector {
  /**
   * The rows, at most 10,000, in the order of the database.
   * @throws BrokerError BACKEND_TIMEOUT, BACKEND_FAILED
   */
  query(statement: SqlStatement, values: readonly string[], signal?: AbortSignal): Promise<Row[]>
}

/** A hash is a flat list: name, value, name, value. */
export type RedisReply = string | number | null | RedisReply[]

export interface RedisConnector extends Connector {
  /** @throws BrokerError BACKEND_TIMEOUT, BACKEND_FAILED */
  command(args: readonly string[], signal?: AbortSignal): Promise<RedisReply>
}

export type MongoFilter = Readonly<Record<string, unknown>>
export type MongoDocument = Readonly<Record<string, unknown>>

export interface MongoConnector extends Connector {
  /**
   * Documents in the order of the database, at most `limit` (1000 if not said).
   * @throws BrokerError BACKEND_TIMEOUT, BACKEND_FAILED
   */
  find(
    collection: string,
    filter: MongoFilter,
    range?: { readonly limit?: number; readonly skip?: number },
    signal?: AbortSignal,
  ): Promise<MongoDocument[]>
}

export interface LdapSearch {
  readonly baseDn: string
  readonly filter: string
  /** `sub` if not said. */
  readonly scope?: 'base' | 'one' | 'sub'
  /** All that users may see if not said. */
  readonly attributes?: readonly string[]
  /** More entries than this are a failure. 1000 if not said. */
  readonly sizeLimit?: number
}

export interface LdapEntry {
  readonly dn: string
  /** By name in lower case. */
  readonly attributes: ReadonlyMap<string, readonly Buffer[]>
}

export interface LdapConnector extends Connector {
  /**
   * As the service account of the config. A base that does not exist has no entries.
   * @throws BrokerError BACKEND_TIMEOUT, BACKEND_FAILED
   */
  search(search: LdapSearch, signal?: AbortSignal): Promise<LdapEntry[]>
  /**
   * Whether this is somebody's password. Asked on a connection of its own, so the pool stays who it is.
   * An empty password is refused here: directories take it for an anonymous login and say yes (RFC 4513 §5.1.2).
   * @throws BrokerError BACKEND_TIMEOUT, BACKEND_FAILED
   */
  bind(dn: string, password: string, signal?: AbortSignal): Promise<boolean>
  /**
   * Whether the entry has this value; false also where it has no such attribute, or does not exist.
   * @throws BrokerError BACKEND_TIMEOUT, BACKEND_FAILED
   */
  compare(dn: string, attribute: string, value: string, signal?: AbortSignal): Promise<boolean>
}

export interface HttpRequest {
  readonly method: 'GET' | 'POST'
  /** With the query; everything in it percent-encoded where it must be. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

export interface HttpResponse {
  readonly status: number
  /** In lower case and without parameters; undefined if not said. */
  readonly contentType: string | undefined
  readonly body: string
}

export interface HttpConnector extends Connector {
  /**
   * Any status is an answer; redirects are not followed.
   * @throws BrokerError BACKEND_TIMEOUT, and BACKEND_FAILED also for an answer of more than 1 MB
   */
  request(request: HttpRequest, signal?: AbortSignal): Promise<HttpResponse>
}
