/**
 * Banned clients: whoever is on the list is refused at login, whatever protocol it speaks and whether or
 * not its listener authenticates. A ban of a client id also ends the client that has it, with its session.
 * Clients that are gone publish nothing any more while they are banned: their wills are dropped.
 */
import type { Hub } from '../../broker/hub.ts'
import type { FoldResult, HookBus } from '../../hooks/bus.ts'
import type { PublishDecision } from '../../hooks/hookpoints.ts'
import type { Login, Verdict } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { configPath } from '../../model/config-path.ts'
import { BrokerError } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { type Ban, type BanKind, type BanRequest, type CheckedBan, checkBan } from './ban.ts'
import type { BanRecords } from './ban-records.ts'
import { type ReadBan, readBansFile } from './bootstrap.ts'
import { type BannedConfig, DEFAULT_MAX_ENTRIES } from './config.ts'
import { BanTable, type Suspect } from './table.ts'

export { BAN_KINDS, type Ban, type BanKind, type BanRequest, readBanKind } from './ban.ts'
export type { Suspect } from './table.ts'
export { parseTime } from './time.ts'

export interface BansContext {
  readonly hub: Pick<Hub, 'client' | 'kick'>
  readonly log: Logger
  /** Where a relative `bootstrap_file` is looked for. */
  readonly configDir: string
  /** Unix time in milliseconds. */
  readonly now: () => number
  /** Names of all gateways: a client id may be in use once in each of them, and once in MQTT. */
  readonly gateways: readonly string[]
  /** Where bans outlive the process; without it they are forgotten with it. */
  readonly records?: BanRecords | undefined
}

export type AddOutcome =
  | { kind: 'added'; ban: Ban }
  /** There is one already, and it still holds: it has to be deleted first. */
  | { kind: 'exists'; ban: Ban }
  /** `untilMs` is past. */
  | { kind: 'past' }
  /** There are `max_entries`. */
  | { kind: 'full' }

export interface BanPage {
  readonly bans: readonly Ban[]
  /** Of all pages. */
  readonly count: number
}

const NAME = 'bans'
/** Before the authenticator chain (970), which asks backends. */
const AUTHENTICATE_PRIORITY = 975
/** Before everybody who stores or forwards a message. */
const PUBLISH_PRIORITY = 1000
/** After everybody: who is told of the end has been told of the beginning. */
const CONNECTED_PRIORITY = -1000
const SWEEP_MS = 60_000

const DENY: FoldResult<Verdict> = { stop: { kind: 'deny', reason: ReasonCode.Banned } }
const DROP: FoldResult<PublishDecision> = { stop: 'drop' }

export class Bans {
  /** Logins refused, clients ended, wills dropped, since the start. */
  readonly counters = { refused: 0, kicked: 0, willsDropped: 0 }
  readonly #context: BansContext
  readonly #table: BanTable
  #maxEntries = DEFAULT_MAX_ENTRIES
  #bus: HookBus | undefined
  /** Runs, and the hooks are attached, while there is a ban. */
  #sweeper: NodeJS.Timeout | undefined
  /** Said once, until there is room again. */
  #isFull = false

  constructor(context: BansContext) {
    this.#context = context
    this.#table = new BanTable(context.now, context.records)
  }

  attach(bus: HookBus): void {
    this.#bus = bus
    this.#watch()
  }

  /** Takes up what was stored. Before clients come. */
  async load(): Promise<void> {
    await this.#table.load(this.#context.log)
    this.#watch()
  }

