import { ReasonCode } from '../../model/reason-codes.ts'
import type { Metrics } from '../metrics.ts'
import { PacketType, type ServerPacket } from './packets.ts'

/** PUBACK, PUBREC, PUBREL, PUBCOMP */
export type AnswerType = 4 | 5 | 6 | 7

export function countAnswer(metrics: Metrics, type: AnswerType): void {
  if (type === PacketType.PUBACK) metrics.packetsPubackSent++
  else if (type === PacketType.PUBREC) metrics.packetsPubrecSent++
  else if (type === PacketType.PUBREL) metrics.packetsPubrelSent++
  else metrics.packetsPubcompSent++
}

/** Counts a packet that is sent, but for the many: those go past this, and count where they are written. */
export function countPacket(metrics: Metrics, packet: ServerPacket): void {
  switch (packet.type) {
    case PacketType.CONNACK:
      return countConnack(metrics, packet.code)
    case PacketType.SUBACK:
      metrics.packetsSubackSent++
      for (const code of packet.codes) {
        if (code === ReasonCode.NotAuthorized) metrics.packetsSubscribeAuthError++
        else if (code >= 0x80) metrics.packetsSubscribeError++
      }
      return
    case PacketType.UNSUBACK:
      metrics.packetsUnsubackSent++
      for (const code of packet.codes) if (code >= 0x80) metrics.packetsUnsubscribeError++
      return
    case PacketType.DISCONNECT:
      metrics.packetsDisconnectSent++
      return
    case PacketType.AUTH:
      metrics.packetsAuthSent++
  }
}

function countConnack(metrics: Metrics, code: ReasonCode): void {
  metrics.packetsConnackSent++
  if (code !== ReasonCode.Success) metrics.packetsConnackError++
  if (code === ReasonCode.BadUserNameOrPassword || code === ReasonCode.NotAuthorized)
    metrics.packetsConnackAuthError++
}
