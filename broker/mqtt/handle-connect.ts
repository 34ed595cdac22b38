/** CONNECT: checks, who it is, what it wants to keep, and the answer (MQTT 5.0 §3.1, §3.2). */
import type { Login } from '../../model/access.ts'
import { andThen, type MaybePromise } from '../../model/async.ts'
import { arrivingClient, type ClientInfo } from '../../model/client-info.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { topicLevels } from '../../model/topic.ts'
import type { Connected, Refused } from '../broker.ts'
import type { HubClient } from '../client.ts'
import { NEVER_EXPIRES, type Terms, termsOf } from './connect-terms.ts'
import type { MqttConnection } from './connection.ts'
import { connectVersion, decodeConnect } from './decode-connect.ts'
import { converse, EnhancedAuth } from './handle-auth.ts'
import { type Identity, identify } from './identity.ts'
import type { MqttOptions } from './options.ts'
import { OutboundAliases } from './outbound-aliases.ts'
import { type ConnectPacket, PacketType, type Properties } from './packets.ts'

/** §3.2.2.2, those that refuse */
const CONNACK_CODES: ReadonlySet<ReasonCode> = new Set([
  ReasonCode.UnspecifiedError,
  ReasonCode.MalformedPacket,
  ReasonCode.ProtocolError,
  ReasonCode.ImplementationSpecificError,
  ReasonCode.UnsupportedProtocolVersion,
  ReasonCode.ClientIdentifierNotValid,
  ReasonCode.BadUserNameOrPassword,
  ReasonCode.NotAuthorized,
  ReasonCode.ServerUnavailable,
  ReasonCode.ServerBusy,
  ReasonCode.Banned,
  ReasonCode.BadAuthenticationMethod,
  ReasonCode.TopicNameInvalid,
  ReasonCode.PacketTooLarge,
  ReasonCode.QuotaExceeded,
  ReasonCode.PayloadFormatInvalid,
  ReasonCode.RetainNotSupported,
  ReasonCode.QoSNotSupported,
  ReasonCode.UseAnotherServer,
  ReasonCode.ServerMoved,
  ReasonCode.ConnectionRateExceeded,
])

export function handleConnect(
  connection: MqttConnection,
  bytes: Buffer,
  start: number,
  end: number,
): MaybePromise<void> {
  const packet = decodeConnect(bytes, start, end)
  connection.context.hub.metrics.packetsConnectReceived++
  connection.version = packet.version
  const signal = connection.connecting()
  connection.maxPacketBytes = packet.properties?.maximumPacketSize ?? Number.POSITIVE_INFINITY
  const { options, transport, listener } = connection
  const { hub, log } = connection.context
  const refusal = check(packet, options)
  if (refusal !== undefined) return refuse(connection, refusal, {})
  const identity = identify(packet, { options, transport, zone: listener.zone, log })
  if (typeof identity === 'number') return refuse(connection, identity, {})
  const login = toLogin(connection, packet, identity, signal)
  // How many levels depends on who it is, like every limit of the hub.
  if (packet.will !== undefined && topicLevels(packet.will.topic) > hub.limitsOf(login.client).maxTopicLevels)
    return refuse(connection, ReasonCode.TopicNameInvalid, {})
  let terms: Terms | undefined
  const wish = () => {
    // Authentication may have put it into another zone.
    const { client } = login
    const ofZone = connection.context.zones?.get(client.zone) ?? connection.context.options
    client.keepAliveSeconds = ofZone.serverKeepAliveSeconds ?? packet.keepAliveSeconds // [MQTT-3.2.2-22]
    terms = termsOf(packet, login.properties ?? {}, ofZone)
    accept(connection, terms.properties)
    return terms.session
  }
  if (login.authMethod !== undefined) connection.auth = new EnhancedAuth(connection, login.authMethod)
  return andThen(hub.connectInSteps(login, wish, connection), (outcome) =>
    converse(connection, outcome, (answer) => conclude(connection, packet, login, terms, answer)),
  )
}

