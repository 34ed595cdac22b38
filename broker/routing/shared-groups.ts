/**
 * `$share/<name>/<filter>`: each message goes to one member of the group (MQTT 5.0 §4.8.2),
 * to one with a live connection while there is one. Which one is the strategy's choice;
 * names and meaning are EMQX's.
 */
import type { ClientInfo } from '../../model/client-info.ts'
import type { Message } from '../../model/message.ts'
import type { SubscriptionEntry } from './route.ts'

export const SHARING_STRATEGIES = [
  'random',
  'round_robin',
  'round_robin_per_group',
  'sticky',
  'local',
  'hash_clientid',
  'hash_topic',
] as const

/**
 * - `random`: any member
 * - `round_robin`: in turn for each publisher, from a random member on
 * - `round_robin_per_group`: in turn, whoever publishes
 * - `sticky`: always the same for each publisher, until that member leaves
 * - `local`: any member on the publisher's node
 * - `hash_clientid`, `hash_topic`: by the publisher's client id, or by the topic
 */
export type SharingStrategy = (typeof SHARING_STRATEGIES)[number]

/** How `sticky` makes its first choice. */
export type StickyPick = Extract<SharingStrategy, 'random' | 'local' | 'hash_clientid' | 'hash_topic'>

export interface Sharing {
  strategy: SharingStrategy
  initialStickyPick: StickyPick
}

/** The strategies of a broker: one for all groups, and those that are set for a group by its name. */
export interface SharingOptions extends Sharing {
  groups: ReadonlyMap<string, Sharing>
}

/** What a group remembers of a publisher; it goes with the publisher's connection. */
interface Memory {
  next: number
  member: SubscriptionEntry | undefined
}

export class SharedGroup {
  readonly name: string
  readonly filter: string
  sharing: Sharing
  readonly #members: SubscriptionEntry[] = []
  readonly #publishers = new WeakMap<ClientInfo, Memory>()
  #next = 0

  constructor(name: string, filter: string, sharing: Sharing) {
    this.name = name
    this.filter = filter
    this.sharing = sharing
  }

  get isEmpty(): boolean {
    return this.#members.length === 0
  }

  add(member: SubscriptionEntry): void {
    this.#members.push(member)
  }

  remove(member: SubscriptionEntry): void {
    const index = this.#members.indexOf(member)
    if (index >= 0) this.#members.splice(index, 1)
  }

  /** The member a message goes to; one that is away only when all are, for its session to queue the message. */
  pick(message: Message): SubscriptionEntry | undefined {
    const { length } = this.#members
    if (length === 0) return undefined
    if (this.sharing.strategy === 'sticky') return this.#pickSticky(message)
    return this.#liveFrom(this.#choose(this.sharing.strategy, message))
  }

  #choose(strategy: Exclude<SharingStrategy, 'sticky'>, message: Message): number {
    const { length } = this.#members
    switch (strategy) {
      case 'round_robin': {
        const memory = this.#memoryOf(message)
        return memory.next++ % length
      }
      case 'round_robin_per_group':
        return this.#next++ % length
      case 'hash_clientid':
        return hash(message.publisher?.clientId ?? '') % length
      case 'hash_topic':
        return hash(message.topic) % length
      case 'random':
      case 'local': // every member is on this node
        return Math.floor(Math.random() * length)
    }
  }

  #pickSticky(message: Message): SubscriptionEntry | undefined {
    const memory = this.#memoryOf(message)
    const known = memory.member
    if (known?.session.isOnline && this.#members.includes(known)) return known
    memory.member = this.#liveFrom(this.#choose(this.sharing.initialStickyPick, message))
    return memory.member
  }

  /** The first live member from `index` on, going round; the one at `index` if all are away. */
  #liveFrom(index: number): SubscriptionEntry | undefined {
    const members = this.#members
    for (let i = 0; i < members.length; i++) {
      const member = members[(index + i) % members.length] as SubscriptionEntry
      if (member.session.isOnline) return member
    }
    return members[index]
  }

  /** What the broker itself publishes has no publisher: the group's own memory serves. */
  #memoryOf({ publisher = BROKER }: Message): Memory {
    let memory = this.#publishers.get(publisher)
    if (memory === undefined) {
      memory = { next: Math.floor(Math.random() * this.#members.length), member: undefined }
      this.#publishers.set(publisher, memory)
    }
    return memory
  }
}

/** Stands for the broker among the publishers; only its identity counts. */
const BROKER = {} as ClientInfo

/** FNV-1a over UTF-16 units: spreads short texts well, and is the same on every node. */
function hash(text: string): number {
  let value = 0x811c9dc5
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193)
  return value >>> 0
}
