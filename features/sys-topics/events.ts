/**
 * What is told of clients, one message per event:
 *
 *     $SYS/brokers/NODE/clients/CLIENTID/EVENT
 *     $SYS/brokers/NODE/gateway/GATEWAY/clients/CLIENTID/EVENT
 *
 * with EVENT `connected`, `disconnected`, `subscribed` or `unsubscribed`, and a JSON object with EMQX's fields.
 */
import type { ClientInfo } from '../../model/client-info.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import type { Subscription } from '../../model/subscription.ts'

export type ClientEvent = 'connected' | 'disconnected' | 'subscribed' | 'unsubscribed'

/** MQTT's number for a session that does not expire. */
const NEVER = 0xffff_ffff

/**
 * A slash in a client id makes levels, as in EMQX. What no topic may hold is written as in a URL, `%` too, so that
 * no two clients have one topic.
 */
export function eventTopic(node: string, { clientId, gateway }: ClientInfo, event: ClientEvent): string {
  const clients = gateway === undefined ? 'clients' : `gateway/${gateway}/clients`
  const id = clientId.replace(/[%+#\0]/g, encodeURIComponent)
  return `$SYS/brokers/${node}/${clients}/${id}/${event}`
}

/** @param nowMs - Unix time in milliseconds, as all times in the objects */
export function connectedEvent(client: ClientInfo, nowMs: number): object {
  const { terms } = client
  return {
    ...whoAndWhence(client),
    ts: nowMs,
    conn_props: properties(terms?.properties),
    receive_maximum: terms?.receiveMaximum ?? 0,
    keepalive: client.keepAliveSeconds,
    clean_start: client.cleanStart,
    expiry_interval: seconds(terms?.expiryIntervalMs ?? 0),
    client_attrs: Object.fromEntries(client.attributes),
  }
}

export function disconnectedEvent(client: ClientInfo, reason: DisconnectReason, nowMs: number): object {
  return {
    ...whoAndWhence(client),
    disconnected_at: nowMs,
    ts: nowMs,
    reason,
    disconn_props: properties(client.terms?.disconnectProperties),
    client_attrs: Object.fromEntries(client.attributes),
  }
}

export function subscribedEvent(
  client: ClientInfo,
  { filter, qos, noLocal, retainAsPublished, retainHandling, identifier }: Subscription,
  isNew: boolean,
  nowMs: number,
): object {
  return {
    ...who(client),
    topic: filter,
    subopts: {
      qos,
      nl: noLocal ? 1 : 0,
      rap: retainAsPublished ? 1 : 0,
      rh: retainHandling,
      sub_props: identifier === 0 ? {} : { 'Subscription-Identifier': identifier },
      is_new: isNew,
    },
    ts: nowMs,
  }
}

export function unsubscribedEvent(client: ClientInfo, { filter }: Subscription, nowMs: number): object {
  return { ...who(client), topic: filter, ts: nowMs }
}

function who({ clientId, username, protocol }: ClientInfo): object {
  return { clientid: clientId, username: username ?? null, protocol }
}

function whoAndWhence(client: ClientInfo): object {
  const { clientId, username, peerHost, localPort, protocol, protocolName, connectedAtMs } = client
  return {
    clientid: clientId,
    username: username ?? null,
    ipaddress: peerHost,
    sockport: localPort,
    protocol,
    proto_name: protocolName,
    proto_ver: versionOf(client),
    connected_at: connectedAtMs,
  }
}

/** A number for MQTT. Of the others not every version is one: STOMP has 1.0 and 1.2. */
function versionOf({ gateway, protocolVersion }: ClientInfo): number | string {
  return gateway === undefined ? Number(protocolVersion) : protocolVersion
}

function seconds(ms: number): number {
  return ms === Number.POSITIVE_INFINITY ? NEVER : Math.min(NEVER, Math.floor(ms / 1000))
}

/** MQTT 5 properties by the names of the standard, `Session-Expiry-Interval`; what is secret is left out. */
function properties(of: Readonly<Record<string, unknown>> = {}): object {
  const { userProperties, authenticationData: _, ...others } = of
  const named = Object.entries(others).map(([name, value]) => [standardName(name), plain(value)])
  // Assigned by `fromEntries`, so even a property that is named __proto__ is only a name.
  if (Array.isArray(userProperties))
    named.push(['User-Property', Object.fromEntries(userProperties as [string, string][])])
  return Object.fromEntries(named)
}

function standardName(name: string): string {
  return name.replace(/^[a-z]/, (first) => first.toUpperCase()).replace(/(?<=[a-z])(?=[A-Z])/g, '-')
}

function plain(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value
}
