/**
 * The options of listeners, as an operator writes them. Names and defaults are EMQX's. What Node
 * cannot do is not here, so that setting it is an error instead of being ignored.
 */
import Type, { type Static, type TSchema } from 'typebox'
import { BindAddress, Count, Duration, RateOf, Secret, Size, Strict } from '../model/schema.ts'

/** Listener types as the config file names them. */
export type ListenerType = 'tcp' | 'ssl' | 'ws' | 'wss'

/** Where the listeners of MQTT and of the gateways differ. */
export interface ListenerDefaults {
  maxConnections: number | 'infinity'
  maxConnRate: string
  accessRules: readonly string[]
  /** undefined = the option is unset and something else decides. */
  mountpoint: string | undefined
  /** undefined = there are no zones for these listeners. */
  zone?: string
  /** Of ws and wss. */
  webSocket?: WebSocketDefaults
}

export interface WebSocketDefaults {
  /** MQTT calls its path `mqtt_path`. */
  pathOption: 'mqtt_path' | 'path'
  path: string
  subprotocols: readonly string[]
  failIfNoSubprotocol: boolean
}

export const mqttListenerDefaults: ListenerDefaults = {
  maxConnections: 'infinity',
  maxConnRate: 'infinity',
  accessRules: ['allow all'],
  mountpoint: '',
  zone: 'default',
  webSocket: {
    pathOption: 'mqtt_path',
    path: '/mqtt',
    // EMQX's, and the name that clients of MQTT 3.1 have offered before there was a standard for it.
    subprotocols: ['mqtt', 'mqtt-v3', 'mqtt-v3.1.1', 'mqtt-v5', 'mqttv3.1'],
    failIfNoSubprotocol: true,
  },
}

export const gatewayListenerDefaults: ListenerDefaults = {
  maxConnections: 1024,
  maxConnRate: '1000/s',
  accessRules: [],
  mountpoint: undefined,
}

/** Fields of a listener of one type; a room may add its own before it calls `Strict`. */
export function listenerFields(type: ListenerType, defaults: ListenerDefaults): Record<string, TSchema> {
  const fields: Record<string, TSchema> = { ...commonFields(defaults), ...streamFields() }
  if (defaults.zone !== undefined) fields.zone = zoneField(defaults.zone)
  if (type === 'ssl' || type === 'wss') fields.ssl_options = sslOptions()
  if ((type === 'ws' || type === 'wss') && defaults.webSocket !== undefined) {
    fields.websocket = webSocketOptions(defaults.webSocket)
  }
  return fields
}

/** A listener of one type, read by the loader into a `ListenerConfig`. */
export function listenerSchema(type: ListenerType, defaults: ListenerDefaults): TSchema {
  return Strict(listenerFields(type, defaults))
}

/** Parsed: durations in ms, sizes in bytes, rates and addresses as objects. */
export type ListenerConfig = Static<ReturnType<typeof commonSchema>> &
  Static<ReturnType<typeof streamSchema>> & {
    zone?: string
    ssl_options?: SslConfig
    websocket?: WebSocketConfig
  }
export type TcpConfig = Static<ReturnType<typeof tcpOptions>>
export type SslConfig = Static<ReturnType<typeof sslOptions>>
export type WebSocketConfig = Static<ReturnType<typeof webSocketSchema>> & {
  path?: string
  mqtt_path?: string
}

const Burst = (description: string) =>
  Type.Optional(RateOf(undefined, { hot: true, minimum: 1, description }))

/** Every listener, whatever it carries; udp and dtls listeners start with these too. */
export const commonFields = (defaults: ListenerDefaults) => ({
  enable: Type.Boolean({ default: true, description: 'Start this listener' }),
  bind: BindAddress(undefined, {
    description: 'Port, "ip:port" or "[ipv6]:port"; without an address: all of them',
  }),
  max_connections: Count(defaults.maxConnections, {
    minimum: 1,
    hot: true,
    description: 'Connections at a time, from accept on; further ones are closed at once',
  }),
  max_conn_rate: RateOf(defaults.maxConnRate, {
    hot: true,
    minimum: 1,
    description: 'New connections per time, e.g. "500/s"; further ones are closed at once',
  }),
  max_conn_burst: Burst(
    'Connections let through beyond max_conn_rate, and how fast these come back: "100/m"',
  ),
  mountpoint: Type.Optional(
    Type.String({
      ...(defaults.mountpoint === undefined ? {} : { default: defaults.mountpoint }),
      description: 'Put before every topic of its clients; may hold placeholders such as the client id',
    }),
  ),
  enable_authn: Type.Union([Type.Boolean(), Type.Literal('quick_deny_anonymous')], {
    default: true,
    description:
      'false: its clients are not authenticated. quick_deny_anonymous: refuse a login without user name and ' +
      'password before any backend is asked',
  }),
  access_rules: Type.Array(Type.String(), {
    default: [...defaults.accessRules],
    'x-hot': true,
    description:
      '"allow WHO" or "deny WHO", WHO = all, an IP or a CIDR range; the first that matches decides, none matches: ' +
      "allowed. Compared with the socket's own peer: with proxy_protocol that is the load balancer",
  }),
})

