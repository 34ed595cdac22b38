import { expect, test } from 'vitest'
import { load, problemsOf } from './sample.ts'

const fromEnv = (env: Record<string, string>, text = '') => load(text, { env }).config

test('a variable names its option in any case', () => {
  for (const variable of [
    'HUBBUB__LISTENERS__TCP__DEFAULT__MAX_CONNECTIONS',
    'HUBBUB__listeners__tcp__default__max_connections',
  ]) {
    expect(fromEnv({ [variable]: '5' }).listeners.tcp.default?.max_connections, variable).toBe(5)
  }
})

test('a name in the file is found whatever its case and dashes', () => {
  const env = { HUBBUB__LISTENERS__TCP__MY_SECOND_ONE__BIND: '1999' }
  const { tcp } = fromEnv(env, 'listeners: { tcp: { My-second_one: { max_connections: 3 } } }').listeners
  expect(tcp).toMatchObject({ 'My-second_one': { max_connections: 3, bind: { port: 1999 } } })
  expect(Object.keys(tcp)).toHaveLength(1)
})

test('values are read as YAML, so that lists and sections can be given', () => {
  const config = fromEnv({
    HUBBUB__MQTT: '{ strict: true, max_qos: 1 }',
    HUBBUB__AUTHENTICATION: '[{ mechanism: jwt, secret: a }]',
  })
  expect(config.mqtt).toMatchObject({ strict: true, max_qos: 1 })
  expect(config.authentication).toMatchObject([{ mechanism: 'jwt', secret: 'a' }])
})

test('text, secrets and units are taken as they stand, quoted or not', () => {
  const config = fromEnv({
    HUBBUB__LISTENERS__TCP__A__BIND: '[::1]:1884',
    HUBBUB__LISTENERS__TCP__A__LABEL: '12345',
    HUBBUB__LISTENERS__TCP__B__BIND: '"127.0.0.1:1885"',
    HUBBUB__AUTHENTICATION__1__MECHANISM: 'jwt',
    HUBBUB__AUTHENTICATION__1__SECRET: 'p@ss: #1 {',
  })
  expect(config.listeners.tcp).toMatchObject({
    a: { bind: { host: '::1', port: 1884 }, label: '12345' },
    b: { bind: { host: '127.0.0.1', port: 1885 } },
  })
  expect(config.authentication).toMatchObject([{ secret: 'p@ss: #1 {' }])
})

test('elements of a list are counted from 1, and changed whatever order the variables have', () => {
  const config = fromEnv(
    {
      HUBBUB__AUTHENTICATION__2__ENABLE: 'false',
      HUBBUB__AUTHENTICATION__2: '{ mechanism: jwt, secret: b }',
    },
    'authentication: [{ mechanism: jwt, secret: a }]',
  )
  expect(config.authentication).toMatchObject([
    { secret: 'a', enable: true },
    { secret: 'b', enable: false },
  ])
})

test('an empty variable puts the default back', () => {
  expect(
    fromEnv(
      { HUBBUB__MQTT__MAX_QOS: '', HUBBUB__MQTT__IDLE_TIMEOUT: '' },
      'mqtt: { max_qos: 1, idle_timeout: 1s }',
    ),
  ).toMatchObject({
    mqtt: { max_qos: 2, idle_timeout: 15_000 },
  })
})

test('variables that mean nothing are told, with the nearest that would', () => {
  const env = {
    HUBBUB__MQT__MAX_QOS: '1',
    HUBBUB__LISTENERS__TCP__DEFAULT__BINDD: '1883',
    HUBBUB__MQTT__MAX_QOS: '7',
    HUBBUB_MQTT__STRICT: 'true',
    HUBBUB__AUTHENTICATION__3__ENABLE: 'true',
    HUBBUB__MODE: '[',
    hubbub__mode: 'fast',
    HUBBUB_CONFIG: '/etc/hubbub.yaml',
    PATH: '/bin',
  }
  expect(problemsOf('', { env })).toEqual([
    'HUBBUB__MODE: mode: not YAML: a quote, bracket, comma or colon is missing',
    'hubbub__mode: the same option is also set by HUBBUB__MODE',
    'HUBBUB__MQT__MAX_QOS: mqt: unknown option, did you mean HUBBUB__MQTT__MAX_QOS?',
    'HUBBUB__AUTHENTICATION__3__ENABLE: authentication.3.enable: leads through a list element that does not exist, or through a single value',
    'HUBBUB__LISTENERS__TCP__DEFAULT__BINDD: listeners.tcp.default.bindd: unknown option, did you mean HUBBUB__LISTENERS__TCP__DEFAULT__BIND?',
    'HUBBUB_MQTT__STRICT: a variable with options begins with HUBBUB__, did you mean HUBBUB__MQTT__STRICT?',
    'HUBBUB__MQTT__MAX_QOS: mqtt.max_qos: expected a whole number from 0 to 2, found 7',
  ])
})
