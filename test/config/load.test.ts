import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { load, problemsOf, sampleSchema, temporaryDirectory } from './sample.ts'

test('an empty file means all defaults, read into numbers', () => {
  for (const text of ['', '# nothing\n', 'mqtt:\nlisteners:\n  tcp:\n']) {
    expect(load(text).config, text).toEqual({
      listeners: { tcp: {} },
      mqtt: {
        idle_timeout: 15_000,
        max_packet_size: 1_048_576,
        max_qos: 2,
        strict: false,
        expiry: 7_200_000,
      },
      authentication: [],
      mode: 'safe',
    })
  }
})

test('without a file the defaults and the environment count', () => {
  const { config } = loadConfig({ schema: sampleSchema, file: undefined, env: { HUBBUB__MODE: 'fast' } })
  expect(config.mode).toBe('fast')
})

test('units are read through named entries, variants and lists', () => {
  const { config } = load(`
listeners:
  tcp:
    default: { bind: "127.0.0.1:1884", max_connections: 10 }
    second:
authentication:
  - { mechanism: password_based, backend: built_in, rounds: 12 }
  - { mechanism: jwt, secret: s3cret }
  - { mechanism: jwt, secret: other, timeout: 1m30s }
mqtt: { expiry: disabled }
`)
  expect(config.listeners.tcp).toEqual({
    default: {
      bind: { host: '127.0.0.1', port: 1884 },
      max_connections: 10,
      messages_rate: { count: Number.POSITIVE_INFINITY, perMs: 1000 },
    },
    second: {
      bind: { host: undefined, port: 1883 },
      max_connections: Number.POSITIVE_INFINITY,
      messages_rate: { count: Number.POSITIVE_INFINITY, perMs: 1000 },
    },
  })
  expect(config.authentication).toEqual([
    { mechanism: 'password_based', backend: 'built_in', rounds: 12 },
    { mechanism: 'jwt', secret: 's3cret', enable: true, timeout: 5000 },
    { mechanism: 'jwt', secret: 'other', enable: true, timeout: 90_000 },
  ])
  expect(config.mqtt.expiry).toBe('disabled')
})

test('overrides win over the environment, which wins over the file, and each value knows its layer', () => {
  const { config, sources } = load('mqtt: { max_qos: 0, strict: true, idle_timeout: 1s }', {
    env: { HUBBUB__MQTT__MAX_QOS: '1', HUBBUB__MQTT__IDLE_TIMEOUT: '2s' },
    overrides: { mqtt: { idle_timeout: '3s' } },
  })
  expect(config.mqtt).toMatchObject({
    max_qos: 1,
    strict: true,
    idle_timeout: 3000,
    max_packet_size: 1_048_576,
  })
  expect(sources.of('mqtt.idle_timeout')).toBe('override')
  expect(sources.of('mqtt.max_qos')).toBe('env')
  expect(sources.of('mqtt.strict')).toBe('file')
  expect(sources.of('mqtt.max_packet_size')).toBe('default')
  expect(sources.originOf('mqtt.max_qos')).toEqual({ layer: 'env', variable: 'HUBBUB__MQTT__MAX_QOS' })
})

test('a list of a stronger layer replaces the whole list', () => {
  const { config, sources } = load(
    'authentication: [{ mechanism: jwt, secret: a, timeout: 1s }, { mechanism: jwt, secret: b }]',
    { overrides: { authentication: [{ mechanism: 'jwt', secret: 'c' }] } },
  )
  expect(config.authentication).toEqual([{ mechanism: 'jwt', secret: 'c', enable: true, timeout: 5000 }])
  expect(sources.of('authentication.1.secret')).toBe('override')
  expect(sources.of('authentication.1.timeout')).toBe('default')
})

test('a secret is read from the file it names, without the last line end', () => {
  const file = join(temporaryDirectory(), 'key')
  writeFileSync(file, ' two\nlines \n')
  const { config } = load(`authentication: [{ mechanism: jwt, secret: "file://${file}" }]`)
  expect(config.authentication[0]).toMatchObject({ secret: ' two\nlines ' })
})

test('every problem is told at once, with place, path, expectation and the nearest option', () => {
  const problems = problemsOf(`listeners:
  tcp:
    default: { bind: nowhere, max_conections: 5 }
    1st: {}
mqtt:
  max_qos: 3
  idle_timeout: 15 sec
  max_packet_size: [1]
  expiry: never
mode: quick
authentication:
  - mechanism: jwd
  - mechanism: jwt
  - backend: http
  - { mechanism: password_based, backend: htp }
max_connections: 7
`)
  expect(problems).toEqual([
    'hubbub.yaml:3:22: listeners.tcp.default.bind: expected a port such as 1883, or an address such as "127.0.0.1:1883", "[::1]:1883" or ":1883", found "nowhere"',
    'hubbub.yaml:3:31: listeners.tcp.default.max_conections: unknown option, did you mean max_connections?',
    'hubbub.yaml:4:5: listeners.tcp.1st: a name must match /^[a-zA-Z][0-9a-zA-Z_-]*$/',
    'hubbub.yaml:6:12: mqtt.max_qos: expected a whole number from 0 to 2, found 3',
    'hubbub.yaml:7:17: mqtt.idle_timeout: expected a duration such as 500ms, 15s, 1h30m, 2d, or infinity, found "15 sec"',
    'hubbub.yaml:8:20: mqtt.max_packet_size: expected a size such as 512B, 64KB, 1MB, or infinity, found a list',
    'hubbub.yaml:9:11: mqtt.expiry: expected a duration such as 500ms, 15s, 1h30m, 2d, or infinity, found "never"',
    'hubbub.yaml:10:7: mode: expected one of fast, safe, found "quick"',
    'hubbub.yaml:12:16: authentication.1.mechanism: expected one of password_based, jwt, found "jwd", did you mean jwt?',
    'hubbub.yaml:13:5: authentication.2.secret: is missing, expected secret text, or file:///path of a file that holds it',
    'hubbub.yaml:14:5: authentication.3.mechanism: is missing, expected one of password_based, jwt',
    'hubbub.yaml:15:43: authentication.4.backend: expected one of built_in, http, found "htp", did you mean http?',
    'hubbub.yaml:16:1: max_connections: unknown option, did you mean listeners.tcp.*.max_connections?',
  ])
})

