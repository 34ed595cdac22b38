/** The whole way of a gateway on datagrams: schema, config file, host, listeners, transports. */
import Type from 'typebox'
import { expect, onTestFinished, test, vi } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { type GatewayConfig, gatewaySchema } from '../../gateways/config.ts'
import { createContext } from '../../gateways/context.ts'
import { listenerFactory } from '../../gateways/datagram-listeners.ts'
import { defineGateway, type Gateway, type GatewayContext } from '../../gateways/gateway.ts'
import { GatewayHost } from '../../gateways/host.ts'
import { gatewayListenerDefaults } from '../../listeners/config.ts'
import type { DatagramHandler, DatagramTransport } from '../../listeners/datagram.ts'
import { type DatagramListenerConfig, datagramListenerSchema } from '../../listeners/datagram-config.ts'
import { readDatagramListener } from '../../listeners/datagram-options.ts'
import { datagramsOf } from '../../listeners/datagram-stream.ts'
import type { Transport, TransportHandler } from '../../listeners/transport.ts'
import { silentLogger } from '../../model/log.ts'
import { Strict } from '../../model/schema.ts'
import { writeConfig } from '../config/sample.ts'
import { FakeBroker } from '../gateways/support/fake-broker.ts'
import { makeCerts } from '../support/certs.ts'
import { DtlsProbe, UdpProbe } from './datagram-support.ts'
import { fill } from './support.ts'

/** Sends back what begins with "!", and remembers only who says that. */
class EchoPeer implements DatagramHandler {
  readonly #transport: DatagramTransport
  readonly #context: GatewayContext

  constructor(transport: DatagramTransport, context: GatewayContext) {
    this.#transport = transport
    this.#context = context
  }

