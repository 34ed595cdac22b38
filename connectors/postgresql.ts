import { createHash } from 'node:crypto'
import { checkServerIdentity, type ConnectionOptions as TlsOptions } from 'node:tls'
import type { Client, QueryConfig } from 'pg'
import { readClientTls } from '../model/client-tls.ts'
import { readServer, type ServerAddress } from '../model/server-address.ts'
import { Calls, reasonOf } from './calls.ts'
import type { ConnectorContext, Row, SqlConnector, SqlStatement } from './connector.ts'
import { callLimits, withFiniteTimes } from './fields.ts'
import { Pool, type Pooled } from './pool.ts'
import type { PostgresqlConfig } from './sql-config.ts'
import { MAX_ROWS, tooManyRows } from './sql-rows.ts'

type Driver = Pick<typeof import('pg'), 'Client' | 'Query'>

/**
 * PostgreSQL and what speaks its protocol.
 * @param id - named in errors and the log
 * @throws BrokerError CONFIG_INVALID; a server that is away is looked for later
 */
export async function openPostgresql(
  id: string,
  written: PostgresqlConfig,
  context: ConnectorContext,
): Promise<SqlConnector> {
  const config = withFiniteTimes(written)
  const server = readServer(config.server, 5432, `${id}: server`)
  const tls = await readClientTls(config.ssl, `${id}: ssl`, context.configDir)
  // Brokers without PostgreSQL need not load its driver.
  const { default: driver } = await import('pg')
  return new Postgresql(id, config, context, (signal) => connect(driver, config, server, tls, signal))
}

class Postgresql implements SqlConnector {
  readonly id: string
  readonly #calls: Calls
  readonly #pool: Pool<PostgresqlConnection>
  readonly #isPrepared: boolean
  /** The server remembers a statement by its name. */
  readonly #names = new WeakMap<SqlStatement, string>()

  constructor(
    id: string,
    config: PostgresqlConfig,
    context: ConnectorContext,
    open: (signal: AbortSignal) => Promise<PostgresqlConnection>,
  ) {
    this.id = id
    this.#isPrepared = !config.disable_prepared_statements
    this.#pool = new Pool(config.pool_size, open)
    this.#calls = new Calls({
      id,
      context,
      ...callLimits(config, config.query_timeout),
      secrets: [config.password],
      probe: (signal) => this.#pool.use(signal, (connection) => connection.ping()),
      explain: reasonOf,
      isLoss,
    })
    this.#calls.start()
  }

  get status() {
    return this.#calls.status
  }

  get counters() {
    return this.#calls.counters
  }

  query(statement: SqlStatement, values: readonly string[], signal?: AbortSignal): Promise<Row[]> {
    const query = { text: statement.text, values: [...values], ...this.#nameOf(statement) }
    return this.#calls.run(values, signal, (end) =>
      this.#pool.use(end, (connection) => connection.query(query)),
    )
  }

  async close(): Promise<void> {
    this.#calls.close()
    this.#pool.close()
  }

  #nameOf(statement: SqlStatement): { name?: string } {
    if (!this.#isPrepared) return {}
    let name = this.#names.get(statement)
    if (name === undefined) {
      name = `hubbub_${createHash('sha256').update(statement.text).digest('hex').slice(0, 32)}`
      this.#names.set(statement, name)
    }
    return { name }
  }
}

class PostgresqlConnection implements Pooled {
  readonly #driver: Driver
  readonly #client: Client
  #isUsable = true

  constructor(driver: Driver, client: Client) {
    this.#driver = driver
    this.#client = client
    const lost = () => {
      this.#isUsable = false
    }
    client.on('error', lost)
    client.on('end', lost)
  }

  get isUsable(): boolean {
    return this.#isUsable
  }

  destroy(): void {
    this.#isUsable = false
    // Its own way out says goodbye first, and waits for what it is doing.
    this.#client.connection.stream.destroy()
  }

  async ping(): Promise<void> {
    await this.query({ text: 'SELECT 1' })
  }

  /** Row by row, so that a query that answers too much costs no more memory than one may. */
  query(config: QueryConfig): Promise<Row[]> {
    return new Promise((resolve, reject) => {
      const rows: Row[] = []
      const query = this.#client.query(new this.#driver.Query(config))
      query.on('row', (row: Row) => {
        if (rows.length < MAX_ROWS) rows.push(row)
        else {
          reject(tooManyRows())
          this.destroy()
        }
      })
      query.on('error', (error) => {
        if (isLoss(error)) this.#isUsable = false
        reject(error)
      })
      query.on('end', () => resolve(rows))
    })
  }
}

function connect(
  driver: Driver,
  config: PostgresqlConfig,
  { host, port }: ServerAddress,
  tls: TlsOptions | undefined,
  signal: AbortSignal,
): Promise<PostgresqlConnection> {
  const { username, password, database, connect_timeout, query_timeout } = config
  return new Promise((resolve, reject) => {
    const client = new driver.Client({
      host,
      port,
      user: username,
      // Said even if empty, or the driver would look into the environment.
      password: password ?? '',
      database,
      connectionTimeoutMillis: connect_timeout,
      keepAlive: true,
      application_name: 'hubbub',
      // The server gives up soon after we have; poolers do not know how to be told.
      ...(config.disable_prepared_statements ? {} : { statement_timeout: giveUpMs(query_timeout) }),
      ssl: tls === undefined ? false : sslOptions(tls),
    })
    const pooled = new PostgresqlConnection(driver, client)
    const cut = () => {
      pooled.destroy()
      reject(signal.reason as Error)
    }
    signal.addEventListener('abort', cut, { once: true })
    client
      .connect()
      .finally(() => signal.removeEventListener('abort', cut))
      .then(
        () => resolve(pooled),
        (error: unknown) => {
          pooled.destroy()
          reject(error)
        },
      )
  })
}

function giveUpMs(timeoutMs: number): number {
  return Math.min(timeoutMs + 1000, 2 ** 31 - 1)
}

/** The driver compares the certificate with the host only. A copy: it hides the key in what it gets. */
function sslOptions(tls: TlsOptions): TlsOptions {
  const { servername: name } = tls
  if (name === undefined || name === '') return { ...tls }
  return { ...tls, checkServerIdentity: (_host, certificate) => checkServerIdentity(name, certificate) }
}

/** The server's own errors have a severity; of these only the fatal ones end the connection. */
function isLoss(error: unknown): boolean {
  const severity = error instanceof Error && 'severity' in error ? error.severity : undefined
  return severity === undefined || severity === 'FATAL' || severity === 'PANIC'
}
