/** MESSAGE frames, written straight into an outbox. */
import type { Delivery } from '../../broker/broker.ts'
import type { MessageHead } from '../../model/message-head.ts'
import { digits, put, putNumber } from '../../model/put-bytes.ts'
import { RunCopier } from '../../model/run-copier.ts'
import type { FrameSink } from './frame.ts'
import { escapeHeader, type StompVersion } from './headers.ts'
import { HOP_BY_HOP } from './message.ts'
import type { StompSubscription } from './subscriptions.ts'

/** Bodies from this size on are handed over as they are instead of being copied. */
const LARGE_BODY_BYTES = 4096
const LF = 10
const NUL = 0
const CONTENT_LENGTH = Buffer.from('\ncontent-length:')
const ACK = Buffer.from('\nack:')
const RETAIN = Buffer.from('\nretain:true')
const END = Buffer.from([NUL])
const NOTHING = Buffer.alloc(0)

/**
 * What each MESSAGE to a subscription begins with, up to the number that ends its id.
 * @param id - undefined for a subscription that has none
 * @param idPrefix - of the ids of messages
 */
export function messageBeginning(
  id: string | undefined,
  idPrefix: string,
  version: StompVersion,
): Uint8Array {
  const subscription = id === undefined ? '' : `\nsubscription:${escapeHeader(id, version)}`
  return Buffer.from(`MESSAGE${subscription}\nmessage-id:${idPrefix}`)
}

/**
 * Writes MESSAGE frames, as bytes that were made before: what depends on the message alone is remembered for the last
 * one, because a message to many subscribers comes in one run, and so do messages of one publisher.
 */
export class MessageWriter {
  readonly #bodies = new RunCopier()
  #head: MessageHead | undefined
  #destination: string | undefined
  #version: StompVersion | undefined
  /** destination and content-type. */
  #middle: Uint8Array = NOTHING
  #userHeaders: Uint8Array = NOTHING

  /**
   * For the messages that are written next.
   * @param head - theirs
   * @param destination - without mountpoint
   */
  prepare(head: MessageHead, destination: string, version: StompVersion): void {
    if (this.#head === head && this.#destination === destination && this.#version === version) return
    const { properties } = head
    const contentType = properties?.contentType ?? 'text/plain'
    let userHeaders = ''
    for (const [name, value] of properties?.userProperties ?? []) {
      // An MQTT publisher must not be able to say another message-id, or where the body ends.
      if (name === '' || HOP_BY_HOP.has(name)) continue
      userHeaders += `\n${escapeHeader(name, version, 'name')}:${escapeHeader(value, version)}`
    }
    this.#head = head
    this.#destination = destination
    this.#version = version
    this.#middle = Buffer.from(
      `\ndestination:${escapeHeader(destination, version)}\ncontent-type:${escapeHeader(contentType, version)}`,
    )
    this.#userHeaders = userHeaders === '' ? NOTHING : Buffer.from(userHeaders)
  }

  /**
   * A delivery of a message that it was prepared for.
   * @param number - of the MESSAGE on this connection: the end of its id, and what an ACK is to say
   */
  write(sink: FrameSink, delivery: Delivery, { beginning, ack }: StompSubscription, number: number): void {
    const { message } = delivery
    const bodyBytes = message.payloadLength
    const isLarge = bodyBytes >= LARGE_BODY_BYTES
    const wantsAck = ack !== 'auto'
    const numberBytes = digits(number)
    const headBytes =
      beginning.length +
      numberBytes +
      this.#middle.length +
      (wantsAck ? ACK.length + numberBytes : 0) +
      (delivery.retain ? RETAIN.length : 0) +
      this.#userHeaders.length +
      (bodyBytes === 0 ? 0 : CONTENT_LENGTH.length + digits(bodyBytes)) +
      2
    let at = sink.reserve(isLarge ? headBytes : headBytes + bodyBytes + 1)
    const { buffer } = sink
    at = putNumber(buffer, put(buffer, at, beginning), number)
    at = put(buffer, at, this.#middle)
    if (wantsAck) at = putNumber(buffer, put(buffer, at, ACK), number)
    if (delivery.retain) at = put(buffer, at, RETAIN)
    at = put(buffer, at, this.#userHeaders)
    if (bodyBytes > 0) at = putNumber(buffer, put(buffer, at, CONTENT_LENGTH), bodyBytes)
    buffer[at] = LF
    buffer[at + 1] = LF
    if (isLarge) {
      sink.append(message.payload)
      sink.append(END)
      return
    }
    this.#bodies.copy(buffer, at + 2, message.bytes, message.start, message.end)
    buffer[at + 2 + bodyBytes] = NUL
  }
}
