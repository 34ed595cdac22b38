import type { CloseReason } from '../../listeners/transport.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { protocolError } from './mqtt-error.ts'
import { PacketType } from './packets.ts'

/** Why a client is gone, by why its transport is. */
export const CLOSED = {
  peer_closed: 'tcp_closed',
  local: 'socket_error',
  error: 'socket_error',
  send_timeout: 'send_timeout',
} as const satisfies Record<CloseReason['kind'], DisconnectReason>

const REASONS: ReadonlyMap<ReasonCode, DisconnectReason> = new Map<ReasonCode, DisconnectReason>([
  [ReasonCode.MalformedPacket, 'malformed_packet'],
  [ReasonCode.PacketTooLarge, 'frame_too_large'],
  [ReasonCode.TopicNameInvalid, 'topic_name_invalid'],
  [ReasonCode.TopicFilterInvalid, 'topic_filter_invalid'],
  [ReasonCode.TopicAliasInvalid, 'topic_alias_invalid'],
  [ReasonCode.ReceiveMaximumExceeded, 'receive_maximum_exceeded'],
  [ReasonCode.QoSNotSupported, 'qos_not_supported'],
  [ReasonCode.RetainNotSupported, 'retain_not_supported'],
  [ReasonCode.ProtocolError, 'protocol_error'],
])

/** Why a client is gone that has made this mistake. */
export function reasonFor(code: ReasonCode): DisconnectReason {
  return REASONS.get(code) ?? 'internal_error'
}

/** [MQTT-3.1.0-1] seen from the first byte on, so that nobody has to wait for a whole packet of something else. */
export function refuseOtherThanConnect(first: number): void {
  if (first >> 4 !== PacketType.CONNECT) throw protocolError('the first packet is not CONNECT')
}
