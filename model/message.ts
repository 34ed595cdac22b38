import type { ClientInfo } from './client-info.ts'
import type { KnownTopic } from './known-topic.ts'
import { PayloadSlab } from './payload-slab.ts'

export type QoS = 0 | 1 | 2

/**
 * The MQTT 5 properties that travel with a message from publisher to subscriber
 * (§3.3.2.3). Other protocols map theirs to these: a STOMP header is a user property.
 */
export interface MessageProperties {
  payloadFormatIndicator?: 0 | 1
  /** Seconds, as announced by the publisher. What is left is `Message.expiresAtMs`. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Uint8Array
  /** Order and duplicates are kept [MQTT-3.3.2-18]. */
  userProperties?: [name: string, value: string][]
}

/** Topic and header of a packet up to this length are kept with a payload that has to wait. */
const MAX_KEPT_HEAD_BYTES = 64

/** One published message. Shared by all its deliveries, so nobody changes it once it is routed. */
export class Message {
  /** With the publisher's mountpoint, as it is routed. */
  topic: string
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: MessageProperties | undefined
  /** Who published, for hooks, logs and No Local; undefined when the broker itself did. */
  readonly publisher: ClientInfo | undefined
  /** Unix time in milliseconds at which the broker took the message. */
  readonly timestampMs: number
  /** Unix time in milliseconds after which it is not delivered any more; 0 = never. */
  expiresAtMs: number
  /** The payload is `bytes[start..end)`: reading it there saves making `payload`. */
  bytes: Uint8Array
  start: number
  end: number
  /** What is known of its topic, if its publisher's protocol keeps such; of no meaning once the topic is another. */
  known: KnownTopic | undefined
  /** Encoded forms shared by deliveries: see broker/mqtt/encode-publish.ts. Owned by the encoder. */
  wire: unknown
  /**
   * The MQTT PUBLISH it came in, where that is what a plain subscriber is sent too: it begins at `bytes[packetAt >> 1]`
   * and is of MQTT 5 if the lowest bit is set. -1 = there is none. Owned by the encoder.
   */
  packetAt: number
  /** The delivery that all its plain QoS 0 subscribers share. Owned by broker/delivery.ts. */
  plain: unknown
  /**
   * Settles when the message is safe with all sessions that outlive the process, undefined = nothing has to be
   * waited for. Who published it is answered then. Set as it is routed.
   */
  stored: Promise<void> | undefined
  #payload: Uint8Array | undefined
  #isOwned: boolean

  /** @param bytes - the payload, or what holds it from `start` to `end` */
  constructor(
    topic: string,
    bytes: Uint8Array,
    qos: QoS,
    retain: boolean,
    properties: MessageProperties | undefined,
    publisher: ClientInfo | undefined,
    timestampMs: number,
    start = 0,
    end = bytes.length,
  ) {
    this.topic = topic
    this.qos = qos
    this.retain = retain
    this.properties = properties
    this.publisher = publisher
    this.timestampMs = timestampMs
    const seconds = properties === undefined ? undefined : properties.messageExpiryInterval
    this.expiresAtMs = seconds === undefined ? 0 : timestampMs + seconds * 1000
    this.bytes = bytes
    this.start = start
    this.end = end
    this.known = undefined
    this.wire = undefined
    this.packetAt = -1
    this.plain = undefined
    this.stored = undefined
    this.#payload = undefined
    this.#isOwned = false
  }

  /**
   * Makes another one of it, of the same QoS, for who knows that nobody else has it. Nothing else of it is left but what is
   * the encoder's, which is to set that anew.
   */
  become(
    topic: string,
    known: KnownTopic | undefined,
    bytes: Uint8Array,
    publisher: ClientInfo | undefined,
    timestampMs: number,
    start: number,
    end: number,
  ): void {
    const self = this as { -readonly [Key in keyof Message]: Message[Key] }
    self.start = start
    self.end = end
    // Most of it is the same as before, and to store into an old object costs more than to look.
    if (self.topic !== topic) self.topic = topic
    if (self.publisher !== publisher) self.publisher = publisher
    if (self.timestampMs !== timestampMs) self.timestampMs = timestampMs
    if (self.expiresAtMs !== 0) self.expiresAtMs = 0
    if (self.bytes !== bytes) self.bytes = bytes
    if (self.known !== known) self.known = known
    if (self.plain !== undefined) self.plain = undefined
    if (self.stored !== undefined) self.stored = undefined
    if (this.#payload !== undefined) this.#payload = undefined
    this.#isOwned = false
  }

  get payload(): Uint8Array {
    this.#payload ??=
      this.payloadLength === this.bytes.length ? this.bytes : this.bytes.subarray(this.start, this.end)
    return this.#payload
  }

  /** Bytes of the payload, known without making it. */
  get payloadLength(): number {
    return this.end - this.start
  }

  /** The client table key of the publisher, '' when the broker itself published. */
  get from(): string {
    return this.publisher === undefined ? '' : this.publisher.key
  }

  /** What it came in is kept with the payload unless that is much: sending it on then costs no second copy. */
  #ownedFrom(): number {
    const packetStart = this.packetAt >> 1
    return this.packetAt >= 0 && this.start - packetStart <= MAX_KEPT_HEAD_BYTES ? packetStart : this.start
  }

  /**
   * Makes the payload safe to keep beyond this turn of the event loop. It may lie in a
   * 64 KB network chunk, which a 40-byte retained message would pin.
   * @param slab - for payloads that may be small
   */
  own(slab = new PayloadSlab()): void {
    if (this.#isOwned) return
    this.#isOwned = true
    const twice = this.payloadLength * 2
    // The second one is a call into the engine.
    if (twice >= this.bytes.length && twice >= this.bytes.buffer.byteLength) return
    const from = this.#ownedFrom()
    const moved = slab.copy(this.bytes, from, this.end) - from
    this.start += moved
    this.end += moved
    this.bytes = slab.buffer
    this.packetAt = from === this.start - moved ? -1 : this.packetAt + 2 * moved
    this.#payload = undefined
  }
}
