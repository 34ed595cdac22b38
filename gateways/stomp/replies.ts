/** CONNECTED, RECEIPT and ERROR, and the texts of errors. EMQX's words, because scripts look for them. */
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { Counters } from '../counters.ts'
import type { Connection } from '../stream-connection.ts'
import { frameHead, type StompFrame, writeFrame } from './frame.ts'
import type { StompVersion } from './headers.ts'

export type Header = readonly [name: string, value: string]

export class Replies {
  /** Decides about escapes. Undefined until it is agreed: then nothing is escaped. */
  version: StompVersion | undefined
  readonly #connection: Connection
  readonly #counters: Counters

  constructor(connection: Connection, counters: Counters) {
    this.#connection = connection
    this.#counters = counters
  }

  connected(headers: readonly Header[]): void {
    this.#write('CONNECTED', headers)
  }

  /** Answers the `receipt` header of `frame`, if it has one. */
  receipt(frame: StompFrame): void {
    const id = frame.headers.get('receipt')
    if (id !== undefined) this.#write('RECEIPT', [['receipt-id', id]])
  }

  /**
   * Does not close: that is the caller's decision.
   * @param about - the frame that was wrong, if it was one
   */
  error(text: string, about?: StompFrame, extra: readonly Header[] = []): void {
    const receipt = about?.headers.get('receipt')
    const receiptId: readonly Header[] = receipt === undefined ? [] : [['receipt-id', receipt]]
    const summary = text.split(': ', 1)[0] as string
    const headers: readonly Header[] = [
      ['content-type', 'text/plain'],
      ...receiptId,
      ['message', summary],
      ...extra,
    ]
    this.#write('ERROR', headers, Buffer.from(text))
  }

  #write(command: keyof typeof SENT, headers: readonly Header[], body?: Uint8Array): void {
    if (!this.#connection.isOpen) return
    this.#counters.add(SENT[command])
    writeFrame(this.#connection.transport.outbox, frameHead(command, headers, this.version), body)
  }
}

/** What a peer is told when the broker ends it; undefined: it is closed without a word, as in EMQX. */
export function farewellText(reason: DisconnectReason, current: StompFrame | undefined): string | undefined {
  switch (reason) {
    case 'kicked':
      return 'Kicked out'
    case 'discarded':
    case 'takenover':
      return 'Discarded'
    case 'banned':
      return 'Banned'
    case 'server_shutting_down':
      return 'Server shutting down'
    case 'not_authorized': // access rules that close the connection
      return permissionText(current?.headers.get('destination') ?? 'this connection')
    default:
      return undefined
  }
}

export function publishFailure(destination: string, code: ReasonCode): string {
  if (code === ReasonCode.NotAuthorized) return permissionText(destination)
  if (code === ReasonCode.TopicNameInvalid) return `Invalid destination ${destination}`
  return `Message to ${destination} not accepted: ${refusalText(code)}`
}

export function subscribeFailure(destination: string, code: ReasonCode): string {
  if (code === ReasonCode.NotAuthorized) return permissionText(destination)
  if (code === ReasonCode.TopicFilterInvalid) return `Invalid destination ${destination}`
  if (code === ReasonCode.ImplementationSpecificError) {
    return `The client.subscribe hook blocked the ${destination} subscription request`
  }
  return `Subscription to ${destination} not accepted: ${refusalText(code)}`
}

/** A reason code in EMQX's words, for `Login Failed: <reason>` and its like. */
export function refusalText(code: ReasonCode): string {
  return REFUSALS.get(code) ?? `reason_code_${code}`
}

function permissionText(destination: string): string {
  return `Insufficient permissions for ${destination}`
}

const SENT = {
  CONNECTED: 'packets.connected.sent',
  RECEIPT: 'packets.receipt.sent',
  ERROR: 'packets.error.sent',
} as const

const REFUSALS: ReadonlyMap<ReasonCode, string> = new Map<ReasonCode, string>([
  [ReasonCode.UnspecifiedError, 'unspecified_error'],
  [ReasonCode.ImplementationSpecificError, 'implementation_specific_error'],
  [ReasonCode.ProtocolError, 'protocol_error'],
  [ReasonCode.UnsupportedProtocolVersion, 'unsupported_protocol_version'],
  [ReasonCode.ClientIdentifierNotValid, 'client_identifier_not_valid'],
  [ReasonCode.BadUserNameOrPassword, 'bad_username_or_password'],
  [ReasonCode.NotAuthorized, 'not_authorized'],
  [ReasonCode.ServerUnavailable, 'server_unavailable'],
  [ReasonCode.ServerBusy, 'server_busy'],
  [ReasonCode.ServerShuttingDown, 'server_shutting_down'],
  [ReasonCode.Banned, 'banned'],
  [ReasonCode.BadAuthenticationMethod, 'bad_authentication_method'],
  [ReasonCode.TopicNameInvalid, 'topic_name_invalid'],
  [ReasonCode.TopicFilterInvalid, 'topic_filter_invalid'],
  [ReasonCode.PacketTooLarge, 'packet_too_large'],
  [ReasonCode.MessageRateTooHigh, 'message_rate_too_high'],
  [ReasonCode.QuotaExceeded, 'quota_exceeded'],
  [ReasonCode.PayloadFormatInvalid, 'payload_format_invalid'],
  [ReasonCode.RetainNotSupported, 'retain_not_supported'],
  [ReasonCode.QoSNotSupported, 'qos_not_supported'],
  [ReasonCode.SharedSubscriptionsNotSupported, 'shared_subscriptions_not_supported'],
  [ReasonCode.ConnectionRateExceeded, 'connection_rate_exceeded'],
  [ReasonCode.WildcardSubscriptionsNotSupported, 'wildcard_subscriptions_not_supported'],
])
