import { topicInvalid } from './mqtt-error.ts'
import { readUtf8 } from './read.ts'

/** Longer topics are read anew each time: a cache of them would cost more memory than it saves work. */
const MAX_CACHED_BYTES = 256

/**
 * Turns topic bytes into strings. A topic seen before comes back as the same string
 * object without an allocation, so that its hash is there already when it is looked
 * up in a Map. Only valid topic names get in, so equal bytes need no second check.
 *
 * Of fixed size, each topic having two places where it may be: a peer that sends ever new
 * topics costs others a miss, not memory.
 */
export class TopicCache {
  readonly #mask: number
  readonly #topics: string[]
  readonly #bytes: Uint8Array[]
  #turn = 0
  /** What was found last: the packets of a chunk are often about one topic. */
  #lastTopic = ''
  #lastBytes: Uint8Array

  /** @param slots - number of topics remembered, a power of two from 2 on. Each takes up to about 600 bytes. */
  constructor(slots = 32_768) {
    this.#mask = slots - 1
    this.#topics = filled(slots, '')
    const none = new Uint8Array(0)
    this.#bytes = filled(slots, none)
    this.#lastBytes = none
  }

  /**
   * The topic name in `buf[start..end)`.
   * @throws MqttError FRAME_MALFORMED for bad UTF-8 or U+0000, TOPIC_INVALID for wildcards
   */
  get(buf: Buffer, start: number, end: number): string {
    const length = end - start
    if (isEqual(this.#lastBytes, buf, start, length)) return this.#lastTopic
    if (length > MAX_CACHED_BYTES) return readTopicName(buf, start, end)
    let hash = length
    for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + (buf[i] as number)) | 0
    const slot = (hash ^ (hash >>> 15)) & this.#mask
    if (isEqual(this.#bytes[slot] as Uint8Array, buf, start, length)) return this.#found(slot)
    const second = slot ^ 1
    if (isEqual(this.#bytes[second] as Uint8Array, buf, start, length)) return this.#found(second)
    return this.#add(slot, buf, start, end)
  }

  #found(slot: number): string {
    this.#lastBytes = this.#bytes[slot] as Uint8Array
    this.#lastTopic = this.#topics[slot] as string
    return this.#lastTopic
  }

  /** Into one of its two places in turn, so that in the end all that are in use have found one. */
  #add(slot: number, buf: Buffer, start: number, end: number): string {
    const topic = readTopicName(buf, start, end)
    this.#turn ^= 1
    this.#topics[slot ^ this.#turn] = topic
    this.#bytes[slot ^ this.#turn] = new Uint8Array(buf.subarray(start, end))
    return topic
  }
}

/** Grown step by step: one made as large as this at once would be a hash table to the engine. */
function filled<T>(length: number, value: T): T[] {
  const array: T[] = []
  while (array.length < length) array.push(value)
  return array
}

function isEqual(known: Uint8Array, buf: Buffer, start: number, length: number): boolean {
  if (known.length !== length) return false
  for (let i = 0; i < length; i++) if (known[i] !== buf[start + i]) return false
  return true
}

/** Strictly valid UTF-8 without wildcards; may be empty. */
function readTopicName(buf: Buffer, start: number, end: number): string {
  const topic = readUtf8(buf, start, end, 'topic')
  for (let i = start; i < end; i++) {
    // [MQTT-3.3.2-2] [MQTT-4.7.0-1] no wildcards: '+' and '#' are never part of a longer UTF-8 sequence
    if (buf[i] === 0x2b || buf[i] === 0x23) throw topicInvalid('topic contains a wildcard')
  }
  return topic
}
