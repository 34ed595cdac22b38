/** CONNECT: checks, who it is, what it wants to keep, and the answer (MQTT 5.0 §3.1, §3.2). */
import { randomBytes } from 'node:crypto'
import type { Login } from '../../model/access.ts'
import { andThen, type MaybePromise } from '../../model/async.ts'
import { arrivingClient, type ClientInfo } from '../../model/client-info.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { topicLevels } from '../../model/topic.ts'
import type { Connected, Refused, SessionOptions, Will } from '../broker.ts'
import type { HubClient } from '../client.ts'
import type { MqttConnection } from './connection.ts'
import { connectVersion, decodeConnect } from './decode-connect.ts'
import type { MqttOptions } from './options.ts'
import { OutboundAliases } from './outbound-aliases.ts'
import { type ConnectPacket, PacketType, type Properties, type WillPacket } from './packets.ts'

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

/** 0xFFFFFFFF: the session does not expire (§3.1.2.11.2). */
const NEVER_EXPIRES = 0xffff_ffff

export function handleConnect(
  connection: MqttConnection,
  bytes: Buffer,
  start: number,
  end: number,
): MaybePromise<void> {
  const packet = decodeConnect(bytes, start, end)
  connection.version = packet.version
  const signal = connection.connecting()
  connection.maxPacketBytes = packet.properties?.maximumPacketSize ?? Number.POSITIVE_INFINITY
  const { topicAliasMaximum = 0 } = packet.properties ?? {}
  if (topicAliasMaximum > 0) connection.outboundAliases = new OutboundAliases(topicAliasMaximum)
  connection.wantsReasons = packet.properties?.requestProblemInformation !== 0
  const { hub, options } = connection.context
  const refusal = check(packet, options, hub.options.maxTopicLevels)
  if (refusal !== undefined) return refuse(connection, refusal, {})
  const login = toLogin(connection, packet, signal)
  const wanted = sessionOptions(packet, options)
  return andThen(hub.connect(login, wanted, connection), (answer) =>
    conclude(connection, packet, login, wanted, answer),
  )
}

/** The CONNECT could not be understood: says so in the version it seems to be in, if it shows one [MQTT-3.1.4-1]. */
export function answerBadConnect(
  connection: MqttConnection,
  code: ReasonCode,
  bytes: Buffer,
  at: number,
): void {
  const version = connectVersion(bytes, at, bytes.length)
  if (version === undefined) return
  connection.version = version
  // 3.x knows codes for version and client id only; what else is wrong, it is just closed for.
  // [MQTT-3.1.4-1 (3.1.1)] [MQTT-3.2.2-6 (3.1.1)]
  if (version !== 5 && code !== ReasonCode.UnsupportedProtocolVersion) return
  connection.send({ type: PacketType.CONNACK, sessionPresent: false, code })
}

/** Something of ours went wrong while the client was being logged in. */
export function answerFailedConnect(connection: MqttConnection): void {
  connection.send({ type: PacketType.CONNACK, sessionPresent: false, code: ReasonCode.ServerUnavailable })
}

/** What an MQTT 5 client asks for, within what the broker allows. */
export function sessionExpiryMs(seconds: number, options: MqttOptions): number {
  const wantedMs = seconds === NEVER_EXPIRES ? Number.POSITIVE_INFINITY : seconds * 1000
  return Math.min(wantedMs, options.maxSessionExpiryMs)
}

/** @returns why it is refused before anybody is asked */
function check(packet: ConnectPacket, options: MqttOptions, maxTopicLevels: number): ReasonCode | undefined {
  const { version, will } = packet
  const clientId = wantedClientId(packet, options)
  // [MQTT-4.12.0-1] [MQTT-4.12.0-4]
  if (packet.properties?.authenticationMethod !== undefined) return ReasonCode.BadAuthenticationMethod
  if (clientId === '') {
    // [MQTT-3.1.3-8 (3.1.1)] no id, no session to be found again; 3.1 knows no empty id at all
    if (version === 3 || (version === 4 && !packet.cleanStart)) return ReasonCode.ClientIdentifierNotValid
  }
  // [MQTT-3.1.3-8], [MQTT-3.1.3-5] but 23 bytes are always accepted
  if (Buffer.byteLength(clientId) > options.maxClientIdBytes) return ReasonCode.ClientIdentifierNotValid
  if (will === undefined) return undefined
  if (will.qos > options.maxQos) return ReasonCode.QoSNotSupported // [MQTT-3.2.2-12]
  if (will.retain && !options.retainAvailable) return ReasonCode.RetainNotSupported // [MQTT-3.2.2-13]
  return topicLevels(will.topic) > maxTopicLevels ? ReasonCode.TopicNameInvalid : undefined
}

