/** What a client and the broker agree on: CONNECT's properties, what `client.connect` hooks make of them, and our bounds. */
import type { SessionOptions, Will } from '../broker.ts'
import type { MqttOptions } from './options.ts'
import type { ConnectPacket, Properties, WillPacket } from './packets.ts'

/** 0xFFFFFFFF: the session does not expire (§3.1.2.11.2). */
export const NEVER_EXPIRES = 0xffff_ffff

export interface Terms {
  session: SessionOptions
  /** Of CONNECT, those that mean something to us, as they hold. */
  properties: Properties
}

/** @param changed - properties as hooks have left them */
export function termsOf(
  packet: ConnectPacket,
  changed: Readonly<Record<string, unknown>>,
  options: MqttOptions,
): Terms {
  const properties = settle(packet.properties ?? {}, changed)
  return { session: sessionOptions(packet, properties, options), properties }
}

/** What an MQTT 5 client asks for, within what the broker allows. */
export function sessionExpiryMs(seconds: number, options: MqttOptions): number {
  const wantedMs = seconds === NEVER_EXPIRES ? Number.POSITIVE_INFINITY : seconds * 1000
  return Math.min(wantedMs, options.maxSessionExpiryMs)
}

/**
 * What a client can take and wants to hear is a promise to it, which a hook may narrow but not break:
 * [MQTT-3.1.2-24] [MQTT-3.1.2-26] [MQTT-3.1.2-28] [MQTT-3.1.2-29] [MQTT-4.9.0-2].
 */
function settle(sent: Properties, changed: Readonly<Record<string, unknown>>): Properties {
  const settled: Properties = {
    receiveMaximum: lesser(sent.receiveMaximum ?? 65_535, changed.receiveMaximum, 1), // §3.1.2.11.3
    topicAliasMaximum: lesser(sent.topicAliasMaximum ?? 0, changed.topicAliasMaximum, 0),
    maximumPacketSize: lesser(
      sent.maximumPacketSize ?? Number.POSITIVE_INFINITY,
      changed.maximumPacketSize,
      1,
    ),
    requestProblemInformation: lesser(
      sent.requestProblemInformation ?? 1,
      changed.requestProblemInformation,
      0,
    ) as 0 | 1,
    requestResponseInformation: lesser(
      sent.requestResponseInformation ?? 0,
      changed.requestResponseInformation,
      0,
    ) as 0 | 1,
  }
  const { sessionExpiryInterval: seconds } = changed
  if (isWhole(seconds, 0) && seconds <= NEVER_EXPIRES) settled.sessionExpiryInterval = seconds
  // Somebody has put something there that is no interval.
  else if (seconds !== undefined && sent.sessionExpiryInterval !== undefined)
    settled.sessionExpiryInterval = sent.sessionExpiryInterval
  return settled
}

function lesser(sent: number, changed: unknown, minimum: number): number {
  return isWhole(changed, minimum) ? Math.min(sent, changed) : sent
}

function isWhole(value: unknown, minimum: number): value is number {
  return Number.isInteger(value) && (value as number) >= minimum
}

function sessionOptions(packet: ConnectPacket, properties: Properties, options: MqttOptions): SessionOptions {
  const { version, cleanStart, will } = packet
  const { receiveMaximum = 65_535, sessionExpiryInterval: seconds } = properties
  const wanted: SessionOptions = { cleanStart, expiryIntervalMs: 0, receiveMaximum }
  if (version === 5) wanted.expiryIntervalMs = sessionExpiryMs(seconds ?? 0, options)
  // [MQTT-3.1.2-4 (3.1.1)] such a client cannot say how long; a hook can
  else if (!cleanStart)
    wanted.expiryIntervalMs =
      seconds === undefined ? options.sessionExpiryMs : sessionExpiryMs(seconds, options)
  // [MQTT-4.4.0-1] to an MQTT 5 client nothing is sent again while it is connected
  if (version !== 5 && options.retryIntervalMs !== Number.POSITIVE_INFINITY)
    wanted.retryIntervalMs = options.retryIntervalMs
  if (will !== undefined) wanted.will = toWill(will)
  return wanted
}

function toWill(will: WillPacket): Will {
  const { willDelayInterval = 0, ...properties } = will.properties ?? {}
  const { topic, payload, qos, retain } = will
  const travelling = Object.keys(properties).length === 0 ? undefined : properties // [MQTT-3.1.3-10]
  return { topic, payload, qos, retain, delaySeconds: willDelayInterval, properties: travelling }
}
