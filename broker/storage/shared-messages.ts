import type { Message } from '../../model/message.ts'
import type { SessionDelivery } from '../delivery.ts'
import type { Encodable, GroupCommit } from './group-commit.ts'
import type { MessageEncoder } from './message-record.ts'
import { encodeDelivery, encodeMessage } from './session-records.ts'

/** A message with its living deliveries. Two or more of them: it gets a record that they refer to. */
export class KeptMessage implements Encodable {
  readonly id: string
  readonly message: Message
  deliveries = 0
  /** Noted as a record of its own. */
  isShared = false
  readonly #encoder: MessageEncoder

  constructor(id: string, message: Message, encoder: MessageEncoder) {
    this.id = id
    this.message = message
    this.#encoder = encoder
  }

  encode(): Buffer {
    return encodeMessage(this.message, this.#encoder)
  }
}

/** What `SessionDelivery.kept` holds. */
export class KeptDelivery implements Encodable {
  readonly sequence: string
  readonly of: KeptMessage
  /** As it is now: it is written as it is when its batch is. */
  delivery: SessionDelivery | undefined
  /** On its way to the store, or there. */
  isWritten = false
  /** There is a record of how far it has come. */
  hasProgress = false
  isDropped = false
  readonly #encoder: MessageEncoder

  constructor(
    sequence: string,
    of: KeptMessage,
    delivery: SessionDelivery | undefined,
    encoder: MessageEncoder,
  ) {
    this.sequence = sequence
    this.of = of
    this.delivery = delivery
    this.#encoder = encoder
  }

  encode(): Buffer {
    const { delivery, of } = this
    if (delivery === undefined) throw new Error('a delivery is written once')
    this.isWritten = true
    this.delivery = undefined
    return encodeDelivery(delivery, this.#encoder, of.isShared ? of.id : undefined)
  }
}

/** Counts the deliveries of messages, and keeps messages with several of them once. */
export class SharedMessages {
  readonly #changes: GroupCommit
  readonly #encoder: MessageEncoder
  /** The latest one: all deliveries of a message are added before those of the next. */
  #latest: KeptMessage | undefined

  constructor(changes: GroupCommit, encoder: MessageEncoder) {
    this.#changes = changes
    this.#encoder = encoder
  }

  /** One more delivery of `message`. @param id - what it is known by if it is the first */
  add(message: Message, id: string): KeptMessage {
    if (this.#latest?.message !== message) this.#latest = new KeptMessage(id, message, this.#encoder)
    const kept = this.#latest
    if (++kept.deliveries > 1 && !kept.isShared) {
      kept.isShared = true
      this.#changes.put('messages', '', kept.id, kept, true)
    }
    return kept
  }

  /** One less. */
  drop(kept: KeptMessage): void {
    if (--kept.deliveries > 0) return
    if (kept.isShared) this.#changes.delete('messages', '', kept.id)
    kept.isShared = false
    if (this.#latest === kept) this.#latest = undefined
  }
}
