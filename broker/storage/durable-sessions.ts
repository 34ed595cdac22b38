import type { Logger } from '../../model/log.ts'
import type { Message } from '../../model/message.ts'
import { PayloadSlab } from '../../model/payload-slab.ts'
import type { Subscription } from '../../model/subscription.ts'
import type { SessionDelivery } from '../delivery.ts'
import type { GroupCommit } from './group-commit.ts'
import type { LoadProgress } from './load-progress.ts'
import type { MessageDecoder, MessageEncoder } from './message-record.ts'
import type { RecordStore, StoredRecord } from './record-store.ts'
import type { RejectedRecords } from './rejected-records.ts'
import { Sequence } from './sequence.ts'
import { SessionAssembly } from './session-assembly.ts'
import {
  DELIVERY,
  decodeMessage,
  encodeIncoming,
  encodeProgress,
  encodeSession,
  encodeSubscription,
  INCOMING,
  PROGRESS,
  SESSION_ID,
  SUBSCRIPTION,
} from './session-records.ts'
import { KeptDelivery, KeptMessage, SharedMessages } from './shared-messages.ts'
import type { SessionRecord, SessionStore, StoredSession } from './storage.ts'

/** What reading a store needs besides its records. */
export interface LoadContext {
  readonly decoder: MessageDecoder
  readonly rejected: RejectedRecords
  readonly progress: LoadProgress
  readonly log: Logger
}

/** Sessions as records: what changes is noted, all that hangs on a session lies together. */
export class DurableSessions implements SessionStore {
  readonly #records: RecordStore
  readonly #changes: GroupCommit
  readonly #context: LoadContext
  readonly #encoder: MessageEncoder
  readonly #messages: SharedMessages
  readonly #sequence = new Sequence()
  readonly #slab = new PayloadSlab()

  constructor(records: RecordStore, changes: GroupCommit, context: LoadContext, encoder: MessageEncoder) {
    this.#records = records
    this.#changes = changes
    this.#context = context
    this.#encoder = encoder
    this.#messages = new SharedMessages(changes, encoder)
  }

  async *load(): AsyncGenerator<StoredSession> {
    const { progress } = this.#context
    progress.begin()
    const messages = await this.#loadMessages()
    const kept = { sessions: 0, subscriptions: 0, deliveries: 0, messages: messages.size }
    for await (const assembly of this.#assemblies()) {
      const session = await this.#finished(assembly, messages)
      if (session === undefined) continue
      kept.sessions++
      kept.subscriptions += session.subscriptions.length
      kept.deliveries += session.deliveries.length
      progress.at(() => kept)
      yield session
    }
    for (const { id, deliveries } of messages.values()) {
      if (deliveries === 0) this.#changes.delete('messages', '', id)
    }
    this.#context.decoder.forget()
    this.#context.log.debug(kept, 'sessions loaded')
    await this.#context.rejected.report(kept)
  }

  save(record: SessionRecord): void {
    this.#changes.put('sessions', record.client.key, SESSION_ID, { encode: () => encodeSession(record) })
  }

  remove(key: string): void {
    this.#changes.delete('sessions', key, SESSION_ID)
  }

  subscribed(key: string, subscription: Subscription): void {
    this.#changes.put('sessions', key, SUBSCRIPTION + subscription.filter, encodeSubscription(subscription))
  }

  unsubscribed(key: string, filter: string): void {
    this.#changes.delete('sessions', key, SUBSCRIPTION + filter)
  }

