/** What a CONNECT frame says about who is there. */
import { randomBytes } from 'node:crypto'
import type { Transport } from '../../listeners/transport.ts'
import type { Login } from '../../model/access.ts'
import { arrivingClient } from '../../model/client-info.ts'
import { overrideClientinfo, scopeOf } from '../clientinfo-override.ts'
import type { GatewayContext, ListenerSettings } from '../gateway.ts'
import type { StompOptions } from './config.ts'
import { type StompHeaders, type StompVersion, VERSIONS } from './headers.ts'
import type { HeartbeatAgreement } from './heartbeat.ts'

/** The newest version both know; undefined if there is none. No header means 1.0 (1.1 §Protocol Negotiation). */
export function negotiateVersion(acceptVersion: string | undefined): StompVersion | undefined {
  if (acceptVersion === undefined) return '1.0'
  const offered = acceptVersion.split(',').map((version) => version.trim())
  return VERSIONS.findLast((version) => offered.includes(version))
}

export interface LoginSource {
  readonly transport: Transport
  readonly listener: ListenerSettings
  readonly options: StompOptions
  readonly context: GatewayContext
  readonly signal: AbortSignal
}

export function loginOf(
  headers: StompHeaders,
  version: StompVersion,
  heartbeat: HeartbeatAgreement,
  source: LoginSource,
): Login {
  const { transport, listener, options, context, signal } = source
  const keepAliveSeconds = Math.floor(heartbeat.expectEveryMs / 1000)
  const fields = new Map([
    ['ConnInfo.proto_name', 'STOMP'],
    ['ConnInfo.proto_ver', version],
    ['ConnInfo.keepalive', String(keepAliveSeconds)],
    ['ConnInfo.clean_start', 'true'],
    ['ClientInfo.protocol', 'stomp'],
    ['ClientInfo.zone', 'default'],
  ])
  const scope = scopeOf(transport, fields, (name) => headers.get(name))
  const given = overrideClientinfo(options.clientinfoOverride, scope)
  const clientId = given.clientId ?? randomClientId()
  const client = arrivingClient(transport, {
    key: context.keyOf(clientId),
    clientId,
    username: given.username,
    protocol: 'stomp',
    protocolName: 'STOMP',
    protocolVersion: version,
    gateway: 'stomp',
    keepAliveSeconds,
    cleanStart: true,
    connectedAtMs: context.now(),
  })
  const password = given.password === undefined ? undefined : Buffer.from(given.password)
  const mountpoint = listener.mountpoint ?? options.mountpoint
  return { client, password, mountpoint, enableAuthn: listener.enableAuthn, signal }
}

function randomClientId(): string {
  return randomBytes(8).toString('hex')
}