  /**
   * Takes new options and adds the bans of the file. Those that are there stay as they are, those of the
   * file that are past are left out.
   * @throws BrokerError CONFIG_INVALID naming file and line; nothing is changed then
   */
  async update(config: BannedConfig): Promise<void> {
    const nowMs = this.#context.now()
    const path = configPath(this.#context.configDir, config.bootstrap_file ?? '')
    const read = config.bootstrap_file === undefined ? [] : await readBansFile(path, nowMs)
    // From here on nothing waits, so nobody else can ban in between.
    const fresh = this.#missing(read, config.max_entries, path)
    this.#maxEntries = config.max_entries
    this.#isFull = false
    for (const checked of fresh) this.#put(checked)
    if (fresh.length > 0) this.#context.log.info({ bans: fresh.length, path }, 'bans added from a file')
  }

  /** No client is refused from now on. Safe to call twice. */
  close(): void {
    this.#table.forget()
    this.#watch()
    this.#bus = undefined
  }

  /** Expired ones that have not been swept included. */
  get size(): number {
    return this.#table.size
  }

  /** For whatever is done later in a client's name: wills, delayed messages. */
  isBanned(client: Suspect): boolean {
    return this.#table.size > 0 && this.#table.matches(client)
  }

  /**
   * Bans from now on. A client that is logged in with a banned client id is ended at once and its session
   * with it, without its will; other kinds touch nobody who is in.
   * @throws BrokerError CONFIG_INVALID for an empty `who`, a wrong pattern, address or CIDR range
   */
  add(request: BanRequest): AddOutcome {
    const checked = checkBan(request, this.#context.now())
    const { ban } = checked
    if (ban.untilMs <= this.#context.now()) return { kind: 'past' }
    const existing = this.#table.get(ban.kind, ban.who)
    if (existing !== undefined) return { kind: 'exists', ban: existing }
    if (!this.#hasRoom()) return { kind: 'full' }
    this.#put(checked)
    const { kind, who, by, reason } = ban
    this.#context.log.info({ as: kind, who, by, reason, until: whenOf(ban.untilMs) }, 'banned')
    return { kind: 'added', ban }
  }

  /** @param who - as it was banned; an address may be written in any form */
  get(kind: BanKind, who: string): Ban | undefined {
    return this.#table.get(kind, who)
  }

  /** @returns false if there was none */
  delete(kind: BanKind, who: string): boolean {
    const had = this.#table.delete(kind, who)
    if (had) this.#context.log.info({ as: kind, who }, 'ban deleted')
    this.#watch()
    return had
  }

  deleteAll(): void {
    this.#table.clear()
    this.#context.log.info({}, 'all bans deleted')
    this.#watch()
  }

  /**
   * Bans that hold, by kind and then the oldest first.
   * @param page - from 1
   * @param limit - bans of one page
   * @param wanted - only those it says yes to; they are what is counted then
   */
  list(page: number, limit: number, wanted: (ban: Ban) => boolean = () => true): BanPage {
    const [from, to] = [(page - 1) * limit, page * limit]
    const bans: Ban[] = []
    let count = 0
    for (const ban of this.#table) {
      if (!wanted(ban)) continue
      if (count >= from && count < to) bans.push(ban)
      count++
    }
    return { bans, count }
  }

  /** Those that are neither there nor past. @throws BrokerError CONFIG_INVALID if there is no room for them */
  #missing(read: readonly ReadBan[], maxEntries: number, path: string): CheckedBan[] {
    this.#sweep()
    const missing = new Map<string, CheckedBan>()
    for (const { line, ...checked } of read) {
      const { kind, who, untilMs } = checked.ban
      const key = `${kind} ${who}`
      if (untilMs <= this.#context.now() || missing.has(key) || this.get(kind, who) !== undefined) continue
      if (this.size + missing.size >= maxEntries) {
        const most = `more bans than banned.max_entries (${maxEntries})`
        throw new BrokerError('CONFIG_INVALID', `${path}: line ${line}: ${most}`)
      }
      missing.set(key, checked)
    }
    return [...missing.values()]
  }

  #put(checked: CheckedBan): void {
    this.#table.set(checked)
    this.#watch()
    const { kind, who } = checked.ban
    if (kind !== 'clientid') return
    this.#kick(who)
    for (const gateway of this.#context.gateways) this.#kick(`${gateway}\0${who}`)
  }

  /** The ban is in force already, so that a will is dropped that this would publish. */
  #kick(key: string): void {
    const { hub } = this.#context
    const client = hub.client(key)
    client?.end('banned')
    // Its session, where that outlives the connection.
    if (hub.kick(key) || client !== undefined) this.counters.kicked++
  }

  #hasRoom(): boolean {
    if (this.#table.size < this.#maxEntries) return true
    this.#sweep()
    if (this.#table.size < this.#maxEntries) return true
    if (!this.#isFull) {
      this.#isFull = true
      this.#context.log.warn(
        { max_entries: this.#maxEntries },
        'the list of bans is full, further ones are refused',
      )
    }
    return false
  }

  #sweep(): void {
    if (this.#table.sweep() > 0) this.#isFull = false
    this.#watch()
  }

  /** Nothing is attached and nothing ticks while nobody is banned. */
  #watch(): void {
    const bus = this.#bus
    if (this.#table.size === 0) {
      clearInterval(this.#sweeper)
      this.#sweeper = undefined
      this.#isFull = false
      for (const point of ['client.authenticate', 'client.connected', 'message.publish'] as const) {
        bus?.del(point, NAME)
      }
    } else if (this.#sweeper === undefined && bus !== undefined) {
      this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS)
      this.#sweeper.unref()
      bus.put('client.authenticate', NAME, this.#authenticate, { priority: AUTHENTICATE_PRIORITY })
      bus.put('client.connected', NAME, this.#connected, { priority: CONNECTED_PRIORITY })
      bus.put('message.publish', NAME, this.#publish, { priority: PUBLISH_PRIORITY, keepsNothing: true })
    }
  }

  readonly #authenticate = (_: Verdict, { client }: Login): FoldResult<Verdict> => {
    if (!this.isBanned(client)) return undefined
    this.counters.refused++
    return DENY
  }

  /** Banned while others were being asked whether it may come in, or for the very takeover it has just made. */
  readonly #connected = (client: ClientInfo): void => {
    if (this.isBanned(client) && this.#context.hub.client(client.key)?.info === client) this.#kick(client.key)
  }

  /** A banned client that is in may go on; what is published in the name of one that is gone is its will. */
  readonly #publish = (message: PublishDecision): FoldResult<PublishDecision> => {
    if (typeof message === 'string' || message.publisher === undefined) return undefined
    if (this.#context.hub.client(message.from)?.info === message.publisher) return undefined
    if (!this.isBanned(message.publisher)) return undefined
    this.counters.willsDropped++
    return DROP
  }
}

function whenOf(untilMs: number): string {
  // Beyond what Date can hold, nobody will see the difference.
  return untilMs < 8.64e15 ? new Date(untilMs).toISOString() : 'infinity'
}
