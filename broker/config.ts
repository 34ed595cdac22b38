/** `mqtt.*`: limits and features of the broker and its MQTT connections, with EMQX's names and defaults. */
import Type, { type Static, type TUnsafe } from 'typebox'
import type { Permission } from '../model/access.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import { Expression } from '../model/expression.ts'
import { Count, Duration, Named, RateOf, Size, Strict } from '../model/schema.ts'
import type { ClientLimits } from './client-limits.ts'
import type { HubOptions } from './hub.ts'
import type { CertificateField, MqttOptions } from './mqtt/options.ts'
import type { Priorities } from './priority-queue.ts'
import { SHARING_STRATEGIES, type StickyPick } from './routing/shared-groups.ts'

const STICKY_PICKS = ['random', 'local', 'hash_clientid', 'hash_topic'] as const satisfies StickyPick[]

const CERTIFICATE_FIELDS = ['cn', 'dn', 'pem', 'md5'] as const satisfies CertificateField[]

const Strategy = <T extends string>(
  names: readonly T[],
  value: T | undefined,
  { description }: { description: string },
): TUnsafe<T> =>
  Type.Unsafe<T>({
    type: 'string',
    enum: [...names],
    ...(value === undefined ? {} : { default: value }),
    description,
  })

export const mqttSchema = Strict(
  {
    idle_timeout: Duration('15s', {
      description: 'A connection that has not sent a whole CONNECT by then is closed',
    }),
    max_packet_size: Size('1MB', {
      description: 'Largest packet taken from a client, 1B to 256MB. A larger one ends its connection',
    }),
    max_clientid_len: Type.Integer({
      minimum: 23,
      maximum: 65_535,
      default: 65_535,
      description: 'Longest client id, in bytes',
    }),
    max_topic_levels: Type.Integer({
      minimum: 1,
      maximum: 65_535,
      default: 128,
      description: 'Most levels of a topic or filter',
    }),
    max_topic_alias: Type.Integer({
      minimum: 0,
      maximum: 65_535,
      default: 65_535,
      description: 'Topic aliases an MQTT 5 client may use, 0 = none',
    }),
    max_qos_allowed: Type.Integer({
      minimum: 0,
      maximum: 2,
      default: 2,
      description: 'Highest QoS that publishers may use and subscribers are granted',
    }),
    retain_available: Type.Boolean({
      default: true,
      description: 'Whether messages may be retained',
    }),
    wildcard_subscription: Type.Boolean({ default: true, description: 'Whether filters may hold + and #' }),
    shared_subscription: Type.Boolean({
      default: true,
      description: 'Whether $share/group/filter may be used',
    }),
    shared_subscription_strategy: Strategy(SHARING_STRATEGIES, 'round_robin', {
      description:
        'Which member of a shared subscription gets a message: random, round_robin (in turn for each publisher), ' +
        'round_robin_per_group, sticky (always the same for a publisher), local, hash_clientid, hash_topic',
    }),
    shared_subscription_initial_sticky_pick: Strategy(STICKY_PICKS, 'random', {
      description: 'How sticky makes its first choice: random, local, hash_clientid, hash_topic',
    }),
    exclusive_subscription: Type.Boolean({
      default: false,
      description: 'Whether $exclusive/topic may be used: a subscription that one client at a time can have',
    }),
    ignore_loop_deliver: Type.Boolean({
      default: false,
      description:
        'Do not send MQTT 3 clients what they published themselves (MQTT 5 clients have No Local for it)',
    }),
    server_keepalive: Type.Union([Type.Literal('disabled'), Type.Integer({ minimum: 0, maximum: 65_535 })], {
      default: 'disabled',
      description: "Seconds that override every client's keep alive, or `disabled`",
    }),
    keepalive_multiplier: Type.Number({
      minimum: 1,
      maximum: 65_535,
      default: 1.5,
      description: 'A client is gone after its keep alive times this without a packet',
    }),
    session_expiry_interval: Duration('2h', {
      description: 'How long sessions of MQTT 3 clients with clean session 0 outlive their connection',
    }),
    max_session_expiry_interval: Duration('infinity', {
      description: 'Upper bound for the session expiry that MQTT 5 clients ask for',
    }),
    message_expiry_interval: Duration('infinity', {
      description: 'How long messages live that bring no expiry of their own, those of MQTT 3 clients too',
    }),
    response_information: Type.String({
      default: '',
      maxLength: 16_383,
      description: 'Told to MQTT 5 clients that ask where to expect responses; empty = nothing is told',
    }),
    use_username_as_clientid: Type.Boolean({
      default: false,
      description: 'Take the user name as client id',
    }),
    peer_cert_as_username: Strategy(['disabled', ...CERTIFICATE_FIELDS, 'crt'], 'disabled', {
      description:
        'Take the user name from the client certificate, where there is one: cn (common name), dn (subject), ' +
        'crt (DER, a character for each byte), pem (base64 of it), md5 (of it, in hex), or disabled',
    }),
    peer_cert_as_clientid: Strategy(['disabled', ...CERTIFICATE_FIELDS], 'disabled', {
      description:
        'Take the client id from the client certificate, where there is one: cn, dn, pem, md5, or disabled',
    }),
    client_attrs_init: Type.Array(
      Type.Object(
        {
          expression: Type.String({
            minLength: 1,
            description: 'What gives the value, e.g. nth(1, tokens(clientid, "-"))',
          }),
          set_as_attr: Type.String({
            pattern: '^[A-Za-z0-9][A-Za-z0-9_-]*$',
            description: 'Its name, for ${client_attrs.NAME}',
          }),
        },
        { additionalProperties: false },
      ),
      {
        default: [],
        description: 'Attributes that clients get at login; an expression that gives nothing sets nothing',
      },
    ),
    clientid_override: Type.Union([Type.Literal('disabled'), Type.String({ minLength: 1 })], {
      default: 'disabled',
      description: 'Expression that makes the client id of what is known of the client, or `disabled`',
    }),
    retry_interval: Duration('infinity', {
      description:
        'After how long without an acknowledgement MQTT 3 clients are sent a message again. MQTT 5 forbids it',
    }),
    max_subscriptions: Count('infinity', { minimum: 1, description: 'Subscriptions per client' }),
    max_sessions: Count(1_000_000, {
      minimum: 1,
      description: 'Sessions, connected and kept ones together. Beyond it new clients are refused',
    }),
    max_inflight: Type.Integer({
      minimum: 1,
      maximum: 65_535,
      default: 32,
      description: 'Unacknowledged QoS 1 and 2 messages to one client; it may ask for fewer',
    }),
    max_mqueue_len: Count(1000, {
      minimum: 0,
      description:
        'Messages that wait for a client that is away or whose window is full. The oldest one is dropped',
    }),
    mqueue_priorities: Type.Union(
      [
        Type.Literal('disabled'),
        Type.Record(Type.String(), Type.Integer({ minimum: 1, maximum: 255 }), { description: 'By topic' }),
      ],
      {
        default: 'disabled',
        description:
          'Topics whose messages go first where messages wait, each with its priority from 1 to 255 (no ' +
          'wildcards), or `disabled`. max_mqueue_len then holds for each priority',
      },
    ),
    mqueue_default_priority: Strategy(['lowest', 'highest'], 'lowest', {
      description: 'Where topics that mqueue_priorities does not name belong: lowest, highest',
    }),
    mqueue_store_qos0: Type.Boolean({
      default: true,
      description: 'Keep QoS 0 messages too for a client that is away',
    }),
    upgrade_qos: Type.Boolean({
      default: false,
      description: 'Deliver with the higher one of published and granted QoS instead of the lower one',
    }),
    max_awaiting_rel: Count(100, {
      minimum: 1,
      description:
        'QoS 2 messages of one client that wait for its PUBREL. MQTT 5 clients are told it as Receive Maximum; MQTT 3 clients cannot be told and may have ten times as many',
    }),
    await_rel_timeout: Duration('300s', {
      description: 'How long a QoS 2 message waits for PUBREL before its packet id is forgotten',
    }),
  },
  { description: 'What MQTT clients may do, and limits for every client', hot: true },
)