/** What the client wants holds for all that it is sent from CONNACK on. */
function accept(connection: MqttConnection, properties: Properties): void {
  const { maximumPacketSize, topicAliasMaximum = 0, requestProblemInformation } = properties
  connection.maxPacketBytes = maximumPacketSize ?? Number.POSITIVE_INFINITY
  if (topicAliasMaximum > 0) connection.outboundAliases = new OutboundAliases(topicAliasMaximum)
  connection.wantsReasons = requestProblemInformation !== 0
}

/** The CONNECT could not be understood: says so in the version it seems to be in, if it shows one [MQTT-3.1.4-1]. */
export function answerBadConnect(connection: MqttConnection, code: ReasonCode, bytes: Buffer): void {
  const version = connectVersion(bytes, 0, bytes.length)
  if (version === undefined) return
  connection.version = version
  // 3.x knows codes for version and client id only; what else is wrong, it is just closed for.
  // [MQTT-3.1.4-1 (3.1.1)] [MQTT-3.2.2-6 (3.1.1)]
  if (version !== 5 && code !== ReasonCode.UnsupportedProtocolVersion) return
  connection.send({ type: PacketType.CONNACK, sessionPresent: false, code })
}

/** Something went wrong while the client was being logged in; without a code it was of ours. */
export function answerFailedConnect(
  connection: MqttConnection,
  code: ReasonCode = ReasonCode.ServerUnavailable,
): void {
  connection.send({ type: PacketType.CONNACK, sessionPresent: false, code: connackCode(code) })
}

/** @returns why it is refused before anybody is asked */
function check(packet: ConnectPacket, options: MqttOptions): ReasonCode | undefined {
  const { will } = packet
  if (will === undefined) return undefined
  if (will.qos > options.maxQos) return ReasonCode.QoSNotSupported // [MQTT-3.2.2-12]
  return will.retain && !options.retainAvailable ? ReasonCode.RetainNotSupported : undefined // [MQTT-3.2.2-13]
}

function toLogin(
  connection: MqttConnection,
  packet: ConnectPacket,
  identity: Identity,
  signal: AbortSignal,
): Login {
  const { enableAuthn, mountpoint } = connection.listener
  const client = toClientInfo(connection, packet, identity)
  const { authenticationMethod: authMethod, authenticationData: authData } = packet.properties ?? {}
  const { password } = packet
  const login: Login = { client, password, authMethod, authData, mountpoint, enableAuthn, signal }
  if (packet.properties !== undefined) login.properties = { ...packet.properties }
  return login
}

function toClientInfo(connection: MqttConnection, packet: ConnectPacket, identity: Identity): ClientInfo {
  const { transport, listener, options } = connection
  return arrivingClient(transport, {
    key: identity.clientId,
    ...identity,
    protocol: 'mqtt',
    protocolName: packet.version === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: String(packet.version),
    gateway: undefined,
    zone: listener.zone,
    isBridge: packet.isBridge,
    keepAliveSeconds: options.serverKeepAliveSeconds ?? packet.keepAliveSeconds, // [MQTT-3.2.2-22]
    cleanStart: packet.cleanStart,
    connectedAtMs: connection.nowMs,
  })
}

/** What hooks may add to CONNACK: nothing that a client must not be sent unasked [MQTT-3.1.2-28] [MQTT-4.12.0-6]. */
function ofHooks({ properties: asked }: Terms, properties: Properties): Properties {
  const { authenticationMethod: _, authenticationData: __, responseInformation, ...others } = properties
  if (responseInformation === undefined || asked.requestResponseInformation !== 1) return others
  return { ...others, responseInformation }
}

