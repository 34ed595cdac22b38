/** Clients of another make that come with SCRAM, tokens, certificates and pre-shared keys. */
import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { generate, type IAuthPacket } from 'mqtt-packet'
import { expect, inject, onTestFinished, test } from 'vitest'
import { withBuiltInUsers } from '../../cli/users-store.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { SECRET, sign } from '../authn/jwt-tokens.ts'
import { ScramClient, type ScramOptions } from '../authn/scram-client.ts'
import { temporaryDirectory } from '../config/sample.ts'
import { hookRun, startBroker, type TestBroker } from '../support/broker.ts'
import { Inbox, within } from '../support/inbox.ts'
import { requireService, skipNote } from '../support/services.ts'
import { MqttPeer } from './mqtt-peer.ts'

const openssl = requireService('openssl')

/** CONNACK, or the error that mqtt.js makes of a refusal. */
function outcome(client: MqttClient): Promise<unknown> {
  const answer = new Promise((resolve) => {
    client.once('connect', resolve)
    client.once('error', resolve)
    client.once('close', () => resolve(new Error('closed without a word')))
  })
  return within(answer, 'the answer to a login')
}

function connect(options: IClientOptions): MqttClient {
  const client = mqtt.connect({
    host: '127.0.0.1',
    clientId: 'c',
    reconnectPeriod: 0,
    protocolVersion: 5,
    ...options,
  })
  onTestFinished(() => void client.end(true))
  return client
}

// SCRAM

const SCRAM = { mechanism: 'scram', backend: 'built_in_database' }

/** With a user "user" whose password is "pencil". */
async function startWithScram(fields: object = {}): Promise<TestBroker> {
  const authentication = [{ ...SCRAM, ...fields }]
  const broker = await startBroker({ authentication })
  const overrides = { node: { data_dir: join(broker.dir, 'data') }, authentication }
  const place = { configFile: undefined, env: {}, overrides, note: () => {} }
  await withBuiltInUsers({ ...place, chain: 'mqtt:global', mechanism: 'scram' }, (users) =>
    users.add({ id: 'user', password: 'pencil', isSuperuser: false }),
  )
  return broker
}

function scram({ mqttPort }: TestBroker, options: Partial<ScramOptions> = {}) {
  const side = new ScramClient({
    username: 'user',
    password: 'pencil',
    nonce: 'fyko+d2lbbFgONRv9qkxdawL',
    ...options,
  })
  const properties = { authenticationMethod: side.method, authenticationData: Buffer.from(side.first()) }
  const client = connect({ port: mqttPort, properties })
  const auths = new Inbox<IAuthPacket>('AUTH')
  client.handleAuth = (packet, callback) => {
    auths.put(packet)
    if (packet.reasonCode === ReasonCode.Success) return callback()
    const reply = side.final(String(packet.properties?.authenticationData))
    callback(undefined, authPacket(side, ReasonCode.ContinueAuthentication, reply))
  }
  return { client, side, auths, peer: new MqttPeer(client, 'c') }
}

function authPacket({ method }: ScramClient, reasonCode: number, data: string): IAuthPacket {
  const properties = { authenticationMethod: method, authenticationData: Buffer.from(data) }
  return { cmd: 'auth', reasonCode, properties }
}

test.each(['sha256', 'sha512'] as const)(
  'mqtt.js logs in with SCRAM and %s, and again when it wants to',
  async (hash) => {
    const broker = await startWithScram({ algorithm: hash })
    const { client, side, auths, peer } = scram(broker, { hash })
    const connack = (await outcome(client)) as { properties: { authenticationData: Buffer } }
    expect(side.accepts(String(connack.properties.authenticationData))).toBe(true)
    expect(broker.hub.client('c')?.info).toMatchObject({ username: 'user', isSuperuser: false })
    await auths.next()

    client.stream.write(
      generate(authPacket(side, ReasonCode.ReAuthenticate, side.first()), { protocolVersion: 5 }),
    )
    expect(await auths.next()).toMatchObject({ reasonCode: ReasonCode.ContinueAuthentication })
    const success = await auths.next()
    expect(success.reasonCode).toBe(ReasonCode.Success)
    expect(side.accepts(String(success.properties?.authenticationData))).toBe(true)
    await peer.ping()
  },
)

test('a wrong password, a stranger and another method are refused', async () => {
  const broker = await startWithScram()
  expect(await outcome(scram(broker, { password: 'pen' }).client)).toMatchObject({ code: 0x87 })
  expect(await outcome(scram(broker, { username: 'nobody' }).client)).toMatchObject({ code: 0x87 })
  expect(await outcome(scram(broker, { hash: 'sha512' }).client)).toMatchObject({ code: 0x8c })
  expect(
    await outcome(connect({ port: broker.mqttPort, username: 'user', password: 'pencil' })),
  ).toMatchObject({
    code: 0x87,
  })
  expect(JSON.stringify(broker.log.lines)).not.toMatch(/pencil|,p=/)
})

test('who becomes somebody else when authenticating again is thrown out', async () => {
  const broker = await startWithScram()
  const { client, peer } = scram(broker)
  await outcome(client)
  const other = new ScramClient({ username: 'other', password: 'pencil', nonce: 'x' })
  const left = hookRun(broker, 'client.disconnected', 'c')
  client.handleAuth = (packet, callback) =>
    callback(undefined, authPacket(other, 0x18, other.final(String(packet.properties?.authenticationData))))
  client.stream.write(
    generate(authPacket(other, ReasonCode.ReAuthenticate, other.first()), { protocolVersion: 5 }),
  )
  expect(await peer.gone()).toMatchObject({ reasonCode: 0x87 })
  await left
})

