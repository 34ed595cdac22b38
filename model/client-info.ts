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
 * the API see, the same for every protocol. Filled in up to the login's end, then read only; authenticating again (MQTT 5.0 §4.12.1)
 * replaces what came with the verdict.
 */
export interface ClientInfo {
  /** Key in the client table: the client id for MQTT, `<gateway>\u0000<client id>` for gateways. */
  key: string
  clientId: string
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
  zone: string
  readonly peerHost: string
  readonly peerPort: number
  readonly localPort: number
  readonly certificate: PeerCertificate | undefined
  readonly isBridge: boolean
  keepAliveSeconds: number
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
  /** Filled in by the hub when the client has been let in. */
  terms?: ClientTerms
}

/** What a connected client has asked for and said, beyond who it is. */
export interface ClientTerms {
  /** CONNECT properties by their MQTT 5 names in camel case; other protocols have theirs, or none. */
  readonly properties: Readonly<Record<string, unknown>>
  /** Most unacknowledged deliveries at a time. */
  readonly receiveMaximum: number
  /** How long its session outlives the connection; Infinity = for ever. */
  readonly expiryIntervalMs: number
  /** Properties of the DISCONNECT with which it has left. */
  disconnectProperties?: Readonly<Record<string, unknown>>
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
