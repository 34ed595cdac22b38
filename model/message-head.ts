import type { ClientInfo } from './client-info.ts'
import type { KnownTopic } from './known-topic.ts'
import type { MessageProperties, QoS } from './message.ts'

/**
 * All of a message but its payload. Messages that follow each other often have it in common, and then share one: with all
 * of it in each, a message a hook is to see took twice the memory. Nobody changes it: a message that is to differ gets
 * another one.
 */
export class MessageHead {
  readonly topic: string
  readonly qos: QoS
  readonly retain: boolean
  readonly properties: MessageProperties | undefined
  readonly publisher: ClientInfo | undefined
  readonly timestampMs: number
  readonly expiresAtMs: number
  readonly known: KnownTopic | undefined

  /** Each is told of in `Message`. */
  constructor(
    topic: string,
    qos: QoS,
    retain: boolean,
    properties: MessageProperties | undefined,
    publisher: ClientInfo | undefined,
    timestampMs: number,
    known: KnownTopic | undefined,
    expiresAtMs = expiryOf(properties, timestampMs),
  ) {
    this.topic = topic
    this.qos = qos
    this.retain = retain
    this.properties = properties
    this.publisher = publisher
    this.timestampMs = timestampMs
    this.expiresAtMs = expiresAtMs
    this.known = known
  }

  withTopic(topic: string): MessageHead {
    const { qos, retain, properties, publisher, timestampMs, expiresAtMs } = this
    return new MessageHead(topic, qos, retain, properties, publisher, timestampMs, undefined, expiresAtMs)
  }

  withExpiry(expiresAtMs: number): MessageHead {
    const { topic, qos, retain, properties, publisher, timestampMs, known } = this
    return new MessageHead(topic, qos, retain, properties, publisher, timestampMs, known, expiresAtMs)
  }
}

function expiryOf(properties: MessageProperties | undefined, timestampMs: number): number {
  const seconds = properties === undefined ? undefined : properties.messageExpiryInterval
  return seconds === undefined ? 0 : timestampMs + seconds * 1000
}
