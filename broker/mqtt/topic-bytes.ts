import { putString, utf8Length } from './write.ts'

/** Longer topics are encoded anew each time: a cache of them would cost more memory than it saves work. */
const MAX_CACHED_CHARS = 256

/** A full cache starts anew after this many misses for each of its entries. */
const MAX_MISSES_PER_ENTRY = 16

/**
 * The other way round of `TopicCache`: topics as they are on the wire, two bytes of length first.
 * One for the process. Pays because topics decoded by a `TopicCache` come as the same string object
 * each time. When full it stays as it is, and starts anew once it has been of little use for long:
 * where there are ever new topics, it costs a look-up each and nothing more.
 */
export class TopicBytes {
  readonly #maxEntries: number
  readonly #bytes = new Map<string, Uint8Array>()
  #misses = 0

  /** @param maxEntries - number of topics remembered. Each takes up to about 1 KB. */
  constructor(maxEntries = 4096) {
    this.#maxEntries = maxEntries
  }

  /** @returns undefined if it is not known, or not worth it: then the caller encodes `topic` itself */
  get(topic: string): Uint8Array | undefined {
    return this.#bytes.get(topic) ?? this.#miss(topic)
  }

  #miss(topic: string): Uint8Array | undefined {
    if (topic.length > MAX_CACHED_CHARS) return undefined
    if (this.#bytes.size >= this.#maxEntries) {
      this.#misses++
      if (this.#misses < this.#maxEntries * MAX_MISSES_PER_ENTRY) return undefined
      this.#bytes.clear()
      this.#misses = 0
    }
    const length = utf8Length(topic)
    const bytes = Buffer.allocUnsafeSlow(2 + length)
    putString(bytes, 0, topic, length)
    this.#bytes.set(topic, bytes)
    return bytes
  }
}
