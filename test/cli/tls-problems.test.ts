import { expect, test } from 'vitest'
import { tlsProblems } from '../../cli/tls-problems.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { temporaryDirectory, writeConfig } from '../config/sample.ts'
import { issueCert } from '../support/certs.ts'
import { FakeContext } from './run-cli.ts'

const YEAR_MS = 366 * 24 * 3600 * 1000

function listening(certfile: string, keyfile: string): string {
  return `
listeners: { ssl: { a: { bind: 1, ssl_options: { certfile: ${certfile}, keyfile: ${keyfile} } } } }
gateway: { stomp: { listeners: { wss: { b: { bind: 2, ssl_options: { certfile: gone.pem, keyfile: gone.key } } } } } }
`
}

test('a check names the listeners whose certificates are missing', async () => {
  const cli = new FakeContext()
  const file = writeConfig(listening('/nowhere/cert.pem', '/nowhere/key.pem'))
  expect(await cli.hubbub('config', 'check', '--config', file)).toBe(2)
  expect(cli.noted).toContain(
    'listener ssl:a: ssl_options.certfile: cannot read /nowhere/cert.pem: there is no file',
  )
  expect(cli.noted).toContain(
    `listener stomp:wss:b: ssl_options.certfile: cannot read gone.pem: there is no file /`,
  )
})

test('a check finds certificates that are out of date, and keys of others', () => {
  const dir = temporaryDirectory()
  const one = issueCert(dir, 'one', { subject: '/CN=one' })
  const other = issueCert(dir, 'other', { subject: '/CN=other' })
  const problemOfFirst = (key: string, now: number) => {
    const file = writeConfig(listening(one.cert, key))
    return tlsProblems(loadConfig({ schema: configSchema(), file, env: {} }).config, new Date(now))[0]
  }
  expect(problemOfFirst(one.key, Date.now())).toMatch(/^listener stomp:wss:b/) // the first one is fine
  expect(problemOfFirst(one.key, Date.now() + 100 * YEAR_MS)).toMatch(/^listener ssl:a: .*CN=one has expired/)
  expect(problemOfFirst(one.key, 0)).toMatch(/^listener ssl:a: .*CN=one is not valid before/)
  expect(problemOfFirst(other.key, Date.now())).toContain('listener ssl:a: ')
})
