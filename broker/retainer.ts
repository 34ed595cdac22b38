import type { MaybePromise } from '../model/async.ts'
import type { Logger } from '../model/log.ts'
import type { Message } from '../model/message.ts'
import { PayloadSlab } from '../model/payload-slab.ts'
import type { Rate } from '../model/schema.ts'
import type { Metrics } from './metrics.ts'
import { RetainedPacer } from './retained-pacer.ts'
import type { PacedCursor } from './retained-replays.ts'
import type { Storage } from './storage/storage.ts'

export interface RetainerOptions {
  /** False: nothing more is kept or handed out; what is there stays. */
  enabled: boolean
  /** Of messages that bring no expiry of their own; Infinity = they stay for ever. */
  expiryMs: number
  maxPayloadBytes: number
  maxMessages: number
  /** The empty message that deletes a retained one is not sent to subscribers. */
  hidesClearing: boolean
  /** How often expired ones are looked for; Infinity = only when somebody asks for them. */
  sweepIntervalMs: number
  /** Messages handed over because of new subscriptions, to all clients together; count Infinity = no limit. */
  deliveryRate: Rate
}

/** How often at most the log says that a limit keeps messages from being retained. */
const LOG_INTERVAL_MS = 60_000

/** Decides what is retained, and for how long; the storage keeps it. A message that is not retained is still routed. */
export class Retainer {
  readonly #storage: Storage
  readonly #log: Logger
  readonly #metrics: Metrics
  readonly #slab = new PayloadSlab()
  readonly #pacer: RetainedPacer
  #options: RetainerOptions
  #timer: NodeJS.Timeout | undefined
  #loggedAtMs = 0

  constructor(storage: Storage, options: RetainerOptions, log: Logger, metrics: Metrics) {
    this.#storage = storage
    this.#log = log
    this.#metrics = metrics
    this.#options = options
    this.#pacer = new RetainedPacer(options.deliveryRate)
    this.#arm()
  }

  update(options: RetainerOptions): void {
    this.#pacer.update(options.deliveryRate)
    this.#options = options
    this.#arm()
  }

  close(): void {
    clearInterval(this.#timer)
    this.#pacer.close()
  }

  /** Whether a message with RETAIN is only there to delete, and nobody is to see it. */
  hides(message: Message): boolean {
    return this.#options.hidesClearing && message.start === message.end
  }

  /** Replaces the topic's retained message, or takes it away [MQTT-3.3.1-5] [MQTT-3.3.1-6]. */
  store(message: Message): MaybePromise<void> {
    const { enabled, maxPayloadBytes, maxMessages, expiryMs } = this.#options
    if (!enabled) return
    const length = message.payloadLength
    if (length > 0) {
      if (length > maxPayloadBytes)
        return this.#refuse(message, 'payload is larger than retainer.max_payload_size')
      if (this.#storage.retainedCount >= maxMessages && !this.#storage.hasRetained(message.topic)) {
        return this.#refuse(message, 'there are retainer.max_retained_messages already')
      }
    }
    if (length > 0) this.#metrics.messagesRetained++
    message.own(this.#slab)
    return this.#storage.storeRetained(message, expiryOf(message, expiryMs))
  }

  /** The messages for a new subscription; undefined if there can be none. */
  matching(filter: string): PacedCursor | undefined {
    if (!this.#options.enabled || this.#storage.retainedCount === 0) return undefined
    const pacer = this.#pacer
    const cursor = this.#storage.retained(filter, () => pacer.pause())
    return { ready: () => pacer.take(), next: () => cursor.next() }
  }

  #refuse({ topic }: Message, why: string): void {
    if (Date.now() - this.#loggedAtMs < LOG_INTERVAL_MS) return
    this.#loggedAtMs = Date.now()
    this.#log.warn({ topic }, `message not retained: ${why}`)
  }

  #arm(): void {
    clearInterval(this.#timer)
    const { sweepIntervalMs } = this.#options
    if (sweepIntervalMs === Number.POSITIVE_INFINITY) return
    this.#timer = setInterval(() => this.#storage.dropExpired(Date.now()), sweepIntervalMs)
    this.#timer.unref()
  }
}

/** What the publisher said counts, else the earlier one of both defaults: that of all messages, and that of retained ones. */
function expiryOf({ expiresAtMs, timestampMs, properties }: Message, expiryMs: number): number {
  if (expiresAtMs === 0) return timestampMs + expiryMs
  const isOwn = properties?.messageExpiryInterval !== undefined
  return isOwn ? expiresAtMs : Math.min(expiresAtMs, timestampMs + expiryMs)
}
