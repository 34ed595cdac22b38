import { expect, test } from 'vitest'
import {
  gatewayListenerDefaults,
  type ListenerConfig,
  listenerSchema,
  mqttListenerDefaults,
} from '../../listeners/config.ts'
import { readListener } from '../../listeners/options.ts'
import { fill } from './support.ts'

/** What the loader makes of the units; the schema's own defaults are text. */
const PARSED = {
  bind: { host: undefined, port: 1883 },
  max_connections: Number.POSITIVE_INFINITY,
  max_conn_rate: { count: 500, perMs: 1000 },
  max_conn_burst: { count: 100, perMs: 60_000 },
  messages_rate: { count: 1000, perMs: 1000 },
  messages_burst: { count: 500, perMs: 60_000 },
  bytes_rate: { count: Number.POSITIVE_INFINITY, perMs: 1000 },
  bytes_burst: { count: 1, perMs: 1000 },
  subscribes_rate: { count: 10, perMs: 1000 },
  proxy_protocol_timeout: 3000,
}
const parsed = (config: Record<string, unknown>): ListenerConfig => {
  const copy = structuredClone(config) as unknown as ListenerConfig
  Object.assign(copy, PARSED)
  Object.assign(copy.tcp_options, { send_timeout: 15_000, high_watermark: 1_048_576 })
  if (copy.ssl_options !== undefined) copy.ssl_options.handshake_timeout = 15_000
  if (copy.websocket !== undefined)
    Object.assign(copy.websocket, { idle_timeout: 7_200_000, max_frame_size: 1024 })
  return copy
}

test('the defaults of an MQTT listener are those of the sheet', () => {
  expect(fill(listenerSchema('wss', mqttListenerDefaults), { bind: 8084 })).toEqual({
    enable: true,
    bind: 8084,
    max_connections: 'infinity',
    max_conn_rate: 'infinity',
    messages_rate: 'infinity',
    bytes_rate: 'infinity',
    subscribes_rate: 'infinity',
    mountpoint: '',
    zone: 'default',
    enable_authn: true,
    access_rules: ['allow all'],
    proxy_protocol: false,
    proxy_protocol_timeout: '3s',
    tcp_options: {
      backlog: 1024,
      send_timeout: '15s',
      send_timeout_close: true,
      high_watermark: '1MB',
      nodelay: true,
      nolinger: false,
      keepalive: 'none',
    },
    ssl_options: {
      verify: 'verify_none',
      fail_if_no_peer_cert: false,
      depth: 10,
      partial_chain: false,
      versions: ['tlsv1.3', 'tlsv1.2'],
      ciphers: [],
      honor_cipher_order: true,
      client_renegotiation: true,
      handshake_timeout: '15s',
      reuse_sessions: false,
      session_tickets: 'disabled',
    },
    websocket: {
      mqtt_path: '/mqtt',
      idle_timeout: '7200s',
      max_frame_size: '16MB',
      supported_subprotocols: ['mqtt', 'mqtt-v3', 'mqtt-v3.1.1', 'mqtt-v5', 'mqttv3.1'],
      fail_if_no_subprotocol: true,
      compress: false,
      deflate_opts: {
        level: -1,
        mem_level: 8,
        strategy: 'default',
        server_context_takeover: 'takeover',
        client_context_takeover: 'takeover',
        server_max_window_bits: 15,
      },
      check_origin_enable: false,
      allow_origin_absence: true,
      check_origins: ['http://localhost:18083', 'http://127.0.0.1:18083'],
      trust_proxy_headers: false,
      proxy_address_header: 'x-forwarded-for',
      proxy_port_header: 'x-forwarded-port',
    },
  })
})

test('a listener of a gateway has its own limits and leaves the mountpoint to the gateway', () => {
  const config = fill(listenerSchema('tcp', gatewayListenerDefaults), { bind: 61_613 })
  expect(config).toMatchObject({ max_connections: 1024, max_conn_rate: '1000/s', access_rules: [] })
  expect(config).not.toHaveProperty('mountpoint')
  expect(config).not.toHaveProperty('zone')
  expect(config).not.toHaveProperty('ssl_options')
})

test.each([
  { name: 'an option that Node cannot give', config: { bind: 1, tcp_options: { recbuf: 1000 } } },
  { name: 'a misspelt option', config: { bind: 1, max_conections: 5 } },
  { name: 'a listener without bind', config: {} },
  { name: 'a keepalive of words', config: { bind: 1, tcp_options: { keepalive: 'soon' } } },
])('$name is refused', ({ config }) => {
  expect(() => fill(listenerSchema('tcp', mqttListenerDefaults), config)).toThrow()
})

test('every field says what it is for', () => {
  const silent: string[] = []
  const walk = (schema: object, path: string): void => {
    const { properties = {} } = schema as { properties?: Record<string, object> }
    for (const [name, field] of Object.entries(properties)) {
      if ('properties' in field) walk(field, `${path}.${name}`)
      else if (!('description' in field)) silent.push(`${path}.${name}`)
    }
  }
  walk(listenerSchema('wss', mqttListenerDefaults), 'wss')
  expect(silent).toEqual([])
})

test('a parsed config becomes options', () => {
  const config = fill(listenerSchema('wss', mqttListenerDefaults), {
    bind: 8084,
    proxy_protocol: true,
    tcp_options: { keepalive: '30, 5, 3', send_timeout_close: false },
    ssl_options: { verify: 'verify_peer', ciphers: 'A,B', certfile: 'cert.pem' },
    websocket: { mqtt_path: '/x', supported_subprotocols: 'mqtt, mqtt-v5', check_origin_enable: true },
  })
  expect(readListener('wss:default', 'wss', parsed(config))).toMatchObject({
    id: 'wss:default',
    kind: 'wss',
    bind: PARSED.bind,
    proxyProtocol: { timeoutMs: 3000 },
    maxConnRate: PARSED.max_conn_rate,
    maxConnBurst: PARSED.max_conn_burst,
    rates: {
      messages: { rate: PARSED.messages_rate, burst: PARSED.messages_burst },
      bytes: undefined, // a burst of no limit
      subscribes: { rate: PARSED.subscribes_rate, burst: undefined },
    },
    tcp: { keepaliveMs: 30_000, sendTimeoutMs: Number.POSITIVE_INFINITY, highWatermarkBytes: 1_048_576 },
    tls: { verifyPeer: true, ciphers: ['A', 'B'], certfile: 'cert.pem', handshakeTimeoutMs: 15_000 },
    webSocket: {
      path: '/x',
      subprotocols: ['mqtt', 'mqtt-v5'],
      deflate: undefined,
      origins: ['http://localhost:18083', 'http://127.0.0.1:18083'],
      proxyHeaders: undefined,
    },
    frames: 'binary',
  })
})

test('a time longer than a timer of Node can run is not taken for none', () => {
  const config = parsed(fill(listenerSchema('ws', mqttListenerDefaults), { bind: 8083 }))
  Object.assign(config.websocket as object, { idle_timeout: 365 * 86_400_000 })
  expect(readListener('ws:default', 'ws', config).webSocket?.idleTimeoutMs).toBe(2 ** 31 - 1)
})
