import { type Static, type TSchema, Type } from 'typebox'
import { Duration, Secret, Size, Strict, Variant } from '../../model/schema.ts'
import { type ClientinfoOverride, clientinfoOverrideSchema } from '../clientinfo-override.ts'
import type { GatewayConfig } from '../config.ts'
import type { FrameLimits } from './frame.ts'
import type { HeartbeatOptions } from './heartbeat.ts'
import { InternalAuthn } from './internal-authn.ts'

/** One entry of `internal_authn`, told apart by `type`. */
export type InternalAuthnConfig =
  | { type: 'token'; token: string }
  | { type: 'nkey'; nkeys: string[] }
  | {
      type: 'jwt'
      trusted_operators: string[]
      resolver: { type: 'memory'; resolver_preload: { pubkey: string; jwt: string }[] }
    }

const keys = (description: string) => Type.Array(Type.String(), { minItems: 1, description })

const internalAuthn = Variant<InternalAuthnConfig>('type', [
  required({
    type: Type.Literal('token', { description: 'A token that all clients share' }),
    token: Secret({ description: 'The token, or its bcrypt hash' }),
  }),
  required({
    type: Type.Literal('nkey', { description: 'Clients that sign with a key' }),
    nkeys: keys('Public NKeys of users, U...'),
  }),
  required({
    type: Type.Literal('jwt', { description: 'Clients with a JWT of their account' }),
    trusted_operators: keys('Public NKeys of operators, O...'),
    resolver: required({
      type: Type.Literal('memory', { description: 'Account JWTs stand in the configuration' }),
      resolver_preload: Type.Array(
        required({
          pubkey: Type.String({ description: 'NKey of the account, A...' }),
          jwt: Type.String({ minLength: 1, description: 'Its JWT, signed by an operator' }),
        }),
        { minItems: 1, description: 'Accounts whose users are let in' },
      ),
    }),
  }),
])

/** The options of NATS alone, in the file's spelling. The common ones are in gateways/config.ts. */
export const natsSchema = Strict({
  clientinfo_override: clientinfoOverrideSchema({
    username: '${Packet.user}',
    password: '${Packet.pass}',
  }),
  server_id: Type.String({ default: 'hubbub', minLength: 1, description: 'server_id in INFO' }),
  server_name: Type.String({ default: 'hubbub', minLength: 1, description: 'server_name in INFO' }),
  connect_urls: Type.Array(Type.String({ minLength: 1 }), {
    default: [],
    description: 'Addresses told to clients in INFO, host:port: where else they may connect',
  }),
  default_heartbeat_interval: Duration('30s', { description: 'The server sends PING this often' }),
  heartbeat_wait_timeout: Duration('5s', {
    description: 'A client from which nothing comes for this long after a PING is closed',
  }),
  protocol: Strict(
    {
      max_payload_size: Size('1MB', { description: 'Largest payload; with headers, both together' }),
      max_control_line_size: Size('4KB', { description: 'Longest line of the protocol, CONNECT included' }),
    },
    { description: 'Limits of the protocol; a client that passes one is closed' },
  ),
  max_subscriptions: Type.Integer({
    minimum: 1,
    maximum: 1_000_000,
    default: 10_000,
    description: 'Most subscriptions of one connection',
  }),
  max_pending_size: Size('16MB', {
    description: 'A client that leaves more bytes than this unread is closed as a slow consumer',
  }),
  retained_messages: Type.Boolean({
    default: true,
    description: 'Deliver retained messages to new subscriptions without queue group',
  }),
  tls_handshake_first: Type.Boolean({
    default: true,
    description:
      'On ssl listeners TLS begins at once. false: INFO comes in clear, as the reference server does it',
  }),
  allow_non_tls: Type.Boolean({
    default: false,
    description: 'Where tls_handshake_first is false: clients may go on without TLS',
  }),
  internal_authn: Type.Array(internalAuthn, {
    default: [],
    description: 'Tokens, NKeys and JWTs that are checked before the authenticators, in order',
  }),
})

/** `gateway.nats` as the loader hands it over. */
export type NatsConfig = Omit<GatewayConfig, 'clientinfo_override' | 'internal_authn'> &
  Static<typeof natsSchema>

export interface NatsOptions {
  readonly serverId: string
  readonly serverName: string
  readonly connectUrls: readonly string[]
  readonly idleTimeoutMs: number
  readonly mountpoint: string
  readonly clientinfoOverride: ClientinfoOverride
  readonly heartbeat: HeartbeatOptions
  readonly frame: FrameLimits
  readonly maxSubscriptions: number
  readonly maxPendingBytes: number
  readonly deliversRetained: boolean
  /** On TLS listeners INFO is said in clear, and TLS follows. */
  readonly upgradesTls: boolean
  readonly allowsPlain: boolean
  readonly internalAuthn: InternalAuthn
}

/**
 * File spelling on the right, code spelling on the left: the only place they meet.
 * @throws BrokerError CONFIG_INVALID for a key that is none
 */
export function natsOptions(config: NatsConfig): NatsOptions {
  return {
    serverId: config.server_id,
    serverName: config.server_name,
    connectUrls: config.connect_urls,
    idleTimeoutMs: config.idle_timeout,
    mountpoint: config.mountpoint,
    clientinfoOverride: config.clientinfo_override,
    heartbeat: { intervalMs: config.default_heartbeat_interval, waitMs: config.heartbeat_wait_timeout },
    frame: {
      maxLineBytes: config.protocol.max_control_line_size,
      maxPayloadBytes: config.protocol.max_payload_size,
    },
    maxSubscriptions: config.max_subscriptions,
    maxPendingBytes: config.max_pending_size,
    deliversRetained: config.retained_messages,
    upgradesTls: !config.tls_handshake_first,
    allowsPlain: config.allow_non_tls,
    internalAuthn: new InternalAuthn(config.internal_authn),
  }
}

/** An object whose every key has to be there. */
function required<T extends Record<string, TSchema>>(properties: T) {
  return Type.Object(properties, { additionalProperties: false })
}
