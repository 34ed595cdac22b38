import { KnownTopic } from '../../model/known-topic.ts'
import { LastView } from '../../model/last-view.ts'
import { topicInvalid } from './mqtt-error.ts'
import { readUtf8 } from './read.ts'

/** Longer topics are read anew each time: a cache of them would cost more memory than it saves work. */
const MAX_CACHED_BYTES = 256
/** Names up to this length lie one behind the other in one buffer, so that to compare one is to look at one place. */
const MAX_NEAR_BYTES = 64
/** Topics looked up in one buffer before a view of it is made: a chunk of its own seldom has as many packets. */
const LOOK_UPS_BEFORE_VIEW = 32

/**
 * Turns topic bytes into strings. A topic seen before comes back as the same object
 * without an allocation, with what was found out about it. Only valid topic names get in, so equal bytes need no second check.
 *
 * Of fixed size, each topic having two places where it may be: a peer that sends ever new
 * topics costs others a miss, not memory.
 */
export class TopicCache {
  readonly #mask: number
  readonly #topics: (KnownTopic | undefined)[]
  readonly #lengths: Uint16Array
  readonly #near: Uint8Array
  readonly #nearView: DataView
  readonly #views = new LastView(LOOK_UPS_BEFORE_VIEW)
  /** Names too long for `#near`, by place. */
  readonly #far = new Map<number, Uint8Array>()
  #turn = 0
  /** What was found last: the packets of a chunk are often about one topic. */
  #last: KnownTopic | undefined
  #lastSlot = 0

  /** @param slots - number of topics remembered, a power of two from 2 on. Each takes up to about 700 bytes. */
  constructor(slots = 32_768) {
    this.#mask = slots - 1
    this.#topics = filled(slots)
    this.#lengths = new Uint16Array(slots)
    this.#near = new Uint8Array(slots * MAX_NEAR_BYTES)
    this.#nearView = new DataView(this.#near.buffer)
  }

  /**
   * The topic name in `buf[start..end)`.
   * @throws MqttError FRAME_MALFORMED for bad UTF-8 or U+0000, TOPIC_INVALID for wildcards
   */
  get(buf: Buffer, start: number, end: number): KnownTopic {
    const length = end - start
    const last = this.#last
    if (last !== undefined && this.#isAt(this.#lastSlot, buf, start, length)) return last
    if (length > MAX_CACHED_BYTES) return new KnownTopic(readTopicName(buf, start, end))
    let hash = length
    for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + (buf[i] as number)) | 0
    const slot = (hash ^ (hash >>> 15)) & this.#mask
    return (
      this.#find(slot, buf, start, length) ??
      this.#find(slot ^ 1, buf, start, length) ??
      this.#add(slot, buf, start, end)
    )
  }

  /** Whether the names of `length` bytes at `a` and at `b` are the same. */
  areEqual(buf: Buffer, a: number, b: number, length: number): boolean {
    const view = this.#views.of(buf)
    let i = 0
    if (view !== undefined)
      for (; i + 3 < length; i += 4) if (view.getInt32(a + i) !== view.getInt32(b + i)) return false
    for (; i < length; i++) if (buf[a + i] !== buf[b + i]) return false
    return true
  }

  #find(slot: number, buf: Buffer, start: number, length: number): KnownTopic | undefined {
    const topic = this.#topics[slot]
    if (topic === undefined || !this.#isAt(slot, buf, start, length)) return undefined
    this.#last = topic
    this.#lastSlot = slot
    return topic
  }

  #isAt(slot: number, buf: Buffer, start: number, length: number): boolean {
    if (this.#lengths[slot] !== length) return false
    if (length > MAX_NEAR_BYTES) return isFar(this.#far.get(slot), buf, start)
    const near = this.#near
    const from = slot * MAX_NEAR_BYTES
    const view = this.#views.of(buf)
    let i = 0
    if (view !== undefined) {
      const nearView = this.#nearView
      for (; i + 3 < length; i += 4)
        if (nearView.getInt32(from + i) !== view.getInt32(start + i)) return false
    }
    for (; i < length; i++) if (near[from + i] !== buf[start + i]) return false
    return true
  }

  /** Into one of its two places in turn, so that in the end all that are in use have found one. */
  #add(first: number, buf: Buffer, start: number, end: number): KnownTopic {
    const topic = new KnownTopic(readTopicName(buf, start, end))
    this.#turn ^= 1
    const slot = first ^ this.#turn
    // The place may have been that of the last one.
    this.#last = undefined
    this.#topics[slot] = topic
    this.#lengths[slot] = end - start
    const name = buf.subarray(start, end)
    this.#far.delete(slot)
    if (name.length > MAX_NEAR_BYTES) this.#far.set(slot, new Uint8Array(name))
    else this.#near.set(name, slot * MAX_NEAR_BYTES)
    return topic
  }
}

/** Grown step by step: one made as large as this at once would be a hash table to the engine. */
function filled(length: number): (KnownTopic | undefined)[] {
  const array: (KnownTopic | undefined)[] = []
  while (array.length < length) array.push(undefined)
  return array
}

/** Of the same length. */
function isFar(known: Uint8Array | undefined, buf: Buffer, start: number): boolean {
  if (known === undefined) return false
  for (let i = 0; i < known.length; i++) if (known[i] !== buf[start + i]) return false
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
