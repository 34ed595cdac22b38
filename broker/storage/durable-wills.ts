import type { Will } from '../broker.ts'
import type { LoadContext } from './durable-sessions.ts'
import type { GroupCommit } from './group-commit.ts'
import { decodeProperties, encodeProperties } from './message-record.ts'
import type { RecordStore } from './record-store.ts'
import { decodeJson, encodeJson } from './session-records.ts'
import type { StoredClient, StoredWill, WaitingWill, WillStore } from './storage.ts'

/** A will in JSON: bytes in base64, properties as text of their own. */
interface WillRecord {
  readonly client: StoredClient
  readonly dueAtMs: number | undefined
  readonly isKept?: boolean | undefined
  readonly will: Omit<Will, 'payload' | 'properties'> & { payload: string; properties: string | undefined }
}

/** Wills of clients as records, by the key of the client. */
export class DurableWills implements WillStore {
  readonly #records: RecordStore
  readonly #changes: GroupCommit
  readonly #context: LoadContext
  /** Clients whose will may be in the store. Who comes and goes while it cannot be written leaves nothing to write. */
  readonly #kept = new Set<string>()

  constructor(records: RecordStore, changes: GroupCommit, context: LoadContext) {
    this.#records = records
    this.#changes = changes
    this.#context = context
  }

  async *load(): AsyncGenerator<readonly [client: StoredClient, will: WaitingWill]> {
    const { rejected } = this.#context
    const kept = { wills: 0 }
    for await (const chunk of this.#records.scan('wills')) {
      for (const record of chunk) {
        let entry: readonly [StoredClient, WaitingWill]
        try {
          entry = decodeWill(record.value)
        } catch (error) {
          await rejected.add(record, error)
          continue
        }
        kept.wills++
        this.#kept.add(record.id)
        yield entry
      }
    }
    await rejected.report(kept)
  }

  save(client: StoredClient, waiting: WaitingWill): void {
    const isNew = !this.#kept.has(client.key)
    this.#kept.add(client.key)
    this.#changes.put('wills', '', client.key, { encode: () => encodeWill(client, waiting) }, isNew)
  }

  remove(key: string): void {
    this.#kept.delete(key)
    this.#changes.delete('wills', '', key)
  }
}

export function encodeNodeWill(will: StoredWill): Buffer {
  return encodeJson({ ...will, payload: base64(will.payload) })
}

/** @throws SyntaxError, RangeError */
export function decodeNodeWill(bytes: Buffer): StoredWill {
  const will = decodeJson(bytes) as StoredWill & { payload: string }
  return { ...will, payload: Buffer.from(will.payload, 'base64') }
}

function encodeWill(client: StoredClient, { will, dueAtMs, isKept }: WaitingWill): Buffer {
  const properties = will.properties && encodeProperties(will.properties).toString()
  const record: WillRecord = {
    client,
    dueAtMs,
    isKept,
    will: { ...will, payload: base64(will.payload), properties },
  }
  return encodeJson(record)
}

function decodeWill(bytes: Buffer): readonly [StoredClient, WaitingWill] {
  const { client, dueAtMs, isKept, will } = decodeJson(bytes) as WillRecord
  if (typeof client?.key !== 'string' || typeof will?.topic !== 'string') {
    throw new SyntaxError('will without client or topic')
  }
  const properties = will.properties === undefined ? undefined : decodeProperties(will.properties)
  const payload = Buffer.from(will.payload, 'base64')
  return [
    { ...client, username: client.username, gateway: client.gateway },
    { will: { ...will, payload, properties }, dueAtMs, isKept },
  ]
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('base64')
}