  onDatagram(datagram: Buffer): void {
    if (datagram[0] !== 0x21) return
    if (!this.#transport.keep()) return
    this.#context.counters.add('echoed')
    this.#transport.send(datagram.subarray(1))
  }

  onClose(): void {
    this.#context.counters.add('closed')
  }
}

const echo = defineGateway<GatewayConfig>({
  name: 'echo',
  protocol: 'echo',
  listenerTypes: ['udp', 'dtls'],
  schema: Strict({}),
  create: (_config, context): Gateway<GatewayConfig> => ({
    accept(transport) {
      const datagrams = datagramsOf(transport)
      datagrams.handler = new EchoPeer(datagrams, context)
    },
    update() {},
  }),
})

const schemas = {
  udp: datagramListenerSchema('udp', gatewayListenerDefaults),
  dtls: datagramListenerSchema('dtls', gatewayListenerDefaults),
}

/** Runs a gateway with a section of the config file, which later ones replace. */
async function run(module: typeof echo, section: string) {
  const schema = Strict({ gateway: gatewaySchema(module, schemas, Type.Array(Type.Object({}))) })
  const load = (text: string) =>
    loadConfig({ schema, file: writeConfig(`gateway:\n${text}`), env: {} }).config.gateway as GatewayConfig
  const broker = new FakeBroker()
  const context = createContext(module.name, {
    connect: broker.connect.bind(broker),
    log: silentLogger,
  } as Parameters<typeof createContext>[1])
  const pskLookup = (identity: string) => (identity === 'meter-7' ? Buffer.from('secret') : undefined)
  const create = listenerFactory(silentLogger, { datagrams: { pskLookup } })
  const host = new GatewayHost(module, load(section), context, create)
  await host.start()
  onTestFinished(() => host.stop(AbortSignal.abort()))
  const portOf = (id: string) => host.listener(id)?.address?.()?.port ?? 0
  return { host, context, portOf, reload: (text: string) => host.update(load(text)) }
}

const TWO = `
  listeners:
    udp: { default: { bind: "127.0.0.1:0" } }
    dtls: { default: { bind: "127.0.0.1:0" } }
`

test('a gateway declares udp and dtls, and gets peers with their datagrams', async (t) => {
  const { host, context, portOf } = await run(echo, TWO)
  expect(host.listenerIds).toEqual(['echo:udp:default', 'echo:dtls:default'])
  const plain = await UdpProbe.open(t, portOf('echo:udp:default'))
  await plain.send('what the gateway does not take')
  expect(await plain.ask('!hello')).toBe('hello')
  const secure = await DtlsProbe.open(t, portOf('echo:dtls:default'), DtlsProbe.psk('meter-7', 'secret'))
  await secure.opened
  expect(await secure.ask('!hello')).toBe('hello')
  expect(context.counters.get('echoed')).toBe(2)
  expect(context.counters.get('closed')).toBe(1)
  expect(host.listener('echo:udp:default')?.counters?.()).toMatchObject({ current: 1, accepted: 1 })

  await host.stop(AbortSignal.timeout(5000))
  expect(await secure.ended).toBe('closed')
  expect(context.counters.get('closed')).toBe(3)
})

test('a changed option keeps peers, a changed bind binds anew and keeps them too, a removed one loses them', async (t) => {
  const { host, context, portOf, reload } = await run(echo, TWO)
  const before = portOf('echo:udp:default')
  const probe = await UdpProbe.open(t, before)
  const secure = await DtlsProbe.open(t, portOf('echo:dtls:default'), DtlsProbe.psk('meter-7', 'secret'))
  await secure.opened
  expect(await probe.ask('!one')).toBe('one')

  const settings = 'max_connections: 1, health_check: { request: "?", reply: "ok" }'
  await reload(TWO.replaceAll(':0"', `:0", ${settings}`))
  expect(await probe.ask('!two')).toBe('two')
  expect(await secure.ask('!two')).toBe('two')
  expect(await (await UdpProbe.open(t, before)).ask('?')).toBe('ok')

  await reload(TWO.replace('127.0.0.1:0', '127.0.0.2:0'))
  expect(portOf('echo:udp:default')).not.toBe(before)
  expect(await probe.ask('!three')).toBe('three')

  await reload('\n  listeners:\n    dtls: { default: { bind: "127.0.0.1:0" } }\n')
  expect(host.listenerIds).toEqual(['echo:dtls:default'])
  expect(context.counters.get('closed')).toBe(1)
  expect(await secure.ask('!four')).toBe('four')
})

test('a certificate that cannot be read stops the start and names the option', async () => {
  const section =
    '\n  listeners: { dtls: { x: { bind: 0, dtls_options: { certfile: /no.pem, keyfile: /no.key } } } }\n'
  await expect(run(echo, section)).rejects.toThrow(/dtls_options\.certfile: cannot read \/no\.pem/)
})

test('a gateway that thinks in streams gets a chunk for each datagram and sends one for each write', async (t) => {
  const taken: Transport[] = []
  const ends: string[] = []
  const handlerOf = (transport: Transport): TransportHandler => ({
    onData(chunk) {
      if (chunk.toString() === 'pause') return transport.pause()
      if (chunk.toString() === 'end') transport.outbox.append(Buffer.from('bye'))
      if (chunk.toString() === 'end') return transport.end()
      const at = transport.outbox.reserve(chunk.length)
      chunk.copy(transport.outbox.buffer, at)
      transport.outbox.append(Buffer.from('and more'))
    },
    onDrain: () => ends.push('drained'),
    onClose: ({ kind }) => ends.push(kind),
  })
  const stream = defineGateway<GatewayConfig>({
    ...echo,
    create: () => ({
      accept(transport) {
        taken.push(transport)
        transport.handler = handlerOf(transport)
      },
      update() {},
    }),
  })
  const { host, portOf } = await run(stream, TWO)
  const probe = await UdpProbe.open(t, portOf('echo:udp:default'))
  expect(await probe.ask('hello')).toBe('hello')
  expect((await probe.next()).toString()).toBe('and more')
  const [transport] = taken as [Transport]
  expect(transport).toMatchObject({
    kind: 'udp',
    listenerId: 'echo:udp:default',
    bytesReceived: 5,
    bytesSent: 13,
  })
  expect(host.listener('echo:udp:default')?.counters?.()).toMatchObject({ current: 1 })

  await probe.send('pause')
  for (let i = 0; i < 40; i++) await probe.send('x')
  await vi.waitFor(() => expect(transport.bytesReceived).toBe(50))
  transport.resume()
  for (let i = 0; i < 32; i++) {
    expect((await probe.next()).toString()).toBe('x')
    expect((await probe.next()).toString()).toBe('and more')
  }
  const large = Buffer.alloc(60_000)
  for (let i = 0; i < 5; i++) transport.outbox.append(large)
  expect(transport.outbox.congested).toBe(true)
  await vi.waitFor(() => expect(ends).toEqual(['drained']))
  expect(transport.outbox.congested).toBe(false)
  // How many of them the kernel has room for is its own business.
  expect(await probe.next()).toHaveLength(60_000)
  await probe.send('end')
  let last = await probe.next()
  while (last.length === 60_000) last = await probe.next()
  expect(last.toString()).toBe('bye')
  expect(ends).toEqual(['drained', 'local'])
})

const DEFAULTS = {
  enable: true,
  bind: 5683,
  max_connections: 1024,
  max_conn_rate: '1000/s',
  enable_authn: true,
  access_rules: [],
  udp_options: { reuseaddr: true },
}

test('the defaults of a udp listener are those of the sheet', () => {
  expect(fill(schemas.udp, { bind: 5683 })).toEqual(DEFAULTS)
})

test('the defaults of a dtls listener are those of the sheet', () => {
  expect(fill(schemas.dtls, { bind: 5683 })).toEqual({
    ...DEFAULTS,
    dtls_options: {
      verify: 'verify_none',
      fail_if_no_peer_cert: false,
      depth: 10,
      partial_chain: false,
      versions: ['dtlsv1.2'],
      ciphers: [],
      honor_cipher_order: true,
      handshake_timeout: '15s',
      reuse_sessions: true,
      session_tickets: 'disabled',
      mtu: 1200,
    },
  })
})

test.each([
  { name: 'active_n, which means nothing in Node', config: { udp_options: { active_n: 100 } } },
  { name: 'renegotiation, which there is not', config: { dtls_options: { client_renegotiation: true } } },
  { name: 'a version of TLS', config: { dtls_options: { versions: ['tlsv1.2'] } } },
  { name: 'a PROXY header', config: { proxy_protocol: true } },
  { name: 'a health check without an answer', config: { health_check: { request: 'x' } } },
])('$name is refused', ({ config }) => {
  expect(() => fill(schemas.dtls, { bind: 1, ...config })).toThrow()
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
  walk(schemas.dtls, 'dtls')
  expect(silent).toEqual([])
})

test('a parsed config becomes options', () => {
  const certs = makeCerts()
  const text = `gateway:
  listeners:
    dtls:
      secure:
        bind: "[::1]:5684"
        max_connections: 10
        health_check: { request: "ä?", reply: "ok" }
        udp_options: { recbuf: 1MB, sndbuf: 8GB, buffer: 1500, reuseaddr: false }
        dtls_options: { certfile: ${certs.serverCert}, keyfile: ${certs.serverKey}, ciphers: "A, B", versions: [dtlsv1], mtu: 600 }
`
  const schema = Strict({ gateway: gatewaySchema(echo, schemas, Type.Array(Type.Object({}))) })
  const { config } = loadConfig({ schema, file: writeConfig(text), env: {} })
  const { listeners } = config.gateway as unknown as GatewayConfig
  const secure = listeners.dtls?.secure as unknown as DatagramListenerConfig
  expect(readDatagramListener('echo:dtls:secure', 'dtls', secure)).toMatchObject({
    id: 'echo:dtls:secure',
    kind: 'dtls',
    bind: { host: '::1', port: 5684 },
    maxConnections: 10,
    maxConnRate: { count: 1000, perMs: 1000 },
    healthCheck: { request: Buffer.from('ä?'), reply: Buffer.from('ok') },
    udp: { recbufBytes: 1_048_576, sndbufBytes: 2 ** 31 - 1, bufferBytes: 1500, reuseAddress: false },
    dtls: { ciphers: ['A', 'B'], versions: ['dtlsv1'], mtuBytes: 600, handshakeTimeoutMs: 15_000 },
  })
})

test('a gateway that asks a stream for its datagrams is told that it is none', () => {
  expect(() => datagramsOf({ kind: 'tcp' } as Transport)).toThrow(/tcp transport carries no datagrams/)
})
