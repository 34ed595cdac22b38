/**
 * CONNECT, and the login of who works without one. A client may first be anonymous and then say who it is; a second
 * CONNECT under a name only changes what it wishes for.
 */
import type { Connected, Receiver } from '../../broker/broker.ts'
import { andThen, type MaybePromise } from '../../model/async.ts'
import { reasonName } from '../../model/reason-codes.ts'
import type { Conversation, Peer } from './conversation.ts'
import { Deliveries } from './deliveries.ts'
import { UNAUTHORIZED } from './frame.ts'
import { subscribeAgain } from './handle-subscribe.ts'
import type { ConnectPacket } from './info.ts'
import type { InternalVerdict } from './internal-authn.ts'
import { loginOf } from './login.ts'
import { NEEDS_HEADERS, UNKNOWN_PROTOCOL } from './replies.ts'

/** Window of deliveries that verbose clients are sent: they are acknowledged at once. */
const RECEIVE_MAXIMUM = 65_535
const SESSION = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: RECEIVE_MAXIMUM }

/** What the gateway's own methods let pass. */
type Passed = Exclude<InternalVerdict, { kind: 'refused' }>

/** @param receiver - of what the broker has for the client from its login on */
export function handleConnect(
  conversation: Conversation,
  receiver: Receiver,
  packet: ConnectPacket,
): MaybePromise<void> {
  const { peer, replies, connection } = conversation
  const isRegistered = peer !== undefined && !peer.isAnonymous
  if (!packet.isKnownProtocol) {
    replies.error(UNKNOWN_PROTOCOL)
    return connection.end('protocol_error')
  }
  if (packet.noResponders && !packet.headers) {
    replies.error(NEEDS_HEADERS)
    return isRegistered ? undefined : connection.end('protocol_error')
  }
  if (isRegistered) return replaceOptions(conversation, peer, packet)
  return andThen(vouch(conversation, packet), (answer) => {
    if (answer.kind === 'refused') return loginFailed(conversation, answer.reason)
    return andThen(logIn(conversation, receiver, packet, answer, false), (loggedInPeer) => {
      if (loggedInPeer !== undefined && packet.verbose) replies.ok()
    })
  })
}

/**
 * Logs a client in that has not said who it is.
 * @returns undefined if that was refused, and the connection ends
 */
export function logInAnonymously(
  conversation: Conversation,
  receiver: Receiver,
): MaybePromise<Peer | undefined> {
  return logIn(conversation, receiver, conversation.packet, { kind: 'unasked' }, true)
}

function replaceOptions(conversation: Conversation, peer: Peer, packet: ConnectPacket): MaybePromise<void> {
  const { echo, verbose } = conversation.packet
  conversation.packet = packet
  peer.deliveries.headers = packet.headers
  const hasOtherWishes = echo !== packet.echo || verbose !== packet.verbose
  return andThen(hasOtherWishes ? subscribeAgain(conversation, peer, 2) : undefined, () => {
    if (packet.verbose) conversation.replies.ok()
  })
}

function vouch({ parts, connection }: Conversation, packet: ConnectPacket): MaybePromise<InternalVerdict> {
  const { listener, options, info, context } = parts
  if (listener.enableAuthn === false) return { kind: 'unasked' }
  const { kind, peer } = connection.transport
  const origin = { host: peer.host, isWebSocket: kind === 'ws' || kind === 'wss' }
  const evidence = { packet, nonce: info.nonce, nowMs: context.now(), origin }
  return options.internalAuthn.check(evidence, listener.isGuarded === true)
}

function logIn(
  conversation: Conversation,
  receiver: Receiver,
  packet: ConnectPacket,
  verdict: Passed,
  isAnonymous: boolean,
): MaybePromise<Peer | undefined> {
  const { parts, connection } = conversation
  const username = verdict.kind === 'vouched' ? verdict.username : undefined
  const { transport, signal } = connection
  // What an anonymous client subscribed to, the same peer goes on with under its name.
  conversation.peer?.client.close('normal')
  conversation.peer = undefined
  const login = loginOf(packet, username, { ...parts, transport, signal })
  return andThen(parts.context.connect(login, SESSION, receiver), (outcome) => {
    if (outcome.kind === 'refused') {
      loginFailed(conversation, reasonName(outcome.reason))
      return undefined
    }
    return loggedIn(conversation, outcome, packet, verdict, isAnonymous)
  })
}

function loggedIn(
  conversation: Conversation,
  { client }: Connected,
  packet: ConnectPacket,
  verdict: Passed,
  isAnonymous: boolean,
): MaybePromise<Peer | undefined> {
  const { connection, subscriptions, parts, timeLimits } = conversation
  if (!connection.login(client)) return undefined
  const { writer, counters, context, decoder } = parts
  const sink = connection.transport.outbox
  const deliveryParts = { client, subscriptions, sink, writer, counters, log: context.log }
  const vouched = verdict.kind === 'vouched' ? verdict : undefined
  const deliveries = new Deliveries(deliveryParts, packet.headers)
  const peer = { client, deliveries, permissions: vouched?.permissions, isAnonymous }
  conversation.peer = peer
  conversation.packet = packet
  decoder.awaitsLogin = false
  timeLimits.loggedIn(vouched?.expiresAtMs)
  client.start()
  return andThen(subscribeAgain(conversation, peer, 1), () => peer)
}

function loginFailed({ connection, parts, replies }: Conversation, reason: string): void {
  const { peer, listenerId } = connection.transport
  parts.context.log.info({ peer, listener: listenerId, reason }, 'login refused')
  replies.error(UNAUTHORIZED)
  connection.end('not_authorized')
}
