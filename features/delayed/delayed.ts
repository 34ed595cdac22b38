/**
 * Messages that are published later. They wait in memory, in the order in which they are due, with one timer for
 * the first of them, and in the storage if it outlives the process.
 */
import type { Metrics } from '../../broker/metrics.ts'
import { isReserved } from '../../broker/reserved-topics.ts'
import type { FoldResult, HookBus } from '../../hooks/bus.ts'
import type { PublishDecision } from '../../hooks/hookpoints.ts'
import { isPromise, type MaybePromise } from '../../model/async.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import type { Logger } from '../../model/log.ts'
import { Message } from '../../model/message.ts'
import { PayloadSlab } from '../../model/payload-slab.ts'
import { type ReasonCode, reasonName } from '../../model/reason-codes.ts'
import type { DelayedConfig } from './config.ts'
import type { DelayedRecords } from './delayed-records.ts'
import { DELAYED_PREFIX, type DelayedTopic, parseDelayed } from './delayed-topic.ts'
import { type Due, DueQueue } from './due-queue.ts'

export const DELAYED_PRIORITY = 860
const NAME = 'delayed'

export interface DelayedSurroundings {
  readonly hub: { publish(message: Message): MaybePromise<ReasonCode> }
  readonly log: Logger
  /** Unix time in milliseconds. */
  readonly now: () => number
  /** Asked when a message is due: what a publisher left that is banned by then is dropped. */
  readonly isBanned?: (client: ClientInfo) => boolean
  /** Where the messages that were taken are counted. */
  readonly metrics?: Pick<Metrics, 'messagesDelayed'>
  /** Where they wait for the next start; without it they are forgotten with the process. */
  readonly records?: DelayedRecords | undefined
}

/** A message that waits. */
export interface DelayedMessage {
  /** In order of arrival, unique as long as there is any. */
  readonly id: number
  /** Where it will be published, with the publisher's mountpoint. */
  readonly topic: string
  /** Unix time in milliseconds. */
  readonly dueAtMs: number
  /** As it came, with the topic it came to. */
  readonly message: Message
}

type Waiting = DelayedMessage & Due

/** Released per turn of the event loop: others must not wait for a million that are due in the same second. */
const MAX_PER_TURN = 500
/**
 * Longest wait of the timer. Node's cannot wait longer than 25 days, and it does not notice when the clock is set
 * or the machine has slept.
 */
const MAX_TIMER_MS = 60_000
/** Not routed now; the publisher is told that nobody has got it (0x10). */
const NOT_NOW = { stop: 'drop' } as const
const DOLLAR = 0x24

export class DelayedPublish {
  readonly #surroundings: DelayedSurroundings
  #config: DelayedConfig
  #bus: HookBus | undefined
  readonly #queue = new DueQueue<Waiting>()
  readonly #byId = new Map<number, Waiting>()
  /** Due ones on their way through the hooks of the broker. */
  readonly #released = new Set<Message>()
  readonly #slab = new PayloadSlab()
  #lastId = 0
  #delayedCount = 0
  #droppedCount = 0
  #isFull = false
  #isReleasing = false
  #isClosed = false
  #timer: NodeJS.Timeout | undefined

  constructor(config: DelayedConfig, surroundings: DelayedSurroundings) {
    this.#config = config
    this.#surroundings = surroundings
  }

  /** Messages that wait now. */
  get count(): number {
    return this.#queue.size
  }

  /** Messages that were taken since the start. */
  get delayedCount(): number {
    return this.#delayedCount
  }

  /** Messages that were not taken because too many waited. */
  get droppedCount(): number {
    return this.#droppedCount
  }

  /** Takes up what waited when the last process ended. Before clients come; what is due goes out when it is attached. */
  async load(): Promise<void> {
    const { records, log } = this.#surroundings
    let unreadable = 0
    for await (const delayed of records?.load() ?? []) {
      if (delayed === undefined) unreadable++
      else {
        this.#lastId = Math.max(this.#lastId, delayed.id)
        this.#wait({ ...delayed, place: 0 })
      }
    }
    if (unreadable > 0)
      log.error({ messages: unreadable }, 'delayed messages could not be read, they are gone')
    this.#schedule()
  }

