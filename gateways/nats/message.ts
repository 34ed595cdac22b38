/** MSG and HMSG, written straight into an outbox. */
import type { Message } from '../../model/message.ts'
import { digits, put, putNumber } from '../../model/put-bytes.ts'
import { RunCopier } from '../../model/run-copier.ts'
import { blockOf } from './headers.ts'
import { replySubject } from './request-reply.ts'
import { subjectOf } from './subject.ts'

/** Where messages are written: the outbox of a transport, or a double of it. */
export interface MessageSink {
  readonly buffer: Buffer
  reserve(size: number): number
  append(bytes: Uint8Array): void
}

/** Who gets a message, as far as the bytes depend on it. The same object for the same, wherever there is no mountpoint. */
export interface Recipient {
  readonly mountpoint: string
  /** It understands HMSG. */
  readonly headers: boolean
}

const PLAIN: Recipient = { mountpoint: '', headers: false }
const WITH_HEADERS: Recipient = { mountpoint: '', headers: true }

export function recipientOf(mountpoint: string, headers: boolean): Recipient {
  if (mountpoint !== '') return { mountpoint, headers }
  return headers ? WITH_HEADERS : PLAIN
}

/** From here on a payload is handed over as it is instead of being copied. */
const LARGE_BYTES = 16_384
const MAX_KEPT_HEADS = 4096
/** Longer topics are encoded anew each time. */
const MAX_KEPT_CHARS = 256
/** A full table starts anew after so many misses, so that inboxes that come and go cannot fill it for good. */
const MAX_MISSES = 65_536
const CR = 13
const LF = 10
const SPACE = 32

/**
 * Writes messages. What depends on the message alone is remembered for the last one, because a message to many
 * subscribers comes in one run; where even the sid is the same, the whole of it is copied at once.
 */
export class MessageWriter {
  /** `HMSG <subject> ` by topic, undefined where a topic is no subject. MSG is the same from the second byte on. */
  readonly #heads = new Map<string, Uint8Array | undefined>()
  #misses = 0
  readonly #payloads = new RunCopier()
  #lastTopic = ''
  #lastHead: Uint8Array | undefined
  // The last message.
  #message: Message | undefined
  #recipient: Recipient | undefined
  #reply: Uint8Array | undefined
  #block: Uint8Array | undefined
  #head: Uint8Array | undefined
  #sid: Uint8Array | undefined
  #frame: Buffer | undefined
  // The last line.
  #line = Buffer.alloc(0)
  #lineEnd = 0
  #lineHead: Uint8Array | undefined
  #lineSid: Uint8Array | undefined
  #lineBytes = 0

