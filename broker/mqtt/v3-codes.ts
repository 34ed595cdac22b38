/** MQTT 3.1 and 3.1.1 know few codes: what becomes of the others. */
import { ReasonCode } from '../../model/reason-codes.ts'

/** 3.1.1 §3.2.2.3 */
const V3Connack = {
  Accepted: 0,
  UnacceptableVersion: 1,
  IdentifierRejected: 2,
  ServerUnavailable: 3,
  BadUserNameOrPassword: 4,
  NotAuthorized: 5,
} as const

/** Codes not listed become 3, server unavailable. */
const CONNACK_CODES: ReadonlyMap<ReasonCode, number> = new Map<ReasonCode, number>([
  [ReasonCode.Success, V3Connack.Accepted],
  [ReasonCode.UnspecifiedError, V3Connack.UnacceptableVersion],
  [ReasonCode.MalformedPacket, V3Connack.UnacceptableVersion],
  [ReasonCode.ProtocolError, V3Connack.UnacceptableVersion],
  [ReasonCode.ImplementationSpecificError, V3Connack.UnacceptableVersion],
  [ReasonCode.UnsupportedProtocolVersion, V3Connack.UnacceptableVersion],
  [ReasonCode.ClientIdentifierNotValid, V3Connack.IdentifierRejected],
  [ReasonCode.BadUserNameOrPassword, V3Connack.BadUserNameOrPassword],
  [ReasonCode.NotAuthorized, V3Connack.NotAuthorized],
  [ReasonCode.Banned, V3Connack.NotAuthorized],
  [ReasonCode.BadAuthenticationMethod, V3Connack.NotAuthorized],
])

/** The return code of a 3.x CONNACK, 0 to 5. */
export function v3ConnackCode(code: ReasonCode): number {
  return CONNACK_CODES.get(code) ?? V3Connack.ServerUnavailable
}

/** The return code of a 3.x SUBACK: the granted QoS, or 0x80 for every failure (3.1.1 §3.9.3). */
export function v3SubackCode(code: ReasonCode): number {
  return code < 0x80 ? code : 0x80
}
