/** What those who are asked at a login and about an action have answered, one by one: for operators, never for peers. */
import { BrokerError, faultOf } from './errors.ts'
import type { Logger } from './log.ts'
import type { QoS } from './message.ts'

/** `failed`: asked, and unable to answer. `skipped`: not asked. */
export type StepOutcome = 'allow' | 'deny' | 'ignore' | 'failed' | 'skipped'

/** One who may have been asked. Holds no secret: no password, and nothing that a backend keeps one in. */
export interface ExplainedStep {
  /** `bans`, `password_based:mysql`, `file`, ... */
  readonly who: string
  readonly outcome: StepOutcome
  /** Why, where there is more to say. */
  readonly detail?: string | undefined
  /** How long it took; undefined where nobody was waited for. */
  readonly tookMs?: number | undefined
}

/** A login, and perhaps something that it wants to do, which nobody has really asked for. */
export interface AccessQuestion {
  readonly username?: string | undefined
  readonly password?: string | undefined
  /** Left out: one is made up, as for a client without. */
  readonly clientId?: string | undefined
  /** `tcp:default`, `stomp:tcp:default`; left out: one whose clients go through the chain of all others. */
  readonly listener?: string | undefined
  /** Instead of a listener; left out: MQTT. */
  readonly gateway?: string | undefined
  readonly peerHost?: string | undefined
  readonly action?: ExplainedAction | undefined
}

export interface ExplainedAction {
  readonly kind: 'publish' | 'subscribe'
  /** As the client would write it, without mountpoint. */
  readonly topic: string
  readonly qos: QoS
  /** Of `publish` only. */
  readonly retain: boolean
}

/** What the client would be told. */
export interface ExplainedResult {
  readonly isAllowed: boolean
  /** `CONNACK 0x86 bad_user_name_or_password (MQTT 3: 4)` */
  readonly answer: string
}

export interface ExplainedPart {
  readonly steps: readonly ExplainedStep[]
  readonly result: ExplainedResult
}

export interface AccessReport {
  /** Who it is, in the end. */
  readonly client: {
    readonly clientId: string
    readonly username: string | undefined
    readonly listener: string
    readonly gateway: string | undefined
    readonly peerHost: string
    readonly zone: string
    readonly mountpoint: string
  }
  readonly login: ExplainedPart & {
    /** `mqtt:global`, `stomp:global`, `tcp:default`; undefined: nobody is asked. */
    readonly chain: string | undefined
  }
  /** Undefined if nothing was asked, or the client does not get in. */
  readonly access: (ExplainedPart & { readonly action: ExplainedAction }) | undefined
  /** What was not looked at and may decide otherwise. */
  readonly notes: readonly string[]
  /** All that was asked about. */
  readonly isAllowed: boolean
}

/** Of one authenticator or source, since the configuration was read last. */
export interface BackendReport {
  readonly kind: 'authenticator' | 'source'
  /** Of authenticators. */
  readonly chain: string | undefined
  readonly id: string
  /** Undefined: it has no backend. */
  readonly state: 'connected' | 'connecting' | 'disconnected' | undefined
  readonly lastError: string | undefined
  readonly answers: {
    readonly total: number
    readonly allow: number
    readonly deny: number
    readonly none: number
  }
  /** What was asked of the backend; undefined: it has none. */
  readonly calls:
    | {
        readonly total: number
        readonly failed: number
        readonly timeouts: number
        readonly dropped: number
        readonly waiting: number
        readonly latencyMs: number
      }
    | undefined
}

/** A failure as operators may read it. What was not foreseen may quote anything, so that goes to the log only. */
export function failureOf(error: unknown, who: string, log: Logger): string {
  if (error instanceof BrokerError && faultOf(error) !== 'bug') return error.message
  log.error(
    { who, stack: error instanceof Error ? error.stack : undefined },
    'failed while access was tested',
  )
  return 'a fault of the broker: its log has more'
}

/** Milliseconds since `performance.now()` gave `startMs`, in tenths. */
export function since(startMs: number): number {
  return Math.round((performance.now() - startMs) * 10) / 10
}