  /** @returns the beginning of messages of `topic`, undefined if it has no subject */
  head(topic: string): Uint8Array | undefined {
    if (topic === this.#lastTopic) return this.#lastHead
    const known = this.#heads.get(topic)
    const head = known === undefined && !this.#heads.has(topic) ? this.#makeHead(topic) : known
    this.#lastTopic = topic
    this.#lastHead = head
    return head
  }

  /** @param sid - with a space behind it */
  write(sink: MessageSink, message: Message, head: Uint8Array, sid: Uint8Array, recipient: Recipient): void {
    const isSame = this.#message === message && this.#head === head && this.#recipient === recipient
    if (!isSame) this.#prepare(message, head, recipient)
    else if (this.#sid !== undefined && isEqual(this.#sid, sid)) return this.#writeShared(sink, message, sid)
    this.#sid = sid
    this.#frame = undefined
    this.#writeOne(sink, message, sid)
  }

  /** Once more to the same sid: from the third one on this is one copy. */
  #writeShared(sink: MessageSink, message: Message, sid: Uint8Array): void {
    if (message.payloadLength >= LARGE_BYTES) return this.#writeOne(sink, message, sid)
    if (this.#frame === undefined) {
      const scratch = new Scratch()
      this.#writeOne(scratch, message, sid)
      this.#frame = scratch.buffer
    }
    const at = sink.reserve(this.#frame.length)
    sink.buffer.set(this.#frame, at)
  }

  #writeOne(sink: MessageSink, message: Message, sid: Uint8Array): void {
    const payloadBytes = message.payloadLength
    if (this.#reply !== undefined || this.#block !== undefined || payloadBytes >= LARGE_BYTES)
      return this.#writeAny(sink, message, sid)
    this.#makeLine(this.#head as Uint8Array, sid, payloadBytes)
    let at = sink.reserve(this.#lineEnd + payloadBytes + 2)
    const { buffer } = sink
    at = put(buffer, at, this.#line, 0, this.#lineEnd)
    this.#payloads.copy(buffer, at, message.bytes, message.start, message.end)
    buffer[at + payloadBytes] = CR
    buffer[at + payloadBytes + 1] = LF
  }

  /** Has `MSG <subject> <sid> <size>` CRLF in `#line`: messages of a subject and a size come in runs. */
  #makeLine(head: Uint8Array, sid: Uint8Array, payloadBytes: number): void {
    if (this.#lineHead === head && this.#lineSid === sid && this.#lineBytes === payloadBytes) return
    const length = head.length - 1 + sid.length + digits(payloadBytes) + 2
    if (this.#line.length < length) this.#line = Buffer.allocUnsafeSlow(2 * length)
    const line = this.#line
    let at = put(line, 0, head, 1, head.length)
    at = put(line, at, sid, 0, sid.length)
    at = putNumber(line, at, payloadBytes)
    line[at] = CR
    line[at + 1] = LF
    this.#lineHead = head
    this.#lineSid = sid
    this.#lineBytes = payloadBytes
    this.#lineEnd = length
  }

  #writeAny(sink: MessageSink, message: Message, sid: Uint8Array): void {
    const { start, end } = message
    const head = this.#head as Uint8Array
    const reply = this.#reply
    const block = this.#block
    const payloadBytes = end - start
    const headerBytes = block === undefined ? 0 : block.length
    const total = headerBytes + payloadBytes
    const isLarge = payloadBytes >= LARGE_BYTES
    const skip = block === undefined ? 1 : 0
    const lineBytes =
      head.length -
      skip +
      sid.length +
      (reply === undefined ? 0 : reply.length) +
      (block === undefined ? 0 : digits(headerBytes) + 1) +
      digits(total) +
      2
    let at = sink.reserve(lineBytes + headerBytes + (isLarge ? 0 : payloadBytes + 2))
    const { buffer } = sink
    at = put(buffer, at, head, skip, head.length)
    at = put(buffer, at, sid, 0, sid.length)
    if (reply !== undefined) at = put(buffer, at, reply, 0, reply.length)
    if (block !== undefined) {
      at = putNumber(buffer, at, headerBytes)
      buffer[at++] = SPACE
    }
    at = putNumber(buffer, at, total)
    buffer[at++] = CR
    buffer[at++] = LF
    if (block !== undefined) at = put(buffer, at, block, 0, block.length)
    if (isLarge) {
      sink.append(message.payload)
      sink.append(LINE_END)
      return
    }
    this.#payloads.copy(buffer, at, message.bytes, start, end)
    buffer[at + payloadBytes] = CR
    buffer[at + payloadBytes + 1] = LF
  }

  #prepare(message: Message, head: Uint8Array, recipient: Recipient): void {
    const { properties } = message
    this.#message = message
    this.#head = head
    this.#recipient = recipient
    this.#sid = undefined
    this.#reply = undefined
    this.#block = undefined
    if (properties === undefined) return
    const reply = replySubject(properties, recipient.mountpoint)
    if (reply !== undefined) this.#reply = Buffer.from(`${reply} `)
    if (recipient.headers) this.#block = blockOf(properties)
  }

  #makeHead(topic: string): Uint8Array | undefined {
    const subject = subjectOf(topic)
    const head = subject === undefined ? undefined : new Uint8Array(Buffer.from(`HMSG ${subject} `))
    if (topic.length > MAX_KEPT_CHARS) return head
    if (this.#heads.size >= MAX_KEPT_HEADS && ++this.#misses < MAX_MISSES) return head
    if (this.#heads.size >= MAX_KEPT_HEADS) this.#heads.clear()
    this.#misses = 0
    this.#heads.set(topic, head)
    return head
  }
}

/** The answer to a request that nobody got. @param reply - the subject it was to be answered on */
export function noRespondersMessage(reply: string, sid: string): string {
  return `HMSG ${reply} ${sid} 16 16\r\nNATS/1.0 503\r\n\r\n\r\n`
}

const LINE_END = Buffer.from('\r\n')

/** A buffer of exactly what is reserved. */
class Scratch implements MessageSink {
  buffer = Buffer.alloc(0)

  reserve(size: number): number {
    this.buffer = Buffer.allocUnsafeSlow(size)
    return 0
  }

  append(): void {}
}

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
