// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
import { Ajv2020 } from 'ajv/dist/2020.js'
import { Type } from 'typebox'
import { expect, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { fillTemplate, overrideClientinfo, scopeOf } from '../../gateways/clientinfo-override.ts'
import { gatewaySchema } from '../../gateways/config.ts'
import { gateways } from '../../gateways/index.ts'
import { stomp } from '../../gateways/stomp/index.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { renderMountpoint } from '../../model/mountpoint.ts'
import { FakeTransport } from './support/fake-transport.ts'
import { streamListenerSchemas } from './support/stomp-host.ts'

function validator() {
  const schema = gatewaySchema(stomp, streamListenerSchemas(stomp), Type.Array(Type.Object({})))
  const ajv = new Ajv2020({ useDefaults: true, allErrors: true, strict: false })
  return ajv.compile<Record<string, unknown>>(schema)
}

test('an empty section is a whole one: defaults are those of the EMQX gateway', () => {
  const validate = validator()
  const section = {}
  expect(validate(section), JSON.stringify(validate.errors)).toBe(true)
  expect(section).toMatchObject({
    enable: true,
    enable_stats: true,
    idle_timeout: '30s',
    mountpoint: '',
    clientinfo_override: {
      clientid: '',
      username: '${Packet.headers.login}',
      password: '${Packet.headers.passcode}',
    },
    frame: { max_headers: 10, max_headers_length: '1024B', max_body_length: '64KB' },
    max_unacked: 32,
    listeners: { tcp: {}, ssl: {}, ws: {}, wss: {} },
  })
})

test('a listener has the options of its type and those of gateways', () => {
  const validate = validator()
  const listener = { bind: '127.0.0.1:61613', authentication: [] }
  const section = { listeners: { tcp: { default: listener }, ws: { web: { bind: 15674 } } } }
  expect(validate(section), JSON.stringify(validate.errors)).toBe(true)
  expect(listener).toMatchObject({ enable: true, enable_authn: true, max_connections: 1024 })
  expect(listener).not.toHaveProperty('mountpoint')
  expect(section.listeners.ws.web).toMatchObject({
    websocket: { path: '/stomp', supported_subprotocols: ['v12.stomp', 'v11.stomp', 'v10.stomp'] },
  })
})

test('unknown keys, wrong names and impossible values are refused', () => {
  const validate = validator()
  const wrong: object[] = [
    { mount_point: 'x' },
    { frame: { max_header: 1 } },
    { listeners: { udp: {} } },
    { listeners: { tcp: { '1st': { bind: 1 } } } },
    { listeners: { tcp: { default: {} } } },
    { max_unacked: 0 },
  ]
  for (const section of wrong) expect(validate(section), JSON.stringify(section)).toBe(false)
})

test.each(gateways.map(({ name }) => name))('statistics of %s clients can be switched off', (name) => {
  const sectionOf = (section: object) =>
    loadConfig({
      schema: configSchema(),
      file: undefined,
      env: {},
      overrides: { gateway: { [name]: section } },
    }).config.gateway as Record<string, object>
  expect(sectionOf({})[name]).toMatchObject({ enable_stats: true })
  expect(sectionOf({ enable_stats: false })[name]).toMatchObject({ enable_stats: false })
})

test('names of gateways are unique', () => {
  const names = gateways.map((one) => one.name)
  expect(new Set(names).size).toBe(names.length)
})

test('a template without all its values leaves the field unset', () => {
  const scope = scopeOf(new FakeTransport(), new Map([['ConnInfo.proto_ver', '1.2']]), (name) =>
    name === 'login' ? 'ann' : undefined,
  )
  expect(fillTemplate('${Packet.headers.login}@${ClientInfo.peerhost}', scope)).toBe('ann@192.0.2.7')
  expect(fillTemplate('${ConnInfo.peername}/${ConnInfo.proto_ver}', scope)).toBe('192.0.2.7:50123/1.2')
  expect(fillTemplate('user-${Packet.headers.missing}', scope)).toBeUndefined()
  expect(fillTemplate('${Nonsense}', scope)).toBeUndefined()
  expect(fillTemplate('', scope)).toBeUndefined()
  expect(overrideClientinfo({ username: 'fixed' }, scope)).toEqual({
    clientId: undefined,
    username: 'fixed',
    password: undefined,
  })
})

test('a mountpoint keeps placeholders it has no harmless value for', () => {
  const client = {
    clientId: 'c1',
    username: undefined,
    peerHost: '192.0.2.7',
    zone: 'default',
    attributes: new Map([['tenant', 'acme']]),
  } as unknown as ClientInfo
  expect(renderMountpoint('plain/', client)).toBe('plain/')
  expect(renderMountpoint('${client_attrs.tenant}/${clientid}/${peerhost}/${zone}/', client)).toBe(
    'acme/c1/192.0.2.7/default/',
  )
  expect(renderMountpoint('${username}/${what}/', client)).toBe('${username}/${what}/')
  expect(renderMountpoint('${endpoint_name}/', client, new Map([['endpoint_name', 'e']]))).toBe('e/')
  for (const clientId of ['#', 'a/+', 'a\0b', '']) {
    expect(renderMountpoint('${clientid}/', { ...client, clientId })).toBe('${clientid}/')
  }
})