/** What listeners over TCP have more. */
export const streamFields = () => ({
  messages_rate: RateOf('infinity', {
    hot: true,
    minimum: 1,
    description:
      'Messages that each client may publish per time, e.g. "1000/s". A client that sends more is not read until ' +
      'its time has come: nothing is lost',
  }),
  messages_burst: Burst('Messages beyond messages_rate, and how fast these come back: "500/m"'),
  bytes_rate: RateOf('infinity', {
    hot: true,
    minimum: 1,
    description: 'Payload bytes that each client may publish per time, e.g. "500KB/10s"',
  }),
  bytes_burst: Burst('Bytes beyond bytes_rate, and how fast these come back: "10MB/m"'),
  subscribes_rate: RateOf('infinity', {
    hot: true,
    minimum: 1,
    description: 'SUBSCRIBE packets that each client may send per time, e.g. "10/s"',
  }),
  subscribes_burst: Burst('SUBSCRIBE packets beyond subscribes_rate, and how fast these come back: "100/m"'),
  proxy_protocol: Type.Boolean({
    default: false,
    description:
      'A load balancer in front sends a PROXY header, version 1 or 2. A connection without it is closed',
  }),
  proxy_protocol_timeout: Duration('3s', {
    hot: true,
    description: 'By when the PROXY header must be complete',
  }),
  tcp_options: tcpOptions(),
})

const zoneField = (value: string) =>
  Type.String({
    default: value,
    'x-hot': true,
    description: 'A name for its clients, by which access rules, hooks and mountpoints can tell them apart',
  })

const commonSchema = (defaults: ListenerDefaults) => Strict(commonFields(defaults))
const streamSchema = () => Strict(streamFields())

const tcpOptions = () =>
  Strict({
    backlog: Type.Integer({
      default: 1024,
      minimum: 1,
      description: 'Connections the kernel keeps waiting for accept; read when the listener starts',
    }),
    send_timeout: Duration('15s', {
      hot: true,
      description: 'A client that is above high_watermark and takes nothing for this time is closed',
    }),
    send_timeout_close: Type.Boolean({
      default: true,
      'x-hot': true,
      description: 'false: a client that does not read is never closed for it',
    }),
    high_watermark: Size('1MB', {
      hot: true,
      description: 'Unsent bytes from which a client counts as congested, until half of them are left',
    }),
    nodelay: Type.Boolean({
      default: true,
      'x-hot': true,
      description: 'TCP_NODELAY: small packets leave at once',
    }),
    nolinger: Type.Boolean({
      default: false,
      'x-hot': true,
      description:
        'tcp only: a client that is cut off gets RST instead of FIN, which leaves no TIME_WAIT behind',
    }),
    keepalive: Type.String({
      default: 'none',
      'x-hot': true,
      pattern: '^(none|\\s*\\d+\\s*(,\\s*\\d+\\s*,\\s*\\d+\\s*)?)$',
      description:
        'TCP keepalive: none, or "idle,interval,probes" in seconds as EMQX writes it. Node lets only idle be ' +
        'chosen: it then probes every second and gives up after ten probes',
    }),
  })

const TLS_VERSION = Type.Union([
  Type.Literal('tlsv1.3'),
  Type.Literal('tlsv1.2'),
  Type.Literal('tlsv1.1'),
  Type.Literal('tlsv1'),
])

/** A list, or one text with commas. */
const Texts = (value: readonly string[], description: string) =>
  Type.Union([Type.Array(Type.String()), Type.String()], { default: [...value], 'x-hot': true, description })

const Pem = (description: string) =>
  Type.Optional(Type.String({ 'x-hot': true, 'x-file': true, description }))

