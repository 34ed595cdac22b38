import assert from 'node:assert'
import { describe, type TestContext, test } from 'vitest'
import type { RedisOptions } from '../../../broker/storage/redis-config.ts'
import { RedisStorage, type RedisStorageOptions } from '../../../broker/storage/storage-redis.ts'
import { type Logger, silentLogger } from '../../../model/log.ts'

const { default: abstractSuite } = await import('aedes-persistence/abstract.js')

export const NO_TLS: RedisOptions['tls'] = {
  enable: false,
  verify: 'verify_peer',
  versions: ['tlsv1.3', 'tlsv1.2'],
  ciphers: [],
}

let count = 0

/** Under a prefix of its own, so that tests share a server and nothing else. */
export function redisOptions(ports: readonly number[], more: Partial<RedisOptions> = {}): RedisOptions {
  return {
    type: ports.length > 1 ? 'cluster' : 'single',
    servers: ports.map((port) => ({ host: '127.0.0.1', port })),
    sentinel: { name: '', username: undefined, password: undefined },
    username: undefined,
    password: undefined,
    database: 0,
    prefix: `test-${count++}`,
    commandTimeoutMs: 5000,
    tls: NO_TLS,
    configDir: '/nowhere',
    ...more,
  }
}

export function redisStorage(
  options: RedisOptions,
  { log = silentLogger, ...more }: Partial<RedisStorageOptions> & { log?: Logger } = {},
): RedisStorage {
  return new RedisStorage(options, log, { rejectedPrefix: '/nowhere/store', isExclusive: false, ...more })
}

/** Opened, and closed after the test. */
export async function openRedis(
  t: TestContext,
  options: RedisOptions,
  more: Parameters<typeof redisStorage>[1] & { id?: string } = {},
): Promise<RedisStorage> {
  const storage = redisStorage(options, more)
  await storage.setup({ id: more.id ?? 'node@a' })
  t.onTestFinished(() => storage.destroy())
  return storage
}

/** Aedes' own suite for what it expects of a storage. */
export function aedesContract(name: string, ports: () => readonly number[]): void {
  describe(`Aedes' contract: ${name}`, () => {
    // The suite is written for node:test; this is the part of its context that it uses.
    const context = { assert, diagnostic() {}, plan() {} }
    abstractSuite({
      test: (title: string, run: (t: typeof context) => Promise<void>) => test(title, () => run(context)),
      persistence: () => redisStorage(redisOptions(ports())),
      testAsync: true,
    })
  })
}

/** Waits until it is so, looking again in every turn of the event loop. */
export async function eventually(isSo: () => boolean): Promise<void> {
  const endsAtMs = Date.now() + 10_000
  while (!isSo()) {
    if (Date.now() > endsAtMs) throw new Error(`never: ${isSo.toString()}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}
