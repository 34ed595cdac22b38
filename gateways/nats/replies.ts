/** INFO, +OK, PONG and -ERR. The texts of errors are those of the reference server, because clients look for them. */
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { ReasonCode, reasonName } from '../../model/reason-codes.ts'
import type { Counter, Counters } from '../counters.ts'
import type { Connection } from '../stream-connection.ts'
import { UNAUTHORIZED } from './frame.ts'

const OK = Buffer.from('+OK\r\n')
const PING = Buffer.from('PING\r\n')
const PONG = Buffer.from('PONG\r\n')

export class Replies {
  readonly #connection: Connection
  readonly #errors: Counter
  readonly #oks: Counter

  constructor(connection: Connection, counters: Counters) {
    this.#connection = connection
    this.#errors = counters.counter('packets.err.sent')
    this.#oks = counters.counter('packets.ok.sent')
  }

  ok(): void {
    this.#oks.value++
    this.#write(OK)
  }

  ping(): void {
    this.#write(PING)
  }

  pong(): void {
    this.#write(PONG)
  }

  text(text: string): void {
    this.#write(Buffer.from(text))
  }

  /** Does not close: that is the caller's decision. */
  error(text: string): void {
    this.#errors.value++
    this.#write(Buffer.from(errorLine(text)))
  }

  #write(bytes: Uint8Array): void {
    if (this.#connection.isOpen) this.#connection.transport.outbox.append(bytes)
  }
}

/** @param text - may quote what a peer sent: a line end in it would begin another line */
export function errorLine(text: string): string {
  return `-ERR '${text.replaceAll(/[\r\n']/g, ' ')}'\r\n`
}

/** What a peer is told when the broker ends it; undefined: it is closed without a word. */
export function farewellText(reason: DisconnectReason): string | undefined {
  switch (reason) {
    case 'kicked':
      return 'Kicked out'
    case 'discarded':
    case 'takenover':
      return 'Discarded'
    case 'banned':
      return 'Banned'
    case 'not_authorized':
      return UNAUTHORIZED
    case 'connection_expired':
      return 'User Authentication Expired'
    case 'server_shutting_down':
      return 'Server Shutdown'
    case 'keepalive_timeout':
      return 'Stale Connection'
    default:
      return undefined
  }
}

export function publishFailure(subject: string, code: ReasonCode): string {
  if (code === ReasonCode.NotAuthorized) return `Permissions Violation for Publish to "${subject}"`
  if (code === ReasonCode.TopicNameInvalid) return INVALID_PUBLISH_SUBJECT
  return `Message to "${subject}" not accepted: ${reasonName(code)}`
}

export function subscribeFailure(subject: string, group: string, code: ReasonCode): string {
  if (code === ReasonCode.NotAuthorized) {
    const queue = group === '' ? '' : ` using queue "${group}"`
    return `Permissions Violation for Subscription to "${subject}"${queue}`
  }
  if (code === ReasonCode.TopicFilterInvalid) return INVALID_SUBJECT
  if (code === ReasonCode.QuotaExceeded) return TOO_MANY_SUBSCRIPTIONS
  if (code === ReasonCode.ImplementationSpecificError) {
    return `The client.subscribe hook blocked the ${subject} subscription request`
  }
  return `Subscription to "${subject}" not accepted: ${reasonName(code)}`
}

export const INVALID_SUBJECT = 'Invalid Subject'
export const INVALID_PUBLISH_SUBJECT = 'Invalid Publish Subject'
export const TOO_MANY_SUBSCRIPTIONS = 'maximum subscriptions exceeded'
export const NEEDS_HEADERS = 'no responders requires headers support'
export const UNKNOWN_PROTOCOL = 'invalid client protocol'
export const SLOW_CONSUMER = 'Slow Consumer'
export const AUTHENTICATION_TIMEOUT = 'Authentication Timeout'
export const TLS_REQUIRED = 'Secure Connection - TLS Required'
export const INVALID_QUEUE = 'Invalid Queue Name'