test('a count out of its range is refused however it is written', () => {
  for (const rounds of ['3', '"3"', '32', 'infinity']) {
    const [problem] = problemsOf(
      `authentication: [{ mechanism: password_based, backend: built_in, rounds: ${rounds} }]`,
    )
    expect(problem, rounds).toContain('authentication.1.rounds: expected a whole number')
  }
})

test('a number where text belongs is told to be put in quotes', () => {
  expect(problemsOf('listeners: { tcp: { a: { label: 5 } } }')).toEqual([
    'hubbub.yaml:1:33: listeners.tcp.a.label: expected text (in quotes), found 5',
  ])
})

test('no problem ever shows a secret', () => {
  const texts = [
    'authentication: [{ mechanism: jwt, secret: 271828 }]',
    'authentication: [{ mechanism: jwt, secret: [271828] }]',
    'authentication: [{ mechanism: jwt, secret: "271828 }]',
    'authentication: [{ mechanism: jwt, secret: 271828, secret: 271828 }]',
    'authentication: [{ mechanism: jwt, secret: 271828: x }]',
    'secret 271828',
    'mode: safe\n271828\n"271828"',
    'mode: safe\n- 271828',
    'mode: |271828\n',
    'mode: *271828\n',
    'mode: !271828 x\n',
  ]
  for (const text of texts) {
    const problems = problemsOf(text)
    expect(problems, text).not.toEqual([])
    expect(problems.join('\n')).not.toContain('271828')
  }
})

test('a secret file that cannot be read is a problem of the option', () => {
  expect(problemsOf('authentication:\n  - { mechanism: jwt, secret: "file:///no/such/key" }')).toEqual([
    expect.stringMatching(
      /^hubbub\.yaml:2:31: authentication\.1\.secret: cannot read the secret from its file: ENOENT/,
    ),
  ])
})

test('a file that is not there, not YAML or not options says so in one line', () => {
  expect(() => loadConfig({ schema: sampleSchema, file: '/no/such.yaml', env: {} })).toThrow(
    '/no/such.yaml: cannot read the config file: there is no such file',
  )
  expect(problemsOf('mode: safe\nmode: fast')).toEqual([
    'hubbub.yaml:2:1: the key mode stands twice in the same section',
  ])
  expect(problemsOf('mqtt:\n\tmax_qos: 1')[0]).toMatch(/^hubbub\.yaml:2:1: .*not with tabs/)
  expect(problemsOf('- a list')).toEqual([
    'hubbub.yaml:1:1: expected options such as "node:", found something else',
  ])
  expect(problemsOf('mode: safe\n- x\nlog: [\n')).toEqual([
    expect.stringMatching(/^hubbub\.yaml:2:1: not YAML: /),
  ])
  expect(problemsOf('a: 1\n---\nb: 2')).toHaveLength(1)
})

test('a key called __proto__ is an unknown option and nothing else', () => {
  expect(problemsOf('__proto__: { polluted: true }')).toEqual(['hubbub.yaml:1:1: __proto__: unknown option'])
  expect(problemsOf('listeners: { tcp: { __proto__: { bind: 1 } } }')).toHaveLength(1)
  expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false)
})

test('the error is a BrokerError that programs can match on, with structured problems', () => {
  expect(() => load('mqtt: { max_qoss: 1 }')).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      problems: [
        expect.objectContaining({ line: 1, column: 9, path: 'mqtt.max_qoss', suggestion: 'max_qos' }),
      ],
    }),
  )
})

test('${EMQX_ETC_DIR} before a certificate of a listener is the directory of the config file', () => {
  const dir = temporaryDirectory()
  const file = join(dir, 'hubbub.yaml')
  const written = (bind: number) =>
    `{ bind: ${bind}, ssl_options: { certfile: '\${EMQX_ETC_DIR}/certs/cert.pem', keyfile: certs/key.pem, cacertfile: /ca.pem } }`
  writeFileSync(
    file,
    `listeners: { ssl: { default: ${written(8883)} } }\ngateway: { stomp: { listeners: { ssl: { default: ${written(61_614)} } } } }`,
  )
  const { config } = loadConfig({ schema: configSchema(), file, env: {} })
  for (const { ssl } of [config.listeners, config.gateway.stomp?.listeners ?? {}] as { ssl: unknown }[]) {
    const files = { certfile: join(dir, 'certs/cert.pem'), keyfile: 'certs/key.pem', cacertfile: '/ca.pem' }
    expect(ssl).toMatchObject({ default: { ssl_options: files } })
  }
})
