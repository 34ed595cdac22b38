import { randomUUID } from 'node:crypto'
import { BrokerError, messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import type { RedisConnection } from './redis-connection.ts'

/** How long a broker that has stopped without saying so keeps others out. */
const LEASE_MS = 15_000
const RENEW_MS = LEASE_MS / 3

/**
 * The scripts run on a hash of node, token and end in ms by the server's clock, which stays after its end: so a
 * broker that was away finds out whether somebody else has written meanwhile. In a cluster it holds the batch that was
 * begun last too, see redis-journal.ts: so nobody can put one there whose lease it is not.
 */
const NOW = "local t = redis.call('TIME') local now = t[1] * 1000 + math.floor(t[2] / 1000)"
const HELD = "local held = redis.call('HMGET', KEYS[1], 'node', 'token', 'end')"
const TAKE = "redis.call('HSET', KEYS[1], 'node', ARGV[1], 'token', ARGV[2], 'end', now + ARGV[3])"
const ACQUIRE = `${NOW} ${HELD}
if held[1] and held[1] ~= ARGV[1] and tonumber(held[3]) > now then return { held[1], held[3] - now } end
${TAKE} return {}`
const RENEW = `${NOW} ${HELD}
if held[2] and held[2] ~= ARGV[2] then return held[1] end
${TAKE} return false`
const NOTE = `local held = redis.call('HMGET', KEYS[1], 'node', 'token')
if held[2] and held[2] ~= ARGV[1] then return held[1] end
redis.call('HSET', KEYS[1], 'journal', ARGV[2]) return false`

/**
 * The right to be the only broker that writes sessions under a prefix. It ends by itself, so it is renewed; the
 * same node may take it over at once, which is what a restart after a crash does.
 */
export class RedisLease {
  readonly #connection: RedisConnection
  readonly #key: string
  readonly #node: string
  readonly #place: string
  readonly #log: Logger
  readonly #token = randomUUID()
  /** By `performance.now()`, counted from before Redis was asked. */
  #validUntilMs = 0
  #takenBy: string | undefined
  #timer: NodeJS.Timeout | undefined

  /** @param node - who takes it @param place - for messages */
  constructor(connection: RedisConnection, key: string, node: string, place: string, log: Logger) {
    this.#connection = connection
    this.#key = key
    this.#node = node
    this.#place = place
    this.#log = log
  }

  /** @throws BrokerError STORAGE_FAILED if another node has it */
  async acquire(): Promise<void> {
    const sinceMs = performance.now()
    const [holder, leftMs] = (await this.#run(ACQUIRE)) as [string?, number?]
    if (holder !== undefined) {
      throw new BrokerError(
        'STORAGE_FAILED',
        `storage ${this.#place} is in use by the broker ${holder}: give each broker a storage.redis.prefix of its ` +
          `own. If that one is gone for good, try again in ${Math.ceil((leftMs ?? 0) / 1000)} s`,
      )
    }
    this.#validUntilMs = sinceMs + LEASE_MS
    this.#timer = setInterval(() => void this.renew().catch(() => {}), RENEW_MS)
  }

  /** Rejects when nothing may be written: somebody else may. Asks Redis only when the lease may have ended. */
  async check(): Promise<void> {
    if (this.#takenBy === undefined && performance.now() < this.#validUntilMs) return
    await this.renew()
  }

  /**
   * For every batch, so that a broker of the same name, which need not wait, is noticed with the first one.
   * @param token - what is in Redis now @throws BrokerError STORAGE_FAILED
   */
  confirm(token: unknown): void {
    if (typeof token === 'string' && token !== this.#token) this.#lost(this.#node)
    this.#throwIfLost()
  }

  /** @throws BrokerError STORAGE_FAILED if somebody else has taken it, and what goes wrong with Redis */
  async renew(): Promise<void> {
    if (this.#takenBy === undefined) {
      const sinceMs = performance.now()
      const holder = (await this.#run(RENEW)) as string | null
      if (holder === null) this.#validUntilMs = sinceMs + LEASE_MS
      else this.#lost(holder)
    }
    this.#throwIfLost()
  }

  /** Notes what is about to be written. @throws BrokerError STORAGE_FAILED if somebody else has taken the lease */
  async note(journal: Buffer): Promise<void> {
    const holder = (await this.#connection.client.eval(NOTE, 1, this.#key, this.#token, journal)) as
      | string
      | null
    if (holder !== null) this.#lost(holder)
    this.#throwIfLost()
  }

  /** What was noted last, by whoever had the lease then; undefined if nothing of it can be unwritten. */
  async noted(): Promise<Buffer | undefined> {
    return (await this.#connection.client.hgetBuffer(this.#key, 'journal')) ?? undefined
  }

  /** All that was noted is written. */
  async forget(): Promise<void> {
    await this.#connection.client.hdel(this.#key, 'journal')
  }

  /** Others may have it at once. Never rejects. */
  async release(): Promise<void> {
    clearInterval(this.#timer)
    if (this.#validUntilMs === 0 || this.#takenBy !== undefined) return
    this.#validUntilMs = 0
    await this.#run(RENEW, 0).catch((error: unknown) => {
      this.#log.warn(
        { store: this.#place, error: messageOf(error) },
        'the storage stays reserved for this node for some seconds',
      )
    })
  }

  #run(script: string, ms = LEASE_MS): Promise<unknown> {
    return this.#connection.client.eval(script, 1, this.#key, this.#node, this.#token, ms)
  }

  #throwIfLost(): void {
    if (this.#takenBy === undefined) return
    throw new BrokerError('STORAGE_FAILED', `it was taken over by the broker ${this.#takenBy}`)
  }

  #lost(holder: string): void {
    if (this.#takenBy !== undefined) return
    this.#takenBy = holder
    clearInterval(this.#timer)
    this.#log.error(
      { store: this.#place, takenBy: holder },
      'another broker has taken over the storage: this one can keep nothing any more, stop one of them',
    )
  }
}
