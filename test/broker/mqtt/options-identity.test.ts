// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders of mountpoints
/** Where user name, client id and attributes of an MQTT client come from. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Hub } from '../../../broker/hub.ts'
import type { MqttListenerSettings, MqttOptions } from '../../../broker/mqtt/options.ts'
import type { ProtocolVersion } from '../../../broker/mqtt/packets.ts'
import type { ClientInfo, PeerCertificate } from '../../../model/client-info.ts'
import { Expression } from '../../../model/expression.ts'
import type { Logger } from '../../../model/log.ts'
import { startHub } from '../support.ts'
import { mqttContext, PROTOCOL, RawPeer, text } from './raw-peer.ts'
import { packet } from './support.ts'

const CERTIFICATE: PeerCertificate = {
  subject: 'O=Example,CN=meter-7',
  commonName: 'meter-7',
  raw: Buffer.from([0x30, 0x82, 0x00, 0xff]),
}

let hub: Hub
beforeEach(async () => {
  hub = await startHub()
})
afterEach(() => hub.stop())

interface Arrival {
  certificate?: PeerCertificate
  options?: Partial<MqttOptions>
  listener?: Partial<MqttListenerSettings>
  version?: ProtocolVersion
  clientId?: string
  username?: string | undefined
  /** Properties of CONNECT, in hex. */
  properties?: string
  log?: Logger
}

/** What a CONNECT is answered, and who came in if it was let in. */
function arrive(arrival: Arrival = {}): { said: string[]; info: ClientInfo | undefined } {
  const { version = 5, options = {}, clientId = 'c', username = 'u', properties = '00' } = arrival
  const wide = { maxClientIdBytes: 65_535, ...options }
  const peer = new RawPeer(mqttContext(hub, wide, arrival.log), version, arrival.listener)
  if (arrival.certificate !== undefined) Object.assign(peer.transport, { certificate: arrival.certificate })
  const rest = version === 5 ? `82 003c ${properties}` : '82 003c'
  peer.send(packet('10', PROTOCOL[version], rest, text(clientId), text(username)))
  const said = peer.said()
  return { said, info: peer.connection.client?.info }
}

const attribute = (name: string, source: string) => ({ name, expression: new Expression(source) })

describe('a certificate', () => {
  test.each([
    ['cn', 'meter-7'],
    ['dn', 'O=Example,CN=meter-7'],
    ['crt', '0\x82\x00\xff'],
    ['pem', 'MIIA/w=='],
    ['md5', '9a4255cae9d896b64acfb3c2b5944332'],
  ] as const)('gives the user name: its %s', (peerCertAsUsername, expected) => {
    const { info } = arrive({ certificate: CERTIFICATE, options: { peerCertAsUsername } })
    expect(info?.username).toBe(expected)
    expect(info?.clientId).toBe('c')
  })

  test.each([
    ['cn', 'meter-7'],
    ['dn', 'O=Example,CN=meter-7'],
    ['pem', 'MIIA/w=='],
  ] as const)('gives the client id: its %s, by which the client is known', (peerCertAsClientId, expected) => {
    const { info } = arrive({ certificate: CERTIFICATE, options: { peerCertAsClientId } })
    expect(info).toMatchObject({ clientId: expected, key: expected, username: 'u' })
    expect(hub.client(expected)).toBeDefined()
  })

  test('is not needed: without one the client is who it says it is', () => {
    const { info } = arrive({ options: { peerCertAsUsername: 'cn', peerCertAsClientId: 'cn' } })
    expect(info).toMatchObject({ clientId: 'c', username: 'u' })
  })

  test('gives the user name first, which may then become the client id', () => {
    const options = {
      peerCertAsUsername: 'cn',
      peerCertAsClientId: 'dn',
      useUsernameAsClientId: true,
    } as const
    expect(arrive({ certificate: CERTIFICATE, options }).info?.clientId).toBe('meter-7')
  })

  test('without a common name gives no client id to an MQTT 3 client that has none either', () => {
    const options = { peerCertAsClientId: 'cn' } as const
    const certificate = { ...CERTIFICATE, commonName: '' }
    expect(arrive({ certificate, options, version: 3 }).said).toEqual(['connack 0x02', 'closed'])
  })

  test('with a control character in its name is refused', () => {
    const certificate = { ...CERTIFICATE, commonName: 'meter\n7' }
    expect(arrive({ certificate }).said).toEqual(['connack 0x87', 'closed'])
  })

  test('that makes too long a client id is refused', () => {
    const certificate = { ...CERTIFICATE, commonName: 'x'.repeat(24) }
    const options = { peerCertAsClientId: 'cn', maxClientIdBytes: 23 } as const
    expect(arrive({ certificate, options }).said).toEqual(['connack 0x85', 'closed'])
  })
})

