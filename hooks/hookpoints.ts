/**
 * The points at which features, plugins and ExHook attach functions, with what
 * each is given. Names, kinds and order are EMQX's.
 *
 * A **fold** point passes a value from one function to the next; a **run** point only notifies.
 * Our functions take the value first and the context after it.
 */
import type { Action, Login, Permission, Verdict } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import type { DisconnectReason } from '../model/disconnect-reason.ts'
import type { Message } from '../model/message.ts'
import type { ReasonCode } from '../model/reason-codes.ts'
import type { Subscription } from '../model/subscription.ts'

/** CONNECT or CONNACK properties as a hook may change them, by their MQTT 5 names in camel case. */
export type PropertyBag = Record<string, unknown>

/**
 * Value of `client.connect`: properties to go on with, or a refusal, with what its CONNACK is to carry:
 * `{ refused: ReasonCode.UseAnotherServer, properties: { serverReference: 'b.example:1883' } }`.
 */
export type ConnectDecision = { properties: PropertyBag } | { refused: ReasonCode; properties?: PropertyBag }

/** Value of `client.authorize`. `from` names who decided: `file`, `default`, `superuser`, `cache`, ... */
export interface Authorization {
  result: Permission
  from: string
}

/** Value of `message.publish`: the message to route, or what to do instead. `disconnect` ends the publisher. */
export type PublishDecision = Message | 'drop' | 'disconnect'

export type MessageDropReason = 'no_subscribers' | 'receive_maximum_exceeded' | 'packet_identifier_in_use'
export type DeliveryDropReason = 'queue_full' | 'no_local' | 'expired' | 'qos0_msg' | 'too_large'

/** Fold points: `[value, ...context]`. */
export interface FoldPoints {
  /** A login was parsed, nothing was checked yet. */
  'client.connect': [value: ConnectDecision, client: ClientInfo]
  /** Before the answer to a login is sent, success or refusal. */
  'client.connack': [value: PropertyBag, client: ClientInfo, code: ReasonCode]
  /** Starts as `ignore`; `ignore` at the end of a chain that has functions means no. Once per login: see `Exchange`. */
  'client.authenticate': [value: Verdict, login: Login]
  /** Starts as the `no_match` answer. */
  'client.authorize': [value: Authorization, client: ClientInfo, action: Action, topic: string]
  /** Granted subscriptions; taking one out blocks it. */
  'client.subscribe': [value: readonly Subscription[], client: ClientInfo]
  'client.unsubscribe': [value: readonly string[], client: ClientInfo]
  /** After authorization, before retaining and routing. */
  'message.publish': [value: PublishDecision]
  /** Before PUBACK is sent. */
  'message.puback': [value: ReasonCode, message: Message, packetId: number]
  /** Just before a message goes to one subscriber. */
  'message.delivered': [value: Message, client: ClientInfo]
}

/** Run points: `[...context]`. */
export interface RunPoints {
  'client.connected': [client: ClientInfo]
  'client.disconnected': [client: ClientInfo, reason: DisconnectReason]
  'client.check_authn_complete': [client: ClientInfo, code: ReasonCode, isAnonymous: boolean]
  'client.check_authz_complete': [client: ClientInfo, action: Action, topic: string, result: Authorization]
  'client.ping': [client: ClientInfo]
  'session.created': [client: ClientInfo]
  'session.resumed': [client: ClientInfo]
  'session.discarded': [client: ClientInfo]
  'session.takenover': [client: ClientInfo]
  'session.disconnected': [client: ClientInfo]
  'session.terminated': [client: ClientInfo, reason: DisconnectReason]
  'session.subscribed': [client: ClientInfo, subscription: Subscription, isNew: boolean]
  'session.unsubscribed': [client: ClientInfo, subscription: Subscription]
  'message.acked': [client: ClientInfo, message: Message]
  'message.dropped': [message: Message, reason: MessageDropReason]
  'delivery.dropped': [client: ClientInfo, message: Message, reason: DeliveryDropReason]
  'delivery.completed': [client: ClientInfo, message: Message]
}

export type FoldPoint = keyof FoldPoints
export type RunPoint = keyof RunPoints
export type HookPoint = FoldPoint | RunPoint

/** Every hookpoint by name. The compiler finds one that is missing here or in the interfaces above. */
export const HOOK_POINTS: Readonly<Record<FoldPoint, 'fold'> & Record<RunPoint, 'run'>> = {
  'client.connect': 'fold',
  'client.connack': 'fold',
  'client.authenticate': 'fold',
  'client.authorize': 'fold',
  'client.subscribe': 'fold',
  'client.unsubscribe': 'fold',
  'message.publish': 'fold',
  'message.puback': 'fold',
  'message.delivered': 'fold',
  'client.connected': 'run',
  'client.disconnected': 'run',
  'client.check_authn_complete': 'run',
  'client.check_authz_complete': 'run',
  'client.ping': 'run',
  'session.created': 'run',
  'session.resumed': 'run',
  'session.discarded': 'run',
  'session.takenover': 'run',
  'session.disconnected': 'run',
  'session.terminated': 'run',
  'session.subscribed': 'run',
  'session.unsubscribed': 'run',
  'message.acked': 'run',
  'message.dropped': 'run',
  'delivery.dropped': 'run',
  'delivery.completed': 'run',
}
