import { connect as connectSocket, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions as TlsOptions } from 'node:tls'
import type { Client, Entry } from 'ldapts'
import { readClientTls } from '../model/client-tls.ts'
import { BrokerError } from '../model/errors.ts'
import { readServer, type ServerAddress } from '../model/server-address.ts'
import { Calls, reasonOf } from './calls.ts'
import type { ConnectorContext, LdapConnector, LdapEntry, LdapSearch } from './connector.ts'
import { callLimits, withFiniteTimes } from './fields.ts'
import type { LdapConfig } from './ldap-config.ts'
import { Pool, type Pooled } from './pool.ts'

type Driver = Pick<typeof import('ldapts'), 'Client' | 'ResultCodeError'>

const DEFAULT_SIZE_LIMIT = 1000

/** Result codes of RFC 4511 §4.1.9. */
const NO_SUCH_ATTRIBUTE = 16
const UNDEFINED_ATTRIBUTE = 17
const NO_SUCH_OBJECT = 32
const BUSY = 51
const UNAVAILABLE = 52
/** A no to somebody's password: wrong, locked, no entry, not a name, may not log in, has none. */
const REFUSALS = [19, NO_SUCH_OBJECT, 34, 48, 49, 50, 53]

/**
 * An LDAP directory; with `ssl` it is spoken to over TLS from the first byte on.
 * @param id - named in errors and the log
 * @throws BrokerError CONFIG_INVALID; a server that is away is looked for later
 */
export async function openLdap(
  id: string,
  written: LdapConfig,
  context: ConnectorContext,
): Promise<LdapConnector> {
  const config = withFiniteTimes(written)
  const server = readServer(config.server, 389, `${id}: server`)
  const tls = await readClientTls(config.ssl, `${id}: ssl`, context.configDir)
  // Brokers without LDAP need not load its driver.
  const driver = await import('ldapts')
  const dial = (signal: AbortSignal) => LdapConnection.dial(driver, config, server, tls, signal)
  return new Ldap(id, config, context, driver, dial)
}

class Ldap implements LdapConnector {
  readonly id: string
  readonly #config: LdapConfig
  readonly #driver: Driver
  readonly #calls: Calls
  readonly #pool: Pool<LdapConnection>
  readonly #dial: (signal: AbortSignal) => LdapConnection

  constructor(
    id: string,
    config: LdapConfig,
    context: ConnectorContext,
    driver: Driver,
    dial: (signal: AbortSignal) => LdapConnection,
  ) {
    this.id = id
    this.#config = config
    this.#driver = driver
    this.#dial = dial
    this.#pool = new Pool(config.pool_size, (signal) => this.#login(signal))
    this.#calls = new Calls({
      id,
      context,
      ...callLimits(config, config.query_timeout),
      secrets: [config.password],
      probe: (signal) =>
        this.#pool.use(signal, async (connection) => {
          await connection.search(
            { baseDn: '', filter: '(objectClass=*)', scope: 'base', attributes: ['1.1'] },
            1,
          )
        }),
      explain: (error) => this.#explain(error),
      isLoss: (error) => [undefined, BUSY, UNAVAILABLE].includes(this.#codeOf(error)),
    })
    this.#calls.start()
  }

  get status() {
    return this.#calls.status
  }

  get counters() {
    return this.#calls.counters
  }

  search(search: LdapSearch, signal?: AbortSignal): Promise<LdapEntry[]> {
    const { sizeLimit = DEFAULT_SIZE_LIMIT } = search
    const values = [search.baseDn, search.filter]
    const timeLimitSeconds = Math.ceil(this.#config.query_timeout / 1000)
    return this.#calls.run(values, signal, async (end) => {
      const entries = await this.#pool
        .use(end, (connection) =>
          connection.search({ ...search, sizeLimit: sizeLimit + 1 }, timeLimitSeconds),
        )
        .catch((error: unknown) => this.#otherwise(error, [NO_SUCH_OBJECT], []))
      if (entries.length <= sizeLimit) return entries
      throw new BrokerError('BACKEND_FAILED', `${this.id} found more than ${sizeLimit} entries`)
    })
  }

  bind(dn: string, password: string, signal?: AbortSignal): Promise<boolean> {
    return this.#calls.run([dn, password], signal, async (end) => {
      // RFC 4513 §5.1.2: without a password, or a name, it is nobody who logs in, and that succeeds.
      if (dn === '' || password === '') return false
      const connection = this.#dial(end)
      const cut = () => connection.destroy()
      end.addEventListener('abort', cut, { once: true })
      try {
        await connection.bind(dn, password)
        return true
      } catch (error) {
        return this.#otherwise(error, REFUSALS, false)
      } finally {
        end.removeEventListener('abort', cut)
        connection.destroy()
      }
    })
  }

  compare(dn: string, attribute: string, value: string, signal?: AbortSignal): Promise<boolean> {
    return this.#calls.run([dn, value], signal, (end) =>
      this.#pool
        .use(end, (connection) => connection.compare(dn, attribute, value))
        .catch((error: unknown) =>
          this.#otherwise(error, [NO_SUCH_ATTRIBUTE, UNDEFINED_ATTRIBUTE, NO_SUCH_OBJECT], false),
        ),
    )
  }

  async close(): Promise<void> {
    this.#calls.close()
    this.#pool.close()
  }

  async #login(signal: AbortSignal): Promise<LdapConnection> {
    const { username, password = '' } = this.#config
    const connection = this.#dial(signal)
    const cut = () => connection.destroy()
    signal.addEventListener('abort', cut, { once: true })
    try {
      await connection.bind(username, password)
      return connection
    } catch (error) {
      connection.destroy()
      throw error
    } finally {
      signal.removeEventListener('abort', cut)
    }
  }

  /** Some results of the directory are answers. */
  #otherwise<T>(error: unknown, codes: readonly number[], answer: T): T {
    if (codes.includes(this.#codeOf(error) ?? -1)) return answer
    throw error
  }

  #codeOf(error: unknown): number | undefined {
    return error instanceof this.#driver.ResultCodeError ? error.code : undefined
  }

  #explain(error: unknown): string {
    const code = this.#codeOf(error)
    return code === undefined ? reasonOf(error) : `${(error as Error).name} (${code}): ${reasonOf(error)}`
  }
}

