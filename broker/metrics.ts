/**
 * What has happened since the start, counted where it happens: `hub.metrics.packetsPublishReceived++` and
 * nothing else. Plain number fields, because some of them are counted per message; their dotted names, which
 * the outside knows them by, are in a table below and are EMQX's. What is the sum of others is not counted.
 */

import type { DeliveryDropReason } from '../hooks/hookpoints.ts'
import { DISCONNECT_CODES, type DisconnectReason } from '../model/disconnect-reason.ts'
import type { QoS } from '../model/message.ts'
import { ReasonCode } from '../model/reason-codes.ts'

/** Answers of access control. Given to its chain, which counts. */
export class AuthorizationCounts {
  total = 0
  allow = 0
  deny = 0
  superuser = 0
  matchedAllow = 0
  matchedDeny = 0
  nomatch = 0
  cacheHit = 0
  cacheMiss = 0
}

/** Counters of one node. They only grow. `packets*` and `bytes*` are MQTT's, all others every protocol's. */
export class Metrics {
  bytesReceived = 0
  bytesSent = 0

  packetsConnectReceived = 0
  packetsConnackSent = 0
  /** Sent with a code other than Success. */
  packetsConnackError = 0
  /** Bad user name or password (0x86), not authorized (0x87). */
  packetsConnackAuthError = 0
  packetsPublishReceived = 0
  packetsPublishSent = 0
  /** QoS 2 with a packet id that is in use. */
  packetsPublishInuse = 0
  /** Refused for another reason than those below. */
  packetsPublishError = 0
  packetsPublishAuthError = 0
  /** Not taken because of a limit. */
  packetsPublishDropped = 0
  packetsPubackReceived = 0
  packetsPubackSent = 0
  /** With a packet id that nobody waits for. */
  packetsPubackMissed = 0
  packetsPubrecReceived = 0
  packetsPubrecSent = 0
  packetsPubrecMissed = 0
  packetsPubrelReceived = 0
  packetsPubrelSent = 0
  packetsPubrelMissed = 0
  packetsPubcompReceived = 0
  packetsPubcompSent = 0
  packetsPubcompMissed = 0
  packetsSubscribeReceived = 0
  /** Filters that were refused, but for lack of permission. */
  packetsSubscribeError = 0
  packetsSubscribeAuthError = 0
  packetsSubackSent = 0
  packetsUnsubscribeReceived = 0
  packetsUnsubscribeError = 0
  packetsUnsubackSent = 0
  packetsPingreqReceived = 0
  packetsPingrespSent = 0
  packetsDisconnectReceived = 0
  packetsDisconnectSent = 0
  packetsAuthReceived = 0
  packetsAuthSent = 0

  messagesQos0Received = 0
  messagesQos1Received = 0
  messagesQos2Received = 0
  messagesQos0Sent = 0
  messagesQos1Sent = 0
  messagesQos2Sent = 0
  /** Of those sent: once more, after a reconnect. Has no name of its own. */
  messagesResent = 0
  /** Published by clients, wills, features and the API; not what the broker says about itself. */
  messagesPublish = 0
  messagesDroppedNoSubscribers = 0
  messagesDroppedAwaitPubrelTimeout = 0
  /** The storage has no room for what would have to outlive the process. */
  messagesDroppedQuotaExceeded = 0
  messagesDroppedReceiveMaximum = 0
  messagesDelayed = 0
  /** PUBACK or PUBREC, or what another protocol has in their place. */
  messagesAcked = 0
  /** Stored as the retained message of their topic. */
  messagesRetained = 0

  deliveryDroppedNoLocal = 0
  deliveryDroppedTooLarge = 0
  deliveryDroppedQos0Msg = 0
  deliveryDroppedQueueFull = 0
  deliveryDroppedExpired = 0

  clientConnect = 0
  clientConnack = 0
  clientConnected = 0
  clientAuthenticate = 0
  clientAuthAnonymous = 0
  clientAuthorize = 0
  clientSubscribe = 0
  clientUnsubscribe = 0
  clientDisconnected = 0

  sessionCreated = 0
  sessionResumed = 0
  sessionTakenover = 0
  sessionDiscarded = 0
  sessionTerminated = 0
  sessionDisconnected = 0

  /** How often a client was not read for a while because it had sent more than `messages_rate` and the like allow. */
  connectionsPaused = 0
  /** Ended MQTT connections by reason, those that had not got as far as a client too. */
  readonly connectionsClosed = Object.fromEntries(
    Object.keys(DISCONNECT_CODES).map((reason) => [reason, 0]),
  ) as Record<DisconnectReason, number>

  authenticationSuccess = 0
  authenticationSuccessAnonymous = 0
  authenticationFailure = 0

  readonly authorization: AuthorizationCounts

