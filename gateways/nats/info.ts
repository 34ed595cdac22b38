/** INFO and CONNECT: what both sides tell about themselves, as JSON. */
import { BrokerError } from '../../model/errors.ts'
import { PARSER_ERROR } from './frame.ts'

/** What the gateway tells a peer. Names are those of the protocol. */
export interface ServerInfo {
  readonly server_id: string
  readonly server_name: string
  readonly version: string
  readonly proto: 1
  readonly host: string
  readonly port: number
  readonly headers: true
  readonly jetstream: false
  readonly max_payload: number
  readonly client_id: number
  readonly client_ip: string
  readonly auth_required: boolean
  readonly tls_required: boolean
  readonly tls_available?: true
  readonly tls_verify?: true
  readonly tls_handshake_first?: true
  /** To be signed by who logs in with a key. */
  readonly nonce?: string
  readonly connect_urls?: readonly string[]
  /** The server is about to stop. */
  readonly ldm?: true
}

/** Clients switch features on by it: this much of the client protocol is spoken. */
export const PROTOCOL_LEVEL = '2.10.0'

export function infoLine(info: ServerInfo): string {
  return `INFO ${JSON.stringify(info)}\r\n`
}

/** What a client has said in CONNECT, or what holds until it does. */
export class ConnectPacket {
  readonly verbose: boolean
  readonly pedantic: boolean
  /** It wants to get what it published itself. */
  readonly echo: boolean
  readonly headers: boolean
  readonly noResponders: boolean
  /** The level of the client protocol that it names is 0 or 1. */
  readonly isKnownProtocol: boolean
  readonly #fields: ReadonlyMap<string, unknown>

  constructor(fields: ReadonlyMap<string, unknown> = new Map()) {
    this.#fields = fields
    this.verbose = fields.get('verbose') !== false
    this.pedantic = fields.get('pedantic') === true
    this.echo = fields.get('echo') !== false
    this.headers = fields.get('headers') === true
    this.noResponders = fields.get('no_responders') === true
    this.isKnownProtocol = [undefined, null, 0, 1].includes(
      fields.get('protocol') as number | null | undefined,
    )
  }

  /** A field that is a text and not empty. */
  text(name: string): string | undefined {
    const value = this.#fields.get(name)
    return typeof value === 'string' && value !== '' ? value : undefined
  }

  /** A field as `${Packet.<name>}` writes it; empty if it is not there. */
  written(name: string): string {
    const value = this.#fields.get(name)
    return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
      ? String(value)
      : ''
  }
}

/** @throws BrokerError FRAME_MALFORMED when it is not a JSON object */
export function parseConnect(text: string): ConnectPacket {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    throw new BrokerError('FRAME_MALFORMED', PARSER_ERROR, { cause: error })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new BrokerError('FRAME_MALFORMED', PARSER_ERROR)
  }
  const fields = new Map<string, unknown>(Object.entries(value))
  for (const [name, type] of TYPES) {
    const field = fields.get(name) ?? undefined
    if (field !== undefined && typeof field !== type) throw new BrokerError('FRAME_MALFORMED', PARSER_ERROR)
  }
  return new ConnectPacket(fields)
}

/** What the protocol says of its fields. One of another type is not to be taken for its absence. */
const TYPES: ReadonlyMap<string, string> = new Map([
  ...['verbose', 'pedantic', 'echo', 'headers', 'no_responders', 'tls_required'].map(
    (name) => [name, 'boolean'] as const,
  ),
  ...['user', 'pass', 'auth_token', 'nkey', 'sig', 'jwt', 'name', 'lang', 'version'].map(
    (name) => [name, 'string'] as const,
  ),
  ['protocol', 'number'],
])
