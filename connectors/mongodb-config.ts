/** Options of MongoDB, with EMQX's names. */
import Type, { type Static } from 'typebox'
import { Duration, Strict } from '../model/schema.ts'
import { passwordField, poolFields, queryTimeoutField } from './fields.ts'

const topology = Strict(
  {
    local_threshold_ms: Type.Optional(
      Duration(undefined, {
        description: 'Servers that answer so much slower than the fastest are not asked',
      }),
    ),
    connect_timeout_ms: Type.Optional(
      Duration(undefined, { description: 'In place of connect_timeout: time to make a connection' }),
    ),
    socket_timeout_ms: Type.Optional(
      Duration(undefined, {
        description: 'A connection that says nothing for so long while it is asked is cut',
      }),
    ),
    server_selection_timeout_ms: Type.Optional(
      Duration(undefined, { description: 'How long a call waits for a server that can answer it' }),
    ),
    wait_queue_timeout_ms: Type.Optional(
      Duration(undefined, { description: 'How long a call waits for a free connection' }),
    ),
    heartbeat_frequency_ms: Type.Optional(
      Duration(undefined, { description: 'How often each server is asked how it is' }),
    ),
    min_heartbeat_frequency_ms: Type.Optional(
      Duration(undefined, { description: 'Least time between two of these questions' }),
    ),
  },
  { description: 'How servers are watched and chosen. Not set: the choice of the driver' },
)

export const mongodbFields = {
  mongo_type: Type.Unsafe<'single' | 'rs' | 'sharded'>({
    type: 'string',
    enum: ['single', 'rs', 'sharded'],
    default: 'single',
    description: 'One server, a replica set, or the routers of a sharded cluster',
  }),
  server: Type.Optional(
    Type.String({
      minLength: 1,
      description: 'host:port of a single server; the port is 27017 if it is not there',
    }),
  ),
  servers: Type.Optional(
    Type.String({
      minLength: 1,
      description: 'Members of the replica set, or routers: host:port, with commas between them',
    }),
  ),
  replica_set_name: Type.Optional(Type.String({ minLength: 1, description: 'Name of the replica set' })),
  r_mode: Type.Unsafe<'master' | 'slave_ok'>({
    type: 'string',
    enum: ['master', 'slave_ok'],
    default: 'master',
    description: 'Of a replica set: who is asked, the primary only, or secondaries while there are some',
  }),
  srv_record: Type.Boolean({
    default: false,
    description: 'server is a name whose SRV and TXT records say where the servers are',
  }),
  database: Type.String({ minLength: 1, description: 'Name of the database' }),
  username: Type.Optional(Type.String({ minLength: 1, description: 'User of the database' })),
  password: passwordField,
  auth_source: Type.Optional(
    Type.String({ minLength: 1, description: 'Database that knows the user. Not set: admin' }),
  ),
  topology,
  ...poolFields,
  ...queryTimeoutField,
}

const mongodb = Strict(mongodbFields)

export type MongoConfig = Static<typeof mongodb>
