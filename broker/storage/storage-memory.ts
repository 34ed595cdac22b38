import { Readable } from 'node:stream'
import MemoryPersistence from 'aedes-persistence/asyncPersistence.js'
import { Message } from '../../model/message.ts'
import { TopicTrie } from '../routing/topic-trie.ts'
import type { RetainedCursor, Storage, StoredWill } from './storage.ts'

/** What the kernel and Aedes' suite hand over: our messages, or Aedes' packets. */
type RetainedMessage = Message | { topic: string; payload: Uint8Array }

interface Retained {
  readonly message: RetainedMessage
  readonly expiresAtMs: number
}

/**
 * Keeps everything in this process's memory: for tests and for brokers that may
 * forget. Aedes' memory persistence, but retained messages are found by a trie
 * (its own scans every topic) and nothing returns a promise without need.
 */
export class MemoryStorage extends MemoryPersistence implements Storage {
  readonly #retained = new TopicTrie<Retained>()
  readonly #wills = new Map<string, StoredWill>()
  #node: { id: string } = { id: '' }

  // Aedes insists on an async function here.
  override async setup(broker: { id: string }): Promise<void> {
    this.#node = broker
    await super.setup(broker)
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

  retained(filter: string): RetainedCursor {
    const matching = this.#retained.matching(filter)
    return {
      next: () => {
        for (let step = matching.next(); !step.done; step = matching.next()) {
          const { message, expiresAtMs } = step.value
          if (expiresAtMs > Date.now()) return message as Message
          this.#retained.delete(message.topic)
        }
        return undefined
      },
    }
  }

  dropExpired(nowMs: number): void {
    const expired = [...this.#retained.values()].filter(({ expiresAtMs }) => expiresAtMs <= nowMs)
    for (const { message } of expired) this.#retained.delete(message.topic)
  }

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
