/** Options of Redis, with EMQX's names. */
import Type, { type Static } from 'typebox'
import { BrokerError } from '../model/errors.ts'
import { Count, Secret, Strict } from '../model/schema.ts'
import { readServer, readServers, type ServerAddress } from '../model/server-address.ts'
import { passwordField, poolFields, queryTimeoutField } from './fields.ts'

const DEFAULT_PORT = 6379

export const redisFields = {
  redis_type: Type.Unsafe<'single' | 'sentinel' | 'cluster'>({
    type: 'string',
    enum: ['single', 'sentinel', 'cluster'],
    default: 'single',
    description: 'One server, a server that sentinels know, or a Redis Cluster',
  }),
  server: Type.Optional(
    Type.String({
      minLength: 1,
      description: 'host:port of a single Redis; the port is 6379 if it is not there',
    }),
  ),
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
  password: passwordField,
  database: Count(0, { minimum: 0, description: 'Number of the database; a cluster has only 0' }),
  ...poolFields,
  ...queryTimeoutField,
}

const redis = Strict(redisFields)

export type RedisConfig = Static<typeof redis>

/** @throws BrokerError CONFIG_INVALID for options that do not go together */
export function redisServers(id: string, config: RedisConfig): ServerAddress[] {
  const { redis_type: type, server, servers, sentinel, database } = config
  const invalid = (option: string, why: string) =>
    new BrokerError('CONFIG_INVALID', `${id}: ${option} ${why}`)
  if (type === 'sentinel' && sentinel === undefined) throw invalid('sentinel', 'is needed by its redis_type')
  if (type === 'cluster' && database !== 0) throw invalid('database', 'can only be 0 in a cluster')
  if (type === 'single') {
    if (server === undefined) throw invalid('server', 'is needed by redis_type single')
    return [readServer(server, DEFAULT_PORT, `${id}: server`)]
  }
  if (servers === undefined) throw invalid('servers', `is needed by redis_type ${type}`)
  return readServers(servers, DEFAULT_PORT, `${id}: servers`)
}