  attach(bus: HookBus): void {
    this.#bus = bus
    const options = { priority: DELAYED_PRIORITY, onlyReserved: true }
    if (this.#config.enable) bus.put('message.publish', NAME, this.#intercept, options)
  }

  /** Switched off, what waits is dropped; any other change keeps it, even if it is more than is allowed now. */
  update(config: DelayedConfig): void {
    this.#config = config
    if (!config.enable) {
      this.#bus?.del('message.publish', NAME)
      this.#forgetAll('delayed publish is switched off, the messages that waited are dropped')
    } else if (this.#bus !== undefined) this.attach(this.#bus)
  }

  /**
   * Nothing is released any more. What is published delayed while the broker stops, such as wills, is dropped.
   * Safe to call twice.
   */
  close(): void {
    this.#isClosed = true
    if (this.#surroundings.records === undefined)
      this.#forgetAll('the broker stops, the messages that wait to be published are forgotten')
    this.#queue.clear()
    this.#byId.clear()
    this.#schedule()
  }

  /** In order of arrival. May be walked while messages come and go. */
  list(): IterableIterator<DelayedMessage> {
    return this.#byId.values()
  }

  get(id: number): DelayedMessage | undefined {
    return this.#byId.get(id)
  }

  /** Takes one away unpublished. @returns false if there is none */
  delete(id: number): boolean {
    const waiting = this.#byId.get(id)
    if (waiting === undefined) return false
    this.#take(waiting)
    this.#surroundings.records?.delete(id)
    this.#schedule()
    return true
  }

  /** Takes all for a topic away. @param topic - without `$delayed/...`, with mountpoint. @returns how many */
  deleteTopic(topic: string): number {
    const found = [...this.#byId.values()].filter((waiting) => waiting.topic === topic)
    for (const { id } of found) this.delete(id)
    return found.length
  }

  /** The function for `message.publish`. */
  readonly #intercept = (decision: PublishDecision): FoldResult<PublishDecision> => {
    if (typeof decision === 'string') return undefined
    const { topic, publisher } = decision
    const mountpoint =
      publisher === undefined || !topic.startsWith(publisher.mountpoint) ? '' : publisher.mountpoint
    const start = mountpoint.length
    if (topic.charCodeAt(start) !== DOLLAR || !topic.startsWith(DELAYED_PREFIX, start)) return undefined
    const parsed = parseDelayed(topic.slice(start), this.#surroundings.now())
    if (parsed === undefined) return this.#refuse(decision)
    parsed.topic = mountpoint + parsed.topic
    if (isReserved(parsed.topic)) return this.#refuse(decision)
    if (!this.#released.has(decision)) return this.#delay(decision, parsed)
    // A rewrite rule has put the prefix before it once more. Its time has come already.
    decision.topic = parsed.topic
    return undefined
  }

  #refuse(message: Message): typeof NOT_NOW {
    const { from, topic } = message
    this.#surroundings.log.debug({ client: from, topic }, 'not published, no delayed topic')
    return NOT_NOW
  }

  #delay(message: Message, { topic, dueAtMs }: DelayedTopic): typeof NOT_NOW {
    if (this.#isClosed || this.#isTooMany()) return NOT_NOW
    message.own(this.#slab)
    const { metrics } = this.#surroundings
    if (metrics !== undefined) metrics.messagesDelayed++
    const waiting: Waiting = { id: ++this.#lastId, topic, dueAtMs, message, place: 0 }
    this.#wait(waiting)
    this.#surroundings.records?.put(waiting)
    this.#delayedCount++
    if (this.#queue.first === waiting) this.#schedule()
    return NOT_NOW
  }

  #wait(waiting: Waiting): void {
    this.#byId.set(waiting.id, waiting)
    this.#queue.add(waiting)
  }

  /** Says so once, and again only after there was room. */
  #isTooMany(): boolean {
    const most = this.#config.max_delayed_messages
    const wasFull = this.#isFull
    this.#isFull = most > 0 && this.#queue.size >= most
    if (!this.#isFull) return false
    this.#droppedCount++
    if (!wasFull) {
      this.#surroundings.log.warn(
        { max_delayed_messages: most },
        'too many delayed messages, new ones are dropped',
      )
    }
    return true
  }

  #take(waiting: Waiting): void {
    this.#queue.remove(waiting)
    this.#byId.delete(waiting.id)
  }

  /** Sets the timer for the first one. */
  #schedule(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    const { first } = this.#queue
    if (first === undefined || this.#isReleasing) return
    const delayMs = Math.min(Math.max(first.dueAtMs - this.#surroundings.now(), 0), MAX_TIMER_MS)
    this.#timer = setTimeout(() => this.#releaseDue(), delayMs)
    this.#timer.unref()
  }

  /** Publishes what is due, in order; where hooks have to be waited for, in order per publisher. */
  #releaseDue(): void {
    const nowMs = this.#surroundings.now()
    let pending: Map<string, Promise<void>> | undefined
    for (let count = 0; count < MAX_PER_TURN; count++) {
      const { first } = this.#queue
      if (first === undefined || first.dueAtMs > nowMs) break
      this.#take(first)
      const { from } = first.message
      const before = pending?.get(from)
      const published = before === undefined ? this.#publish(first) : before.then(() => this.#publish(first))
      if (isPromise(published)) (pending ??= new Map()).set(from, published)
    }
    if (pending !== undefined) void this.#waitFor([...pending.values()])
    this.#schedule()
  }

  /** None of them rejects. */
  async #waitFor(published: Promise<void>[]): Promise<void> {
    this.#isReleasing = true
    await Promise.all(published)
    this.#isReleasing = false
    this.#schedule()
  }

  /** The way of every message through the broker, its expiry counted from now. */
  #publish({ id, message, topic }: Waiting): MaybePromise<void> {
    const { bytes, qos, retain, properties, publisher, start, end } = message
    const { hub, log, now, isBanned, records } = this.#surroundings
    const due = Message.of(topic, bytes, qos, retain, properties, publisher, now(), start, end)
    try {
      if (publisher !== undefined && isBanned?.(publisher)) {
        log.debug({ client: publisher.key, topic }, 'delayed message dropped, its publisher is banned')
        return
      }
      this.#released.add(due)
      const code = hub.publish(due)
      if (isPromise(code)) return this.#settle(due, code)
      this.#published(due, code)
    } catch (error) {
      this.#failed(due, error)
    } finally {
      // With the same batch that has it for its subscribers.
      records?.delete(id)
    }
  }

  async #settle(message: Message, pending: Promise<ReasonCode>): Promise<void> {
    try {
      this.#published(message, await pending)
    } catch (error) {
      this.#failed(message, error)
    }
  }

  #published(message: Message, code: ReasonCode): void {
    this.#released.delete(message)
    if (code < 0x80) return
    const { from, topic } = message
    this.#surroundings.log.debug(
      { client: from, topic, reason: reasonName(code) },
      'delayed message not published',
    )
  }

  #failed(message: Message, error: unknown): void {
    this.#released.delete(message)
    const { from, topic } = message
    this.#surroundings.log.error({ client: from, topic, error }, 'delayed message not published')
  }

  #forgetAll(reason: string): void {
    const { size } = this.#queue
    for (const id of this.#byId.keys()) this.#surroundings.records?.delete(id)
    this.#queue.clear()
    this.#byId.clear()
    this.#schedule()
    if (size > 0) this.#surroundings.log.warn({ messages: size }, reason)
  }
}
