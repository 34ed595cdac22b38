/** `zones`, and options that a whole broker reads from its file: by listeners of two zones, and over TLS. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { connectAsync, type IClientOptions, type MqttClient } from 'mqtt'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { hubOptionsOf, mqttOptionsOf } from '../../assemble.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { Hubbub } from '../../main.ts'
import { createLog } from '../../observability/log.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { LogBook } from '../support/log-book.ts'
import { temporaryDirectory, writeConfig } from './sample.ts'

const load = (yaml: string) => loadConfig({ schema: configSchema(), file: writeConfig(yaml), env: {} }).config

describe('what the file says', () => {
  test('a zone overrides what it names, everything else is as everywhere', () => {
    const config = load(`
mqtt: { max_inflight: 7, max_packet_size: 2KB, retry_interval: 20s }
zones:
  narrow: { mqtt: { max_inflight: 1, idle_timeout: 3s, mqueue_priorities: { a: 3 } } }
  empty: {}
`)
    const hub = hubOptionsOf(config)
    expect(hub.session.maxInflight).toBe(7)
    expect(hub.zones?.get('narrow')?.session).toMatchObject({
      maxInflight: 1,
      maxQueueLength: 1000,
      priorities: { byTopic: new Map([['a', 3]]) },
    })
    expect(hub.zones?.get('empty')?.session.maxInflight).toBe(7)
    const { options, zones } = mqttOptionsOf(config)
    expect(options).toMatchObject({ idleTimeoutMs: 15_000, retryIntervalMs: 20_000 })
    expect(zones.get('narrow')).toMatchObject({
      idleTimeoutMs: 3000,
      maxPacketBytes: 2048,
      retryIntervalMs: 20_000,
    })
  })

  test('without zones nothing has to be looked up', () => {
    expect(hubOptionsOf(load('mqtt: {}')).zones).toBeUndefined()
  })

  test('identity and retries are off by default', () => {
    expect(mqttOptionsOf(load('mqtt: {}')).options).toMatchObject({
      peerCertAsUsername: undefined,
      peerCertAsClientId: undefined,
      clientAttributes: [],
      clientIdOverride: undefined,
      retryIntervalMs: Number.POSITIVE_INFINITY,
    })
  })

  test('and arrive in the options when they are set', () => {
    const { options } = mqttOptionsOf(
      load(`
mqtt:
  peer_cert_as_username: crt
  peer_cert_as_clientid: md5
  clientid_override: concat('x', clientid)
  client_attrs_init: [{ expression: "nth(1, tokens(clientid, '-'))", set_as_attr: site }]
`),
    )
    expect(options).toMatchObject({
      peerCertAsUsername: 'crt',
      peerCertAsClientId: 'md5',
      clientIdOverride: { source: "concat('x', clientid)" },
      clientAttributes: [{ name: 'site', expression: { source: "nth(1, tokens(clientid, '-'))" } }],
    })
  })

  test.each([
    ['zones: { z: { mqtt: { max_sessions: 1 } } }', 'zones.z.mqtt.max_sessions'],
    ['zones: { z: { mqtt: { max_inflight: 0 } } }', 'zones.z.mqtt.max_inflight'],
    ['zones: { z: { mqt: {} } }', 'zones.z.mqt: unknown option, did you mean mqtt?'],
    ['mqtt: { peer_cert_as_clientid: crt }', 'mqtt.peer_cert_as_clientid'],
    ['mqtt: { client_attrs_init: [{ expression: clientid, set_as_attr: "a b" }] }', 'set_as_attr'],
    ['mqtt: { client_attrs_init: [{ expression: clientid }] }', 'set_as_attr'],
  ])('%s is refused', (yaml, problem) => {
    expect(() => load(yaml)).toThrow(problem)
  })

  test.each([
    ['mqtt: { clientid_override: lower( }', 'mqtt.clientid_override: expected'],
    ['mqtt: { client_attrs_init: [{ expression: nosuch(), set_as_attr: a }] }', 'there is no nosuch'],
    ['mqtt: { retry_interval: 0s }', 'mqtt.retry_interval must be more than 0'],
    ['zones: { z: { mqtt: { clientid_override: "(" } } }', 'zones.z.mqtt.clientid_override: expected'],
  ])('%s too', (yaml, problem) => {
    expect(() => mqttOptionsOf(load(yaml))).toThrow(problem)
  })
})

describe('a whole broker', () => {
  let certs: Certs
  beforeAll(() => {
    certs = makeCerts()
  })

  /** @param config - in the spelling of the file; JSON is YAML */
  async function start(config: object) {
    const dir = temporaryDirectory()
    const file = join(dir, 'hubbub.yaml')
    const write = (changed: object) =>
      writeFileSync(file, JSON.stringify({ node: { data_dir: join(dir, 'data') }, ...changed }))
    write(config)
    const log = new LogBook()
    const read = { schema: configSchema(), file, env: {} }
    const stream = { write: (line: string) => log.write(line) }
    const broker = await Hubbub.start(
      loadConfig(read).config,
      dir,
      createLog({ level: 'info', format: 'json', stream }),
    )
    onTestFinished(() => broker.stop())
    const reload = async (changed: object) => {
      write(changed)
      await broker.reload({ configFile: file, env: {} })
    }
    const port = (listener: string) => log.addressOf(listener)?.port ?? -1
    return { hub: broker.hub, log, port, reload }
  }

  async function connect(options: IClientOptions): Promise<MqttClient> {
    const client = await connectAsync({
      host: '127.0.0.1',
      reconnectPeriod: 0,
      protocolVersion: 5,
      ...options,
    })
    onTestFinished(() => void client.end(true))
    return client
  }

  const bind = '127.0.0.1:0'

  test('a reload changes the limits of a zone for clients that are connected', async () => {
    const listeners = { tcp: { default: { bind }, narrow: { bind, zone: 'narrow' } } }
    const config = (max_subscriptions: number) => ({
      listeners,
      zones: { narrow: { mqtt: { max_subscriptions } } },
    })
    const broker = await start(config(1))
    const narrow = await connect({ port: broker.port('tcp:narrow') })
    const wide = await connect({ port: broker.port('tcp:default') })
    await expect(narrow.subscribeAsync(['a', 'b'])).rejects.toThrow('Quota exceeded')
    expect(await wide.subscribeAsync(['a', 'b'])).toHaveLength(2)

    await broker.reload(config(2))

    expect(await narrow.subscribeAsync(['a', 'b'])).toHaveLength(2)
  })

  test('a config whose expression is none changes nothing', async () => {
    const listeners = { tcp: { default: { bind } } }
    const broker = await start({ listeners })
    await broker.reload({ listeners, mqtt: { max_subscriptions: 3, clientid_override: 'lower(' } })
    expect(broker.hub.options.maxSubscriptions).toBe(Number.POSITIVE_INFINITY)
    expect(broker.log.lines.some((line) => JSON.stringify(line).includes('mqtt.clientid_override'))).toBe(
      true,
    )
  })

  test('a client is who its certificate says, on the listeners of that zone', async () => {
    const ssl_options = {
      certfile: certs.serverCert,
      keyfile: certs.serverKey,
      cacertfile: certs.ca,
      verify: 'verify_peer',
    }
    const mqtt = {
      peer_cert_as_clientid: 'cn',
      peer_cert_as_username: 'dn',
      client_attrs_init: [{ expression: "nth(1, tokens(cn, '-'))", set_as_attr: 'kind' }],
    }
    const broker = await start({
      listeners: { ssl: { certs: { bind, zone: 'certs', ssl_options } } },
      zones: { certs: { mqtt } },
    })
    const secure: IClientOptions = {
      port: broker.port('ssl:certs'),
      protocol: 'mqtts',
      ca: readFileSync(certs.ca),
      username: 'somebody',
    }
    await connect({
      ...secure,
      clientId: 'x',
      cert: readFileSync(certs.clientCert),
      key: readFileSync(certs.clientKey),
    })
    const info = broker.hub.client('meter-7')?.info
    expect(info?.username).toContain('CN=meter-7')
    expect(info?.attributes.get('kind')).toBe('meter')
    await connect({ ...secure, clientId: 'without' })
    expect(broker.hub.client('without')?.info.username).toBe('somebody')
  })
})
