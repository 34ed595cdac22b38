/** Keys from a URL (JSON Web Key Set, RFC 7517 §5): fetched, kept, and fetched again. */
import { createHash } from 'node:crypto'
import type { ConnectorContext, HttpConnector, HttpRequest } from '../../connectors/connector.ts'
import { openHttp } from '../../connectors/http.ts'
import type { HttpConfig } from '../../connectors/http-config.ts'
import { compileRequest } from '../../connectors/http-template.ts'
import type { MaybePromise } from '../../model/async.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { Deadline } from '../../model/timers.ts'
import type { AuthenticatorContext } from '../authenticator.ts'
import type { JwtConfig } from './config.ts'
import { keyOfJwk, type VerifyKey } from './keys.ts'

const MAX_KEYS = 100
/** While there are none, and between two fetches that clients have caused. */
const PAUSE_MS = 10_000
const REQUEST_TIMEOUT_MS = 5000

/** `AuthenticatorContext` fits as it is. */
export type KeySetContext = ConnectorContext & Pick<AuthenticatorContext, 'keySets'>

export class KeySet {
  readonly connector: HttpConnector
  /** Under which its keys are remembered. */
  readonly #name: string
  readonly #memory: Map<string, string> | undefined
  readonly #request: HttpRequest
  readonly #log: Logger
  readonly #refreshMs: number
  readonly #maxFailures: number
  #keys: readonly VerifyKey[] = []
  /** Of `#keys`, to be quiet about what has been said already. */
  #text = ''
  #failures = 0
  #fetchedAtMs = Number.NEGATIVE_INFINITY
  #fetching: Promise<void> | undefined
  #timer: Deadline | undefined
  #isClosed = false

  private constructor(
    connector: HttpConnector,
    request: HttpRequest,
    config: JwtConfig,
    { log, keySets }: KeySetContext,
  ) {
    const { refresh_interval: refreshSeconds, max_fail_count: maxFailures } = config
    this.#name = nameOf(config)
    this.#memory = keySets
    this.connector = connector
    this.#request = request
    this.#log = log
    this.#refreshMs = refreshSeconds * 1000
    this.#maxFailures = maxFailures
  }

  /**
   * Begins to fetch the keys and does not wait for them: logins do.
   * @throws BrokerError CONFIG_INVALID
   */
  static async open(
    id: string,
    endpoint: string,
    config: JwtConfig,
    context: KeySetContext,
  ): Promise<KeySet> {
    const http = httpConfig(endpoint, config)
    const request = compileRequest(http, { allowed: [] }).render(() => undefined)
    const keySet = new KeySet(await openHttp(id, http, context), request, config, context)
    const known = context.keySets?.get(keySet.#name)
    if (known !== undefined) keySet.#take(known)
    void keySet.#refresh(true)
    return keySet
  }

  /** At once, but before the first ones are there. @throws BrokerError BACKEND_FAILED where there are none */
  keys(): MaybePromise<readonly VerifyKey[]> {
    if (this.#keys.length > 0) return this.#keys
    if (this.#fetching !== undefined) return this.#fetching.then(() => this.#some())
    return this.#some()
  }

  /** For a token that none of `keys` has signed; undefined if there are no others. */
  async newerKeys(): Promise<readonly VerifyKey[] | undefined> {
    const before = this.#keys
    if (this.#fetching === undefined && performance.now() - this.#fetchedAtMs < PAUSE_MS) return undefined
    await (this.#fetching ?? this.#refresh(false))
    return this.#keys === before ? undefined : this.#keys
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#timer?.clear()
    await this.connector.close()
  }

  #some(): readonly VerifyKey[] {
    if (this.#keys.length > 0) return this.#keys
    throw new BrokerError('BACKEND_FAILED', `${this.connector.id}: there are no keys to verify tokens with`)
  }

  /** Never rejects. @param isDue - and not asked for by a client: those must not use up the failures */
  #refresh(isDue: boolean): Promise<void> {
    this.#timer?.clear()
    this.#fetching ??= this.#fetch(isDue).finally(() => {
      this.#fetching = undefined
      this.#fetchedAtMs = performance.now()
      if (this.#isClosed) return
      const pauseMs = this.#keys.length > 0 ? this.#refreshMs : Math.min(this.#refreshMs, PAUSE_MS)
      this.#timer = new Deadline(pauseMs, () => void this.#refresh(true))
    })
    return this.#fetching
  }

  async #fetch(isDue: boolean): Promise<void> {
    try {
      const { status, body } = await this.connector.request(this.#request)
      if (status !== 200) throw new Error(`status ${status}`)
      if (body !== this.#text || this.#keys.length === 0) this.#take(body)
      if (this.#failures > 0) this.#log.info({}, 'the keys of tokens can be fetched again')
      this.#failures = 0
    } catch (error) {
      if (!this.#isClosed) this.#failed(messageOf(error), isDue)
    }
  }

  /** One bad key does not spoil the others. */
  #take(body: string): void {
    const entries = entriesIn(body)
    const keys: VerifyKey[] = []
    for (const [i, entry] of entries.slice(0, MAX_KEYS).entries()) {
      try {
        keys.push(keyOfJwk(entry))
      } catch (error) {
        this.#log.warn({ key: i + 1 }, `a key for tokens is not used: ${messageOf(error)}`)
      }
    }
    if (entries.length > MAX_KEYS)
      this.#log.warn({ keys: entries.length }, `only the first ${MAX_KEYS} keys are used`)
    if (keys.length === 0) throw new Error('no key in it can be used')
    this.#keys = keys
    this.#text = body
    this.#memory?.set(this.#name, body)
  }

  #failed(why: string, isDue: boolean): void {
    if (this.#failures === 0)
      this.#log.warn({}, `the keys of tokens cannot be fetched, keeping the old ones: ${why}`)
    if (isDue || this.#failures === 0) this.#failures++
    if (this.#failures < this.#maxFailures || this.#keys.length === 0) return
    this.#log.error({ failures: this.#failures }, 'the keys of tokens are too old and no longer used')
    this.#keys = []
    this.#memory?.delete(this.#name)
  }
}

/**
 * The same for the same keys only: a URL may answer each who asks with others, and keys that came over a connection
 * whose certificate nobody looked at are not for an authenticator that wants to know whose it is.
 */
function nameOf({ endpoint, headers, ssl }: JwtConfig): string {
  return createHash('sha256')
    .update(JSON.stringify([endpoint, headers, ssl]))
    .digest('hex')
}

function httpConfig(endpoint: string, { headers, pool_size, ssl }: JwtConfig): HttpConfig {
  return {
    method: 'get',
    url: endpoint,
    headers,
    body: {},
    request_timeout: REQUEST_TIMEOUT_MS,
    connect_timeout: REQUEST_TIMEOUT_MS,
    enable_pipelining: 1,
    max_inactive: 10_000,
    pool_size,
    auto_reconnect: true,
    ssl,
  }
}

/** @throws Error for what is no key set; not V8's own, which quotes what it has read */
function entriesIn(body: string): unknown[] {
  try {
    const set: unknown = JSON.parse(body)
    if (typeof set === 'object' && set !== null && 'keys' in set && Array.isArray(set.keys)) return set.keys
  } catch {
    // said below
  }
  throw new Error('the answer is no JSON Web Key Set')
}