// Tokens

const JWT = { mechanism: 'jwt', algorithm: 'hmac-based', secret: SECRET }

test('a token lets a client do what it says, until it expires', async () => {
  const { mqttPort } = await startBroker({ authentication: [JWT] })
  const acl = [
    { permission: 'allow', action: 'all', topic: 'mine/${clientid}/#' },
    { permission: 'deny', action: 'all', topic: '#' },
  ]
  const exp = Math.floor(Date.now() / 1000) + 2
  const client = connect({ port: mqttPort, username: 'meter', password: await sign({ acl, exp }) })
  const peer = new MqttPeer(client, 'c')
  await outcome(client)
  expect(await peer.subscribe(['mine/c/#', 'mine/#'])).toEqual([0, 0x87])
  await peer.publish('mine/c/a', 'hello')
  expect((await peer.next()).payload).toBe('hello')
  expect(await peer.gone()).toMatchObject({ reasonCode: 0x87 })
  const late = connect({ port: mqttPort, password: await sign({ exp: exp - 60 }), username: 'meter' })
  expect(await outcome(late)).toMatchObject({ code: 0x86 })
  const forged = await sign({}, { key: Buffer.from('another-secret-of-thirty-two-bytes') })
  expect(await outcome(connect({ port: mqttPort, username: 'm', password: forged }))).toMatchObject({
    code: 0x87,
  })
})

// Certificates

test('a certificate names its client, and checks see it', async () => {
  const certs = inject('certs')
  const ssl_options = {
    certfile: certs.serverCert,
    keyfile: certs.serverKey,
    cacertfile: certs.ca,
    verify: 'verify_peer',
    fail_if_no_peer_cert: true,
  }
  const is_match = [
    "str_eq(cert_common_name, 'meter-7')",
    'str_eq(username, cert_subject)',
    "str_eq(clientid, 'meter-7')",
  ]
  const { hub, tlsPort } = await startBroker({
    mqtt: { peer_cert_as_username: 'dn', peer_cert_as_clientid: 'cn' },
    authentication: [{ mechanism: 'cinfo', checks: [{ is_match, result: 'allow' }] }],
    listeners: { ssl: { default: { bind: '127.0.0.1:0', ssl_options } } },
  })
  const tls = {
    protocol: 'mqtts' as const,
    port: tlsPort,
    ca: readFileSync(certs.ca),
    cert: readFileSync(certs.clientCert),
    key: readFileSync(certs.clientKey),
  }
  expect(await outcome(connect({ ...tls, clientId: 'else', username: 'else' }))).toMatchObject({
    reasonCode: 0,
  })
  expect(hub.client('meter-7')?.info.username).toBe('CN=meter-7,O=Example')
  const stranger = { cert: readFileSync(certs.strangerCert), key: readFileSync(certs.strangerKey) }
  expect(await outcome(connect({ ...tls, ...stranger }))).toBeInstanceOf(Error)
})

// Pre-shared keys

const CIPHER = 'PSK-AES128-GCM-SHA256'

function pskConfig(): object {
  return {
    allow_anonymous: true,
    psk_authentication: { enable: true, init_file: 'keys.psk' },
    listeners: {
      ssl: {
        default: {
          bind: '127.0.0.1:0',
          ssl_options: { versions: ['tlsv1.2'], ciphers: [CIPHER, 'PSK-AES256-CBC-SHA'] },
        },
      },
    },
  }
}

function withKey(port: number, identity: string, key: string): MqttClient {
  return connect({
    protocol: 'mqtts',
    port,
    ciphers: CIPHER,
    maxVersion: 'TLSv1.2',
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ identity, psk: Buffer.from(key) }),
  } as IClientOptions)
}

test('a client with a key of the file gets in over TLS, and others do not', async () => {
  const dir = temporaryDirectory()
  writeFileSync(join(dir, 'keys.psk'), 'meter-7:secret:7\nmeter-8:other\n')
  const { tlsPort, log } = await startBroker(pskConfig(), dir)
  expect(await outcome(withKey(tlsPort, 'meter-7', 'secret:7'))).toMatchObject({ reasonCode: 0 })
  expect(await outcome(withKey(tlsPort, 'meter-7', 'other'))).toBeInstanceOf(Error)
  expect(await outcome(withKey(tlsPort, 'meter-9', 'other'))).toBeInstanceOf(Error)
  expect(JSON.stringify(log.lines)).not.toContain('secret:7')
})

test.skipIf(openssl.skip)(`openssl s_client shakes hands with its key${skipNote(openssl)}`, async () => {
  const dir = temporaryDirectory()
  writeFileSync(join(dir, 'keys.psk'), 'meter-7:secret\n')
  const { tlsPort } = await startBroker(pskConfig(), dir)
  const said = (psk: string) =>
    new Promise<string>((resolve) => {
      const key = Buffer.from(psk).toString('hex')
      const args = ['-psk', key, '-psk_identity', 'meter-7', '-tls1_2', '-cipher', 'PSK-AES256-CBC-SHA']
      const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${tlsPort}`, ...args], {
        stdio: 'pipe',
      })
      let output = ''
      client.stdout.on('data', (text: Buffer) => (output += String(text)))
      client.stderr.on('data', (text: Buffer) => (output += String(text)))
      client.on('close', () => resolve(output))
      client.stdin.end()
    })
  expect(await said('secret')).toMatch(/New, .*Cipher is PSK-AES256-CBC-SHA/)
  expect(await said('wrong')).toMatch(/Cipher is \(NONE\)|alert/)
})
