import type { MaybePromise } from './async.ts'
import type { ClientInfo } from './client-info.ts'
import type { QoS } from './message.ts'
import type { ReasonCode } from './reason-codes.ts'

/** One attempt to log in, before anybody has said yes. */
export interface Login {
  readonly client: ClientInfo
  readonly password: Uint8Array | undefined
  /** MQTT 5 enhanced authentication; undefined for password logins. */
  readonly authMethod?: string | undefined
  /** What came with it at first; answers to challenges go to the `Exchange`. */
  readonly authData?: Uint8Array | undefined
  /** What the peer sent along, by MQTT 5 names; `client.connect` hooks may replace it. */
  properties?: Record<string, unknown>
  /** Template of the client's mountpoint. The hub fills it in before authentication and again after it. */
  readonly mountpoint?: string
  /** `enable_authn` of the listener. */
  readonly enableAuthn: boolean | 'quick_deny_anonymous'
  /** Aborts when the client has gone or its time to connect is over. */
  readonly signal?: AbortSignal
}

/** What an allowed client may do and be, beyond being let in. */
export interface Principal {
  isSuperuser: boolean
  /** Let in without anybody having vouched for it. */
  isAnonymous?: boolean
  /** Whom the exchange was about, where that is not for the login's user name to say. */
  username?: string
  attributes?: ReadonlyMap<string, string>
  acl?: readonly Rule[]
  expiresAtMs?: number
  /** Takes the place of the client id that an MQTT client came with: not empty, and as CONNECT may have one. */
  clientId?: string
  /** Takes the place of the zone of its listener if there is one of that name. MQTT only. */
  zone?: string
}

export type DenyReason = Extract<ReasonCode, 0x85 | 0x86 | 0x87 | 0x88 | 0x89 | 0x8a | 0x8c | 0x82 | 0x97>

/**
 * One enhanced authentication between a challenge and its answer: whoever challenges keeps here what it has
 * to remember. Let go without a word when the client leaves, so it holds nothing that must be closed; the
 * login's signal tells whoever has to know.
 */
export interface Exchange {
  /**
   * Takes the client's answer, once per challenge. `ignore` is a no by now, and so is a throw.
   * @param data - undefined if the client sent none
   * @param signal - aborts when the client has gone or the authenticator's time is over
   */
  next(data: Uint8Array | undefined, signal: AbortSignal): MaybePromise<Verdict>
}

/** Answer of one authenticator, or of a whole chain. */
export type Verdict =
  /** `data`: the last word to a client that named an authentication method. */
  | { kind: 'allow'; principal: Principal; data?: Uint8Array | undefined }
  | { kind: 'deny'; reason: DenyReason }
  | { kind: 'ignore' } // no opinion: ask the next one. Never means yes.
  /** The client has to answer `data` first. Only for logins with an `authMethod`. */
  | { kind: 'continue'; data?: Uint8Array | undefined; exchange: Exchange }

export type Action = { kind: 'publish'; qos: QoS; retain: boolean } | { kind: 'subscribe'; qos: QoS }

export type Permission = 'allow' | 'deny'

/** Says whether a text fits: see `Pattern`. */
export interface TextTest {
  test(text: string): boolean
}

/** Which clients a rule is about; all given conditions must hold. */
export type Who =
  | { kind: 'all' }
  | { kind: 'username' | 'clientid'; is: string | TextTest }
  | { kind: 'ipaddr'; matches: (host: string) => boolean }
  | { kind: 'client_attr'; name: string; is: string | TextTest }
  | { kind: 'zone' | 'listener'; is: string | TextTest }
  | { kind: 'and' | 'or'; conditions: readonly Who[] }

/** `exact` is `eq ...`; `filter` matches by wildcards and may hold `${placeholders}`. */
export type TopicPattern =
  | { kind: 'all' }
  | { kind: 'exact'; text: string }
  | { kind: 'filter'; text: string }

/** One access rule, whatever source it came from (spec of authorization rules, EMQX `acl.conf` semantics). */
export interface Rule {
  readonly permission: Permission
  readonly who: Who
  readonly action: 'publish' | 'subscribe' | 'all'
  /** Undefined = any. */
  readonly qos?: readonly QoS[]
  /** Undefined = any; only looked at for publish. */
  readonly retain?: boolean
  readonly topics: readonly TopicPattern[]
}
