import type { Action } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { topicMatches } from '../model/topic.ts'
import { checkedTopic } from './checked-topic.ts'

/** `nomatch`: no rule was about it, so `no_match` and later hooks decide. */
export type CachedAnswer = 'allow' | 'deny' | 'nomatch'

export interface CacheOptions {
  /** Topics per client. */
  maxTopics: number
  ttlMs: number
  /** Topic filters that are never cached. */
  excludes: readonly string[]
}

export interface CachedResult {
  topic: string
  qos: number
  retain: boolean
  result: CachedAnswer
  expiresAtMs: number
}

type Publish = Extract<Action, { kind: 'publish' }>

/** Answers about one topic. */
interface Entry {
  /** Two bits for each of the six ways to publish: 0 = not known, else an index of ANSWERS. */
  answers: number
  /** Counts from the first answer, so that no answer lives longer than the time to live. */
  expiresAtMs: number
  /** Asked for since room was needed last. */
  isUsed: boolean
}

const ANSWERS = [undefined, 'allow', 'deny', 'nomatch'] as const
const CODES = { allow: 1, deny: 2, nomatch: 3 } as const

/**
 * What clients were allowed to publish, for a while. A look-up makes no string and no object.
 * When a client's share is full, the topic longest there goes, unless it was used since its
 * last turn: then it gets another ("second chance", which is LRU without a cost per hit).
 */
export class AuthzCache {
  readonly #options: CacheOptions
  readonly #now: () => number
  #clients = new WeakMap<ClientInfo, Map<string, Entry>>()
  /** Another one whenever something was forgotten: an answer asked for before that must not be set after it. */
  #generation = 0
  /** What was looked up last: messages of a client often come in a run. */
  #lastClient: ClientInfo | undefined
  #lastTopic = ''
  #last: Entry | undefined

  /** @param now - Unix time in milliseconds */
  constructor(options: CacheOptions, now: () => number) {
    this.#options = options
    this.#now = now
  }

  /** To be kept while an answer is waited for. */
  get generation(): number {
    return this.#generation
  }

  get(client: ClientInfo, action: Publish, topic: string): CachedAnswer | undefined {
    const isLast = client === this.#lastClient && topic === this.#lastTopic
    const entry = isLast ? this.#last : this.#find(client, topic)
    if (entry === undefined || entry.expiresAtMs <= this.#now()) return undefined
    entry.isUsed = true
    return ANSWERS[(entry.answers >> shiftOf(action)) & 3]
  }

  set(client: ClientInfo, action: Publish, topic: string, answer: CachedAnswer): void {
    const checked = checkedTopic(action, topic)
    if (this.#options.excludes.some((filter) => topicMatches(filter, checked))) return
    const entry = this.#entry(client, topic)
    const shift = shiftOf(action)
    entry.answers = (entry.answers & ~(3 << shift)) | (CODES[answer] << shift)
  }

  /** What is known about a client, for the API. */
  list(client: ClientInfo): CachedResult[] {
    const results: CachedResult[] = []
    for (const [topic, { answers, expiresAtMs }] of this.#clients.get(client) ?? []) {
      if (expiresAtMs <= this.#now()) continue
      for (let way = 0; way < 6; way++) {
        const result = ANSWERS[(answers >> (way * 2)) & 3]
        if (result !== undefined)
          results.push({ topic, qos: way >> 1, retain: (way & 1) === 1, result, expiresAtMs })
      }
    }
    return results
  }

  forget(client: ClientInfo): void {
    this.#generation++
    this.#lastClient = undefined
    this.#clients.delete(client)
  }

  clear(): void {
    this.#generation++
    this.#lastClient = undefined
    this.#clients = new WeakMap()
  }

  #find(client: ClientInfo, topic: string): Entry | undefined {
    this.#lastClient = client
    this.#lastTopic = topic
    this.#last = this.#clients.get(client)?.get(topic)
    return this.#last
  }

  #entry(client: ClientInfo, topic: string): Entry {
    this.#lastClient = undefined // room may be made for it
    let topics = this.#clients.get(client)
    if (topics === undefined) this.#clients.set(client, (topics = new Map()))
    const known = topics.get(topic)
    if (known !== undefined && known.expiresAtMs > this.#now()) return known
    if (known === undefined && topics.size >= this.#options.maxTopics) makeRoom(topics)
    const entry = { answers: 0, expiresAtMs: this.#now() + this.#options.ttlMs, isUsed: false }
    topics.set(topic, entry)
    return entry
  }
}

function makeRoom(topics: Map<string, Entry>): void {
  for (const [topic, entry] of topics) {
    topics.delete(topic)
    if (!entry.isUsed) return
    entry.isUsed = false
    topics.set(topic, entry) // to the end, where this loop gets to it last
  }
}

function shiftOf(action: Publish): number {
  return action.qos * 4 + (action.retain ? 2 : 0)
}
