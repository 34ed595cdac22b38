/** A message's publisher as JSON, without what most publishers have in common: it is kept with every message. */
import { arrivingClient, type ClientInfo } from '../../model/client-info.ts'

/** What a publisher is when its record does not say otherwise. */
const USUAL = {
  protocol: 'mqtt',
  protocolName: 'MQTT',
  protocolVersion: '5',
  gateway: undefined,
  listener: 'tcp:default',
  zone: 'default',
  peerHost: '',
  mountpoint: '',
  isBridge: false,
  isSuperuser: false,
  username: undefined,
} as const satisfies Partial<ClientInfo>

type PublisherRecord = { -readonly [F in keyof typeof USUAL]?: ClientInfo[F] } & {
  key: string
  clientId?: string
  attributes?: [name: string, value: string][]
}

/** What hooks, rules and No Local ask of it; not when and with which connection it came. */
export function encodePublisher(client: ClientInfo): string {
  const record = new Map<string, unknown>([['key', client.key]])
  if (client.clientId !== client.key) record.set('clientId', client.clientId)
  for (const field of Object.keys(USUAL) as (keyof typeof USUAL)[]) {
    if (client[field] !== USUAL[field]) record.set(field, client[field])
  }
  if (client.attributes.size > 0) record.set('attributes', [...client.attributes])
  return JSON.stringify(Object.fromEntries(record))
}

/** @throws SyntaxError */
export function decodePublisher(json: string): ClientInfo {
  const { clientId, attributes = [], ...record } = JSON.parse(json) as PublisherRecord
  if (typeof record.key !== 'string') throw new SyntaxError('publisher without a key')
  const { listener, peerHost, ...client } = { ...USUAL, ...record }
  const origin = {
    listenerId: listener,
    peer: { host: peerHost, port: 0 },
    local: { port: 0 },
    certificate: undefined,
  }
  return arrivingClient(origin, {
    ...client,
    clientId: clientId ?? record.key,
    attributes: new Map(attributes),
    keepAliveSeconds: 0,
    cleanStart: false,
    connectedAtMs: 0,
  })
}
