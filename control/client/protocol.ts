/**
 * What the running broker answers on its control socket: HTTP, `POST /<name>` with the parameters as JSON. An answer is
 * JSON, or for lists one JSON text a line; a refusal has status 400 (500: the broker's own fault) and
 * `{ code, message }`. Only for programs of the same version; others use the HTTP API.
 */
import type { ErrorCode } from '../../model/errors.ts'
import type { AccessQuestion, AccessReport, BackendReport } from '../../model/explanation.ts'

/** Goes up with every change that the other side would not understand. */
export const PROTOCOL = 2
export const PROTOCOL_HEADER = 'hubbub-control'
export const VERSION_HEADER = 'hubbub-version'

export interface ListenerStatus {
  readonly id: string
  /** `host:port`; undefined while it is not bound. */
  readonly address: string | undefined
  /** Undefined where it is not counted. */
  readonly connections: number | undefined
}

export interface BrokerStatus {
  readonly version: string
  readonly node: string
  readonly pid: number
  readonly uptimeMs: number
  /** Where what outlives the process is kept; undefined: nowhere. */
  readonly storage: string | undefined
  /** `connections.count`, `connections.max` and so on. */
  readonly stats: Readonly<Record<string, number>>
  readonly listeners: readonly ListenerStatus[]
  /** By name, what it has counted: `messages.delivered`, `packets.pub.received` and so on. */
  readonly gateways: Readonly<Record<string, Readonly<Record<string, number>>>>
  /** Authenticators by chain, then sources, each in its order. */
  readonly backends: readonly BackendReport[]
}

export interface UserEntry {
  readonly userId: string
  readonly isSuperuser: boolean
}

/** A user of a file, as authn/bootstrap.ts reads it. */
export interface UserToImport {
  readonly userId: string
  readonly isSuperuser: boolean
  readonly secret: { kind: 'plain'; password: string } | { kind: 'hash'; hash: string; salt: string }
  readonly where: string
}

export interface UserCounts {
  readonly total: number
  readonly success: number
  readonly override: number
  readonly skipped: number
}

export interface BanEntry {
  readonly as: string
  readonly who: string
  readonly by: string
  readonly reason: string
  /** Unix time in ms. */
  readonly atMs: number
  /** Undefined: until it is deleted. */
  readonly untilMs: number | undefined
}

export interface BanToAdd {
  readonly as: string
  readonly who: string
  readonly by: string
  readonly reason: string
  readonly untilMs: number | undefined
}

/** What becomes of a ban that is to be added. */
export type BanOutcome = 'added' | 'exists' | 'past' | 'full'

export interface ClientEntry {
  readonly clientId: string
  readonly username: string | undefined
  /** Undefined for MQTT. */
  readonly gateway: string | undefined
  /** `MQTT 5`, `STOMP 1.2` */
  readonly protocol: string
  /** `host:port` */
  readonly peer: string
  readonly listener: string
  readonly connectedAtMs: number
  readonly keepAliveSeconds: number
  readonly subscriptions: number
  /** By EMQX's names; undefined where its gateway has `enable_stats: false`. */
  readonly stats: Readonly<Record<string, number>> | undefined
}

/** One client, with what it asked for and was given at its login. */
export interface ClientDetails extends ClientEntry {
  readonly zone: string
  readonly mountpoint: string
  readonly cleanStart: boolean
  /** How long its session outlives the connection; undefined: for ever. */
  readonly sessionExpiryMs: number | undefined
  readonly isSuperuser: boolean
  /** Unix time in ms at which the login ends; undefined: never. */
  readonly loginEndsAtMs: number | undefined
}

/** A client id, and the gateway whose it is; undefined: an MQTT client's. */
interface OfClient {
  readonly clientId: string
  readonly gateway?: string | undefined
}

interface OfChain {
  readonly chain: string
  /** Whose users of the chain. */
  readonly mechanism: 'password_based' | 'scram'
}

/** Whom rules of the built-in database are about. */
export type RuleSubject =
  | { readonly kind: 'clientid' | 'username'; readonly id: string }
  | { readonly kind: 'all' }

/** A rule as authz/rule-item.ts reads it, which may also have conditions. */
export interface RuleEntry {
  readonly permission: 'allow' | 'deny'
  readonly action: 'publish' | 'subscribe' | 'all'
  readonly topic: string
  readonly qos: readonly (0 | 1 | 2)[]
  readonly retain: boolean | 'all'
}

/** Their rules in order. */
export interface RulesEntry {
  readonly subject: RuleSubject
  readonly rules: readonly RuleEntry[]
}

export interface RuleImportCounts {
  total: number
  success: number
  override: number
  skipped: number
}

/** Calls with one answer. */
export interface Calls {
  status: { params: object; result: BrokerStatus }
  'users.about': { params: OfChain; result: { idType: 'username' | 'clientid' } }
  'users.add': {
    params: OfChain & { userId: string; password: string; isSuperuser: boolean }
    result: { added: boolean }
  }
  'users.delete': { params: OfChain & { userId: string }; result: { deleted: boolean } }
  'users.import': {
    params: OfChain & { users: readonly UserToImport[]; override: boolean }
    result: UserCounts
  }
  'auth.test': { params: AccessQuestion; result: AccessReport }
  'bans.add': { params: BanToAdd; result: { outcome: BanOutcome } }
  'bans.delete': { params: { as: string; who: string }; result: { deleted: boolean } }
  'rules.about': { params: object; result: { maxRules: number } }
  'rules.add': { params: { subject: RuleSubject; rule: RuleEntry; isFirst: boolean }; result: object }
  'rules.delete': {
    params: { subject: RuleSubject; number: number | undefined }
    result: { deleted: boolean }
  }
  'rules.import': { params: { rules: readonly RulesEntry[]; override: boolean }; result: RuleImportCounts }
  'clients.show': { params: OfClient; result: { client: ClientDetails | undefined } }
  'clients.kick': { params: OfClient; result: { kicked: boolean } }
}

/** Calls whose answer is a list. */
export interface Lists {
  'users.list': { params: OfChain; item: UserEntry }
  'bans.list': { params: object; item: BanEntry }
  'rules.list': { params: object; item: RulesEntry }
  'clients.list': { params: object; item: ClientEntry }
}

/** The call whose answer is text: see broker/storage/data-file.ts. */
export const EXPORT = 'data.export'

export interface Refusal {
  readonly code: ErrorCode
  readonly message: string
}
