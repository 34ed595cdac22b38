import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { Db, MongoClient, MongoClientOptions } from 'mongodb'
import { readClientTls } from '../model/client-tls.ts'
import { BrokerError } from '../model/errors.ts'
import { formatServer, readServers } from '../model/server-address.ts'
import { Calls, reasonOf } from './calls.ts'
import type { ConnectorContext, MongoConnector, MongoDocument, MongoFilter } from './connector.ts'
import { callLimits, withFiniteTimes } from './fields.ts'
import type { MongoConfig } from './mongodb-config.ts'
import { redact } from './redact.ts'

const DEFAULT_PORT = 27_017
const DEFAULT_LIMIT = 1000

/**
 * One MongoDB, a replica set or a sharded cluster.
 * @param id - named in errors and the log
 * @throws BrokerError CONFIG_INVALID; a server that is away is looked for later
 */
export async function openMongo(
  id: string,
  written: MongoConfig,
  context: ConnectorContext,
): Promise<MongoConnector> {
  const config = { ...withFiniteTimes(written), topology: withFiniteTimes(written.topology) }
  const url = urlOf(id, config)
  const tls = await readClientTls(config.ssl, `${id}: ssl`, context.configDir)
  // Brokers without MongoDB need not load its driver.
  const { MongoClient: Client } = await import('mongodb')
  let client: MongoClient
  try {
    client = new Client(url, clientOptions(config, tls))
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `${id}: ${redact(reasonOf(error), [config.password])}`)
  }
  return new Mongo(id, config, context, client)
}

class Mongo implements MongoConnector {
  readonly id: string
  readonly #calls: Calls
  readonly #client: MongoClient
  readonly #db: Db
  readonly #timeoutMs: number

  constructor(id: string, config: MongoConfig, context: ConnectorContext, client: MongoClient) {
    this.id = id
    this.#client = client
    this.#db = client.db(config.database)
    this.#timeoutMs = config.query_timeout
    this.#calls = new Calls({
      id,
      context,
      ...callLimits(config, config.query_timeout),
      secrets: [config.password],
      probe: async (signal) => {
        await client.connect()
        await this.#db.command({ ping: 1 }, { signal })
      },
      explain: reasonOf,
      isLoss: (error) => !(error instanceof Error) || error.name !== 'MongoServerError',
    })
    this.#calls.start()
  }

  get status() {
    return this.#calls.status
  }

  get counters() {
    return this.#calls.counters
  }

  find(
    collection: string,
    filter: MongoFilter,
    { limit = DEFAULT_LIMIT, skip = 0 }: { readonly limit?: number; readonly skip?: number } = {},
    signal?: AbortSignal,
  ): Promise<MongoDocument[]> {
    return this.#calls.run(textsIn(filter), signal, async (end) => {
      // At once where it is; the driver alone would not try again after a first time in vain.
      await this.#client.connect()
      const cursor = this.#db
        .collection(collection)
        .find(filter, { limit, skip, maxTimeMS: this.#timeoutMs, signal: end })
      return (await cursor.toArray()) as MongoDocument[]
    })
  }

  async close(): Promise<void> {
    this.#calls.close()
    await this.#client.close(true)
  }
}

/** @throws BrokerError CONFIG_INVALID for options that do not go together */
function urlOf(id: string, config: MongoConfig): string {
  const { mongo_type: type, server, servers, srv_record, replica_set_name } = config
  const invalid = (option: string, why: string) =>
    new BrokerError('CONFIG_INVALID', `${id}: ${option} ${why}`)
  const option = type === 'single' ? 'server' : 'servers'
  const list = type === 'single' ? server : servers
  if (list === undefined) throw invalid(option, `is needed by mongo_type ${type}`)
  if (type === 'rs' && replica_set_name === undefined)
    throw invalid('replica_set_name', 'is needed by its mongo_type')
  const addresses = readServers(list, DEFAULT_PORT, `${id}: ${option}`)
  const [first] = addresses
  if (type === 'single' && addresses.length > 1) throw invalid('server', 'is one address; see mongo_type')
  if (!srv_record) return `mongodb://${addresses.map(formatServer).join(',')}/`
  if (addresses.length > 1 || first === undefined) throw invalid(option, 'is one name, with srv_record')
  return `mongodb+srv://${first.host}/`
}

function clientOptions(config: MongoConfig, tls: TlsOptions | undefined): MongoClientOptions {
  const { mongo_type: type, username, password, auth_source, replica_set_name, topology } = config
  return {
    appName: 'hubbub',
    maxPoolSize: config.pool_size,
    connectTimeoutMS: topology.connect_timeout_ms ?? config.connect_timeout,
    // A server that is away is said to be so before the call's own time is over.
    serverSelectionTimeoutMS: topology.server_selection_timeout_ms ?? Math.min(config.query_timeout, 5000),
    ...(username === undefined ? {} : { auth: { username, password: password ?? '' } }),
    ...(auth_source === undefined ? {} : { authSource: auth_source }),
    ...(type === 'rs' && replica_set_name !== undefined ? { replicaSet: replica_set_name } : {}),
    ...(type === 'single' && !config.srv_record ? { directConnection: true } : {}),
    readPreference: type !== 'single' && config.r_mode === 'slave_ok' ? 'secondaryPreferred' : 'primary',
    retryReads: false,
    ...(topology.local_threshold_ms === undefined ? {} : { localThresholdMS: topology.local_threshold_ms }),
    ...(topology.socket_timeout_ms === undefined ? {} : { socketTimeoutMS: topology.socket_timeout_ms }),
    ...(topology.wait_queue_timeout_ms === undefined
      ? {}
      : { waitQueueTimeoutMS: topology.wait_queue_timeout_ms }),
    ...(topology.heartbeat_frequency_ms === undefined
      ? {}
      : { heartbeatFrequencyMS: topology.heartbeat_frequency_ms }),
    ...(topology.min_heartbeat_frequency_ms === undefined
      ? {}
      : { minHeartbeatFrequencyMS: topology.min_heartbeat_frequency_ms }),
    ...((tls === undefined ? { tls: false } : { ...tls, tls: true }) as MongoClientOptions),
  }
}

/** What of a filter may be a client's. */
function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  return value !== null && typeof value === 'object' ? Object.values(value).flatMap(textsIn) : []
}
