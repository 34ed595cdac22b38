import { bodyStart } from './frame.ts'
import type { ProtocolVersion, PublishPacket } from './packets.ts'
import type { TopicCache } from './topic-cache.ts'

const MOST_SHORT = 0x7f

/**
 * PUBLISH packets that follow each other in what was read and differ in nothing but packet id and payload: none has RETAIN,
 * DUP or properties, and all are about one topic, to the byte.
 */
export class RunOfPackets {
  readonly #bytes: Buffer
  readonly #limit: number
  readonly #first: number
  readonly #isV5: boolean
  readonly #topics: TopicCache
  readonly #maxPacketBytes: number
  /** Of the topic in the first one, with its length. */
  readonly #topicAt: number
  readonly #topicBytes: number
  /** From the topic to the payload. */
  readonly #headBytes: number

  /**
   * @param packet - the first one, decoded
   * @param start - where it begins
   * @param limit - where what was read ends
   */
  constructor(
    packet: PublishPacket,
    version: ProtocolVersion,
    start: number,
    limit: number,
    maxPacketBytes: number,
    topics: TopicCache,
  ) {
    const { bytes } = packet
    this.#bytes = bytes
    this.#limit = limit
    this.#first = bytes[start] as number
    this.#isV5 = version === 5
    this.#topics = topics
    this.#maxPacketBytes = maxPacketBytes
    this.#topicAt = bodyStart(bytes, start)
    this.#headBytes = packet.payloadStart - this.#topicAt
    this.#topicBytes = this.#headBytes - (packet.qos === 0 ? 0 : 2) - (version === 5 ? 1 : 0)
  }

  /** @returns where the packet at `at` ends if it is one of them, else 0 */
  endOf(at: number): number {
    const bytes = this.#bytes
    // Longer headers are of packets too large to be sent on as they came.
    if (at + 3 > this.#limit || bytes[at] !== this.#first) return 0
    let length = bytes[at + 1] as number
    let body = at + 2
    if (length > MOST_SHORT) {
      const high = bytes[body++] as number
      if (high > MOST_SHORT || high === 0) return 0
      length = (length & MOST_SHORT) | (high << 7)
    }
    const end = body + length
    if (end > this.#limit || end - at > this.#maxPacketBytes || length < this.#headBytes) return 0
    if (this.#isV5 && bytes[body + this.#headBytes - 1] !== 0) return 0
    return this.#topics.areEqual(bytes, this.#topicAt, body, this.#topicBytes) ? end : 0
  }

  /** Where the payload of the one at `at` begins. */
  payloadOf(at: number): number {
    return bodyStart(this.#bytes, at) + this.#headBytes
  }

  /** Packet id of the one at `at`, at QoS 1. */
  idOf(at: number): number {
    const idAt = bodyStart(this.#bytes, at) + this.#topicBytes
    return ((this.#bytes[idAt] as number) << 8) | (this.#bytes[idAt + 1] as number)
  }
}
