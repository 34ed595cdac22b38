// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
import { expect, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { describeUnused } from '../../config/unused-options.ts'
import { writeConfig } from './sample.ts'

const load = (text: string) => loadConfig({ schema: configSchema(), file: writeConfig(text), env: {} })

/** As EMQX writes them out, with everything that it fills in. */
const SSL = `
      ssl:
        enable: false
        ciphers: []
        depth: 10
        hibernate_after: 5s
        log_level: notice
        middlebox_comp_mode: true
        reuse_sessions: true
        secure_renegotiate: true
        verify: verify_peer
        versions: [tlsv1.3, tlsv1.2]`

test('a configuration of EMQX loads with the options that mean nothing here, and they are named', () => {
  const { config, unused } = load(`
psk_authentication: { enable: true, init_file: keys.psk, separator: ':', chunk_size: 50 }
authentication_settings: { ignore_backend_failures: false, node_cache: { enable: true, cache_ttl: 1m } }
authentication:
    - mechanism: password_based
      backend: mongodb
      mongo_type: rs
      servers: 'a:27017,b:27017'
      replica_set_name: rs0
      r_mode: master
      w_mode: unsafe
      use_legacy_protocol: auto
      database: mqtt
      collection: mqtt_user
      filter: { username: '\${username}' }
      topology: { pool_size: 1, max_overflow: 0, overflow_ttl: 1s, connect_timeout_ms: 20s, heartbeat_frequency_ms: 200s }${SSL}
    - mechanism: password_based
      backend: http
      method: post
      url: 'http://127.0.0.1:8080/auth'
      body: { username: '\${username}' }
      hostname_resolution: static
      allowed_hosts: []
      oauth2: { enable: false }${SSL}
authorization:
  no_match: deny
  node_cache: { enable: true }
  topic_template_allow: { plus: false, hash: false, slash: false }
  sources:
    - type: mysql
      server: 'db:3306'
      database: mqtt
      query: SELECT action, permission, topic FROM mqtt_acl WHERE username = \${username}${SSL}
gateway:
  stomp:
    authentication:
      mechanism: password_based
      backend: mongodb
      mongo_type: single
      server: a
      w_mode: safe
      database: mqtt
      collection: mqtt_user
`)

  expect(config.psk_authentication.init_file).toBe('keys.psk')
  expect(config.authorization.no_match).toBe('deny')
  const paths = unused.map(({ path }) => path)
  expect(paths).toEqual(expect.arrayContaining(['psk_authentication.chunk_size', 'authentication_settings']))
  expect(paths).toContain('authentication.1.w_mode')
  expect(paths).toContain('authentication.1.topology.max_overflow')
  expect(paths).toContain('authentication.2.oauth2')
  expect(paths).toContain('authorization.sources.1.ssl.reuse_sessions')
  expect(paths).toContain('gateway.stomp.authentication.w_mode')
  expect(new Set(paths).size).toBe(paths.length)
  expect(describeUnused(unused)).toMatch(/mean nothing here.*authentication\.1\.w_mode/)
})

test.each([
  ['authorization: { topic_template_allow: { plus: true } }', 'authorization.topic_template_allow'],
  [
    'authentication: [{ mechanism: password_based, backend: http, method: get, url: "http://a/", oauth2: { enable: true } }]',
    'authentication.1.oauth2',
  ],
  [
    'authentication: [{ mechanism: password_based, backend: http, method: get, url: "http://a/", hostname_resolution: dynamic }]',
    'authentication.1.hostname_resolution',
  ],
  [
    'authentication: [{ mechanism: password_based, backend: http, method: get, url: "http://a/", allowed_hosts: [a] }]',
    'authentication.1.allowed_hosts',
  ],
  ['mqtt: { w_mode: safe }', 'mqtt.w_mode'],
])('what would have to be done is not passed over: %s', (text, path) => {
  expect(() => load(text)).toThrow(`${path}: unknown option`)
})

test('a configuration without them names none', () => {
  expect(load('').unused).toEqual([])
})
