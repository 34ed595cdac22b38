import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { explain } from '../../config/explain.ts'
import { nearest } from '../../config/nearest.ts'
import { formatConfig, redact } from '../../config/redact.ts'
import { load, sampleSchema } from './sample.ts'

const TEXT = `
listeners: { tcp: { default: { bind: "[::1]:1884", messages_rate: 10MB/500ms } } }
authentication: [{ mechanism: jwt, secret: hunter2, timeout: 90s }]
`

test('a config is shown as it would be written, with its secrets hidden', () => {
  const shown = formatConfig(redact(sampleSchema, load(TEXT).config))
  expect(shown).not.toContain('hunter2')
  expect(parse(shown)).toEqual({
    listeners: {
      tcp: { default: { bind: '[::1]:1884', messages_rate: '10MB/500ms', max_connections: 'infinity' } },
    },
    authentication: [{ mechanism: 'jwt', secret: '******', timeout: '1m30s', enable: true }],
    mqtt: { idle_timeout: '15s', max_packet_size: '1MB', max_qos: 2, strict: false, expiry: '2h' },
    mode: 'safe',
  })
})

test('what is shown can be loaded again and means the same', () => {
  const { config } = load(
    'mqtt: { expiry: disabled, idle_timeout: 1d }\nlisteners: { tcp: { a: { bind: 1 } } }',
  )
  expect(load(formatConfig(redact(sampleSchema, config))).config).toEqual(config)
})

test('only what somebody set is shown when asked for that', () => {
  const { config, sources } = load('mqtt: { strict: true }\nlisteners: { tcp: { default: } }')
  expect(parse(formatConfig(redact(sampleSchema, config), sources))).toEqual({
    mqtt: { strict: true },
    listeners: { tcp: { default: {} } },
  })
})

test('an option is explained with meaning, type, default, value and layer', () => {
  const loaded = load('listeners: { tcp: { default: { max_connections: 5 } } }')
  expect(explain(sampleSchema, 'listeners.tcp.default.max_connections', loaded)).toEqual({
    path: 'listeners.tcp.default.max_connections',
    description: 'Most connections',
    type: 'a whole number, 1 or more, or infinity',
    unit: 'count',
    default: 'infinity',
    hot: true,
    required: false,
    value: 5,
    layer: 'file',
    options: [],
  })
  expect(explain(sampleSchema, 'mode', loaded)).toMatchObject({ value: 'safe', layer: 'default', hot: false })
})

test('names and list elements may be left out of a path', () => {
  expect(explain(sampleSchema, 'listeners.tcp.bind')).toMatchObject({
    path: 'listeners.tcp.*.bind',
    unit: 'bind',
  })
  expect(explain(sampleSchema, 'authentication.backend')).toMatchObject({
    path: 'authentication.*.backend',
    type: 'built_in, or http',
    required: true,
  })
})

test('a secret is explained without being told', () => {
  const about = explain(sampleSchema, 'authentication.1.secret', load(TEXT))
  expect(about).toMatchObject({ path: 'authentication.1.secret', value: '******', layer: 'file' })
})

test('a section is explained by what may stand in it', () => {
  const { options } = explain(sampleSchema, 'mqtt')
  expect(options.map(({ name }) => name)).toEqual([
    'idle_timeout',
    'max_packet_size',
    'max_qos',
    'strict',
    'expiry',
  ])
  expect(explain(sampleSchema, '').options.map(({ name }) => name)).toContain('listeners')
  expect(explain(sampleSchema, 'listeners.tcp').options.map(({ name }) => name)).toContain('bind')
})

test('an option that does not exist is answered with the nearest', () => {
  expect(() => explain(sampleSchema, 'mqtt.max_packet')).toThrow(
    'there is no option mqtt.max_packet, did you mean mqtt.max_packet_size?',
  )
  expect(() => explain(sampleSchema, 'zzz')).toThrow('known here: listeners, mqtt, authentication, mode')
})

test('the nearest word is a typo away, not another word', () => {
  const known = ['max_connections', 'max_conn_rate', 'bind', 'acceptors']
  expect(nearest('max_conections', known)).toBe('max_connections')
  expect(nearest('maxConnections', known)).toBe('max_connections')
  expect(nearest('max-connections', known)).toBe('max_connections')
  expect(nearest('bnid', known)).toBe('bind')
  expect(nearest('backlog', known)).toBeUndefined()
  expect(nearest('xy', known)).toBeUndefined()
})
