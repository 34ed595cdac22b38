/** The schema of the whole configuration. Only this file knows the options of all rooms. */
import Type, { type TSchema } from 'typebox'
import { type AuthenticationConfig, authentication } from '../authn/config.ts'
import { authorization } from '../authz/config.ts'
import { brokerSchema, mqttSchema, retainerSchema } from '../broker/config.ts'
import { storageSchema } from '../broker/storage/config.ts'
import { autoSubscribe } from '../features/auto-subscribe/config.ts'
import { banned } from '../features/bans/config.ts'
import { delayed } from '../features/delayed/config.ts'
import { flappingDetect } from '../features/flapping.ts'
import { rewrite } from '../features/rewrite/config.ts'
import { sysTopics } from '../features/sys-topics/config.ts'
import { type GatewayConfig, gatewaySchema, type ListenerSchemas } from '../gateways/config.ts'
import type { GatewayModule } from '../gateways/gateway.ts'
import { gateways } from '../gateways/index.ts'
import {
  gatewayListenerDefaults,
  type ListenerConfig,
  type ListenerType,
  listenerFields,
  listenerSchema,
  mqttListenerDefaults,
} from '../listeners/config.ts'
import { datagramListenerSchema } from '../listeners/datagram-config.ts'
import { pskAuthentication } from '../listeners/dtls/psk-file.ts'
import { Duration, Named, Strict } from '../model/schema.ts'
import { zones } from './zones.ts'

/** Everything an operator can configure. */
export function configSchema() {
  return rootSchema({
    listeners: mqttListeners(),
    mqtt: mqttSchema,
    broker: brokerSchema,
    retainer: retainerSchema,
    storage: storageSchema,
    zones,
    authentication,
    psk_authentication: pskAuthentication,
    authorization,
    banned,
    flapping_detect: flappingDetect,
    rewrite,
    auto_subscribe: autoSubscribe,
    delayed,
    sys_topics: sysTopics,
    gateway: gatewaySections(),
  })
}

/** An MQTT listener as the loader hands it over. An empty `authentication` means the global one. */
export type MqttListenerConfig = ListenerConfig & { authentication: AuthenticationConfig }

/** The whole configuration: the options above and one part per room. */
export function rootSchema<P extends Record<string, TSchema>>(parts: P) {
  return Strict({ ...ownParts, ...parts })
}

function mqttListeners() {
  const types: ListenerType[] = ['tcp', 'ssl', 'ws', 'wss']
  const sections = types.map((type) => {
    const entry = Strict({ ...listenerFields(type, mqttListenerDefaults), authentication })
    return [type, Named(entry, { description: `MQTT listeners of type ${type}, by name` })] as const
  })
  return Type.Unsafe<Record<ListenerType, Record<string, MqttListenerConfig>>>(
    Strict(Object.fromEntries(sections), {
      description: 'Where MQTT clients connect, by type and name',
      hot: true,
    }),
  )
}

function gatewaySections() {
  const sections = gateways.map(
    (module) => [module.name, gatewaySchema(module, listenersOf(module), authentication)] as const,
  )
  return Type.Unsafe<Record<string, GatewayConfig>>(
    Strict(Object.fromEntries(sections), { description: 'Gateways for other protocols', hot: true }),
  )
}

function listenersOf({ webSocket }: GatewayModule): ListenerSchemas {
  const { path = '', subprotocols = [] } = webSocket ?? {}
  const ofWebSocket = { pathOption: 'path' as const, path, subprotocols, failIfNoSubprotocol: false }
  const defaults = { ...gatewayListenerDefaults, webSocket: ofWebSocket }
  return {
    tcp: listenerSchema('tcp', defaults),
    tls: listenerSchema('ssl', defaults),
    ws: listenerSchema('ws', defaults),
    wss: listenerSchema('wss', defaults),
    udp: datagramListenerSchema('udp', defaults),
    dtls: datagramListenerSchema('dtls', defaults),
  }
}

const nodeSchema = Strict(
  {
    name: Type.String({
      default: 'hubbub@127.0.0.1',
      pattern: '^[^@\\s/#+]+@[^@\\s/#+]+$',
      description:
        'What this broker calls itself in $SYS topics, logs and a cluster: name@host, the same for its whole life',
    }),
    data_dir: Type.String({
      default: './data',
      minLength: 1,
      description: 'Directory of everything durable. Made if it does not exist',
    }),
    shutdown_timeout: Duration('15s', {
      description:
        'How long a stop may take: clients are told, queues are stored, then what is left is cut off',
      hot: true,
    }),
    pause_under_load: Type.Boolean({
      default: true,
      description:
        'Wait for about 0.1 ms after each round of sending under full load, where more gets through for less CPU that way',
    }),
  },
  { description: 'This broker process' },
)

const logSchema = Strict(
  {
    level: Type.Union(
      (['debug', 'info', 'warn', 'error'] as const).map((level) => Type.Literal(level)),
      { default: 'info', description: 'The least important events that are written', 'x-hot': true },
    ),
    format: Type.Union([Type.Literal('text'), Type.Literal('json')], {
      default: 'text',
      description: 'text is for people, json for programs; one line per event in both',
    }),
    file: Type.Optional(
      Type.String({
        minLength: 1,
        description:
          'Append to this file instead of standard output. SIGHUP opens it anew, as logrotate expects',
      }),
    ),
  },
  { description: 'What the broker tells about itself' },
)

/** Options that belong to no room. */
const ownParts = {
  node: nodeSchema,
  log: logSchema,
  allow_anonymous: Type.Boolean({
    default: false,
    description:
      'Let clients in from everywhere without asking who they are. While this is false and no authenticator is configured, listeners are bound to loopback only',
  }),
}
