import { KnownTopic } from '../../model/known-topic.ts'
import { LastView } from '../../model/last-view.ts'
import { topicInvalid } from './mqtt-error.ts'
import { readUtf8 } from './read.ts'

/** Longer topics are read anew each time: a cache of them would cost more memory than it saves work. */
const MAX_CACHED_BYTES = 256
/** Names up to this length lie one behind the other in one buffer, so that to compare one is to look at one place. */
const MAX_NEAR_BYTES = 64
/** Of a mark; the others are of the length, which is at most MAX_CACHED_BYTES. */
const HASH_BITS = ~0x3ff
/** The golden ratio: what is left of a product with it has little to do with the lowest bits. */
const SPREAD = 0x9e3779b1
const SPREAD_SHIFT = 8
/** Topics looked up in one buffer before a view of it is made: a chunk of its own seldom has as many packets. */
const LOOK_UPS_BEFORE_VIEW = 32

/**
 * Turns topic bytes into strings. A topic seen before comes back as the same object
 * without an allocation, with what was found out about it. Only valid topic names get in, so equal bytes need no second check.
 *
 * Of fixed size, each topic having two places where it may be, far from each other: as long as no more than a third of
 * them are in use, nearly all topics find one that no other needs. A peer that sends ever new topics costs others a miss,
 * not memory.
 */
export class TopicCache {
  readonly #mask: number
  readonly #topics: (KnownTopic | undefined)[]
  /** Length and most of the hash of a name, by place, 0 = none: it is not looked at where it cannot be the one. */
  readonly #marks: Int32Array
  readonly #near: Uint8Array
  readonly #nearView: DataView
  readonly #views = new LastView(LOOK_UPS_BEFORE_VIEW)
  /** Names too long for `#near`, by place. */
  readonly #far = new Map<number, Uint8Array>()
  #turn = 0
  /** What was found last: the packets of a chunk are often about one topic. */
  #last: KnownTopic | undefined
  #lastSlot = 0
  #lastLength = 0

  /** @param slots - number of topics remembered, a power of two from 2 on. Each takes up to about 700 bytes. */
  constructor(slots = 32_768) {
    this.#mask = slots - 1
    this.#topics = filled(slots)
    this.#marks = new Int32Array(slots)
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
    if (last !== undefined && this.#lastLength === length && this.#isAt(this.#lastSlot, buf, start, length))
      return last
    if (length > MAX_CACHED_BYTES) return new KnownTopic(readTopicName(buf, start, end))
    const hash = hashOf(buf, start, end)
    const mark = (hash & HASH_BITS) | (length + 1)
    const one = hash & this.#mask
    const other = (Math.imul(hash, SPREAD) >>> SPREAD_SHIFT) & this.#mask
    return (
      this.#find(one, mark, buf, start, length) ??
      this.#find(other, mark, buf, start, length) ??
      this.#add(one, other, mark, buf, start, end)
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

  #find(slot: number, mark: number, buf: Buffer, start: number, length: number): KnownTopic | undefined {
    if (this.#marks[slot] !== mark || !this.#isAt(slot, buf, start, length)) return undefined
    const topic = this.#topics[slot]
    this.#last = topic
    this.#lastSlot = slot
    this.#lastLength = length
    return topic
  }

  /** Whether the name at a place, of the same length, is this one. */
  #isAt(slot: number, buf: Buffer, start: number, length: number): boolean {
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

  /** Where both its places are taken, into one of them in turn, so that in the end all that are in use have found one. */
  #add(one: number, other: number, mark: number, buf: Buffer, start: number, end: number): KnownTopic {
    const topic = new KnownTopic(readTopicName(buf, start, end))
    const slot = this.#marks[one] === 0 || (this.#marks[other] !== 0 && this.#takesOne()) ? one : other
    // The place may have been that of the last one.
    this.#last = undefined
    this.#topics[slot] = topic
    this.#marks[slot] = mark
    const name = buf.subarray(start, end)
    this.#far.delete(slot)
    if (name.length > MAX_NEAR_BYTES) this.#far.set(slot, new Uint8Array(name))
    else this.#near.set(name, slot * MAX_NEAR_BYTES)
    return topic
  }

  #takesOne(): boolean {
    this.#turn ^= 1
    return this.#turn === 0
  }
}

function hashOf(buf: Buffer, start: number, end: number): number {
  let hash = end - start
  for (let i = start; i < end; i++) hash = (Math.imul(hash, 31) + (buf[i] as number)) | 0
  // Topics differ in a few digits, which are in few of its bits until they are mixed, here as MurmurHash3 does at its end.
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
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
