/** What a CONNECT says about who is there. */
import { randomBytes } from 'node:crypto'
import type { Transport } from '../../listeners/transport.ts'
import type { Login } from '../../model/access.ts'
import { arrivingClient } from '../../model/client-info.ts'
import { overrideClientinfo, scopeOf } from '../clientinfo-override.ts'
import type { GatewayContext, ListenerSettings } from '../gateway.ts'
import type { NatsOptions } from './config.ts'
import type { ConnectPacket } from './info.ts'

export interface LoginSource {
  readonly transport: Transport
  readonly listener: ListenerSettings
  readonly options: NatsOptions
  readonly context: GatewayContext
  readonly signal: AbortSignal
}

const PACKET = 'Packet.'

/** @param vouched - the user name that a method of NATS has vouched for: nobody else is asked then */
export function loginOf(packet: ConnectPacket, vouched: string | undefined, source: LoginSource): Login {
  const { transport, listener, options, context, signal } = source
  const keepAliveSeconds = Math.ceil(options.heartbeat.intervalMs / 1000)
  const fields = new Map([
    ['ConnInfo.proto_name', 'NATS'],
    ['ConnInfo.proto_ver', '1'],
    ['ConnInfo.keepalive', String(keepAliveSeconds)],
    ['ConnInfo.clean_start', 'true'],
    ['ClientInfo.protocol', 'nats'],
    ['ClientInfo.zone', 'default'],
  ])
  const known = scopeOf(transport, fields)
  const given = overrideClientinfo(options.clientinfoOverride, (path) =>
    path.startsWith(PACKET) ? packet.written(path.slice(PACKET.length)) : known(path),
  )
  const clientId = given.clientId ?? randomBytes(8).toString('hex')
  const client = arrivingClient(transport, {
    key: context.keyOf(clientId),
    clientId,
    username: vouched ?? given.username,
    protocol: 'nats',
    protocolName: 'NATS',
    protocolVersion: '1',
    gateway: 'nats',
    keepAliveSeconds,
    cleanStart: true,
    connectedAtMs: context.now(),
  })
  const isVouched = vouched !== undefined
  const password = isVouched || given.password === undefined ? undefined : Buffer.from(given.password)
  const mountpoint = listener.mountpoint ?? options.mountpoint
  return { client, password, mountpoint, enableAuthn: isVouched ? false : listener.enableAuthn, signal }
}
