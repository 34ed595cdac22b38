import type { Rule } from './access.ts'

/** The subject of a client's TLS or DTLS certificate. */
export interface PeerCertificate {
  /** Distinguished name, e.g. "CN=meter-7,O=Example". */
  subject: string
  commonName: string
  raw: Uint8Array
}

/**
 * Who a client is and how it came: what authentication, authorization, hooks and
 * the API see, the same for every protocol. Filled in up to the login's end, then read only.
 */
export interface ClientInfo {
  /** Key in the client table: the client id for MQTT, `<gateway>\u0000<client id>` for gateways. */
  readonly key: string
  readonly clientId: string
  username: string | undefined
  /** `mqtt`, `stomp`, `mqtt-sn`, `coap`, ... as access rules and hooks name it. */
  readonly protocol: string
  /** As the peer spoke it, e.g. `MQTT` / `5`, `STOMP` / `1.2`. */
  readonly protocolName: string
  readonly protocolVersion: string
  /** Listener id: `tcp:default`, `stomp:tcp:default`. */
  readonly listener: string
  /** Gateway name, undefined for MQTT. */
  readonly gateway: string | undefined
  readonly zone: string
  readonly peerHost: string
  readonly peerPort: number
  readonly localPort: number
  readonly certificate: PeerCertificate | undefined
  readonly isBridge: boolean
  readonly keepAliveSeconds: number
  readonly cleanStart: boolean
  /** Put before every topic and filter of this client, with placeholders filled in. */
  mountpoint: string
  isSuperuser: boolean
  /** Attributes given by authentication, `${client_attrs.NAME}` in templates. */
  attributes: ReadonlyMap<string, string>
  /** Rules that came with the authentication verdict, asked before every source. */
  acl: readonly Rule[] | undefined
  /** Unix time in milliseconds at which the login ends; undefined = never. */
  authExpiresAtMs: number | undefined
  readonly connectedAtMs: number
}

/** Where a client comes from. A transport is one. */
export interface Origin {
  readonly listenerId: string
  readonly peer: { readonly host: string; readonly port: number }
  readonly local: { readonly port: number }
  readonly certificate: PeerCertificate | undefined
}

/** What only its protocol knows about a client. */
export type Introduction = Pick<
  ClientInfo,
  | 'key'
  | 'clientId'
  | 'username'
  | 'protocol'
  | 'protocolName'
  | 'protocolVersion'
  | 'gateway'
  | 'keepAliveSeconds'
  | 'cleanStart'
  | 'connectedAtMs'
> &
  Partial<ClientInfo>

/** A client as it arrives: nobody has vouched for it, so it may do nothing special. */
export function arrivingClient(
  { listenerId, peer, local, certificate }: Origin,
  client: Introduction,
): ClientInfo {
  return {
    listener: listenerId,
    peerHost: peer.host,
    peerPort: peer.port,
    localPort: local.port,
    certificate,
    zone: 'default',
    isBridge: false,
    mountpoint: '',
    isSuperuser: false,
    attributes: new Map(),
    acl: undefined,
    authExpiresAtMs: undefined,
    ...client,
  }
}