/** '' if the client leaves it to us. */
function wantedClientId(packet: ConnectPacket, options: MqttOptions): string {
  return (options.useUsernameAsClientId && packet.username) || packet.clientId
}

function toLogin(connection: MqttConnection, packet: ConnectPacket, signal: AbortSignal): Login {
  const { enableAuthn, mountpoint } = connection.listener
  const client = toClientInfo(connection, packet)
  const login: Login = { client, password: packet.password, mountpoint, enableAuthn, signal }
  if (packet.properties !== undefined) login.properties = { ...packet.properties }
  return login
}

function toClientInfo(connection: MqttConnection, packet: ConnectPacket): ClientInfo {
  const { transport, listener, context } = connection
  // [MQTT-3.1.3-6], [MQTT-3.1.3-7] without an id the client gets one that nobody else has
  const clientId = wantedClientId(packet, context.options) || `auto-${randomBytes(12).toString('hex')}`
  return arrivingClient(transport, {
    key: clientId,
    clientId,
    username: packet.username,
    protocol: 'mqtt',
    protocolName: packet.version === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: String(packet.version),
    gateway: undefined,
    zone: listener.zone,
    isBridge: packet.isBridge,
    keepAliveSeconds: context.options.serverKeepAliveSeconds ?? packet.keepAliveSeconds, // [MQTT-3.2.2-22]
    cleanStart: packet.cleanStart,
    connectedAtMs: connection.nowMs,
  })
}

/** What hooks may add to CONNACK: nothing that a client must not be sent unasked [MQTT-3.1.2-28] [MQTT-4.12.0-6]. */
function ofHooks(packet: ConnectPacket, properties: Properties): Properties {
  const { authenticationMethod: _, authenticationData: __, responseInformation, ...others } = properties
  if (responseInformation === undefined || packet.properties?.requestResponseInformation !== 1) return others
  return { ...others, responseInformation }
}

function sessionOptions(packet: ConnectPacket, options: MqttOptions): SessionOptions {
  const { properties, cleanStart, will } = packet
  const wanted: SessionOptions = {
    cleanStart,
    expiryIntervalMs: 0,
    receiveMaximum: properties?.receiveMaximum ?? 65_535, // §3.1.2.11.3
  }
  if (packet.version === 5)
    wanted.expiryIntervalMs = sessionExpiryMs(properties?.sessionExpiryInterval ?? 0, options)
  else if (!cleanStart) wanted.expiryIntervalMs = options.sessionExpiryMs // [MQTT-3.1.2-4 (3.1.1)]
  if (will !== undefined) wanted.will = toWill(will)
  return wanted
}

function toWill(will: WillPacket): Will {
  const { willDelayInterval = 0, ...properties } = will.properties ?? {}
  const { topic, payload, qos, retain } = will
  const travelling = Object.keys(properties).length === 0 ? undefined : properties // [MQTT-3.1.3-10]
  return { topic, payload, qos, retain, delaySeconds: willDelayInterval, properties: travelling }
}

function conclude(
  connection: MqttConnection,
  packet: ConnectPacket,
  login: Login,
  wanted: SessionOptions,
  answer: Connected | Refused,
): void {
  if (answer.kind === 'refused') return refuse(connection, answer.reason, answer.properties) // [MQTT-3.1.4-2]
  const client = answer.client as HubClient
  if (!connection.isOpen) return client.close('tcp_closed') // it left while others were being asked
  connection.client = client
  const properties =
    packet.version === 5
      ? { ...connackProperties(connection, packet, login, wanted), ...ofHooks(packet, answer.properties) }
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

/**
 * What the client has to know because it differs from what it asked for, or from what the standard presumes.
 * Never an authentication method [MQTT-4.12.0-6].
 */
function connackProperties(
  connection: MqttConnection,
  packet: ConnectPacket,
  login: Login,
  wanted: SessionOptions,
): Properties {
  const { options } = connection.context
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
  if (packet.properties?.requestResponseInformation === 1 && options.responseInformation !== '')
    properties.responseInformation = options.responseInformation
  const expirySeconds = wanted.expiryIntervalMs / 1000
  const askedSeconds = packet.properties?.sessionExpiryInterval ?? 0
  if (expirySeconds < askedSeconds && askedSeconds !== NEVER_EXPIRES)
    properties.sessionExpiryInterval = expirySeconds
  if (askedSeconds === NEVER_EXPIRES && Number.isFinite(expirySeconds))
    properties.sessionExpiryInterval = expirySeconds
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
