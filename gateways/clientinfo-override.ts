/**
 * `clientinfo_override`: where a gateway takes client id, user name and password
 * from, as templates over what is known when a peer logs in, before authentication.
 *
 *     ${ConnInfo.<field>}  ${ClientInfo.<field>}  ${Packet.headers.<name>}
 *
 * A placeholder without a value leaves the whole field unset. (EMQX puts the text
 * `undefined` there, so that every client without a login is the user "undefined".)
 */
import { Type } from 'typebox'
import type { Transport } from '../listeners/transport.ts'
import { Strict } from '../model/schema.ts'

export interface ClientinfoOverride {
  clientid?: string
  username?: string
  password?: string
}

/** Answers `ConnInfo.peername`, `Packet.headers.login`, ... ; undefined = no such thing. */
export type OverrideScope = (path: string) => string | undefined

/** What the templates gave. A field that is empty or could not be filled is undefined. */
export interface Overridden {
  readonly clientId: string | undefined
  readonly username: string | undefined
  readonly password: string | undefined
}

/** The option as a schema, with a gateway's own defaults. An empty text means: unset. */
export const clientinfoOverrideSchema = (defaults: ClientinfoOverride = {}) =>
  Strict(
    {
      clientid: Type.String({ default: defaults.clientid ?? '', description: 'Template of the client id' }),
      username: Type.String({ default: defaults.username ?? '', description: 'Template of the user name' }),
      password: Type.String({ default: defaults.password ?? '', description: 'Template of the password' }),
    },
    { description: 'Templates over ${ConnInfo.x}, ${ClientInfo.x} and, for STOMP, ${Packet.headers.x}' },
  )

export function overrideClientinfo(override: ClientinfoOverride, scope: OverrideScope): Overridden {
  return {
    clientId: fillTemplate(override.clientid, scope),
    username: fillTemplate(override.username, scope),
    password: fillTemplate(override.password, scope),
  }
}

/** @returns undefined if `template` is empty, or comes out empty, or has a placeholder without a value */
export function fillTemplate(template: string | undefined, scope: OverrideScope): string | undefined {
  if (template === undefined || template === '') return undefined
  let isComplete = true
  const text = template.replace(PLACEHOLDER, (_verbatim, path: string) => {
    const value = scope(path.trim())
    if (value === undefined) isComplete = false
    return value ?? ''
  })
  return isComplete && text !== '' ? text : undefined
}

/** The scope of a peer on `transport`; `fields` are the protocol's own, by whole path (`ConnInfo.proto_ver`). */
export function scopeOf(
  transport: Peer,
  fields: ReadonlyMap<string, string>,
  header: (name: string) => string | undefined = () => undefined,
): OverrideScope {
  return (path) => {
    if (path.startsWith(HEADERS)) return header(path.slice(HEADERS.length))
    return fields.get(path) ?? transportField(transport, path)
  }
}

const PLACEHOLDER = /\$\{([^{}]+)\}/g
const HEADERS = 'Packet.headers.'

/** What streams and datagrams have in common. */
type Peer = Pick<Transport, 'kind' | 'listenerId' | 'peer' | 'local' | 'certificate'>

function transportField(transport: Peer, path: string): string | undefined {
  const { peer, local, certificate } = transport
  switch (path) {
    case 'ConnInfo.peername':
    case 'ClientInfo.peername':
      return `${peer.host}:${peer.port}`
    case 'ClientInfo.peerhost':
      return peer.host
    case 'ConnInfo.sockname':
      return `${local.host}:${local.port}`
    case 'ConnInfo.socktype':
      return transport.kind
    case 'ClientInfo.sockport':
      return String(local.port)
    case 'ClientInfo.listener':
      return transport.listenerId
    case 'ClientInfo.dn':
      return certificate?.subject
    case 'ClientInfo.cn':
      return certificate?.commonName
    default:
      return undefined
  }
}
