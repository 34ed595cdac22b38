import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'

export type Service =
  | 'mosquitto'
  | 'mosquitto_pub'
  | 'mosquitto_sub'
  | 'openssl'
  | 'redis-server'
  | 'redis-cli'
  | 'nats-server'
  | 'coap-client-openssl'
  | 'coap-client-gnutls'
  | 'mariadbd'
  | 'pg_ctlcluster'
  | 'slapd'
  | 'cc'

export type Availability = { skip: false; path: string } | { skip: true; reason: string }

/**
 * Whether a program is there that a test runs Hubbub against. Says the reason when it is not, so
 * that nobody takes a skipped test for a passed one.
 *
 *     const openssl = requireService('openssl')
 *     test.skipIf(openssl.skip)(`a TLS client ...${skipNote(openssl)}`, ...)
 *
 * @throws where CI=true: there a test that did not run counts as failed
 */
export function requireService(
  name: Service,
  env: NodeJS.ProcessEnv = process.env,
  warn: (text: string) => void = console.warn,
): Availability {
  const path = findProgram(name, env)
  if (path !== undefined) return { skip: false, path }
  const reason = `${name} is not installed, test/support/services gets it`
  if (env.CI === 'true') throw new Error(reason)
  warn(`skipped: ${reason}`)
  return { skip: true, reason }
}

/** Goes behind a test's name; empty when the test runs. */
export function skipNote(service: Availability): string {
  return service.skip ? ` (skipped: ${service.reason})` : ''
}

/** Daemons live in sbin directories that a plain user's PATH may lack. */
function findProgram(name: string, env: NodeJS.ProcessEnv): string | undefined {
  const directories = [...(env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin']
  return directories.map((directory) => join(directory, name)).find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}
