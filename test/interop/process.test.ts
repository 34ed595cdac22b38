/** The built program as an operator runs it: signals, reloads, exit codes. */
import { once } from 'node:events'
import { copyFileSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join } from 'node:path'
import { connect as connectTls } from 'node:tls'
import { expect, inject, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { baseConfig, type HubbubProcess, merge, type Ports, startProcess } from '../support/broker.ts'
import { issueCert } from '../support/certs.ts'
import { authority, connectMqtt, refusal, TRANSPORTS, VERSIONS } from './mqtt-peer.ts'
import { connectStomp } from './stomp-peer.ts'

interface Served {
  hubbub: HubbubProcess
  ports: Ports
  config: Record<string, unknown>
}

/** `hubbub start`, ready. */
async function serve(changes: object = {}, dir = temporaryDirectory()): Promise<Served> {
  const config = merge(merge(baseConfig(dir), { log: { format: 'json' } }), changes)
  const hubbub = startProcess(['start'], {}, config, dir)
  return { hubbub, config, ports: await hubbub.ready() }
}

test('SIGTERM tells every client in its own words, and the process ends with 0', async () => {
  const { hubbub, ports } = await serve()
  const mqtt5 = await Promise.all(TRANSPORTS.map((via) => connectMqtt(ports, { via })))
  const mqtt3 = await Promise.all([
    connectMqtt(ports, { version: '3.1' }),
    connectMqtt(ports, { version: '3.1.1', via: 'wss' }),
  ])
  const stomp = await Promise.all(TRANSPORTS.map((via) => connectStomp(ports, { via })))
  hubbub.signal('SIGTERM')
  for (const client of mqtt5) expect((await client.gone())?.reasonCode).toBe(0x8b)
  for (const client of mqtt3) expect(await client.gone()).toBeUndefined()
  for (const client of stomp) expect(await client.gone()).toBe('Server shutting down')
  expect(await hubbub.exit()).toBe(0)
  expect(hubbub.log.lines.filter(({ level }) => level === 'error')).toEqual([])
  expect(hubbub.log.lines.at(-1)).toMatchObject({ msg: 'stopped' })
})

test('a stop waits for nobody who has not logged in', async () => {
  const { hubbub, ports } = await serve({ node: { shutdown_timeout: '60s' }, mqtt: { idle_timeout: '60s' } })
  for (const port of [ports.mqttPort, ports.stompPort, ports.tlsPort, ports.wsPort]) await openSocket(port)
  await connectMqtt(ports) // by now the broker has seen the others
  hubbub.signal('SIGINT')
  expect(await hubbub.exit()).toBe(0)
})

test('a client that does not go when it is told is cut off when shutdown_timeout is over', async () => {
  const { hubbub, ports } = await serve({ node: { shutdown_timeout: '500ms' } })
  const deaf = await openSocket(ports.stompPort, true)
  deaf.write('CONNECT\naccept-version:1.2\nhost:/\n\n\0')
  await once(deaf, 'data')
  deaf.pause() // neither reads nor ends
  const since = performance.now()
  hubbub.signal('SIGTERM')
  hubbub.signal('SIGTERM') // impatience changes nothing
  expect(await hubbub.exit()).toBe(0)
  expect(performance.now() - since).toBeLessThan(4_000)
})

test('SIGHUP takes changes without dropping a client', async () => {
  const { hubbub, ports, config } = await serve()
  const clients = await Promise.all([
    ...VERSIONS.map((version) => connectMqtt(ports, { version })),
    ...TRANSPORTS.map((via) => connectMqtt(ports, { via })),
  ])
  const desk = await connectStomp(ports, { via: 'wss' })
  await desk.subscribe('news')
  for (const client of clients) expect(await client.subscribe(['news', 'secret'])).toEqual([0, 0])

  hubbub.writeConfig(
    merge(config, {
      log: { level: 'debug' },
      listeners: { tcp: { second: { bind: '127.0.0.1:0' } }, ws: {} },
      authorization: {
        sources: [{ type: 'file', rules: '{deny, all, subscribe, ["secret"]}.\n{allow, all}.' }],
      },
    }),
  )
  expect(await hubbub.reload()).toBe('configuration reloaded')

  const newcomer = await connectMqtt({ ...ports, mqttPort: hubbub.log.portOf('tcp:second') })
  expect(await newcomer.subscribe(['secret', 'news'])).toEqual([0x87, 0])
  await hubbub.log.until('access denied')
  expect(await clients[0]?.subscribe('secret')).toEqual([0x80])
  await newcomer.publish('news', 'everybody is still here', { qos: 1 })
  for (const client of clients) expect(await client.payloads(1)).toEqual(['everybody is still here'])
  expect(await desk.bodies(1)).toEqual(['everybody is still here'])
})

test('SIGHUP reads certificates again: new connections get the new one, old ones stay', async () => {
  const certs = inject('certs')
  const dir = temporaryDirectory()
  const files = { certfile: join(dir, 'cert.pem'), keyfile: join(dir, 'key.pem') }
  copyFileSync(certs.serverCert, files.certfile)
  copyFileSync(certs.serverKey, files.keyfile)
  const secure = { ssl: { default: { ssl_options: files } }, wss: { default: { ssl_options: files } } }
  const { hubbub, ports } = await serve({ listeners: secure, gateway: { stomp: { listeners: secure } } }, dir)
  const securePorts = [ports.tlsPort, ports.wssPort, ports.stompTlsPort, ports.stompWssPort]
  const before = await Promise.all(securePorts.map(fingerprintAt))
  const mqtt = await Promise.all([connectMqtt(ports, { via: 'tls' }), connectMqtt(ports, { via: 'wss' })])
  const stomp = await connectStomp(ports, { via: 'tls' })

  const issuer = { cert: certs.ca, key: certs.caKey }
  const renewed = issueCert(dir, 'renewed', { subject: '/CN=localhost', issuer, hosts: true })
  copyFileSync(renewed.cert, files.certfile)
  copyFileSync(renewed.key, files.keyfile)
  expect(await hubbub.reload()).toBe('configuration reloaded')
  const after = await Promise.all(securePorts.map(fingerprintAt))
  expect(new Set(before).size).toBe(1)
  expect(new Set(after).size).toBe(1)
  expect(after[0]).not.toBe(before[0])
  for (const client of mqtt) await client.ping()
  await stomp.sync()

  writeFileSync(files.certfile, 'not a certificate')
  expect(await hubbub.reload()).not.toBe('configuration reloaded')
  expect(await fingerprintAt(ports.tlsPort)).toBe(after[0])
})

test('a broken config is logged at SIGHUP, and everything goes on', async () => {
  const { hubbub, ports, config } = await serve()
  const client = await connectMqtt(ports)
  await client.subscribe('t')
  const taken = await takePort()
  const broken: [config: object | string, says: string][] = [
    ['listeners: [', 'hubbub.yaml:'],
    [merge(config, { mqtt: { max_qos_allowed: 7 } }), 'mqtt.max_qos_allowed'],
    [merge(config, { lisners: {} }), 'did you mean listeners?'],
    [
      merge(config, { authorization: { sources: [{ type: 'file', rules: '{allow' }] } }),
      'authorization rules',
    ],
    [merge(config, { listeners: { tcp: { more: { bind: `127.0.0.1:${taken}` } } } }), String(taken)],
  ]
  for (const [text, says] of broken) {
    hubbub.writeConfig(text)
    expect(await hubbub.reload()).toContain('not reloaded')
    const [problem] = hubbub.log.lines.filter(({ level }) => level === 'error').slice(-1)
    expect(problem?.error).toContain(says)
    await client.publish('t', 'still here')
    expect(await client.payloads(1)).toEqual(['still here'])
    await connectMqtt(ports)
    await connectStomp(ports)
  }
  hubbub.writeConfig(config)
  expect(await hubbub.reload()).toBe('configuration reloaded')
})

test('SIGHUP switches a gateway off and on, and closes what is no longer listed', async () => {
  const { hubbub, ports, config } = await serve({ listeners: { tcp: { old: { bind: '127.0.0.1:0' } } } })
  const stomp = await connectStomp(ports)
  const old = await connectMqtt({ ...ports, mqttPort: hubbub.log.portOf('tcp:old') })
  const kept = await connectMqtt(ports)
  const without = merge(baseConfig(hubbub.dir), {
    log: { format: 'json' },
    gateway: { stomp: { enable: false } },
  })
  hubbub.writeConfig(without)
  expect(await hubbub.reload()).toBe('configuration reloaded')
  await stomp.gone()
  await old.gone()
  await kept.ping()
  hubbub.writeConfig(config)
  expect(await hubbub.reload()).toBe('configuration reloaded')
  const stompPort = hubbub.log.portOf('stomp:tcp:default')
  await connectStomp({ ...ports, stompPort })
  await kept.ping()
})

test('SIGHUP can close a broker that was open to everybody', async () => {
  const { hubbub, ports, config } = await serve()
  const inside = await connectMqtt(ports)
  const database = {
    mechanism: 'password_based',
    backend: 'built_in_database',
    password_hash_algorithm: { name: 'sha256' },
  }
  hubbub.writeConfig({ ...config, authentication: database })
  expect(await hubbub.reload()).toBe('configuration reloaded')
  expect(await refusal(ports, {})).toBe(0x87)
  await inside.ping()
})

test('a config with mistakes ends the start with 2, and every mistake with file, line, path and hint', async () => {
  const hubbub = startProcess(
    ['start'],
    { HUBBUB__MQTT__MAX_SESSIONS: 'many' },
    'listeners:\n  tcp:\n    default:\n      bnd: 1883\nmqtt:\n  max_qos_allowed: 7\n  idle_timeout: soon\n',
  )
  expect(await hubbub.exit()).toBe(2)
  expect(hubbub.stdout).toBe('')
  const file = hubbub.configFile
  const problems = hubbub.stderr.split('\n')
  const about = (path: string) => problems.find((line) => line.includes(`: ${path}: `)) ?? ''
  expect(about('listeners.tcp.default.bnd')).toContain(`${file}:4:7`)
  expect(about('listeners.tcp.default.bnd')).toContain('did you mean bind?')
  expect(about('mqtt.max_qos_allowed')).toContain(`${file}:6:20`)
  expect(about('mqtt.idle_timeout')).toContain(`${file}:7:17`)
  expect(about('mqtt.max_sessions')).toContain('HUBBUB__MQTT__MAX_SESSIONS')
})

test('a config file that is not there, or is no YAML, ends the start with 2', async () => {
  const missing = startProcess(['start', '--config', 'nowhere.yaml'])
  expect(await missing.exit()).toBe(2)
  expect(missing.stderr).toContain('nowhere.yaml')
  const broken = startProcess(['start'], {}, 'listeners:\n  tcp: {\n')
  expect(await broken.exit()).toBe(2)
  expect(broken.stderr).toMatch(/hubbub\.yaml:\d+:\d+/)
})

test('a port that is in use ends the start with 1, naming port and listener', async () => {
  const taken = await takePort()
  const bind = `127.0.0.1:${taken}`
  for (const [changes, listener] of [
    [{ listeners: { tcp: { default: { bind } } } }, 'tcp:default'],
    [{ gateway: { stomp: { listeners: { ws: { default: { bind } } } } } }, 'stomp:ws:default'],
  ] as const) {
    const dir = temporaryDirectory()
    const hubbub = startProcess(['start'], {}, merge(baseConfig(dir), changes), dir)
    expect(await hubbub.exit()).toBe(1)
    expect(hubbub.stderr).toContain(listener)
    expect(hubbub.stderr).toContain(String(taken))
    expect(hubbub.stderr).toContain('another process uses this port')
    expect(hubbub.stderr).not.toContain('    at ') // no stack: nothing is wrong with the program
  }
})

test('environment variables go before the file', async () => {
  const dir = temporaryDirectory()
  const env = { HUBBUB__LOG__FORMAT: 'json', HUBBUB__MQTT__MAX_QOS_ALLOWED: '0' }
  const config = merge(baseConfig(dir), { mqtt: { max_qos_allowed: 2 } })
  const ports = await startProcess(['start'], env, config, dir).ready()
  const client = await connectMqtt(ports)
  expect(await client.subscribe('t', { qos: 2 })).toEqual([0])
})

/** @param isDeaf - does not hang up when the broker does */
async function openSocket(port: number, isDeaf = false) {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: isDeaf })
  socket.on('error', () => {})
  if (!isDeaf) socket.resume()
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  return socket
}

/** A port that somebody else listens on until the test ends. */
async function takePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  onTestFinished(() => void server.close())
  await once(server, 'listening')
  return (server.address() as { port: number }).port
}

/** Which certificate a listener shows. */
async function fingerprintAt(port: number): Promise<string | undefined> {
  const socket = connectTls({ port, host: '127.0.0.1', ca: authority() })
  await once(socket, 'secureConnect')
  const fingerprint = socket.getPeerX509Certificate()?.fingerprint256
  socket.destroy()
  return fingerprint
}