  /** @param authorization - what access control counts in, if it does */
  constructor(authorization: AuthorizationCounts = new AuthorizationCounts()) {
    this.authorization = authorization
  }
}

/** Messages have come from a client. */
export function countReceived(metrics: Metrics, qos: QoS, count = 1): void {
  if (qos === 0) metrics.messagesQos0Received += count
  else if (qos === 1) metrics.messagesQos1Received += count
  else metrics.messagesQos2Received += count
}

/** Messages were handed to a client's connection. @param isAgain - they were before, to an earlier one */
export function countSent(metrics: Metrics, qos: QoS, isAgain: boolean, count = 1): void {
  if (qos === 0) metrics.messagesQos0Sent += count
  else {
    if (qos === 1) metrics.messagesQos1Sent += count
    else metrics.messagesQos2Sent += count
    if (isAgain) metrics.messagesResent += count
  }
}

/** A delivery was given up. */
export function countDropped(metrics: Metrics, reason: DeliveryDropReason): void {
  metrics[DROPS[reason]]++
}

/** A login was let in. */
export function countAuthenticated(metrics: Metrics, isAnonymous: boolean): void {
  metrics.authenticationSuccess++
  if (!isAnonymous) return
  metrics.authenticationSuccessAnonymous++
  metrics.clientAuthAnonymous++
}

/** A PUBLISH packet got this answer, 0x80 or above, or would have got it if it could be answered. */
export function countRefused(metrics: Metrics, code: ReasonCode): void {
  if (code === ReasonCode.NotAuthorized) metrics.packetsPublishAuthError++
  else if (code === ReasonCode.QuotaExceeded) metrics.packetsPublishDropped++
  else metrics.packetsPublishError++
}

const DROPS = {
  no_local: 'deliveryDroppedNoLocal',
  too_large: 'deliveryDroppedTooLarge',
  qos0_msg: 'deliveryDroppedQos0Msg',
  queue_full: 'deliveryDroppedQueueFull',
  expired: 'deliveryDroppedExpired',
} as const satisfies Record<DeliveryDropReason, MetricField>

/** The fields of `Metrics` that are counters. */
export type MetricField = {
  [F in keyof Metrics]: Metrics[F] extends number ? F : never
}[keyof Metrics]

/** Of every metric its name and value, sums included; related ones stand together. */
export function* readMetrics(metrics: Metrics): Generator<[name: string, value: number]> {
  for (const [name, read] of READERS) yield [name, read(metrics)]
}

/** Every name that `readMetrics` gives. */
export function metricNames(): string[] {
  return [...READERS.keys()]
}

/** @returns undefined if there is no metric of that name */
export function readMetric(metrics: Metrics, name: string): number | undefined {
  return READERS.get(name)?.(metrics)
}

