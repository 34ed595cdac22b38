/** `storage.redis`: where the Redis is and how it is talked to, with EMQX's names of its Redis connector. */
import Type, { type Static } from 'typebox'
import { type ClientTlsConfig, clientTls } from '../../model/client-tls.ts'
import { BrokerError } from '../../model/errors.ts'
import { Count, Duration, Secret, Strict } from '../../model/schema.ts'
import { readServers, type ServerAddress } from '../../model/server-address.ts'

const DEFAULT_PORT = 6379
/** Node fires a longer timer at once. */
const MAX_TIMER_MS = 2 ** 31 - 1

export const redisSchema = Strict(
  {
    redis_type: Type.Unsafe<'single' | 'sentinel' | 'cluster'>({
      type: 'string',
      enum: ['single', 'sentinel', 'cluster'],
      default: 'single',
      description: 'One server, a server that sentinels know, or a Redis Cluster',
    }),
    server: Type.String({
      default: '127.0.0.1:6379',
      minLength: 1,
      description: 'host:port of a single Redis; the port is 6379 if it is not there',
    }),
    servers: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'The sentinels, or some nodes of the cluster: host:port, with commas between them',
      }),
    ),
    sentinel: Type.Optional(
      Type.String({ minLength: 1, description: 'With sentinels: the name of the master they watch' }),
    ),
    sentinel_username: Type.Optional(Type.String({ minLength: 1, description: 'For the sentinels' })),
    sentinel_password: Type.Optional(
      Secret({ description: 'For the sentinels. file:///path reads it from a file' }),
    ),
    username: Type.Optional(Type.String({ minLength: 1, description: 'Of an ACL user of Redis' })),
    password: Type.Optional(Secret({ description: 'For Redis. file:///path reads it from a file' })),
    database: Count(0, { minimum: 0, description: 'Number of the database; a cluster has only 0' }),
    prefix: Type.String({
      default: 'hubbub',
      pattern: '^[0-9A-Za-z_.:-]{1,64}$',
      description: 'What all keys begin with. Each broker needs its own',
    }),
    command_timeout: Duration('5s', {
      description: 'An answer of Redis that takes longer counts as a failure, and so does a connection',
    }),
    ssl: clientTls,
  },
  { description: 'Of the type redis' },
)

export type RedisConfig = Static<typeof redisSchema>

export interface RedisOptions {
  readonly type: 'single' | 'sentinel' | 'cluster'
  /** One or more: the server, the sentinels, or nodes of the cluster. */
  readonly servers: readonly ServerAddress[]
  readonly sentinel: {
    readonly name: string
    readonly username: string | undefined
    readonly password: string | undefined
  }
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  /** What all keys begin with; without characters that mean something in patterns and hash tags. */
  readonly prefix: string
  readonly commandTimeoutMs: number
  readonly tls: ClientTlsConfig
  /** Where relative paths of `tls` start. */
  readonly configDir: string
}

/**
 * @param configDir - where relative paths start
 * @throws BrokerError CONFIG_INVALID
 */
export function readRedis(config: RedisConfig, configDir: string): RedisOptions {
  const { redis_type: type, servers, sentinel, database, ssl } = config
  const list = type === 'single' ? config.server : servers
  if (list === undefined) throw invalid('servers', `is needed by redis_type ${type}`)
  if (type === 'sentinel' && sentinel === undefined) throw invalid('sentinel', 'is needed by its redis_type')
  if (type === 'cluster' && database !== 0) throw invalid('database', 'can only be 0 in a cluster')
  const addresses = readServers(
    list,
    DEFAULT_PORT,
    `storage.redis.${type === 'single' ? 'server' : 'servers'}`,
  )
  if (type === 'single' && addresses.length > 1) throw invalid('server', 'is one address; see redis_type')
  return {
    type,
    servers: addresses,
    sentinel: {
      name: sentinel ?? '',
      username: config.sentinel_username,
      password: config.sentinel_password,
    },
    username: config.username,
    password: config.password,
    database,
    prefix: config.prefix,
    commandTimeoutMs: Math.min(config.command_timeout, MAX_TIMER_MS),
    tls: ssl,
    configDir,
  }
}

function invalid(option: string, why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `storage.redis.${option}: ${why}`)
}
