/** What a CONNECT says about who is there. */
import { randomBytes } from 'node:crypto'
import type { DatagramTransport } from '../../listeners/datagram.ts'
import type { Login } from '../../model/access.ts'
import { arrivingClient } from '../../model/client-info.ts'
import { overrideClientinfo, scopeOf } from '../clientinfo-override.ts'
import type { Place, Shared } from './state.ts'

export interface Introduction {
  readonly clientId: string
  readonly seconds: number
  readonly clean: boolean
  readonly signal?: AbortSignal
  /** Instead of the one its client id has. */
  readonly key?: string
}

export function loginOf(said: Introduction, { transport, listener }: Place, shared: Shared): Login {
  const { options, context } = shared
  const given = overrideClientinfo(options.clientinfoOverride, scopeOf(transport, fieldsOf(said, transport)))
  const clientId = said.key === undefined ? (given.clientId ?? randomBytes(8).toString('hex')) : said.clientId
  const client = arrivingClient(transport, {
    key: said.key ?? context.keyOf(clientId),
    clientId,
    username: given.username,
    protocol: 'mqtt-sn',
    protocolName: 'MQTT-SN',
    protocolVersion: '1.2',
    gateway: 'mqttsn',
    keepAliveSeconds: said.seconds,
    cleanStart: said.clean,
    connectedAtMs: context.now(),
  })
  return {
    client,
    password: given.password === undefined ? undefined : Buffer.from(given.password),
    mountpoint: listener.mountpoint ?? options.mountpoint,
    enableAuthn: listener.enableAuthn,
    ...(said.signal === undefined ? {} : { signal: said.signal }),
  }
}

function fieldsOf(said: Introduction, { pskIdentity }: DatagramTransport): Map<string, string> {
  const fields = new Map([
    ['ConnInfo.clientid', said.clientId],
    ['ConnInfo.proto_name', 'MQTT-SN'],
    ['ConnInfo.proto_ver', '1.2'],
    ['ConnInfo.keepalive', String(said.seconds)],
    ['ConnInfo.clean_start', String(said.clean)],
    ['ClientInfo.clientid', said.clientId],
    ['ClientInfo.protocol', 'mqtt-sn'],
    ['ClientInfo.zone', 'default'],
  ])
  if (pskIdentity !== undefined) fields.set('ConnInfo.psk_identity', pskIdentity)
  return fields
}
