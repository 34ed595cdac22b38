import type { SessionDelivery } from './delivery.ts'
import { MessageQueue } from './message-queue.ts'

/** Which topics go first: by the topic as it is routed, 1 to 255 for those that are named. */
export interface Priorities {
  readonly byTopic: ReadonlyMap<string, number>
  /** Of all other topics: below or above those that are named. */
  readonly others: 'lowest' | 'highest'
}

/** See `SessionLimits`. */
interface QueueLimits {
  readonly maxQueueLength: number
  readonly priorities: Priorities | undefined
}

const LOWEST = 0
const HIGHEST = 256
const DELIVERIES_PER_PRIORITY = 10

/** The queue that these limits ask for. */
export function queueFor({ maxQueueLength, priorities }: QueueLimits): MessageQueue | PriorityQueue {
  return priorities === undefined
    ? new MessageQueue(maxQueueLength)
    : new PriorityQueue(maxQueueLength, priorities)
}

/** The deliveries of one priority, and how many of them may still go in this round. */
interface Lane {
  readonly priority: number
  readonly queue: MessageQueue
  credit: number
}

/**
 * A `MessageQueue` for each priority, each of `maxLength`. The highest one that has deliveries and credit
 * goes first; a round gives each ten deliveries times its priority, so that low ones are late but never
 * left out. A topic has one priority, so its order is kept.
 */
export class PriorityQueue {
  readonly #maxLength: number
  readonly #priorities: Priorities
  /** From the highest priority on, made as they are needed: at most 256 of them. */
  readonly #lanes: Lane[] = []
  #length = 0

  constructor(maxLength: number, priorities: Priorities) {
    this.#maxLength = maxLength
    this.#priorities = priorities
  }

  get length(): number {
    return this.#length
  }

  get qos0Count(): number {
    return this.#lanes.reduce((count, { queue }) => count + queue.qos0Count, 0)
  }

  /** @returns the delivery that had to go, which may be the new one. */
  push(delivery: SessionDelivery): SessionDelivery | undefined {
    const dropped = this.#laneOf(delivery).queue.push(delivery)
    if (dropped === undefined) this.#length++
    return dropped
  }

  /** What `shift` would take. */
  peek(): SessionDelivery | undefined {
    return this.#next()?.queue.peek()
  }

  shift(): SessionDelivery | undefined {
    const lane = this.#next()
    if (lane === undefined) return undefined
    lane.credit--
    this.#length--
    return lane.queue.shift()
  }

  /** From the highest priority on, each from its oldest on. */
  *[Symbol.iterator](): Generator<SessionDelivery> {
    for (const { queue } of this.#lanes) yield* queue
  }

  clear(): void {
    this.#lanes.length = 0
    this.#length = 0
  }

  /** Where nobody that waits has credit left, a new round begins. */
  #next(): Lane | undefined {
    if (this.#length === 0) return undefined
    const lane = this.#lanes.find(({ queue, credit }) => queue.length > 0 && credit > 0)
    if (lane !== undefined) return lane
    for (const one of this.#lanes) one.credit = creditOf(one.priority)
    return this.#lanes.find(({ queue }) => queue.length > 0)
  }

  #laneOf({ message }: SessionDelivery): Lane {
    const { byTopic, others } = this.#priorities
    const priority = byTopic.get(message.topic) ?? (others === 'lowest' ? LOWEST : HIGHEST)
    const at = this.#lanes.findIndex((lane) => lane.priority <= priority)
    const found = this.#lanes[at]
    if (found?.priority === priority) return found
    const lane: Lane = {
      priority,
      queue: new MessageQueue(this.#maxLength),
      credit: creditOf(priority),
    }
    this.#lanes.splice(at < 0 ? this.#lanes.length : at, 0, lane)
    return lane
  }
}

function creditOf(priority: number): number {
  return Math.max(1, priority) * DELIVERIES_PER_PRIORITY
}