/** `broker.*`: what EMQX keeps outside `mqtt`. */
export const brokerSchema = Strict(
  {
    shared_subscription_group: Named(
      Strict({
        strategy: Strategy(SHARING_STRATEGIES, 'random', {
          description: 'As mqtt.shared_subscription_strategy',
        }),
        initial_sticky_pick: Strategy(STICKY_PICKS, 'random', {
          description: 'As mqtt.shared_subscription_initial_sticky_pick',
        }),
      }),
      { description: 'Strategies of single groups of shared subscriptions, by group name' },
    ),
  },
  { description: 'How the broker routes', hot: true },
)

/** `retainer.*` */
export const retainerSchema = Strict(
  {
    enable: Type.Boolean({
      default: true,
      description: 'false: nothing more is retained or handed out; what is there stays',
    }),
    msg_expiry_interval: Duration('0s', {
      description: 'How long messages without an expiry of their own are retained, 0s = for ever',
    }),
    msg_clear_interval: Duration('0s', {
      description: 'How often expired ones are looked for, 0s = only when somebody asks for them',
    }),
    max_payload_size: Size('1MB', {
      description: 'A larger payload is routed but not retained, 0 = no limit',
    }),
    max_retained_messages: Count(1_000_000, {
      minimum: 0,
      description: 'Beyond it only topics that have one already can retain a message; 0 = no limit',
    }),
    stop_publish_clear_msg: Type.Boolean({
      default: false,
      description: 'Do not send subscribers the empty message that deletes a retained one',
    }),
    delivery_rate: RateOf('infinity', {
      minimum: 1,
      description:
        'Retained messages handed over because of new subscriptions, to all clients together, as in 1000/s; ' +
        'infinity = as fast as clients take them, without keeping others waiting',
    }),
  },
  { description: 'Retained messages', hot: true },
)

export type RetainerConfig = Static<typeof retainerSchema>
export type BrokerConfig = Static<typeof brokerSchema>
export type MqttConfig = Static<typeof mqttSchema>