class LdapConnection implements Pooled {
  readonly #client: Client
  /** Set once the driver has asked for one; it would make another when the first is lost, as nobody. */
  #socket: Socket | undefined
  #isDestroyed = false

  private constructor(create: (keep: (socket: Socket) => void) => Client) {
    this.#client = create((socket) => {
      this.#socket = socket
    })
  }

  static dial(
    { Client }: Driver,
    { connect_timeout, request_timeout }: LdapConfig,
    { host, port }: ServerAddress,
    tls: TlsOptions | undefined,
    signal: AbortSignal,
  ): LdapConnection {
    signal.throwIfAborted()
    return new LdapConnection((keep) => {
      const dialed = <S extends Socket>(socket: S): S => {
        keep(socket)
        return socket
      }
      return new Client({
        url: tls === undefined ? 'ldap://server' : 'ldaps://server',
        timeout: request_timeout,
        connectTimeout: connect_timeout,
        createConnection: () => dialed(connectSocket({ host, port, noDelay: true, keepAlive: true })),
        createSecureConnection: () => dialed(connectTls({ ...tls, host, port })),
      })
    })
  }

  get isUsable(): boolean {
    return !this.#isDestroyed && this.#client.isBound
  }

  destroy(): void {
    if (this.#isDestroyed) return
    this.#isDestroyed = true
    // With an error, or the driver would wait for ever for what it has asked.
    this.#socket?.destroy(new Error('the connection was closed'))
  }

  async bind(dn: string, password: string): Promise<void> {
    await this.#client.bind(dn, password)
  }

  async search(search: LdapSearch, timeLimitSeconds: number): Promise<LdapEntry[]> {
    this.#mustBeBound()
    const { baseDn, filter, scope = 'sub', attributes, sizeLimit = DEFAULT_SIZE_LIMIT } = search
    const { searchEntries } = await this.#client.search(baseDn, {
      filter,
      scope,
      sizeLimit,
      timeLimit: timeLimitSeconds,
      explicitBufferAttributes: new EveryName(),
      ...(attributes === undefined ? {} : { attributes: [...attributes] }),
    })
    return searchEntries.map(entryOf)
  }

  compare(dn: string, attribute: string, value: string): Promise<boolean> {
    this.#mustBeBound()
    return this.#client.compare(dn, attribute, value)
  }

  /** The driver connects again by itself, but as nobody. */
  #mustBeBound(): void {
    if (!this.isUsable) throw new Error('the connection was closed')
  }
}

/** The driver takes a list of the attributes that are bytes, and only asks whether a name is in it. Here all are. */
class EveryName extends Array<string> {
  override includes(): boolean {
    return true
  }
}

function entryOf({ dn, ...attributes }: Entry): LdapEntry {
  const list = Object.entries(attributes).map(
    ([name, value]) => [name.toLowerCase(), [value].flat().map((one) => Buffer.from(one))] as const,
  )
  return { dn, attributes: new Map(list) }
}