export const sslOptions = () =>
  Strict({
    cacertfile: Pem('CA certificates clients are checked against: path of a PEM file, or PEM text'),
    certfile: Pem("The server's certificate, followed by its intermediates: path of a PEM file, or PEM text"),
    keyfile: Pem('Its private key: path of a PEM file, or PEM text'),
    password: Type.Optional(Secret({ description: 'Of the private key' })),
    dhfile: Pem('Parameters for DHE ciphers: path of a PEM file, or PEM text'),
    verify: Type.Union([Type.Literal('verify_none'), Type.Literal('verify_peer')], {
      default: 'verify_none',
      'x-hot': true,
      description:
        'verify_peer: ask for a client certificate; a wrong one is refused. Sessions are then never resumed',
    }),
    fail_if_no_peer_cert: Type.Boolean({
      default: false,
      'x-hot': true,
      description: 'With verify_peer: refuse clients without a certificate too',
    }),
    depth: Type.Integer({
      default: 10,
      minimum: 0,
      'x-hot': true,
      description: "Most certificates between a client's own and the CA",
    }),
    partial_chain: Type.Boolean({
      default: false,
      'x-hot': true,
      description: 'An intermediate certificate in cacertfile is trusted without the root above it',
    }),
    versions: Type.Array(TLS_VERSION, {
      default: ['tlsv1.3', 'tlsv1.2'],
      minItems: 1,
      'x-hot': true,
      description: 'tlsv1.3, tlsv1.2, tlsv1.1, tlsv1',
    }),
    ciphers: Texts(
      [],
      'OpenSSL names in order of preference; empty: a safe choice. PSK suites are named here',
    ),
    honor_cipher_order: Type.Boolean({
      default: true,
      'x-hot': true,
      description: "Our order of ciphers counts, not the client's",
    }),
    client_renegotiation: Type.Boolean({
      default: true,
      'x-hot': true,
      description: 'TLS 1.2: a client may renegotiate, three times in ten minutes',
    }),
    handshake_timeout: Duration('15s', { hot: true, description: 'A slower handshake is cut off' }),
    reuse_sessions: Type.Boolean({
      default: false,
      'x-hot': true,
      description: 'TLS 1.2: resume sessions by their id; the last 10,000 of five minutes are remembered',
    }),
    session_tickets: Type.Union([Type.Literal('disabled'), Type.Literal('stateless')], {
      default: 'disabled',
      'x-hot': true,
      description: 'stateless: resume sessions by tickets that the client keeps',
    }),
  })

const webSocketSchema = (defaults: WebSocketDefaults) => Strict(webSocketFields(defaults))

export const webSocketOptions = (defaults: WebSocketDefaults): TSchema =>
  Strict({
    [defaults.pathOption]: Type.String({
      default: defaults.path,
      pattern: '^(/[^?#]*)?$',
      'x-hot': true,
      description: 'Path of the WebSocket; empty: any',
    }),
    ...webSocketFields(defaults),
  })

const webSocketFields = (defaults: WebSocketDefaults) => ({
  idle_timeout: Duration('7200s', {
    hot: true,
    description: 'A client from which nothing comes for this time is closed',
  }),
  max_frame_size: Size('16MB', {
    hot: true,
    description:
      'Largest message of a client. It is held in memory before the protocol sees it, so it is finite here ' +
      '(EMQX: infinity); raise it together with the largest packet',
  }),
  supported_subprotocols: Texts(
    defaults.subprotocols,
    'Subprotocols that are answered; of those a client offers, the first one in this list counts',
  ),
  fail_if_no_subprotocol: Type.Boolean({
    default: defaults.failIfNoSubprotocol,
    'x-hot': true,
    description: 'Refuse a client that offers none of them with HTTP 400',
  }),
  compress: Type.Boolean({
    default: false,
    'x-hot': true,
    description: 'permessage-deflate where the client wants it: costs CPU and about 300 KB a client',
  }),
  deflate_opts: deflateSchema(),
  check_origin_enable: Type.Boolean({
    default: false,
    'x-hot': true,
    description: 'Check the Origin header',
  }),
  allow_origin_absence: Type.Boolean({
    default: true,
    'x-hot': true,
    description: 'With check_origin_enable: let clients without the header in, as those are no browsers',
  }),
  check_origins: Texts(
    ['http://localhost:18083', 'http://127.0.0.1:18083'],
    'With check_origin_enable: the origins that are allowed',
  ),
  trust_proxy_headers: Type.Boolean({
    default: false,
    'x-hot': true,
    description:
      "Take the client's address from the two headers below. Only behind a proxy that overwrites them: anybody " +
      'else can write anything there',
  }),
  proxy_address_header: Type.String({
    default: 'x-forwarded-for',
    'x-hot': true,
    description: "With trust_proxy_headers: its left-most entry is the client's address",
  }),
  proxy_port_header: Type.String({
    default: 'x-forwarded-port',
    'x-hot': true,
    description: "With trust_proxy_headers: the client's port",
  }),
})

const Takeover = (whose: string) =>
  Type.Union([Type.Literal('takeover'), Type.Literal('no_takeover')], {
    default: 'takeover',
    description: `Keep the compression context of the ${whose} from message to message: smaller, more memory`,
  })

const deflateSchema = () =>
  Strict({
    level: Type.Integer({
      default: -1,
      minimum: -1,
      maximum: 9,
      description: 'zlib: -1 default, 1 fast, 9 small',
    }),
    mem_level: Type.Integer({ default: 8, minimum: 1, maximum: 9, description: 'zlib: memory for speed' }),
    strategy: Type.Union(
      [Type.Literal('default'), Type.Literal('filtered'), Type.Literal('huffman_only'), Type.Literal('rle')],
      { default: 'default', description: 'zlib: what the data look like' },
    ),
    server_context_takeover: Takeover('server'),
    client_context_takeover: Takeover('client'),
    server_max_window_bits: Type.Integer({
      default: 15,
      minimum: 9,
      maximum: 15,
      description: 'zlib: window of our side, 2 to the power of it in bytes',
    }),
  })
