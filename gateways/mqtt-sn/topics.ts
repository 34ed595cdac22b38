/** Topic ids: the predefined ones of the whole gateway, and those of one session. */
import { BrokerError } from '../../model/errors.ts'
import { hasWildcard, isValidFilter } from '../../model/topic.ts'
import { shortId, TopicKind } from './frame.ts'

/** A topic as a PUBLISH names it. */
export interface TopicAddress {
  kind: TopicKind
  topicId: number
}

/** The same for all clients, known to both sides before they talk (§3). */
export class PredefinedTopics {
  readonly #names = new Map<number, string>()
  readonly #ids = new Map<string, number>()

  /** @throws BrokerError CONFIG_INVALID for an id or a topic that is there twice, and for what is no topic */
  constructor(topics: readonly { id: number; topic: string }[]) {
    for (const { id, topic } of topics) {
      if (!isValidFilter(topic) || hasWildcard(topic))
        throw new BrokerError('CONFIG_INVALID', `gateway.mqttsn.predefined: ${topic} is no topic name`)
      if (this.#names.has(id) || this.#ids.has(topic))
        throw new BrokerError('CONFIG_INVALID', `gateway.mqttsn.predefined: ${id} ${topic} is there twice`)
      this.#names.set(id, topic)
      this.#ids.set(topic, id)
    }
  }

  nameOf(id: number): string | undefined {
    return this.#names.get(id)
  }

  idOf(name: string): number | undefined {
    return this.#ids.get(name)
  }
}

const FIRST_ID = 1025
const LAST_ID = 0xfffe // 0xffff is reserved (§5.3.11)
/** Of all names of a session, so that a client cannot fill the memory with 64 KB names. */
const MAX_NAME_BYTES = 1024 * 1024

/** Ids of one session, given out upwards and never again. */
export class TopicIds {
  #names: Map<number, string> | undefined
  #ids: Map<string, number> | undefined
  #next = FIRST_ID
  #nameBytes = 0

  nameOf(id: number): string | undefined {
    return this.#names?.get(id)
  }

  idOf(name: string): number | undefined {
    return this.#ids?.get(name)
  }

  /** Leaves out the next ids: the client may take them for topics that they no longer mean. */
  skip(count: number): void {
    this.#next += count
  }

  /** The id of `name`, a new one if it has none. @returns 0 if there is no room for it */
  register(name: string, predefined: PredefinedTopics): number {
    const known = this.idOf(name)
    if (known !== undefined) return known
    const id = this.reserve(name, predefined)
    if (id !== 0) this.confirm(id, name)
    return id
  }

  /** Gives out an id that is not used for sending until the client has said that it knows it. @returns 0 if there is none */
  reserve(name: string, predefined: PredefinedTopics): number {
    while (predefined.nameOf(this.#next) !== undefined) this.#next++
    this.#nameBytes += name.length
    if (this.#next > LAST_ID || this.#nameBytes > MAX_NAME_BYTES) {
      this.#nameBytes -= name.length
      return 0
    }
    const id = this.#next++
    this.#names ??= new Map()
    this.#names.set(id, name)
    return id
  }

  confirm(id: number, name: string): void {
    this.#ids ??= new Map()
    this.#ids.set(name, id)
  }
}

/** How a topic is said to a client that knows these ids; undefined if it has to be registered first. */
export function addressOf(
  name: string,
  ids: TopicIds,
  predefined: PredefinedTopics,
): TopicAddress | undefined {
  const fixed = predefined.idOf(name)
  if (fixed !== undefined) return { kind: TopicKind.Predefined, topicId: fixed }
  const own = ids.idOf(name)
  if (own !== undefined) return { kind: TopicKind.Normal, topicId: own }
  const short = shortId(name)
  return short === undefined ? undefined : { kind: TopicKind.Short, topicId: short }
}
