/** File spelling on the right, code spelling on the left: the only place where they meet. */
import { constants } from 'node:zlib'
import type { Bind, Rate } from '../model/schema.ts'
import type { ListenerConfig, ListenerType, SslConfig, TcpConfig, WebSocketConfig } from './config.ts'
import type { RateLimit, RateLimits } from './pace.ts'
import type { TlsOptions } from './tls-options.ts'
import type { TransportKind } from './transport.ts'
import type { DeflateOptions, WebSocketOptions } from './ws-step.ts'
import type { WebSocketFrames } from './ws-transport.ts'

export interface TcpOptions {
  backlog: number
  sendTimeoutMs: number
  highWatermarkBytes: number
  nodelay: boolean
  nolinger: boolean
  /** Idle time before the first probe; undefined = no keepalive. */
  keepaliveMs: number | undefined
}

/** One stream listener: tcp, tls, ws or wss. */
export interface ListenerOptions {
  /** `tcp:default`, `stomp:ws:default` */
  id: string
  kind: Exclude<TransportKind, 'udp' | 'dtls'>
  bind: Bind
  maxConnections: number
  maxConnRate: Rate
  maxConnBurst: Rate | undefined
  /** Of each client. */
  rates: RateLimits
  accessRules: readonly string[]
  /** undefined = no PROXY header is expected. */
  proxyProtocol: { timeoutMs: number } | undefined
  tcp: TcpOptions
  /** Of tls and wss. */
  tls: TlsOptions | undefined
  /** Of ws and wss. */
  webSocket: WebSocketOptions | undefined
  /** Of ws and wss: whether text frames are taken and sent. */
  frames: WebSocketFrames
}

const KINDS = { tcp: 'tcp', ssl: 'tls', ws: 'ws', wss: 'wss' } as const satisfies Record<
  ListenerType,
  TransportKind
>
const STRATEGIES = {
  default: constants.Z_DEFAULT_STRATEGY,
  filtered: constants.Z_FILTERED,
  huffman_only: constants.Z_HUFFMAN_ONLY,
  rle: constants.Z_RLE,
} as const
/** Node fires a longer timer at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** @param id - `tcp:default`, or with the gateway's name before it */
export function readListener(
  id: string,
  type: ListenerType,
  config: ListenerConfig,
  frames: WebSocketFrames = 'binary',
): ListenerOptions {
  return {
    id,
    kind: KINDS[type],
    bind: config.bind,
    maxConnections: config.max_connections,
    maxConnRate: config.max_conn_rate,
    maxConnBurst: config.max_conn_burst,
    rates: readRates(config),
    accessRules: config.access_rules,
    proxyProtocol: config.proxy_protocol ? { timeoutMs: timer(config.proxy_protocol_timeout) } : undefined,
    tcp: readTcp(config.tcp_options),
    tls: config.ssl_options === undefined ? undefined : readTls(config.ssl_options),
    webSocket: config.websocket === undefined ? undefined : readWebSocket(config.websocket),
    frames,
  }
}

function readRates(config: ListenerConfig): RateLimits {
  return {
    messages: limitOf(config.messages_rate, config.messages_burst),
    bytes: limitOf(config.bytes_rate, config.bytes_burst),
    subscribes: limitOf(config.subscribes_rate, config.subscribes_burst),
  }
}

/** An endless burst is no limit either. */
function limitOf(rate: Rate, burst: Rate | undefined): RateLimit | undefined {
  const isLimit = Number.isFinite(rate.count) && (burst === undefined || Number.isFinite(burst.count))
  return isLimit ? { rate, burst } : undefined
}

function readTcp(config: TcpConfig): TcpOptions {
  const idleSeconds = Number(config.keepalive.split(',')[0])
  return {
    backlog: config.backlog,
    sendTimeoutMs: config.send_timeout_close ? timer(config.send_timeout) : Number.POSITIVE_INFINITY,
    highWatermarkBytes: config.high_watermark,
    nodelay: config.nodelay,
    nolinger: config.nolinger,
    keepaliveMs: idleSeconds > 0 ? idleSeconds * 1000 : undefined,
  }
}

/** Also for other servers with `ssl_options`, such as the API's. */
export function readTls(config: SslConfig): TlsOptions {
  return {
    cacertfile: config.cacertfile,
    certfile: config.certfile,
    keyfile: config.keyfile,
    dhfile: config.dhfile,
    password: config.password,
    verifyPeer: config.verify === 'verify_peer',
    failIfNoPeerCert: config.fail_if_no_peer_cert,
    depth: config.depth,
    versions: config.versions,
    ciphers: list(config.ciphers),
    honorCipherOrder: config.honor_cipher_order,
    handshakeTimeoutMs: timer(config.handshake_timeout),
    reuseSessions: config.reuse_sessions,
    sessionTickets: config.session_tickets,
    partialChain: config.partial_chain,
    clientRenegotiation: config.client_renegotiation,
  }
}

function readWebSocket(config: WebSocketConfig): WebSocketOptions {
  return {
    path: config.mqtt_path ?? config.path ?? '',
    subprotocols: list(config.supported_subprotocols),
    failIfNoSubprotocol: config.fail_if_no_subprotocol,
    idleTimeoutMs: timer(config.idle_timeout),
    maxFrameBytes: config.max_frame_size,
    deflate: config.compress ? readDeflate(config.deflate_opts) : undefined,
    origins: config.check_origin_enable ? list(config.check_origins) : undefined,
    allowOriginAbsence: config.allow_origin_absence,
    proxyHeaders: config.trust_proxy_headers
      ? { address: config.proxy_address_header.toLowerCase(), port: config.proxy_port_header.toLowerCase() }
      : undefined,
  }
}

function readDeflate(config: WebSocketConfig['deflate_opts']): DeflateOptions {
  return {
    level: config.level,
    memLevel: config.mem_level,
    strategy: STRATEGIES[config.strategy],
    serverContextTakeover: config.server_context_takeover === 'takeover',
    clientContextTakeover: config.client_context_takeover === 'takeover',
    serverMaxWindowBits: config.server_max_window_bits,
  }
}

export function list(value: string | readonly string[]): string[] {
  const texts = typeof value === 'string' ? [value] : value
  return texts
    .flatMap((text) => text.split(','))
    .map((text) => text.trim())
    .filter(Boolean)
}

export function timer(ms: number): number {
  return ms === Number.POSITIVE_INFINITY ? ms : Math.min(ms, MAX_TIMER_MS)
}