function conclude(
  connection: MqttConnection,
  packet: ConnectPacket,
  login: Login,
  terms: Terms | undefined,
  answer: Connected | Refused,
): void {
  // [MQTT-3.1.4-2] [MQTT-4.12.0-4]
  if (answer.kind === 'refused') return refuse(connection, answer.reason, answer.properties)
  const client = answer.client as HubClient
  if (!connection.isOpen) return client.close('tcp_closed') // it left while others were being asked
  connection.client = client
  const properties =
    packet.version === 5 && terms !== undefined
      ? {
          ...connackProperties(connection, packet, login, terms),
          ...ofHooks(terms, answer.properties),
          ...connection.auth?.properties(answer.authData), // [MQTT-4.12.0-5] [MQTT-4.12.0-6]
        }
      : undefined
  // [MQTT-3.2.0-1] the first thing it is sent, [MQTT-3.2.0-2] and once; [MQTT-3.1.4-5]
  const isSent = connection.send({
    type: PacketType.CONNACK,
    sessionPresent: answer.sessionPresent, // [MQTT-3.2.2-2], [MQTT-3.2.2-3]
    code: ReasonCode.Success,
    properties,
  })
  if (isSent) connection.connected(client, client.info.keepAliveSeconds)
  else connection.closeQuietly('frame_too_large') // nothing may come before it, and it cannot be told
}

/** What the client has to know because it differs from what it asked for, or from what the standard presumes. */
function connackProperties(
  connection: MqttConnection,
  packet: ConnectPacket,
  login: Login,
  { session, properties: asked }: Terms,
): Properties {
  const { options } = connection
  const { clientId } = login.client
  const properties: Properties = { topicAliasMaximum: options.maxTopicAlias }
  if (clientId !== packet.clientId) properties.assignedClientIdentifier = clientId // [MQTT-3.2.2-16]
  if (options.maxAwaitingRelease < 65_535) properties.receiveMaximum = options.maxAwaitingRelease
  if (Number.isFinite(options.maxPacketBytes)) properties.maximumPacketSize = options.maxPacketBytes
  if (options.maxQos < 2) properties.maximumQoS = options.maxQos as 0 | 1 // [MQTT-3.2.2-9]
  if (!options.retainAvailable) properties.retainAvailable = 0
  if (!options.wildcardSubscription) properties.wildcardSubscriptionAvailable = 0
  if (!options.sharedSubscription) properties.sharedSubscriptionAvailable = 0
  if (options.serverKeepAliveSeconds !== undefined)
    properties.serverKeepAlive = options.serverKeepAliveSeconds // [MQTT-3.2.2-21]
  // [MQTT-3.1.2-28] only for who asks
  if (asked.requestResponseInformation === 1 && options.responseInformation !== '')
    properties.responseInformation = options.responseInformation
  const expirySeconds = Math.min(Math.floor(session.expiryIntervalMs / 1000), NEVER_EXPIRES)
  const sentSeconds = packet.properties?.sessionExpiryInterval ?? 0
  if (expirySeconds !== sentSeconds) properties.sessionExpiryInterval = expirySeconds
  return properties
}

/** Of the codes that the broker refuses with, those that CONNACK has no place for (§3.2.2.2). */
const NOT_IN_CONNACK: ReadonlyMap<ReasonCode, ReasonCode> = new Map<ReasonCode, ReasonCode>([
  [ReasonCode.ServerShuttingDown, ReasonCode.ServerUnavailable],
  [ReasonCode.SessionTakenOver, ReasonCode.ServerUnavailable],
])

/** [MQTT-3.2.2-8] what a hook or an authenticator may give as a reason is not always a code of CONNACK. */
function connackCode(code: ReasonCode): ReasonCode {
  const fitting = NOT_IN_CONNACK.get(code) ?? code
  return CONNACK_CODES.has(fitting) ? fitting : ReasonCode.UnspecifiedError
}

/** [MQTT-3.2.2-7] a code from 0x80 on, and the connection is closed */
function refuse(connection: MqttConnection, code: ReasonCode, properties: object): void {
  if (!connection.isOpen) return
  connection.send({ type: PacketType.CONNACK, sessionPresent: false, code: connackCode(code), properties })
  connection.closeQuietly('not_authorized')
}
