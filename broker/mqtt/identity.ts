/**
 * Who a CONNECT is from. Each step sees what the ones before have found:
 *
 *     user name    of the certificate, else of CONNECT
 *     client id    the user name where configured, else of the certificate, else of CONNECT, else made up
 *     attributes   `client_attrs_init`
 *     client id    `clientid_override`
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Transport } from '../../listeners/transport.ts'
import type { PeerCertificate } from '../../model/client-info.ts'
import { messageOf } from '../../model/errors.ts'
import type { Expression, Value } from '../../model/expression.ts'
import type { Logger } from '../../model/log.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import type { CertificateField, MqttOptions } from './options.ts'
import type { ConnectPacket } from './packets.ts'

export interface Identity {
  clientId: string
  username: string | undefined
  attributes: ReadonlyMap<string, string>
}

/** Where it comes from, as far as it says who it is. */
export interface Arrival {
  readonly transport: Pick<Transport, 'certificate' | 'listenerId' | 'peer' | 'local'>
  readonly zone: string
  readonly options: MqttOptions
  readonly log: Logger
}

/** @returns why the client is refused if it has no identity */
export function identify(packet: ConnectPacket, arrival: Arrival): Identity | ReasonCode {
  const { options, transport } = arrival
  const { certificate } = transport
  // It would be seen by every log, rule and database that tells clients apart by it.
  if (certificate !== undefined && hasControl(certificate)) return ReasonCode.NotAuthorized
  const username = fieldOf(certificate, options.peerCertAsUsername) ?? packet.username
  const clientId = clientIdOf(packet, certificate, username, options)
  if (typeof clientId !== 'string') return clientId
  const identity = { clientId, username, attributes: new Map<string, string>() }
  const variables = variablesOf(packet, arrival, identity)
  setAttributes(identity.attributes, arrival, variables)
  return options.clientIdOverride === undefined
    ? identity
    : override(identity, options.clientIdOverride, arrival, variables)
}

function clientIdOf(
  packet: ConnectPacket,
  certificate: PeerCertificate | undefined,
  username: string | undefined,
  options: MqttOptions,
): string | ReasonCode {
  if (options.useUsernameAsClientId && username !== undefined) return checkedId(username, options)
  const clientId = fieldOf(certificate, options.peerCertAsClientId) ?? packet.clientId
  if (clientId !== '') return checkedId(clientId, options)
  // [MQTT-3.1.3-8 (3.1.1)] no id, no session to be found again; 3.1 knows no empty id at all
  if (packet.version === 3 || (packet.version === 4 && !packet.cleanStart))
    return ReasonCode.ClientIdentifierNotValid
  // [MQTT-3.1.3-6], [MQTT-3.1.3-7] without an id the client gets one that nobody else has
  return `auto-${randomBytes(12).toString('hex')}`
}

/** [MQTT-3.1.3-8], [MQTT-3.1.3-5] but 23 bytes are always accepted. An id from elsewhere obeys the rules for text of clients. */
function checkedId(clientId: string, options: MqttOptions): string | ReasonCode {
  const isValid =
    clientId !== '' &&
    !clientId.includes('\0') &&
    !/\p{Cs}/u.test(clientId) &&
    Buffer.byteLength(clientId) <= options.maxClientIdBytes
  return isValid ? clientId : ReasonCode.ClientIdentifierNotValid
}

function fieldOf(
  certificate: PeerCertificate | undefined,
  field: CertificateField | undefined,
): string | undefined {
  if (certificate === undefined) return undefined
  switch (field) {
    case undefined:
      return undefined
    case 'cn':
      return certificate.commonName
    case 'dn':
      return certificate.subject
    case 'crt':
      return Buffer.from(certificate.raw).toString('latin1')
    case 'pem':
      return Buffer.from(certificate.raw).toString('base64')
    case 'md5':
      return createHash('md5').update(certificate.raw).digest('hex')
  }
}

function hasControl({ commonName, subject }: PeerCertificate): boolean {
  return /\p{Cc}/u.test(commonName) || /\p{Cc}/u.test(subject)
}

type Variables = (name: string) => Value | undefined

const USER_PROPERTY = 'user_property.'
const ATTRIBUTE = 'client_attrs.'

/** What expressions may ask for. `identity` is looked at when they do. */
function variablesOf(packet: ConnectPacket, { transport, zone }: Arrival, identity: Identity): Variables {
  const { certificate, listenerId, peer, local } = transport
  return (name) => {
    switch (name) {
      case 'clientid':
        return identity.clientId
      case 'username':
        return identity.username
      case 'password':
        return packet.password === undefined ? undefined : Buffer.from(packet.password).toString()
      case 'cn':
      case 'cert_common_name':
        return certificate?.commonName
      case 'dn':
      case 'cert_subject':
        return certificate?.subject
      case 'zone':
        return zone
      case 'listener':
        return listenerId
      case 'peerhost':
        return peer.host
      case 'peerport':
        return peer.port
      case 'sockport':
        return local.port
      default:
        if (name.startsWith(ATTRIBUTE)) return identity.attributes.get(name.slice(ATTRIBUTE.length))
        if (name.startsWith(USER_PROPERTY)) return userProperty(packet, name.slice(USER_PROPERTY.length))
        return undefined
    }
  }
}

function userProperty(packet: ConnectPacket, name: string): string | undefined {
  return packet.properties?.userProperties?.findLast(([key]) => key === name)?.[1]
}

/** An expression that fails or gives nothing sets nothing. */
function setAttributes(attributes: Map<string, string>, arrival: Arrival, variables: Variables): void {
  for (const { expression, name } of arrival.options.clientAttributes) {
    const value = render(expression, arrival, variables)
    if (value !== undefined && value !== '') attributes.set(name, value)
  }
}

/** Nothing or a failure is refused: under the id the client has sent itself, it would be somebody else. */
function override(
  identity: Identity,
  expression: Expression,
  arrival: Arrival,
  variables: Variables,
): Identity | ReasonCode {
  const clientId = checkedId(render(expression, arrival, variables) ?? '', arrival.options)
  return typeof clientId === 'string' ? { ...identity, clientId } : clientId
}

function render(
  expression: Expression,
  { transport, log }: Arrival,
  variables: Variables,
): string | undefined {
  try {
    return expression.render(variables)
  } catch (error) {
    const { source } = expression
    log.debug(
      { expression: source, listener: transport.listenerId, peer: transport.peer, error: messageOf(error) },
      'an expression failed for a client',
    )
    return undefined
  }
}
