import type { Logger } from '../../model/log.ts'
import { Message, type QoS } from '../../model/message.ts'
import type { ReasonCode } from '../../model/reason-codes.ts'
import { DurableSessions, type LoadContext } from './durable-sessions.ts'
import { DurableWills, decodeNodeWill, encodeNodeWill } from './durable-wills.ts'
import { GroupCommit } from './group-commit.ts'
import { LoadProgress } from './load-progress.ts'
import { MessageDecoder, MessageEncoder } from './message-record.ts'
import { openFormat } from './record-format.ts'
import { expectVersion, RecordReader } from './record-reader.ts'
import type { RecordKind, RecordStore, StoredRecord } from './record-store.ts'
import { RejectedRecords } from './rejected-records.ts'
import type { DurableStore, RecordTable, StoredWill, TableName } from './storage.ts'
import { MemoryStorage } from './storage-memory.ts'

export interface DurableOptions {
  /** Path of the file for records that cannot be read, without `.rejected-<time>.jsonl`. */
  readonly rejectedPrefix: string
}

const RETAINED_VERSION = 1
/** A retained message begins with its version and the time it expires at. */
const RETAINED_HEAD_BYTES = 9
const NOTHING = new Uint8Array()

/**
 * Keeps in memory what is looked up while messages pass, and everything in a record store: what changes is
 * noted and written in batches. `durable.*.load` read from the store when they are called: once each,
 * after `setup` and before anything is noted.
 */
export class DurableStorage extends MemoryStorage {
  override readonly durable: DurableStore
  readonly #records: RecordStore
  readonly #log: Logger
  readonly #changes: GroupCommit
  readonly #encoder = new MessageEncoder()
  readonly #rejected: RejectedRecords
  readonly #context: LoadContext
  #opening: Promise<void> | undefined

  constructor(records: RecordStore, log: Logger, { rejectedPrefix }: DurableOptions) {
    super()
    this.#records = records
    this.#log = log
    this.#changes = new GroupCommit(records, log)
    this.#rejected = new RejectedRecords(rejectedPrefix, this.#changes, log)
    const progress = new LoadProgress(log, records.place)
    this.#context = { decoder: new MessageDecoder(), rejected: this.#rejected, progress, log }
    this.durable = new Durable(records, this.#changes, this.#context, this.#encoder)
  }

  override open(node: string): Promise<void> {
    this.#opening ??= this.openRecords(node)
    return this.#opening
  }

  /** @throws BrokerError STORAGE_FAILED, CONFIG_INVALID */
  override async setup(broker: { id: string }): Promise<void> {
    await super.setup(broker)
    await this.open(broker.id)
  }

  /** The work of `open`, done once. */
  protected async openRecords(_node: string): Promise<void> {
    this.#context.progress.begin()
    await this.#records.open()
    try {
      await openFormat(this.#records, this.#log)
      const retained = await this.#each('retained', (record) => this.#loadRetained(record))
      const nodeWills = await this.#each('node_wills', ({ id, value }) =>
        this.restoreWill(id, decodeNodeWill(value)),
      )
      await this.#rejected.report({ retained, nodeWills })
      this.#log.info({ store: this.#records.place, retained }, 'storage opened')
    } catch (error) {
      await this.#changes.close()
      await this.#records.close()
      throw error
    }
  }

  override async destroy(): Promise<void> {
    await super.destroy()
    await this.#changes.close()
    await this.#records.close()
  }

  override storeRetained(
    message: Message | { topic: string; payload: Uint8Array },
    expiresAtMs = Number.POSITIVE_INFINITY,
  ): void {
    const { topic } = message
    const isNew = !this.hasRetained(topic)
    super.storeRetained(message, expiresAtMs)
    if (message.payload.length > 0) {
      const encode = () => this.#encodeRetained(asMessage(message), expiresAtMs)
      this.#changes.put('retained', '', topic, { encode }, isNew)
    } else if (!isNew) {
      this.#changes.delete('retained', '', topic)
    }
  }

  override putWill(client: { id: string }, will: StoredWill): void {
    super.putWill(client, will)
    this.#changes.put('node_wills', '', client.id, encodeNodeWill(will))
  }

  override delWill(client: { id: string }): StoredWill | undefined {
    const will = super.delWill(client)
    if (will !== undefined) this.#changes.delete('node_wills', '', client.id)
    return will
  }

  protected override retainedExpired(topic: string): void {
    this.#changes.delete('retained', '', topic)
  }

  /**
   * Takes over what the store holds for a topic, undefined = nothing, without writing it.
   * @returns false if it has expired
   * @throws RangeError, SyntaxError
   */
  protected mirrorRetained(topic: string, record: Buffer | undefined): boolean {
    if (record === undefined) {
      super.storeRetained({ topic, payload: NOTHING })
      return true
    }
    const reader = new RecordReader(record)
    expectVersion(reader, RETAINED_VERSION)
    const expiresAtMs = reader.f64()
    const message = this.#context.decoder.decode(reader, topic)
    if (expiresAtMs <= Date.now()) return false
    super.storeRetained(message, expiresAtMs)
    return true
  }

  /** @returns how many records were understood */
  async #each(table: RecordKind, take: (record: StoredRecord) => void): Promise<number> {
    let count = 0
    for await (const chunk of this.#records.scan(table)) {
      for (const record of chunk) {
        try {
          take(record)
          count++
        } catch (error) {
          await this.#rejected.add(record, error)
        }
      }
      this.#context.progress.at(() => ({ [table]: count }))
    }
    return count
  }

  #loadRetained({ id, value }: StoredRecord): void {
    if (!this.mirrorRetained(id, value)) this.#changes.delete('retained', '', id)
  }

  #encodeRetained(message: Message, expiresAtMs: number): Buffer {
    const record = this.#encoder.encode(message, RETAINED_HEAD_BYTES, false)
    record.writeUInt8(RETAINED_VERSION, 0)
    record.writeDoubleBE(expiresAtMs, 1)
    return record
  }
}

class Durable implements DurableStore {
  readonly sessions: DurableSessions
  readonly wills: DurableWills
  readonly records: RecordStore
  readonly #changes: GroupCommit

  constructor(records: RecordStore, changes: GroupCommit, context: LoadContext, encoder: MessageEncoder) {
    this.records = records
    this.#changes = changes
    this.sessions = new DurableSessions(records, changes, context, encoder)
    this.wills = new DurableWills(records, changes, context)
  }

  get unsafe(): Promise<void> | undefined {
    return this.#changes.unsafe
  }

  get refusal(): ReasonCode | undefined {
    return this.#changes.refusal
  }

  table(name: TableName): RecordTable {
    const { records } = this
    const changes = this.#changes
    return {
      async *load() {
        for await (const chunk of records.scan(name)) {
          for (const { id, value } of chunk) yield [id, value] as const
        }
      },
      put: (key, value) => changes.put(name, '', key, value),
      delete: (key) => changes.delete(name, '', key),
    }
  }
}

/** Aedes' suite and its kernel retain packets of their own. */
function asMessage(message: Message | { topic: string; payload: Uint8Array }): Message {
  if (message instanceof Message) return message
  const { topic, payload, qos = 0 } = message as { topic: string; payload: Uint8Array; qos?: QoS }
  return Message.of(topic, Buffer.from(payload), qos, true, undefined, undefined, Date.now())
}