/** The part that holds for clients of every protocol. */
export function hubOptions(
  mqtt: MqttConfig,
  broker: BrokerConfig,
  retainer: RetainerConfig,
  node: { name: string },
  access: { noMatch: Permission; denyAction: 'ignore' | 'disconnect' },
): HubOptions {
  return {
    ...clientLimits(mqtt),
    nodeName: node.name,
    sharing: {
      strategy: mqtt.shared_subscription_strategy,
      initialStickyPick: mqtt.shared_subscription_initial_sticky_pick,
      groups: new Map(
        Object.entries(broker.shared_subscription_group).map(([name, group]) => [
          name,
          { strategy: group.strategy, initialStickyPick: group.initial_sticky_pick },
        ]),
      ),
    },
    retainer: {
      enabled: retainer.enable,
      expiryMs: orUnlimited(retainer.msg_expiry_interval),
      maxPayloadBytes: orUnlimited(retainer.max_payload_size),
      maxMessages: orUnlimited(retainer.max_retained_messages),
      hidesClearing: retainer.stop_publish_clear_msg,
      sweepIntervalMs: orUnlimited(retainer.msg_clear_interval),
      deliveryRate: retainer.delivery_rate,
    },
    maxSessions: mqtt.max_sessions,
    ...access,
  }
}

/** The part of that which each zone may have of its own. */
export function clientLimits(mqtt: MqttConfig): ClientLimits {
  return {
    session: {
      maxInflight: mqtt.max_inflight,
      maxQueueLength: mqtt.max_mqueue_len,
      priorities: prioritiesOf(mqtt),
      queuesQos0: mqtt.mqueue_store_qos0,
      upgradesQos: mqtt.upgrade_qos,
    },
    maxTopicLevels: mqtt.max_topic_levels,
    maxQos: mqtt.max_qos_allowed as ClientLimits['maxQos'],
    wildcardSubscription: mqtt.wildcard_subscription,
    sharedSubscription: mqtt.shared_subscription,
    exclusiveSubscription: mqtt.exclusive_subscription,
    messageExpiryMs: mqtt.message_expiry_interval,
    maxSubscriptions: mqtt.max_subscriptions,
  }
}

/**
 * The part that is about MQTT connections only.
 * @param path - where `mqtt` was found, for errors
 * @throws BrokerError CONFIG_INVALID for an expression that is none, and for a retry interval of 0
 */
export function mqttOptions(mqtt: MqttConfig, path = 'mqtt'): MqttOptions {
  const { clientid_override: override, retry_interval: retryIntervalMs } = mqtt
  if (retryIntervalMs === 0)
    throw new BrokerError('CONFIG_INVALID', `${path}.retry_interval must be more than 0`)
  return {
    idleTimeoutMs: mqtt.idle_timeout,
    maxPacketBytes: mqtt.max_packet_size,
    maxClientIdBytes: mqtt.max_clientid_len,
    maxTopicAlias: mqtt.max_topic_alias,
    maxQos: mqtt.max_qos_allowed as MqttOptions['maxQos'],
    retainAvailable: mqtt.retain_available,
    wildcardSubscription: mqtt.wildcard_subscription,
    sharedSubscription: mqtt.shared_subscription,
    maxAwaitingRelease: mqtt.max_awaiting_rel,
    awaitReleaseTimeoutMs: mqtt.await_rel_timeout,
    sessionExpiryMs: mqtt.session_expiry_interval,
    maxSessionExpiryMs: mqtt.max_session_expiry_interval,
    serverKeepAliveSeconds: mqtt.server_keepalive === 'disabled' ? undefined : mqtt.server_keepalive,
    keepAliveMultiplier: mqtt.keepalive_multiplier,
    ignoreLoopDeliver: mqtt.ignore_loop_deliver,
    useUsernameAsClientId: mqtt.use_username_as_clientid,
    responseInformation: mqtt.response_information,
    peerCertAsUsername: fieldOf(mqtt.peer_cert_as_username),
    peerCertAsClientId: fieldOf(mqtt.peer_cert_as_clientid),
    clientAttributes: mqtt.client_attrs_init.map(({ expression, set_as_attr: name }, i) => ({
      expression: toExpression(expression, `${path}.client_attrs_init.${i}.expression`),
      name,
    })),
    clientIdOverride:
      override === 'disabled' ? undefined : toExpression(override, `${path}.clientid_override`),
    retryIntervalMs,
  }
}

function fieldOf(option: CertificateField | 'disabled'): CertificateField | undefined {
  return option === 'disabled' ? undefined : option
}

function toExpression(source: string, option: string): Expression {
  try {
    return new Expression(source)
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `${option}: ${messageOf(error)}`, { cause: error })
  }
}

function prioritiesOf(mqtt: MqttConfig): Priorities | undefined {
  const { mqueue_priorities: named, mqueue_default_priority: others } = mqtt
  return named === 'disabled' ? undefined : { byTopic: new Map(Object.entries(named)), others }
}

/** EMQX writes "no limit" as 0. */
function orUnlimited(value: number): number {
  return value === 0 ? Number.POSITIVE_INFINITY : value
}
