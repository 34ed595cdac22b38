import { inspect } from 'node:util'
import type { ClientInfo } from './client-info.ts'
import type { KnownTopic } from './known-topic.ts'
import { MessageHead } from './message-head.ts'
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

const NO_PACKET = -1
/** Topic and header of a packet up to this length are kept with a payload that has to wait. */
const MAX_KEPT_HEAD_BYTES = 64

/**
 * One published message. Shared by all its deliveries, so nobody changes it once it is routed. Kept small: a hook on
 * `message.publish` sees millions in a second.
 */
export class Message {
  /** The payload is `bytes[start..end)`: reading it there saves making `payload`. */
  bytes: Uint8Array
  start: number
  end: number
  /** The delivery that all its plain QoS 0 subscribers share. Owned by broker/delivery.ts. */
  plain: unknown
  #head: MessageHead
  /** Twice `packetAt`, and 1 if the payload is safe to keep. */
  #state: number
  #payload: Uint8Array | undefined
  #rest: Rest | undefined

  /**
   * @param head - may be of other messages too
   * @param bytes - the payload, or what holds it from `start` to `end`
   */
  constructor(head: MessageHead, bytes: Uint8Array, start = 0, end = bytes.length) {
    this.bytes = bytes
    this.start = start
    this.end = end
    this.plain = undefined
    this.#head = head
    this.#state = NO_PACKET * 2
    this.#payload = undefined
    this.#rest = undefined
  }

  /** A message with a head of its own. @param bytes - the payload, or what holds it from `start` to `end` */
  static of(
    topic: string,
    bytes: Uint8Array,
    qos: QoS,
    retain: boolean,
    properties: MessageProperties | undefined,
    publisher: ClientInfo | undefined,
    timestampMs: number,
    start = 0,
    end = bytes.length,
  ): Message {
    const head = new MessageHead(topic, qos, retain, properties, publisher, timestampMs, undefined)
    return new Message(head, bytes, start, end)
  }

  /**
   * Makes another one of it, for who knows that nobody else has it. Nothing else of it is left but `packetAt`, which is to
   * be set anew.
   */
  become(head: MessageHead, bytes: Uint8Array, start: number, end: number): void {
    this.start = start
    this.end = end
    this.#state = NO_PACKET * 2
    // Most of it is the same as before, and to store into an old object costs more than to look.
    if (this.#head !== head) this.#head = head
    if (this.bytes !== bytes) this.bytes = bytes
    if (this.plain !== undefined) this.plain = undefined
    if (this.#payload !== undefined) this.#payload = undefined
    if (this.#rest !== undefined) this.#rest = undefined
  }

  /** All of it but its payload. It is the same object for as long as none of that has changed. */
  get head(): MessageHead {
    return this.#head
  }

  /** With the publisher's mountpoint, as it is routed. */
  get topic(): string {
    return this.#head.topic
  }

  set topic(topic: string) {
    if (topic === this.topic) return
    this.#head = this.#head.withTopic(topic)
    this.packetAt = NO_PACKET
  }

  get qos(): QoS {
    return this.#head.qos
  }

  get retain(): boolean {
    return this.#head.retain
  }

  get properties(): MessageProperties | undefined {
    return this.#head.properties
  }

  /** Who published, for hooks, logs and No Local; undefined when the broker itself did. */
  get publisher(): ClientInfo | undefined {
    return this.#head.publisher
  }

  /** Unix time in milliseconds at which the broker took the message. */
  get timestampMs(): number {
    return this.#head.timestampMs
  }

  /** Unix time in milliseconds after which it is not delivered any more; 0 = never. */
  get expiresAtMs(): number {
    return this.#head.expiresAtMs
  }

  set expiresAtMs(expiresAtMs: number) {
    if (expiresAtMs !== this.expiresAtMs) this.#head = this.#head.withExpiry(expiresAtMs)
  }

  /** What is known of its topic, if its publisher's protocol keeps such. */
  get known(): KnownTopic | undefined {
    return this.#head.known
  }

  /**
   * The MQTT PUBLISH it came in, where that is what a plain subscriber is sent too: it begins at `bytes[packetAt >> 1]`
   * and is of MQTT 5 if the lowest bit is set. -1 = there is none. Owned by the encoder.
   */
  get packetAt(): number {
    return this.#state >> 1
  }

  set packetAt(packetAt: number) {
    this.#state = (packetAt << 1) | (this.#state & 1)
  }

  /** Encoded forms shared by deliveries: see broker/mqtt/encode-publish.ts. Owned by the encoder. */
  get wire(): unknown {
    return this.#rest === undefined ? undefined : this.#rest.wire
  }

  set wire(wire: unknown) {
    this.#rest ??= new Rest()
    this.#rest.wire = wire
  }

  /**
   * Settles when the message is safe with all sessions that outlive the process, undefined = nothing has to be
   * waited for. Who published it is answered then. Set as it is routed.
   */
  get stored(): Promise<void> | undefined {
    return this.#rest === undefined ? undefined : this.#rest.stored
  }

  set stored(stored: Promise<void> | undefined) {
    if (stored === undefined && this.#rest === undefined) return
    this.#rest ??= new Rest()
    this.#rest.stored = stored
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

  /** What `console.log` shows: what is in the head it would leave out. */
  [inspect.custom](): object {
    const { topic, qos, retain, properties, from, timestampMs, expiresAtMs, payload } = this
    return { topic, qos, retain, properties, from, timestampMs, expiresAtMs, payload }
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
    if ((this.#state & 1) === 1) return
    this.#state |= 1
    const twice = this.payloadLength * 2
    // The second one is a call into the engine.
    if (twice >= this.bytes.length && twice >= this.bytes.buffer.byteLength) return
    const from = this.#ownedFrom()
    const moved = slab.copy(this.bytes, from, this.end) - from
    this.start += moved
    this.end += moved
    this.bytes = slab.buffer
    this.packetAt = from === this.start - moved ? NO_PACKET : this.packetAt + 2 * moved
    this.#payload = undefined
  }
}

/** What few messages have. */
class Rest {
  wire: unknown = undefined
  stored: Promise<void> | undefined = undefined
}
