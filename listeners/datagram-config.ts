/** The options of udp and dtls listeners, as an operator writes them. Names and defaults are EMQX's. */
import Type, { type Static, type TSchema } from 'typebox'
import { Size, Strict } from '../model/schema.ts'
import { commonFields, type ListenerDefaults, sslOptions } from './config.ts'

/** A udp or dtls listener, read by the loader into a `DatagramListenerConfig`. */
export function datagramListenerSchema(type: 'udp' | 'dtls', defaults: ListenerDefaults): TSchema {
  const fields: Record<string, TSchema> = {
    ...commonFields(defaults),
    health_check: Type.Optional(healthCheck()),
    udp_options: udpOptions(),
  }
  if (type === 'dtls') fields.dtls_options = dtlsOptions()
  return Strict(fields)
}

/** Parsed: sizes in bytes, rates and addresses as objects. */
export type DatagramListenerConfig = Static<ReturnType<typeof commonSchema>> & {
  health_check?: { request: string; reply: string }
  udp_options: UdpConfig
  dtls_options?: DtlsConfig
}
export type UdpConfig = Static<ReturnType<typeof udpOptions>>
export type DtlsConfig = Static<ReturnType<typeof dtlsOptions>>

const commonSchema = (defaults: ListenerDefaults) => Strict(commonFields(defaults))

const healthCheck = () =>
  Type.Object(
    {
      request: Type.String({ minLength: 1, description: 'A datagram that is this and nothing else …' }),
      reply: Type.String({ minLength: 1, description: '… is answered with this' }),
    },
    {
      additionalProperties: false,
      description: 'Probes of a load balancer, in the clear also with DTLS; the protocol never sees them',
      'x-hot': true,
    },
  )

const udpOptions = () =>
  Strict(
    {
      recbuf: Type.Optional(
        Size(undefined, {
          description:
            "Receive buffer of the kernel, up to its own bound (Linux: net.core.rmem_max); unset: the kernel's choice",
          hot: true,
        }),
      ),
      sndbuf: Type.Optional(
        Size(undefined, {
          description:
            "Send buffer of the kernel, up to its own bound (Linux: net.core.wmem_max); unset: the kernel's choice",
          hot: true,
        }),
      ),
      buffer: Type.Optional(
        Size(undefined, { description: 'Longer datagrams are dropped; unset: none is', hot: true }),
      ),
      reuseaddr: Type.Boolean({
        default: true,
        description:
          'SO_REUSEADDR; read when the listener starts. Two listeners may then have the same port, and only one ' +
          'gets the datagrams: false makes that an error',
      }),
    },
    {
      description:
        "The socket. EMQX's active_n, how many datagrams are read at a time, is nothing that can be chosen in Node",
    },
  )

/** Of TLS, but for what DTLS has not: renegotiation, and TLS's versions. */
const {
  versions: _tlsVersions,
  client_renegotiation: _renegotiation,
  ciphers: _tlsCiphers,
  reuse_sessions: _tlsReuse,
  ...sharedWithTls
} = sslOptions().properties

const dtlsOptions = () =>
  Strict({
    ...sharedWithTls,
    versions: Type.Array(Type.Union([Type.Literal('dtlsv1.2'), Type.Literal('dtlsv1')]), {
      default: ['dtlsv1.2'],
      minItems: 1,
      'x-hot': true,
      description: 'dtlsv1.2, dtlsv1. There is no renegotiation in either',
    }),
    ciphers: Type.Union([Type.Array(Type.String()), Type.String()], {
      default: [],
      'x-hot': true,
      description:
        'OpenSSL names in order of preference; empty: AES with forward secrecy, and the suites of small devices ' +
        '(RFC 7925), those for pre-shared keys too where there are any',
    }),
    reuse_sessions: Type.Boolean({
      default: true,
      'x-hot': true,
      description: 'Resume sessions by their id; the last 10,000 of five minutes are remembered',
    }),
    mtu: Type.Integer({
      default: 1200,
      minimum: 256,
      maximum: 16_384,
      'x-hot': true,
      description:
        'Largest datagram of a handshake, in bytes without headers: certificates are cut into such pieces',
    }),
  })
