/** File spelling on the right, code spelling on the left: the only place where they meet. */
import type { Bind, Rate } from '../model/schema.ts'
import type { DatagramListenerConfig, DtlsConfig, UdpConfig } from './datagram-config.ts'
import type { UdpOptions } from './datagram-socket.ts'
import { list, timer } from './options.ts'

export type DtlsVersion = 'dtlsv1' | 'dtlsv1.2'

/** `dtls_options` of a listener. Certificates and keys are PEM text, or the path of a PEM file. */
export interface DtlsOptions {
  cacertfile: string | undefined
  certfile: string | undefined
  keyfile: string | undefined
  dhfile: string | undefined
  /** Of the key. */
  password: string | undefined
  verifyPeer: boolean
  failIfNoPeerCert: boolean
  depth: number
  partialChain: boolean
  versions: readonly DtlsVersion[]
  /** OpenSSL names; empty = ours. */
  ciphers: readonly string[]
  honorCipherOrder: boolean
  handshakeTimeoutMs: number
  reuseSessions: boolean
  sessionTickets: 'disabled' | 'stateless'
  /** Largest datagram of a handshake. */
  mtuBytes: number
}

export interface HealthCheck {
  request: Buffer
  reply: Buffer
}

/** One udp or dtls listener. */
export interface DatagramListenerOptions {
  /** `coap:udp:default` */
  id: string
  kind: 'udp' | 'dtls'
  bind: Bind
  maxConnections: number
  maxConnRate: Rate
  maxConnBurst: Rate | undefined
  accessRules: readonly string[]
  healthCheck: HealthCheck | undefined
  udp: UdpOptions
  /** Of dtls. */
  dtls: DtlsOptions | undefined
}

/** setsockopt takes no more. */
const MAX_BUFFER_BYTES = 2 ** 31 - 1

/** @param id - with the gateway's name before it: `coap:udp:default` */
export function readDatagramListener(
  id: string,
  kind: 'udp' | 'dtls',
  config: DatagramListenerConfig,
): DatagramListenerOptions {
  const { health_check: health } = config
  return {
    id,
    kind,
    bind: config.bind,
    maxConnections: config.max_connections,
    maxConnRate: config.max_conn_rate,
    maxConnBurst: config.max_conn_burst,
    accessRules: config.access_rules,
    healthCheck:
      health === undefined
        ? undefined
        : { request: Buffer.from(health.request), reply: Buffer.from(health.reply) },
    udp: readUdp(config.udp_options),
    dtls: config.dtls_options === undefined ? undefined : readDtls(config.dtls_options),
  }
}

function readUdp(config: UdpConfig): UdpOptions {
  return {
    recbufBytes: bufferBytes(config.recbuf),
    sndbufBytes: bufferBytes(config.sndbuf),
    bufferBytes: config.buffer,
    reuseAddress: config.reuseaddr,
  }
}

function bufferBytes(size: number | undefined): number | undefined {
  return size === undefined ? undefined : Math.min(size, MAX_BUFFER_BYTES)
}

function readDtls(config: DtlsConfig): DtlsOptions {
  return {
    cacertfile: config.cacertfile,
    certfile: config.certfile,
    keyfile: config.keyfile,
    dhfile: config.dhfile,
    password: config.password,
    verifyPeer: config.verify === 'verify_peer',
    failIfNoPeerCert: config.fail_if_no_peer_cert,
    depth: config.depth,
    partialChain: config.partial_chain,
    versions: config.versions,
    ciphers: list(config.ciphers),
    honorCipherOrder: config.honor_cipher_order,
    handshakeTimeoutMs: timer(config.handshake_timeout),
    reuseSessions: config.reuse_sessions,
    sessionTickets: config.session_tickets,
    mtuBytes: config.mtu,
  }
}
