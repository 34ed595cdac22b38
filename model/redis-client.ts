/** How the driver is told to connect to Redis: the same for all that use one. */
import type { ConnectionOptions } from 'node:tls'
import type { Cluster, Redis, RedisOptions } from 'ioredis'
import { messageOf } from './errors.ts'
import type { ServerAddress } from './server-address.ts'

export type RedisClient = Redis | Cluster

/** The driver, which is loaded by who needs it. */
export type RedisDriver = Pick<typeof import('ioredis'), 'Redis' | 'Cluster'>

export interface RedisPlace {
  readonly type: 'single' | 'sentinel' | 'cluster'
  /** One or more: the server, the sentinels, or nodes of the cluster. */
  readonly servers: readonly ServerAddress[]
  /** Only looked at with sentinels. */
  readonly sentinel: {
    readonly name: string
    readonly username: string | undefined
    readonly password: string | undefined
  }
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
}

export interface RedisManners {
  readonly connectTimeoutMs: number
  /** Pause before a lost connection is made again; null: it is not. */
  readonly retryDelayMs: (times: number) => number | null
  /** More for each connection. */
  readonly connection?: Partial<RedisOptions>
  /** How often a cluster is asked where its keys are, beside when it says that they have moved. */
  readonly slotsRefreshIntervalMs?: number
}

const KEEPALIVE_MS = 10_000

/**
 * Not connected yet. Commands fail at once while it is not; nothing is queued or sent again by the driver, so that who
 * asked knows what became of it.
 */
export function createRedisClient(
  driver: RedisDriver,
  place: RedisPlace,
  tls: ConnectionOptions | undefined,
  manners: RedisManners,
): RedisClient {
  return place.type === 'cluster' ? cluster(driver, place, tls, manners) : single(driver, place, tls, manners)
}

/** A cluster's error is empty but for that of its last node; one of several addresses only has a list. */
export function redisReasonOf(error: unknown): string {
  if (error instanceof AggregateError) return error.errors.map(messageOf).join(', ')
  if (error instanceof Error && 'lastNodeError' in error && error.lastNodeError instanceof Error)
    return error.lastNodeError.message
  return messageOf(error)
}

type Tls = ConnectionOptions | undefined

function single({ Redis }: RedisDriver, place: RedisPlace, tls: Tls, manners: RedisManners): Redis {
  const { type, servers, sentinel, database } = place
  const sentinels = {
    sentinels: servers.map(({ host, port }) => ({ host, port })),
    name: sentinel.name,
    ...(sentinel.username === undefined ? {} : { sentinelUsername: sentinel.username }),
    ...(sentinel.password === undefined ? {} : { sentinelPassword: sentinel.password }),
    ...(tls === undefined ? {} : { sentinelTLS: tls, enableTLSForSentinelMode: true }),
    sentinelRetryStrategy: manners.retryDelayMs,
  }
  return new Redis({
    ...connectionOptions(place, tls, manners),
    ...(type === 'sentinel' ? sentinels : servers[0]),
    db: database,
    lazyConnect: true,
    enableOfflineQueue: false,
    retryStrategy: manners.retryDelayMs,
  })
}

function cluster({ Cluster }: RedisDriver, place: RedisPlace, tls: Tls, manners: RedisManners): Cluster {
  const { slotsRefreshIntervalMs, connectTimeoutMs, retryDelayMs } = manners
  return new Cluster(
    place.servers.map(({ host, port }) => ({ host, port })),
    {
      lazyConnect: true,
      enableOfflineQueue: false,
      clusterRetryStrategy: retryDelayMs,
      slotsRefreshTimeout: connectTimeoutMs,
      ...(slotsRefreshIntervalMs === undefined ? {} : { slotsRefreshInterval: slotsRefreshIntervalMs }),
      redisOptions: connectionOptions(place, tls, manners),
      // The name behind TLS is that of the address the cluster says, not what it resolves to.
      ...(tls === undefined
        ? {}
        : { dnsLookup: (host: string, done: (error: null, address: string) => void) => done(null, host) }),
    },
  )
}

function connectionOptions(
  { username, password }: RedisPlace,
  tls: Tls,
  manners: RedisManners,
): RedisOptions {
  return {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls === undefined ? {} : { tls }),
    connectionName: 'hubbub',
    connectTimeout: manners.connectTimeoutMs,
    keepAlive: KEEPALIVE_MS,
    maxRetriesPerRequest: 0,
    autoResendUnfulfilledCommands: false,
    // The driver's own would reject with nobody listening when the connection is lost meanwhile.
    autoResubscribe: false,
    ...manners.connection,
  }
}
