/** The options every gateway has, and the schema of a whole `gateway.<name>` section. */
import { type TSchema, Type } from 'typebox'
import type { TransportKind } from '../listeners/transport.ts'
import { type Bind, Duration, Named, Strict } from '../model/schema.ts'
import { type ClientinfoOverride, clientinfoOverrideSchema } from './clientinfo-override.ts'
import type { GatewayModule } from './gateway.ts'

/** How listener types are spelt in config, ids and API: EMQX's word for TLS is `ssl`. */
export const LISTENER_TYPES = {
  tcp: 'tcp',
  tls: 'ssl',
  ws: 'ws',
  wss: 'wss',
  udp: 'udp',
  dtls: 'dtls',
} as const satisfies Record<TransportKind, string>

export type ListenerType = (typeof LISTENER_TYPES)[TransportKind]

/** One listener as the host sees it; everything else in it is for `listeners/`. */
export interface ListenerConfig {
  enable: boolean
  bind: Bind
  enable_authn: boolean | 'quick_deny_anonymous'
  mountpoint?: string
  /** Replaces the gateway's authentication for this listener. Read by authn, not here. */
  authentication?: unknown
}

export type ListenersConfig = { [Type in ListenerType]?: Record<string, ListenerConfig> }

/** A `gateway.<name>` section after the loader has read it; a module's own options come on top. */
export interface GatewayConfig {
  enable: boolean
  enable_stats: boolean
  /** Milliseconds. */
  idle_timeout: number
  mountpoint: string
  clientinfo_override: ClientinfoOverride
  /** Read by authn, not here. */
  authentication?: unknown
  /** Methods of the protocol itself by which the gateway checks clients, where it has such. */
  internal_authn?: readonly unknown[]
  listeners: ListenersConfig
}

/** The schema of a listener's options, per type. A type that is missing here is not offered. */
export type ListenerSchemas = Partial<Record<TransportKind, TSchema>>

/**
 * Composes the schema of `gateway.<module.name>`. The module's own options win where names are
 * equal, so a gateway gives another default to `mountpoint` or `clientinfo_override` by declaring it.
 * @param authentication - schema of an authenticator chain, given by `authn/`
 */
export function gatewaySchema(
  module: Pick<GatewayModule, 'listenerTypes' | 'schema'>,
  listenerSchemas: ListenerSchemas,
  authentication: TSchema,
): TSchema {
  return Strict({
    ...commonOptions,
    authentication: Type.Optional(authentication),
    ...propertiesOf(module.schema),
    listeners: Strict(
      Object.fromEntries(
        module.listenerTypes.flatMap((kind) => {
          const schema = listenerSchemas[kind]
          return schema === undefined
            ? []
            : [[LISTENER_TYPES[kind], listenersOf(kind, schema, authentication)]]
        }),
      ),
      { description: 'Where the gateway listens, by type and name' },
    ),
  })
}

const commonOptions = {
  enable: Type.Boolean({ default: true, description: 'Run the gateway' }),
  enable_stats: Type.Boolean({
    default: true,
    description: 'Show statistics of single clients. A change is for clients that log in from then on',
    'x-hot': true,
  }),
  idle_timeout: Duration('30s', {
    description: 'A peer that has not logged in within this time is closed. Not the keep-alive of clients',
    hot: true,
  }),
  mountpoint: Type.String({
    default: '',
    description:
      'Put before every topic; may hold ${clientid}, ${username}, ${peerhost}, ${client_attrs.NAME}',
  }),
  clientinfo_override: clientinfoOverrideSchema(),
}

/** What a gateway's listeners have beside the options of their type; the type's own win. */
const listenerOptions = {
  enable: Type.Boolean({ default: true, description: 'Bind this listener' }),
  enable_authn: Type.Union([Type.Boolean(), Type.Literal('quick_deny_anonymous')], {
    default: true,
    description: 'Whether clients of this listener are authenticated',
  }),
  mountpoint: Type.Optional(Type.String({ description: "Overrides the gateway's mountpoint" })),
}

function listenersOf(kind: TransportKind, schema: TSchema, authentication: TSchema): TSchema {
  const entry = Strict({
    ...listenerOptions,
    authentication: Type.Optional(authentication),
    ...propertiesOf(schema),
  })
  return Named(entry, { description: `Listeners of type ${LISTENER_TYPES[kind]}, by name` })
}

function propertiesOf(schema: TSchema): Record<string, TSchema> {
  return (schema as { properties?: Record<string, TSchema> }).properties ?? {}
}
