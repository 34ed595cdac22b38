import { readClientTls } from '../model/client-tls.ts'
import {
  createRedisClient,
  type RedisClient as DriverClient,
  type RedisPlace,
  redisReasonOf,
} from '../model/redis-client.ts'
import type { ServerAddress } from '../model/server-address.ts'
import { Calls } from './calls.ts'
import type { ConnectorContext, RedisConnector, RedisReply } from './connector.ts'
import { callLimits, withFiniteTimes } from './fields.ts'
import { Pool, type Pooled } from './pool.ts'
import { type RedisConfig, redisServers } from './redis-config.ts'

/**
 * One Redis, one that sentinels know, or a Redis Cluster.
 * @param id - named in errors and the log
 * @throws BrokerError CONFIG_INVALID; a server that is away is looked for later
 */
export async function openRedis(
  id: string,
  written: RedisConfig,
  context: ConnectorContext,
): Promise<RedisConnector> {
  const config = withFiniteTimes(written)
  const servers = redisServers(id, config)
  const tls = await readClientTls(config.ssl, `${id}: ssl`, context.configDir)
  // Brokers without Redis need not load its driver.
  const driver = await import('ioredis')
  const place = placeOf(config, servers)
  // The pool makes new connections.
  const manners = { connectTimeoutMs: config.connect_timeout, retryDelayMs: () => null }
  const create = () => createRedisClient(driver, place, tls, manners)
  return new RedisBackend(id, config, context, create)
}

class RedisBackend implements RedisConnector {
  readonly id: string
  readonly #calls: Calls
  readonly #pool: Pool<RedisClient>

  constructor(id: string, config: RedisConfig, context: ConnectorContext, create: () => DriverClient) {
    this.id = id
    this.#pool = new Pool(config.pool_size, (signal) => RedisClient.open(create(), signal))
    this.#calls = new Calls({
      id,
      context,
      ...callLimits(config, config.query_timeout),
      secrets: [config.password, config.sentinel_password],
      probe: async (signal) => {
        await this.#pool.use(signal, (client) => client.command(['PING']))
      },
      explain: redisReasonOf,
      isLoss: (error) => !(error instanceof Error) || error.name !== 'ReplyError',
    })
    this.#calls.start()
  }

  get status() {
    return this.#calls.status
  }

  get counters() {
    return this.#calls.counters
  }

  command(args: readonly string[], signal?: AbortSignal): Promise<RedisReply> {
    return this.#calls.run(args.slice(1), signal, (end) =>
      this.#pool.use(end, (client) => client.command(args)),
    )
  }

  async close(): Promise<void> {
    this.#calls.close()
    this.#pool.close()
  }
}

class RedisClient implements Pooled {
  readonly #client: DriverClient

  private constructor(client: DriverClient) {
    this.#client = client
  }

  static async open(client: DriverClient, signal: AbortSignal): Promise<RedisClient> {
    let lastError: unknown
    client.on('error', (error: unknown) => {
      lastError = error
    })
    const cut = () => client.disconnect()
    signal.addEventListener('abort', cut, { once: true })
    try {
      signal.throwIfAborted()
      await connected(client, () => lastError)
      return new RedisClient(client)
    } catch (error) {
      cut()
      signal.throwIfAborted()
      throw lastError ?? error
    } finally {
      signal.removeEventListener('abort', cut)
    }
  }

  get isUsable(): boolean {
    return this.#client.status === 'ready'
  }

  destroy(): void {
    this.#client.disconnect()
  }

  async command([name = '', ...args]: readonly string[]): Promise<RedisReply> {
    return (await this.#client.call(name, ...args)) as RedisReply
  }
}

/** The driver's promise alone may stay open when the connection is cut meanwhile. */
function connected(client: DriverClient, lastError: () => unknown): Promise<void> {
  return new Promise((resolve, reject) => {
    client.once('end', () => reject(lastError() ?? new Error('the connection was closed')))
    client.connect().then(resolve, reject)
  })
}

function placeOf(config: RedisConfig, servers: readonly ServerAddress[]): RedisPlace {
  const { redis_type: type, sentinel = '', username, password, database } = config
  return {
    type,
    servers,
    sentinel: { name: sentinel, username: config.sentinel_username, password: config.sentinel_password },
    username,
    password,
    database,
  }
}
