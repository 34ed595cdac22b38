import type { Action } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'

/** What stands for a placeholder; undefined: the client has no such value. */
export type Values = (name: string) => string | undefined

const OF_CLIENT = [
  'username',
  'clientid',
  'peerhost',
  'peerport',
  'peername',
  'cert_subject',
  'cert_common_name',
  'zone',
  'listener',
] as const

/** Placeholders of authenticators; `client_attrs.NAME` is one too. */
export const AUTHN_PLACEHOLDERS: readonly string[] = [...OF_CLIENT, 'password', 'cert_pem']

/** Of authorization sources that are databases. */
export const AUTHZ_PLACEHOLDERS: readonly string[] = OF_CLIENT

/** Of the authorization source that asks an HTTP service. */
export const AUTHZ_HTTP_PLACEHOLDERS: readonly string[] = [
  ...OF_CLIENT,
  'cert_pem',
  'topic',
  'action',
  'access',
  'qos',
  'retain',
  'proto_name',
  'mountpoint',
]

export interface MoreValues {
  /** Read as UTF-8. */
  readonly password?: Uint8Array | undefined
  readonly action?: Action
  readonly topic?: string
}

const ATTRIBUTE = 'client_attrs.'
/** What EMQX 4 called them. */
const ACCESS = { subscribe: '1', publish: '2' } as const

/** What a client, and what it wants, gives for placeholders. */
export function clientValues(client: ClientInfo, more: MoreValues = {}): Values {
  return (name) => ofClient(client, name) ?? ofRequest(more, name)
}

function ofClient(client: ClientInfo, name: string): string | undefined {
  switch (name) {
    case 'username':
      return client.username
    case 'clientid':
      return client.clientId
    case 'peerhost':
      return client.peerHost
    case 'peerport':
      return String(client.peerPort)
    case 'peername':
      return `${client.peerHost.includes(':') ? `[${client.peerHost}]` : client.peerHost}:${client.peerPort}`
    case 'cert_subject':
      return client.certificate?.subject
    case 'cert_common_name':
      return client.certificate?.commonName
    case 'cert_pem':
      return client.certificate && Buffer.from(client.certificate.raw).toString('base64')
    case 'zone':
      return client.zone
    case 'listener':
      return client.listener
    case 'proto_name':
      return client.protocolName
    case 'mountpoint':
      return client.mountpoint
    default:
      return name.startsWith(ATTRIBUTE) ? client.attributes.get(name.slice(ATTRIBUTE.length)) : undefined
  }
}

function ofRequest({ password, action, topic }: MoreValues, name: string): string | undefined {
  switch (name) {
    case 'password':
      return password && Buffer.from(password).toString('utf8')
    case 'topic':
      return topic
    case 'action':
      return action?.kind
    case 'access':
      return action && ACCESS[action.kind]
    case 'qos':
      return action && String(action.qos)
    case 'retain':
      return action?.kind === 'publish' ? String(action.retain) : undefined
    default:
      return undefined
  }
}
