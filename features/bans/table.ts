import type { AccessRules } from '../../listeners/access-rules.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import type { Logger } from '../../model/log.ts'
import { BAN_KINDS, type Ban, type BanKind, type CheckedBan, plainAddress, rulesAgainst } from './ban.ts'
import type { BanRecords } from './ban-records.ts'

/** What of a client a ban can be about. */
export type Suspect = Pick<ClientInfo, 'clientId' | 'username' | 'peerHost'>

/** All networks as one list, so that an address is parsed once for all of them. */
interface Networks {
  readonly rules: AccessRules
  /** When the first of them means nothing any more. */
  readonly untilMs: number
}

/**
 * The bans there are. A look-up costs one step for each exact kind and one for each pattern.
 * An expired ban is as good as none, also before `sweep` takes it away.
 */
export class BanTable {
  readonly #now: () => number
  readonly #records: BanRecords | undefined
  readonly #kinds = Object.fromEntries(BAN_KINDS.map((kind) => [kind, new Map()])) as Record<
    BanKind,
    Map<string, CheckedBan>
  >
  /** Undefined: to be made at the next look-up. */
  #networks: Networks | undefined

  /**
   * @param now - Unix time in milliseconds
   * @param records - told of every change
   */
  constructor(now: () => number, records?: BanRecords) {
    this.#now = now
    this.#records = records
  }

  /** Takes up what was stored. */
  async load(log: Logger): Promise<void> {
    for await (const found of this.#records?.load() ?? []) {
      if (typeof found === 'string') log.warn({ ban: found }, 'a stored ban cannot be read, it does not hold')
      else this.#kinds[found.ban.kind].set(found.ban.who, found)
    }
    this.#networks = undefined
  }

  /** Expired ones included, until they are swept. */
  get size(): number {
    let size = 0
    for (const kind of BAN_KINDS) size += this.#kinds[kind].size
    return size
  }

  matches({ clientId, username, peerHost }: Suspect): boolean {
    return (
      this.#holds(this.#kinds.clientid.get(clientId)) ||
      this.#hasPattern('clientid_re', clientId) ||
      (username !== undefined && this.#matchesUser(username)) ||
      (this.#kinds.peerhost.size > 0 && this.get('peerhost', peerHost) !== undefined) ||
      (this.#kinds.peerhost_net.size > 0 && this.#matchesNetwork(peerHost))
    )
  }

  /** The ban with exactly this `who`; an address may be written in any form. */
  get(kind: BanKind, who: string): Ban | undefined {
    const checked = this.#kinds[kind].get(keyOf(kind, who))
    return this.#holds(checked) ? checked?.ban : undefined
  }

  /** Replaces what was there. */
  set(checked: CheckedBan): void {
    const { kind, who } = checked.ban
    const bans = this.#kinds[kind]
    bans.delete(who) // an expired one: the new one goes to the end
    bans.set(who, checked)
    this.#records?.put(checked.ban)
    this.#changed(kind)
  }

  /** @returns false if there was none that still held */
  delete(kind: BanKind, who: string): boolean {
    const had = this.get(kind, who) !== undefined
    this.#take(kind, keyOf(kind, who))
    this.#changed(kind)
    return had
  }

  clear(): void {
    for (const kind of BAN_KINDS) for (const who of this.#kinds[kind].keys()) this.#take(kind, who)
    this.#networks = undefined
  }

  /** As `clear`, but the next start finds them again. */
  forget(): void {
    for (const kind of BAN_KINDS) this.#kinds[kind].clear()
    this.#networks = undefined
  }

  /** By kind, the oldest first. */
  *[Symbol.iterator](): Generator<Ban> {
    for (const kind of BAN_KINDS) {
      for (const checked of this.#kinds[kind].values()) if (this.#holds(checked)) yield checked.ban
    }
  }

  /** Takes expired ones away. @returns how many */
  sweep(): number {
    const before = this.size
    for (const kind of BAN_KINDS) {
      const bans = this.#kinds[kind]
      for (const [who, checked] of bans) if (!this.#holds(checked)) this.#take(kind, who)
    }
    return before - this.size
  }

  #take(kind: BanKind, who: string): void {
    if (this.#kinds[kind].delete(who)) this.#records?.delete(kind, who)
  }

  #holds(checked: CheckedBan | undefined): boolean {
    return checked !== undefined && checked.ban.untilMs > this.#now()
  }

  #matchesUser(username: string): boolean {
    return this.#holds(this.#kinds.username.get(username)) || this.#hasPattern('username_re', username)
  }

  #hasPattern(kind: 'clientid_re' | 'username_re', text: string): boolean {
    for (const checked of this.#kinds[kind].values()) {
      if (this.#holds(checked) && checked.pattern?.match(text) !== undefined) return true
    }
    return false
  }

  #matchesNetwork(host: string): boolean {
    if (this.#networks === undefined || this.#networks.untilMs <= this.#now()) {
      const bans = [...this.#kinds.peerhost_net.values()].filter((checked) => this.#holds(checked))
      this.#networks = {
        rules: rulesAgainst(bans.map(({ ban }) => ban.who)),
        untilMs: bans.reduce((first, { ban }) => Math.min(first, ban.untilMs), Number.POSITIVE_INFINITY),
      }
    }
    return !this.#networks.rules.allows(host)
  }

  #changed(kind: BanKind): void {
    if (kind === 'peerhost_net') this.#networks = undefined
  }
}

function keyOf(kind: BanKind, who: string): string {
  return kind === 'peerhost' ? plainAddress(who) : who
}
