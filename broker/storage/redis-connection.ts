import type { Redis } from 'ioredis'
import { withDeadline } from '../../model/async.ts'
import { readClientTls } from '../../model/client-tls.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import {
  createRedisClient,
  type RedisClient,
  type RedisManners,
  redisReasonOf,
} from '../../model/redis-client.ts'
import { formatServer } from '../../model/server-address.ts'
import type { RedisOptions } from './redis-config.ts'

export type { RedisClient }

const FIRST_RETRY_MS = 50
const MAX_RETRY_MS = 2000
const SLOTS_REFRESH_MS = 10_000

/**
 * Connections to one Redis: commands fail at once while it is away, or after `commandTimeoutMs`; nothing is
 * queued or sent again by the driver, so that who asked knows what became of it. It connects again by itself.
 */
export class RedisConnection {
  /** For commands. */
  readonly client: RedisClient
  readonly #options: RedisOptions
  readonly #others: RedisClient[] = []
  readonly #log: Logger
  #isClosed = false
  #isAway = false
  #lastError: unknown

  private constructor(client: RedisClient, options: RedisOptions, log: Logger) {
    this.client = client
    this.#options = options
    this.#log = log
  }

  /**
   * @throws BrokerError STORAGE_FAILED if it cannot be reached or refuses us, CONFIG_INVALID for files that
   *   cannot be read; texts name the address, never a credential
   */
  static async open(options: RedisOptions, log: Logger): Promise<RedisConnection> {
    // Brokers without Redis need not load its driver.
    const driver = await import('ioredis')
    const tls = await readClientTls(options.tls, 'storage.redis.ssl', options.configDir)
    const client = createRedisClient(driver, options, tls, mannersOf(options))
    const connection = new RedisConnection(client, options, log)
    await connection.#ready(client)
    connection.#watch()
    return connection
  }

  get isCluster(): boolean {
    return this.#options.type === 'cluster'
  }

  /** Every server that holds a part of the keys. */
  get masters(): readonly Redis[] {
    const { client } = this
    return 'nodes' in client ? client.nodes('master') : [client]
  }

  /** One more connection, closed with this one. @param keyPrefix - put before the keys of its commands */
  async another(keyPrefix = ''): Promise<RedisClient> {
    const { client } = this
    const other =
      'nodes' in client ? client.duplicate(undefined, { keyPrefix }) : client.duplicate({ keyPrefix })
    this.#others.push(other)
    await this.#ready(other)
    return other
  }

  /** What an error of the driver means, in words without arguments of commands: these may be anybody's secrets. */
  explain(error: unknown): string {
    const message = messageOf(error)
    const isAway =
      /isn't writeable|isn't ready|max retries per request|Connection is closed|Failed to refresh slots/i
    if (!isAway.test(message)) return message
    const why = this.#lastError === undefined ? '' : `: ${redisReasonOf(this.#lastError)}`
    return `no connection to Redis${why}`
  }

  close(): void {
    this.#isClosed = true
    for (const client of [this.client, ...this.#others]) client.disconnect()
  }

  /** Waits for a connection to be usable; what keeps it from that is thrown, and it is closed. */
  async #ready(client: RedisClient): Promise<void> {
    client.on('error', (error) => {
      this.#lastError = error
    })
    const closed = this.isCluster ? 'the cluster is not ready' : 'the connection was closed'
    const ended = new Promise<never>((_, reject) => {
      for (const event of ['close', 'end']) client.once(event, () => reject(new Error(closed)))
      client.once('error', reject)
    })
    const connected = client.connect()
    for (const promise of [ended, connected]) promise.catch(() => {}) // the other one may have been first
    try {
      const usable = Promise.race([connected, ended])
      await withDeadline(usable, this.#options.commandTimeoutMs, 'Redis')
    } catch (error) {
      this.close()
      const why = redisReasonOf(this.#lastError ?? error)
      // Without the cause: the driver's errors carry the arguments of their commands.
      throw new BrokerError('STORAGE_FAILED', `storage ${placeOf(this.#options)} cannot be opened: ${why}`)
    }
  }

  #watch(): void {
    const store = placeOf(this.#options)
    this.client.on('close', () => {
      if (this.#isClosed || this.#isAway) return
      this.#isAway = true
      this.#log.warn({ store }, 'connection to Redis lost, connecting again')
    })
    this.client.on('ready', () => {
      if (!this.#isAway) return
      this.#isAway = false
      this.#lastError = undefined
      this.#log.info({ store }, 'connected to Redis again')
    })
  }
}

/** The address as people write it, without credentials: `redis://127.0.0.1:6379/0 prefix hubbub` */
export function placeOf({ type, servers, sentinel, database, tls, prefix }: RedisOptions): string {
  const scheme = (tls.enable ? 'rediss' : 'redis') + (type === 'single' ? '' : `-${type}`)
  const hosts = servers.map(formatServer)
  const path = type === 'cluster' ? '' : `${type === 'sentinel' ? `/${sentinel.name}` : ''}/${database}`
  return `${scheme}://${hosts.join(',')}${path} prefix ${prefix}`
}

function mannersOf({ commandTimeoutMs }: RedisOptions): RedisManners {
  return {
    connectTimeoutMs: commandTimeoutMs,
    retryDelayMs,
    slotsRefreshIntervalMs: SLOTS_REFRESH_MS,
    connection: {
      commandTimeout: commandTimeoutMs,
      sentinelCommandTimeout: commandTimeoutMs,
      // A connection that says nothing for so long is gone, whatever TCP still hopes for.
      socketTimeout: commandTimeoutMs * 2,
      // After a failover by sentinels the old master has become a replica: look for the new one.
      reconnectOnError: (error) => error.message.startsWith('READONLY'),
    },
  }
}

function retryDelayMs(times: number): number {
  return Math.min(FIRST_RETRY_MS * 2 ** (Math.min(times, 16) - 1), MAX_RETRY_MS)
}
