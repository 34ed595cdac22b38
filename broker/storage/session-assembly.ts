import type { Subscription } from '../../model/subscription.ts'
import type { MessageDecoder } from './message-record.ts'
import type { StoredRecord } from './record-store.ts'
import {
  DELIVERY,
  type DeliveryParts,
  decodeDelivery,
  decodeIncoming,
  decodeProgress,
  decodeSession,
  decodeSubscription,
  INCOMING,
  PROGRESS,
  type Progress,
  SESSION_ID,
  SUBSCRIPTION,
} from './session-records.ts'
import type { SessionRecord } from './storage.ts'

/** Puts one session together from its records, in whatever order they come. */
export class SessionAssembly {
  readonly key: string
  record: SessionRecord | undefined
  readonly subscriptions: Subscription[] = []
  readonly incoming: [packetId: number, sinceMs: number][] = []
  readonly progress = new Map<string, Progress>()
  deliveries: { sequence: string; parts: DeliveryParts }[] = []
  /** Every one that was understood, by id. */
  readonly records = new Map<string, StoredRecord>()
  readonly #decoder: MessageDecoder

  constructor(key: string, decoder: MessageDecoder) {
    this.key = key
    this.#decoder = decoder
  }

  /** @throws RangeError, SyntaxError if it cannot be understood */
  add(record: StoredRecord): void {
    const { id, value } = record
    const name = id.slice(1)
    switch (id.charAt(0)) {
      case SESSION_ID:
        this.record = decodeSession(value)
        break
      case DELIVERY:
        this.deliveries.push({ sequence: name, parts: decodeDelivery(value, this.#decoder) })
        break
      case INCOMING:
        this.incoming.push([packetIdOf(name), decodeIncoming(value)])
        break
      case PROGRESS:
        this.progress.set(name, decodeProgress(value))
        break
      case SUBSCRIPTION:
        this.subscriptions.push(decodeSubscription(name, value))
        break
      default:
        throw new RangeError('session record of an unknown kind')
    }
    this.records.set(id, record)
  }

  /**
   * Takes out what makes no sense alone: deliveries whose message is gone, progress of deliveries that are gone. Nobody
   * was told that these are safe.
   * @param messages - those that deliveries may refer to
   */
  orphans(messages: ReadonlyMap<string, unknown>): StoredRecord[] {
    const orphans: string[] = []
    const known = new Set<string>()
    this.deliveries = this.deliveries.filter(({ sequence, parts: { message, messageId } }) => {
      const isWhole = message !== undefined || messages.has(messageId)
      if (isWhole) known.add(sequence)
      else orphans.push(DELIVERY + sequence)
      return isWhole
    })
    for (const sequence of this.progress.keys()) {
      if (known.has(sequence)) continue
      this.progress.delete(sequence)
      orphans.push(PROGRESS + sequence)
    }
    return orphans.flatMap((id) => this.records.get(id) ?? [])
  }
}

function packetIdOf(text: string): number {
  const packetId = Number(text)
  if (!Number.isInteger(packetId) || packetId < 1 || packetId > 65_535) throw new RangeError('no packet id')
  return packetId
}
