import { expect, test } from 'vitest'
import { type CinfoConfig, cinfo } from '../../authn/cinfo.ts'
import { Authn } from '../../authn/index.ts'
import { WorkGate } from '../../authn/work-gate.ts'
import { HookBus } from '../../hooks/bus.ts'
import {
  ALLOW,
  builtIn,
  IGNORE,
  loginOf,
  NOT_AUTHORIZED,
  recordingLog,
  temporaryDir,
  WRONG_PASSWORD,
} from './fixtures.ts'

const COMMON = { mechanism: 'cinfo', enable: true, timeout: 5000 }
const CERTIFICATE = { subject: 'CN=meter-7,O=Example', commonName: 'meter-7', raw: Buffer.from('der') }

async function checking(checks: CinfoConfig['checks']) {
  const { log, lines } = recordingLog()
  const context = { log, dataDir: '.', configDir: '.', chain: 'mqtt:global', hashing: new WorkGate() }
  const authenticator = await cinfo.create({ ...COMMON, checks } as CinfoConfig, context)
  const logIn = (fields: Parameters<typeof loginOf>[0] = {}) =>
    authenticator.authenticate(loginOf(fields), new AbortController().signal)
  return { logIn, lines }
}

test('the first check that fits decides', async () => {
  const { logIn } = await checking([
    { is_match: "str_eq(username, 'guest')", result: 'deny' },
    { is_match: ["regex_match(clientid, '^meter-')", "str_eq(zone, 'factory')"], result: 'allow' },
    { is_match: "str_eq(username, 'ann')", result: 'ignore' },
    { is_match: 'true', result: 'deny' },
  ])
  expect(logIn({ client: { username: 'guest' } })).toEqual(WRONG_PASSWORD)
  expect(logIn({ client: { username: 'guest', clientId: 'meter-1', zone: 'factory' } })).toEqual(
    WRONG_PASSWORD,
  )
  expect(logIn({ client: { username: 'x', clientId: 'meter-1', zone: 'factory' } })).toEqual(ALLOW)
  expect(logIn({ client: { username: 'x', clientId: 'meter-1' } })).toEqual(WRONG_PASSWORD)
  expect(logIn({ client: { username: 'ann' } })).toEqual(IGNORE)
})

test('where no check fits the next authenticator is asked', async () => {
  const { logIn } = await checking([{ is_match: "str_eq(username, 'guest')", result: 'deny' }])
  expect(logIn()).toEqual(IGNORE)
  expect(logIn({ client: { username: undefined } })).toEqual(IGNORE)
})

test.each([
  ["str_eq(username, 'ann')", {}],
  ["str_eq(password, 'secret')", {}],
  ["str_eq(clientid, 'c1')", {}],
  ["str_eq(peerhost, '10.0.0.9')", { peerHost: '10.0.0.9' }],
  ["str_eq(client_attrs.site, 'north')", { attributes: new Map([['site', 'north']]) }],
  ["str_eq(cert_common_name, 'meter-7')", { certificate: CERTIFICATE }],
  ["str_eq(cert_subject, 'CN=meter-7,O=Example')", { certificate: CERTIFICATE }],
  ["str_eq(listener, 'ssl:default')", { listener: 'ssl:default' }],
  ["str_eq(zone, 'factory')", { zone: 'factory' }],
])('%s sees the client', async (is_match, client) => {
  const { logIn } = await checking([{ is_match, result: 'allow' }])
  expect(logIn({ client })).toEqual(ALLOW)
  expect(logIn({ client: { clientId: 'other', username: 'other' }, password: undefined })).toEqual(IGNORE)
})

test('a check that fails stops the others, and its log line has no password in it', async () => {
  const { logIn, lines } = await checking([
    { is_match: "num_gt(json_value(password, 'age'), 17)", result: 'deny' },
    { is_match: 'true', result: 'allow' },
  ])
  expect(logIn({ password: Buffer.from('{"age":18}') })).toEqual(WRONG_PASSWORD)
  expect(logIn({ password: Buffer.from('{"age":3}') })).toEqual(ALLOW)
  expect(logIn({ password: Buffer.from('hunter2') })).toEqual(IGNORE)
  expect(lines).toHaveLength(1)
  expect(lines[0]).toMatchObject({ level: 'debug', text: expect.stringContaining('an expression failed') })
  expect(JSON.stringify(lines)).not.toContain('hunter2')
})

test('a client that names a method may be refused, but not let in', async () => {
  const { logIn } = await checking([
    { is_match: "str_eq(clientid, 'bad')", result: 'deny' },
    { is_match: 'true', result: 'allow' },
  ])
  expect(logIn({ authMethod: 'SCRAM-SHA-256' })).toEqual(IGNORE)
  expect(logIn({ authMethod: 'SCRAM-SHA-256', client: { clientId: 'bad' } })).toEqual(WRONG_PASSWORD)
})

test('what is no expression is a problem of the config', async () => {
  const made = checking([
    { is_match: 'true', result: 'allow' },
    { is_match: ['true', "str_eq(username, 'ann'"], result: 'allow' },
  ])
  await expect(made).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining('cinfo.checks.2'),
  })
})

// Preconditions, which every authenticator may have

async function chainOf(global: object[]) {
  const { log, lines } = recordingLog()
  const dir = temporaryDir()
  const authn = await Authn.create({ global: global as never }, { log, dataDir: dir, configDir: dir })
  const bus = new HookBus()
  authn.attach(bus)
  const logIn = (fields?: Parameters<typeof loginOf>[0]) =>
    bus.fold('client.authenticate', IGNORE, loginOf(fields))
  return { authn, logIn, lines }
}

test('an authenticator is asked only where its precondition gives true', async () => {
  const { authn, logIn } = await chainOf([
    { ...builtIn(), precondition: "str_eq(listener, 'tcp:office')" },
    {
      ...COMMON,
      checks: [{ is_match: "str_eq(username, 'ann')", result: 'allow' }],
      precondition: 'not(is_empty_val(password))',
    },
  ])
  await authn.users('mqtt:global')?.add({ userId: 'ann', password: 'secret' })
  const wrong = { password: Buffer.from('wrong') }
  expect(logIn({ ...wrong, client: { listener: 'tcp:office' } })).toEqual(WRONG_PASSWORD)
  expect(logIn({ ...wrong, client: { listener: 'tcp:factory' } })).toEqual(ALLOW)
  expect(logIn({ password: undefined, client: { listener: 'tcp:factory' } })).toEqual(NOT_AUTHORIZED)
  const counters = authn.chains.get('mqtt:global')?.links.map((link) => link.counters)
  expect(counters).toMatchObject([
    { total: 3, failed: 1, nomatch: 2 },
    { total: 2, success: 1, nomatch: 1 },
  ])
  await authn.close()
})

test('a precondition that fails is one that does not hold', async () => {
  const checks = [{ is_match: 'true', result: 'allow' }]
  const { logIn, lines } = await chainOf([{ ...COMMON, checks, precondition: 'num_gt(password, 5)' }])
  expect(logIn({ password: Buffer.from('6') })).toEqual(ALLOW)
  expect(logIn({ password: Buffer.from('hunter2') })).toEqual(NOT_AUTHORIZED)
  expect(lines.map(({ level }) => level)).toEqual(['debug'])
  expect(JSON.stringify(lines)).not.toContain('hunter2')
  const made = chainOf([{ ...COMMON, checks, precondition: 'str_eq(' }])
  await expect(made).rejects.toMatchObject({ message: expect.stringContaining('cinfo.precondition') })
})
