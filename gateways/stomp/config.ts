import { type Static, Type } from 'typebox'
import { Duration, Size, Strict } from '../../model/schema.ts'
import { type ClientinfoOverride, clientinfoOverrideSchema } from '../clientinfo-override.ts'
import type { GatewayConfig } from '../config.ts'
import type { FrameLimits } from './frame.ts'

/** STOMP's own options in the file's spelling. The common ones are in gateways/config.ts. */
export const stompSchema = Strict({
  clientinfo_override: clientinfoOverrideSchema({
    username: '${Packet.headers.login}',
    password: '${Packet.headers.passcode}',
  }),
  frame: Strict(
    {
      max_headers: Type.Integer({
        minimum: 0,
        maximum: 1000,
        default: 10,
        description: 'Most headers in one frame',
      }),
      max_headers_length: Size('1024B', {
        description: 'Longest header: name and value without colon and EOL',
      }),
      max_body_length: Size('64KB', { description: 'Longest body' }),
    },
    { description: 'Limits of a frame; a peer that passes one is closed' },
  ),
  max_unacked: Type.Integer({
    minimum: 1,
    maximum: 65_535,
    default: 32,
    description:
      'Most unacknowledged messages of a client that acknowledges (ack:client, ack:client-individual)',
  }),
  max_subscriptions: Type.Integer({
    minimum: 1,
    maximum: 100_000,
    default: 1000,
    description: 'Most subscriptions of one connection',
  }),
  max_transactions: Type.Integer({
    minimum: 0,
    maximum: 1000,
    default: 16,
    description: 'Most open transactions of one connection',
  }),
  max_transaction_frames: Type.Integer({
    minimum: 0,
    maximum: 1_000_000,
    default: 1000,
    description: 'Most frames in all open transactions of one connection',
  }),
  max_transaction_bytes: Size('4MB', {
    description: 'Most body bytes in all open transactions of one connection',
  }),
  transaction_timeout: Duration('60s', {
    description: 'A transaction still open after this time is forgotten',
  }),
})

/** `gateway.stomp` as the loader hands it over. */
export type StompConfig = Omit<GatewayConfig, 'clientinfo_override'> & Static<typeof stompSchema>

export interface TransactionLimits {
  maxTransactions: number
  /** In all open transactions of the connection together. */
  maxFrames: number
  maxBytes: number
  timeoutMs: number
}

export interface StompOptions {
  readonly idleTimeoutMs: number
  readonly mountpoint: string
  readonly clientinfoOverride: ClientinfoOverride
  readonly frame: FrameLimits
  readonly transactions: TransactionLimits
  readonly maxUnacked: number
  readonly maxSubscriptions: number
}

/** File spelling on the right, code spelling on the left: the only place they meet. */
export function stompOptions(config: StompConfig): StompOptions {
  return {
    idleTimeoutMs: config.idle_timeout,
    mountpoint: config.mountpoint,
    clientinfoOverride: config.clientinfo_override,
    frame: {
      maxHeaders: config.frame.max_headers,
      maxHeaderBytes: config.frame.max_headers_length,
      maxBodyBytes: config.frame.max_body_length,
    },
    transactions: {
      maxTransactions: config.max_transactions,
      maxFrames: config.max_transaction_frames,
      maxBytes: config.max_transaction_bytes,
      timeoutMs: config.transaction_timeout,
    },
    maxUnacked: config.max_unacked,
    maxSubscriptions: config.max_subscriptions,
  }
}
