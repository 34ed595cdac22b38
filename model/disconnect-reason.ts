import { ReasonCode } from './reason-codes.ts'

/** Why connections and sessions end, by the names hooks, logs and the API use (EMQX's), with the MQTT 5 code told to the peer. */
export const DISCONNECT_CODES = {
  normal: ReasonCode.Success,
  disconnect_with_will: ReasonCode.DisconnectWithWill,
  tcp_closed: ReasonCode.UnspecifiedError,
  socket_error: ReasonCode.UnspecifiedError,
  send_timeout: ReasonCode.UnspecifiedError,
  idle_timeout: ReasonCode.UnspecifiedError,
  keepalive_timeout: ReasonCode.KeepAliveTimeout,
  kicked: ReasonCode.AdministrativeAction,
  discarded: ReasonCode.SessionTakenOver,
  takenover: ReasonCode.SessionTakenOver,
  banned: ReasonCode.AdministrativeAction, // 0x8A is for CONNACK only [MQTT-3.14.2-1]
  not_authorized: ReasonCode.NotAuthorized,
  connection_expired: ReasonCode.NotAuthorized,
  expired: ReasonCode.UnspecifiedError,
  malformed_packet: ReasonCode.MalformedPacket,
  protocol_error: ReasonCode.ProtocolError,
  frame_too_large: ReasonCode.PacketTooLarge,
  topic_filter_invalid: ReasonCode.TopicFilterInvalid,
  topic_name_invalid: ReasonCode.TopicNameInvalid,
  topic_alias_invalid: ReasonCode.TopicAliasInvalid,
  receive_maximum_exceeded: ReasonCode.ReceiveMaximumExceeded,
  quota_exceeded: ReasonCode.QuotaExceeded,
  qos_not_supported: ReasonCode.QoSNotSupported,
  retain_not_supported: ReasonCode.RetainNotSupported,
  subscription_ids_not_supported: ReasonCode.SubscriptionIdentifiersNotSupported,
  shared_subscriptions_not_supported: ReasonCode.SharedSubscriptionsNotSupported,
  wildcard_subscriptions_not_supported: ReasonCode.WildcardSubscriptionsNotSupported,
  hook: ReasonCode.ImplementationSpecificError,
  server_shutting_down: ReasonCode.ServerShuttingDown,
  use_another_server: ReasonCode.UseAnotherServer,
  server_moved: ReasonCode.ServerMoved,
  internal_error: ReasonCode.UnspecifiedError,
} as const satisfies Record<string, ReasonCode>

export type DisconnectReason = keyof typeof DISCONNECT_CODES
