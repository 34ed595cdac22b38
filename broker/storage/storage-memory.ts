import { Readable } from 'node:stream'
import MemoryPersistence from 'aedes-persistence/asyncPersistence.js'
import type { MaybePromise } from '../../model/async.ts'
import { Message } from '../../model/message.ts'
import { TopicTrie, type TopicWalk } from '../routing/topic-trie.ts'
import type { DurableStore, RetainedCursor, Storage, StoredWill } from './storage.ts'

/** What the kernel and Aedes' suite hand over: our messages, or Aedes' packets. */
type RetainedMessage = Message | { topic: string; payload: Uint8Array }

interface Retained {
  readonly message: RetainedMessage
  readonly expiresAtMs: number
}

/** Topics looked at in one turn of the event loop, some tenths of a millisecond. */
const WALK_STEPS = 1000

function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/**
 * Keeps everything in this process's memory: for tests and for brokers that may
 * forget. Aedes' memory persistence, but retained messages are found by a trie
 * (its own scans every topic) and nothing returns a promise without need.
 */
export class MemoryStorage extends MemoryPersistence implements Storage {
  readonly durable: DurableStore | undefined = undefined
  readonly #retained = new TopicTrie<Retained>()
  readonly #wills = new Map<string, StoredWill>()
  #node: { id: string } = { id: '' }
  #isDestroyed = false

  async open(_node: string): Promise<void> {}

  // Aedes insists on an async function here.
  override async setup(broker: { id: string }): Promise<void> {
    this.#node = broker
    await super.setup(broker)
  }

  override async destroy(): Promise<void> {
    if (this.#isDestroyed) return
    this.#isDestroyed = true
    await super.destroy()
  }

  get retainedCount(): number {
    return this.#retained.size
  }

  hasRetained(topic: string): boolean {
    return this.#retained.get(topic) !== undefined
  }

  override storeRetained(message: RetainedMessage, expiresAtMs = Number.POSITIVE_INFINITY): void {
    // [MQTT-3.3.1-7] [MQTT-3.3.1-6] an empty one is never stored
    if (message.payload.length === 0) this.#retained.delete(message.topic)
    else {
      // Our messages are never changed; a packet of somebody else's may be.
      const kept = message instanceof Message ? message : { ...message }
      this.#retained.set(message.topic, { message: kept, expiresAtMs })
    }
  }

  retained(filter: string, pause = nextTurn): RetainedCursor {
    const walk = this.#retained.matching(filter)
    const next = (): MaybePromise<Message | undefined> => {
      for (let i = 0; i < WALK_STEPS; i++) {
        const found = walk.advance(WALK_STEPS)
        if (found === undefined && walk.isDone) return undefined
        if (found === undefined) break
        if (found.expiresAtMs > Date.now()) return found.message as Message
        this.#expire(found.message.topic)
      }
      return pause().then(next)
    }
    return { next }
  }

  dropExpired(nowMs: number): void {
    this.#dropExpired(this.#retained.values(), nowMs)
  }

  #dropExpired(walk: TopicWalk<Retained>, nowMs: number): void {
    for (let i = 0; i < WALK_STEPS; i++) {
      const found = walk.advance(WALK_STEPS)
      if (found === undefined) break
      if (found.expiresAtMs <= nowMs) this.#expire(found.message.topic)
    }
    if (!walk.isDone) setImmediate(() => this.#dropExpired(walk, nowMs))
  }

  #expire(topic: string): void {
    this.#retained.delete(topic)
    this.retainedExpired(topic)
  }

  /** A retained message's time was over and it is gone: for storages that keep it somewhere else as well. */
  protected retainedExpired(_topic: string): void {}

  override createRetainedStream(filter: string): Readable {
    return this.createRetainedStreamCombi([filter])
  }

  override createRetainedStreamCombi(filters: string[]): Readable {
    const retained = this.#retained
    return Readable.from(
      (function* () {
        for (const filter of filters) for (const { message } of retained.matching(filter)) yield message
      })(),
    )
  }

  override putWill(client: { id: string }, will: StoredWill): void {
    will.brokerId = this.#node.id
    will.clientId = client.id
    this.#wills.set(client.id, will)
  }

  /** As `putWill`, for a will of whatever node it says. */
  protected restoreWill(clientId: string, will: StoredWill): void {
    this.#wills.set(clientId, will)
  }

  override getWill(client: { id: string }): StoredWill | undefined {
    return this.#wills.get(client.id)
  }

  override delWill(client: { id: string }): StoredWill | undefined {
    const will = this.#wills.get(client.id)
    this.#wills.delete(client.id)
    return will
  }

  override streamWill(brokers: Record<string, number> = {}): Readable {
    return Readable.from(
      [...this.#wills.values()].filter((will) => brokers[will.brokerId ?? ''] === undefined),
    )
  }
}