  added(key: string, delivery: SessionDelivery): void {
    if (delivery.kept !== undefined) return
    const { message } = delivery
    message.own(this.#slab) // it is read when its batch is written
    const sequence = this.#sequence.next()
    const kept = new KeptDelivery(sequence, this.#messages.add(message, sequence), delivery, this.#encoder)
    delivery.kept = kept
    this.#changes.put('sessions', key, DELIVERY + sequence, kept, true)
  }

  changed(key: string, delivery: SessionDelivery): void {
    const { kept } = delivery
    if (!(kept instanceof KeptDelivery) || kept.isDropped) return
    if (!kept.isWritten) {
      kept.delivery = delivery
      return
    }
    this.#changes.put('sessions', key, PROGRESS + kept.sequence, encodeProgress(delivery), !kept.hasProgress)
    kept.hasProgress = true
  }

  dropped(key: string, delivery: SessionDelivery): void {
    const { kept } = delivery
    if (!(kept instanceof KeptDelivery) || kept.isDropped) return
    delivery.kept = undefined
    kept.isDropped = true // its batch may have been begun: then it is still written with it
    this.#changes.delete('sessions', key, DELIVERY + kept.sequence)
    if (kept.hasProgress) this.#changes.delete('sessions', key, PROGRESS + kept.sequence)
    this.#messages.drop(kept.of)
  }

  received(key: string, packetId: number, sinceMs: number): void {
    this.#changes.put('sessions', key, `${INCOMING}${packetId}`, encodeIncoming(sinceMs))
  }

  released(key: string, packetId: number): void {
    this.#changes.delete('sessions', key, `${INCOMING}${packetId}`)
  }

  /** Messages with several deliveries: these are counted while the sessions come. */
  async #loadMessages(): Promise<Map<string, KeptMessage>> {
    const { decoder, rejected, progress } = this.#context
    const messages = new Map<string, KeptMessage>()
    for await (const chunk of this.#records.scan('messages')) {
      for (const record of chunk) {
        try {
          const kept = new KeptMessage(record.id, decodeMessage(record.value, decoder), this.#encoder)
          kept.isShared = true
          messages.set(record.id, kept)
          this.#sequence.passed(record.id)
        } catch (error) {
          await rejected.add(record, error)
        }
      }
      progress.at(() => ({ messages: messages.size }))
    }
    return messages
  }

  async *#assemblies(): AsyncGenerator<SessionAssembly> {
    const { decoder, rejected } = this.#context
    let assembly: SessionAssembly | undefined
    for await (const chunk of this.#records.scan('sessions')) {
      for (const record of chunk) {
        if (assembly?.key !== record.owner) {
          if (assembly !== undefined) yield assembly
          assembly = new SessionAssembly(record.owner, decoder)
        }
        try {
          assembly.add(record)
        } catch (error) {
          await rejected.add(record, error)
        }
      }
    }
    if (assembly !== undefined) yield assembly
  }

  async #finished(
    assembly: SessionAssembly,
    messages: Map<string, KeptMessage>,
  ): Promise<StoredSession | undefined> {
    const { record } = assembly
    if (record === undefined) {
      for (const left of assembly.records.values()) await this.#removeOrphan(left)
      return undefined
    }
    for (const orphan of assembly.orphans(messages)) await this.#removeOrphan(orphan)
    const { subscriptions, incoming } = assembly
    const deliveries = assembly.deliveries.map(({ sequence, parts }) => {
      this.#sequence.passed(sequence)
      const { message: own, messageId, ...rest } = parts
      const shared = messages.get(messageId)
      const of = shared ?? new KeptMessage(sequence, own as Message, this.#encoder)
      of.deliveries++
      const kept = new KeptDelivery(sequence, of, undefined, this.#encoder)
      kept.isWritten = true
      kept.hasProgress = assembly.progress.has(sequence)
      return { ...rest, ...assembly.progress.get(sequence), message: of.message, kept }
    })
    return { record, subscriptions, deliveries, incoming }
  }

  /** It is left over from a write that was interrupted, unless what it belongs to got lost. */
  async #removeOrphan(record: StoredRecord): Promise<void> {
    const { rejected } = this.#context
    if (rejected.isEmpty && !this.#records.wasRepaired) {
      this.#changes.delete('sessions', record.owner, record.id)
    } else {
      await rejected.add(record, 'what it belongs to was lost')
    }
  }
}