test('an empty user name is no client id', () => {
  expect(arrive({ username: '', options: { useUsernameAsClientId: true } }).said).toEqual([
    'connack 0x85',
    'closed',
  ])
})

describe('attributes at login', () => {
  test('are made of all that is known of the client', () => {
    const clientAttributes = [
      attribute('site', "nth(1, tokens(clientid, '-'))"),
      attribute('who', "concat(username, '@', peerhost, ' ', zone, ' ', listener)"),
      attribute('by', 'user_property.by'),
      attribute('cert', "concat(cn, '|', cert_subject)"),
      attribute('again', "concat(client_attrs.site, '!')"),
    ]
    const { info } = arrive({
      certificate: CERTIFICATE,
      clientId: 'berlin-7',
      options: { clientAttributes },
      listener: { zone: 'north' },
      properties: '0b 26 0002 "by" 0004 "cron"',
    })
    expect(Object.fromEntries(info?.attributes ?? [])).toEqual({
      site: 'berlin',
      who: 'u@192.0.2.7 north tcp:default',
      by: 'cron',
      cert: 'meter-7|O=Example,CN=meter-7',
      again: 'berlin!',
    })
  })

  test('that are empty or fail are not set, and the log says which fail', () => {
    const failed: unknown[] = []
    const log = { debug: (fields: object) => void failed.push(fields), info() {}, warn() {}, error() {} }
    const clientAttributes = [attribute('none', 'user_property.none'), attribute('bad', 'nth(1, clientid)')]
    const { info } = arrive({ options: { clientAttributes }, log: log as unknown as Logger })
    expect(info?.attributes.size).toBe(0)
    expect(failed).toEqual([
      expect.objectContaining({ expression: 'nth(1, clientid)', error: 'nth: "c" is not a list' }),
    ])
  })

  test('are there for the mountpoint and for authentication, which may replace them', () => {
    const seen: (string | undefined)[] = []
    hub.hooks.add('client.authenticate', 'test', (_verdict, { client }) => {
      seen.push(client.attributes.get('site'), client.mountpoint)
      const attributes = new Map([['site', 'paris']])
      return { stop: { kind: 'allow', principal: { isSuperuser: false, attributes } } }
    })
    const { info } = arrive({
      clientId: 'berlin-7',
      options: { clientAttributes: [attribute('site', "nth(1, tokens(clientid, '-'))")] },
      listener: { mountpoint: '${client_attrs.site}/' },
    })
    expect(seen).toEqual(['berlin', 'berlin/'])
    expect(info?.mountpoint).toBe('paris/')
  })
})

describe('an overridden client id', () => {
  test('is made of what is known by then, attributes included', () => {
    const options = {
      clientAttributes: [attribute('site', "'north'")],
      clientIdOverride: new Expression("concat(client_attrs.site, '/', username, '/', clientid)"),
    }
    const { info } = arrive({ options })
    expect(info?.clientId).toBe('north/u/c')
    expect(hub.client('north/u/c')?.info).toBe(info)
  })

  test('is what takes over', () => {
    const options = { clientIdOverride: new Expression('username') }
    const first = new RawPeer(mqttContext(hub, options))
    first.send(packet('10', PROTOCOL[5], '82 003c 00', text('a'), text('u')))
    first.said()
    arrive({ clientId: 'b', options })
    expect(first.said()).toEqual(['disconnect 0x8e', 'closed'])
  })

  test.each([
    ['is empty', 'user_property.none'],
    ['fails', 'nth(1, clientid)'],
    ['is too long', "pad(clientid, 70000, 'leading', 'x')"],
    ['holds U+0000', "unescape('a\\x00-b')"],
  ])('that %s is refused', (_name, source) => {
    expect(arrive({ options: { clientIdOverride: new Expression(source) } }).said).toEqual([
      'connack 0x85',
      'closed',
    ])
  })
})