/** EMQX's names, but for `connections.*`, which it does not count. */
const NAMES: Readonly<Record<Exclude<MetricField, 'messagesResent'>, string>> = {
  bytesReceived: 'bytes.received',
  bytesSent: 'bytes.sent',
  packetsConnectReceived: 'packets.connect.received',
  packetsConnackSent: 'packets.connack.sent',
  packetsConnackError: 'packets.connack.error',
  packetsConnackAuthError: 'packets.connack.auth_error',
  packetsPublishReceived: 'packets.publish.received',
  packetsPublishSent: 'packets.publish.sent',
  packetsPublishInuse: 'packets.publish.inuse',
  packetsPublishError: 'packets.publish.error',
  packetsPublishAuthError: 'packets.publish.auth_error',
  packetsPublishDropped: 'packets.publish.dropped',
  packetsPubackReceived: 'packets.puback.received',
  packetsPubackSent: 'packets.puback.sent',
  packetsPubackMissed: 'packets.puback.missed',
  packetsPubrecReceived: 'packets.pubrec.received',
  packetsPubrecSent: 'packets.pubrec.sent',
  packetsPubrecMissed: 'packets.pubrec.missed',
  packetsPubrelReceived: 'packets.pubrel.received',
  packetsPubrelSent: 'packets.pubrel.sent',
  packetsPubrelMissed: 'packets.pubrel.missed',
  packetsPubcompReceived: 'packets.pubcomp.received',
  packetsPubcompSent: 'packets.pubcomp.sent',
  packetsPubcompMissed: 'packets.pubcomp.missed',
  packetsSubscribeReceived: 'packets.subscribe.received',
  packetsSubscribeError: 'packets.subscribe.error',
  packetsSubscribeAuthError: 'packets.subscribe.auth_error',
  packetsSubackSent: 'packets.suback.sent',
  packetsUnsubscribeReceived: 'packets.unsubscribe.received',
  packetsUnsubscribeError: 'packets.unsubscribe.error',
  packetsUnsubackSent: 'packets.unsuback.sent',
  packetsPingreqReceived: 'packets.pingreq.received',
  packetsPingrespSent: 'packets.pingresp.sent',
  packetsDisconnectReceived: 'packets.disconnect.received',
  packetsDisconnectSent: 'packets.disconnect.sent',
  packetsAuthReceived: 'packets.auth.received',
  packetsAuthSent: 'packets.auth.sent',
  messagesQos0Received: 'messages.qos0.received',
  messagesQos1Received: 'messages.qos1.received',
  messagesQos2Received: 'messages.qos2.received',
  messagesQos0Sent: 'messages.qos0.sent',
  messagesQos1Sent: 'messages.qos1.sent',
  messagesQos2Sent: 'messages.qos2.sent',
  messagesPublish: 'messages.publish',
  messagesDroppedNoSubscribers: 'messages.dropped.no_subscribers',
  messagesDroppedAwaitPubrelTimeout: 'messages.dropped.await_pubrel_timeout',
  messagesDroppedQuotaExceeded: 'messages.dropped.quota_exceeded',
  messagesDroppedReceiveMaximum: 'messages.dropped.receive_maximum',
  messagesDelayed: 'messages.delayed',
  messagesAcked: 'messages.acked',
  messagesRetained: 'messages.retained',
  deliveryDroppedNoLocal: 'delivery.dropped.no_local',
  deliveryDroppedTooLarge: 'delivery.dropped.too_large',
  deliveryDroppedQos0Msg: 'delivery.dropped.qos0_msg',
  deliveryDroppedQueueFull: 'delivery.dropped.queue_full',
  deliveryDroppedExpired: 'delivery.dropped.expired',
  clientConnect: 'client.connect',
  clientConnack: 'client.connack',
  clientConnected: 'client.connected',
  clientAuthenticate: 'client.authenticate',
  clientAuthAnonymous: 'client.auth.anonymous',
  clientAuthorize: 'client.authorize',
  clientSubscribe: 'client.subscribe',
  clientUnsubscribe: 'client.unsubscribe',
  clientDisconnected: 'client.disconnected',
  sessionCreated: 'session.created',
  sessionResumed: 'session.resumed',
  sessionTakenover: 'session.takenover',
  sessionDiscarded: 'session.discarded',
  sessionTerminated: 'session.terminated',
  sessionDisconnected: 'session.disconnected',
  connectionsPaused: 'connections.paused',
  authenticationSuccess: 'authentication.success',
  authenticationSuccessAnonymous: 'authentication.success.anonymous',
  authenticationFailure: 'authentication.failure',
}

type Reader = (metrics: Metrics) => number

/** Sums, and what the access chain counts. */
const DERIVED: Readonly<Record<string, Reader>> = {
  'packets.received': sumOf(/^packets\.\w+\.received$/),
  'packets.sent': sumOf(/^packets\.\w+\.sent$/),
  'messages.received': sumOf(/^messages\.qos\d\.received$/),
  'messages.sent': sumOf(/^messages\.qos\d\.sent$/),
  'messages.delivered': (m) =>
    m.messagesQos0Sent + m.messagesQos1Sent + m.messagesQos2Sent - m.messagesResent,
  'messages.dropped': sumOf(/^messages\.dropped\.|^packets\.publish\.inuse$/),
  'delivery.dropped': sumOf(/^delivery\.dropped\./),
  'authorization.allow': (m) => m.authorization.allow,
  'authorization.deny': (m) => m.authorization.deny,
  'authorization.matched.allow': (m) => m.authorization.matchedAllow,
  'authorization.matched.deny': (m) => m.authorization.matchedDeny,
  'authorization.nomatch': (m) => m.authorization.nomatch,
  'authorization.superuser': (m) => m.authorization.superuser,
  'authorization.cache_hit': (m) => m.authorization.cacheHit,
  'authorization.cache_miss': (m) => m.authorization.cacheMiss,
}

const READERS: ReadonlyMap<string, Reader> = new Map<string, Reader>(
  [
    ...Object.entries(NAMES).map(([field, name]): [string, Reader] => [name, (m) => m[field as MetricField]]),
    ...Object.entries(DERIVED),
    ...Object.keys(DISCONNECT_CODES).map(closedBy),
  ].sort(([one], [other]) => (one < other ? -1 : 1)),
)

function closedBy(reason: string): [string, Reader] {
  return [`connections.closed.${reason}`, (m) => m.connectionsClosed[reason as DisconnectReason]]
}

function sumOf(pattern: RegExp): Reader {
  const fields = Object.entries(NAMES).flatMap(([field, name]) =>
    pattern.test(name) ? [field as MetricField] : [],
  )
  return (metrics) => fields.reduce((sum, field) => sum + metrics[field], 0)
}
