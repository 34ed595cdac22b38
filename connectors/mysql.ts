import { checkServerIdentity, type TLSSocket, type ConnectionOptions as TlsOptions } from 'node:tls'
import type { Connection, ConnectionOptions, RowDataPacket } from 'mysql2'
import { readClientTls } from '../model/client-tls.ts'
import { BrokerError } from '../model/errors.ts'
import { readServer, type ServerAddress } from '../model/server-address.ts'
import { Calls, reasonOf } from './calls.ts'
import type { ConnectorContext, Row, SqlConnector, SqlStatement } from './connector.ts'
import { callLimits, withFiniteTimes } from './fields.ts'
import { Pool, type Pooled } from './pool.ts'
import type { MysqlConfig } from './sql-config.ts'
import { MAX_ROWS, tooManyRows } from './sql-rows.ts'

type Driver = typeof import('mysql2')

/**
 * MySQL and MariaDB.
 * @param id - named in errors and the log
 * @throws BrokerError CONFIG_INVALID; a server that is away is looked for later
 */
export async function openMysql(
  id: string,
  written: MysqlConfig,
  context: ConnectorContext,
): Promise<SqlConnector> {
  const config = withFiniteTimes(written)
  const server = readServer(config.server, 3306, `${id}: server`)
  const tls = await readClientTls(config.ssl, `${id}: ssl`, context.configDir)
  // Brokers without MySQL need not load its driver.
  const { default: driver } = await import('mysql2')
  return new Mysql(id, config, context, (signal) => connect(driver, config, server, tls, signal))
}

class Mysql implements SqlConnector {
  readonly id: string
  readonly #calls: Calls
  readonly #pool: Pool<MysqlConnection>
  readonly #isPrepared: boolean

  constructor(
    id: string,
    config: MysqlConfig,
    context: ConnectorContext,
    open: (signal: AbortSignal) => Promise<MysqlConnection>,
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
      explain,
      isLoss: (error) => isFatal(error),
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
    return this.#calls.run(values, signal, (end) =>
      this.#pool.use(end, (connection) =>
        this.#isPrepared
          ? connection.execute(statement.text, values)
          : connection.query(withLiterals(statement, values)),
      ),
    )
  }

  async close(): Promise<void> {
    this.#calls.close()
    this.#pool.close()
  }
}

class MysqlConnection implements Pooled {
  readonly #connection: Connection
  /** Ends the query under way. */
  #abandon: ((error: Error) => void) | undefined
  #isUsable = true

  constructor(connection: Connection) {
    this.#connection = connection
    const lost = () => {
      this.#isUsable = false
      this.#abandon?.(new Error('the connection was closed'))
    }
    connection.on('error', lost)
    connection.on('end', lost)
  }

  get isUsable(): boolean {
    return this.#isUsable
  }

  destroy(): void {
    this.#isUsable = false
    this.#connection.destroy()
  }

  ping(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#connection.ping((error) => (error ? this.#fail(error, reject) : resolve()))
    })
  }

  execute(sql: string, values: readonly string[]): Promise<Row[]> {
    return this.#rows(this.#connection.execute<RowDataPacket[]>(sql, [...values]))
  }

  query(sql: string): Promise<Row[]> {
    return this.#rows(this.#connection.query<RowDataPacket[]>(sql))
  }

  /** One by one, so that a query that answers too much costs no more memory than one may. */
  #rows(query: ReturnType<Connection['query']>): Promise<Row[]> {
    return new Promise((resolve, reject) => {
      const rows: Row[] = []
      query.on('result', (row: Row) => {
        if (rows.length < MAX_ROWS) rows.push(row)
        else {
          reject(tooManyRows())
          this.destroy()
        }
      })
      query.on('error', (error: unknown) => this.#fail(error, reject))
      query.on('end', () => resolve(rows))
      this.#abandon = reject
    })
  }

  /** What a command is told of a lost connection the driver tells nobody else. */
  #fail(error: unknown, reject: (error: unknown) => void): void {
    if (isFatal(error)) this.#isUsable = false
    reject(error)
  }
}

function connect(
  driver: Driver,
  { username, password, database, connect_timeout }: MysqlConfig,
  { host, port }: ServerAddress,
  tls: TlsOptions | undefined,
  signal: AbortSignal,
): Promise<MysqlConnection> {
  return new Promise((resolve, reject) => {
    const connection = driver.createConnection({
      host,
      port,
      user: username,
      ...(password === undefined ? {} : { password }),
      database,
      connectTimeout: connect_timeout,
      charset: 'utf8mb4',
      // As texts, or a number of 64 bits would lose its last digits.
      supportBigNumbers: true,
      enableKeepAlive: true,
      // The server never gets to ask for our files.
      flags: ['-LOCAL_FILES'],
      ...(tls === undefined ? {} : { ssl: sslOptions(tls) }),
    })
    if (tls !== undefined) checkIdentity(connection, tls.servername || host, tls)
    const pooled = new MysqlConnection(connection)
    const cut = () => {
      pooled.destroy()
      reject(signal.reason as Error)
    }
    signal.addEventListener('abort', cut, { once: true })
    connection.connect((error) => {
      signal.removeEventListener('abort', cut)
      if (error) {
        pooled.destroy()
        // The driver marks only some of what ends a handshake.
        reject(Object.assign(error, { fatal: true }))
      } else resolve(pooled)
    })
  })
}

/** Names are compared by us: the driver takes the certificate of any host for an address in numbers. */
function sslOptions({ checkServerIdentity: _, ...tls }: TlsOptions): NonNullable<ConnectionOptions['ssl']> {
  return { ...tls, verifyIdentity: false } as NonNullable<ConnectionOptions['ssl']>
}

/** What of the driver's connection is not in its types. */
interface TlsStarter {
  startTLS(onSecure: (error?: Error) => void): void
  readonly stream: TLSSocket
}

/** Before the password is sent: the certificate has to be of the host. */
function checkIdentity(connection: Connection, name: string, tls: TlsOptions): void {
  if (tls.rejectUnauthorized === false || tls.checkServerIdentity !== undefined) return
  const starter = connection as unknown as TlsStarter
  const startTLS = starter.startTLS.bind(starter)
  starter.startTLS = (onSecure) =>
    startTLS((error) => onSecure(error ?? checkServerIdentity(name, starter.stream.getPeerCertificate())))
}

/**
 * Without parameters of the server: bytes of values in hexadecimal, which no SQL mode and no
 * character set can read as anything else.
 */
function withLiterals({ pieces }: SqlStatement, values: readonly string[]): string {
  return pieces.map((piece, i) => (i === 0 ? piece : `${literal(values[i - 1] ?? '')}${piece}`)).join('')
}

function literal(value: string): string {
  return `_utf8mb4 X'${Buffer.from(value, 'utf8').toString('hex')}'`
}

/** Not when the server says what is wrong with a statement: that error has a state, and no mark of the driver. */
function isFatal(error: unknown): boolean {
  if (error instanceof BrokerError) return false
  return !(error instanceof Error) || !('sqlState' in error) || ('fatal' in error && error.fatal === true)
}

function explain(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? `${String(error.code)}: ` : ''
  const reason = reasonOf(error)
  return reason.startsWith(code) ? reason : code + reason
}
