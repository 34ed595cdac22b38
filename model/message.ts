import type { ClientInfo } from './client-info.ts'

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
  /** Order and duplicates are kept [MQTT-3.3.1-9]. */
  userProperties?: [name: string, value: string][]
}

/** One published message. Shared by all its deliveries, so nobody changes it once it is routed. */
export class Message {
  /** With the publisher's mountpoint, as it is routed. */
  topic: string
  payload: Uint8Array
  qos: QoS
  retain: boolean
  properties: MessageProperties | undefined
  /** The client table key of the publisher, '' when the broker itself published. No Local compares it. */
  from: string
  /** Who published, for hooks and logs. */
  publisher: ClientInfo | undefined
  /** Unix time in milliseconds at which the broker took the message. */
  timestampMs: number
  /** Unix time in milliseconds after which it is not delivered any more; 0 = never. */
  expiresAtMs: number
  /** Encoded forms shared by deliveries: see broker/mqtt/encode-publish.ts. Owned by the encoder. */
  wire: unknown
  #owned: boolean

  constructor(
    topic: string,
    payload: Uint8Array,
    qos: QoS,
    retain: boolean,
    properties: MessageProperties | undefined,
    publisher: ClientInfo | undefined,
    timestampMs: number,
  ) {
    this.topic = topic
    this.payload = payload
    this.qos = qos
    this.retain = retain
    this.properties = properties
    this.from = publisher === undefined ? '' : publisher.key
    this.publisher = publisher
    this.timestampMs = timestampMs
    const seconds = properties?.messageExpiryInterval
    this.expiresAtMs = seconds === undefined ? 0 : timestampMs + seconds * 1000
    this.wire = undefined
    this.#owned = false
  }

  /**
   * Makes the payload safe to keep beyond this turn of the event loop. It may be a
   * slice of a 64 KB network chunk, which a 40-byte retained message would pin.
   */
  own(): void {
    if (this.#owned) return
    this.#owned = true
    if (this.payload.byteLength * 2 < this.payload.buffer.byteLength) this.payload = Buffer.from(this.payload)
  }
}
