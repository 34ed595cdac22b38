/** The broker's answers as MQTT-SN says them. */
import { ReasonCode } from '../../model/reason-codes.ts'
import { Code } from './frame.ts'

/** To PUBLISH and SUBSCRIBE. */
export function codeOf(reason: ReasonCode): Code {
  if (reason === ReasonCode.NotAuthorized) return Code.NotAuthorized
  if (reason === ReasonCode.QuotaExceeded) return Code.Congestion
  return Code.NotSupported
}

/** To CONNECT: what the peer is told when it is not let in. */
export function refusalCode(reason: ReasonCode): Code {
  switch (reason) {
    case ReasonCode.QuotaExceeded:
    case ReasonCode.ServerBusy:
    case ReasonCode.ServerUnavailable:
    case ReasonCode.ServerShuttingDown:
    case ReasonCode.ConnectionRateExceeded:
      return Code.Congestion
    default:
      return Code.NotAuthorized
  }
}
