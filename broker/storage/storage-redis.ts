import { Readable } from 'node:stream'
import type RedisPersistence from 'aedes-persistence-redis/asyncPersistence.js'
import { BrokerError } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import type { Message } from '../../model/message.ts'
import { DurableStorage } from './durable-storage.ts'
import { forgetIncoming, type NodeBroker, openAedes } from './redis-aedes.ts'
import type { RedisOptions } from './redis-config.ts'
import { RedisRecords } from './redis-records.ts'
import { RetainedChanges } from './redis-retained.ts'

export interface RedisStorageOptions {
  /** Path of the file for records that cannot be read, without its end. */
  readonly rejectedPrefix: string
  /** No other node may use the same prefix meanwhile: sessions have one owner. False: only what nodes share is used. */
  readonly isExclusive: boolean
}

type Client = { id: string }
/** What it has in Redis of Aedes' contract; the rest is in memory, and in records. */
type Aedes = RedisPersistence

/** As durable-storage.ts writes them. */

/**
 * Keeps everything in Redis. Of Aedes' contract, subscriptions and queues are kept by its own Redis persistence;
 * sessions as this broker knows them, wills and retained messages by ours: see docs/decisions/0014.
 */
export class RedisStorage extends DurableStorage {
  readonly #records: RedisRecords
  readonly #prefix: string
  readonly #isExclusive: boolean
  readonly #log: Logger
  readonly #changes: RetainedChanges
  #aedes: RedisPersistence | undefined

  constructor(options: RedisOptions, log: Logger, { rejectedPrefix, isExclusive }: RedisStorageOptions) {
    const records = new RedisRecords(options, log)
    super(records, log, { rejectedPrefix })
    this.#records = records
    this.#prefix = options.prefix
    this.#isExclusive = isExclusive
    this.#log = log
    this.#changes = new RetainedChanges(
      records,
      {
        mirror: (topic, record) => this.mirrorRetained(topic, record),
        topics: (filters) => this.#topics(filters),
        unsafe: () => this.durable.unsafe,
      },
      options.prefix,
      log,
    )
  }

  /** @throws BrokerError STORAGE_FAILED, CONFIG_INVALID */
  override async setup(broker: NodeBroker): Promise<void> {
    await super.setup(broker)
    try {
      this.#aedes = await openAedes(this.#records.connection, this.#prefix, broker, this.#log)
    } catch (error) {
      await this.destroy()
      throw error
    }
  }

  protected override async openRecords(node: string): Promise<void> {
    if (this.#isExclusive) this.#records.claimFor(node)
    await this.#records.open()
    try {
      await this.#changes.listen(this.#records.connection)
      await super.openRecords(node)
    } catch (error) {
      await this.destroy()
      throw error
    }
    this.#changes.start()
  }

  override async destroy(): Promise<void> {
    const aedes = this.#aedes
    this.#aedes = undefined
    await this.#changes.stop()
    await aedes?.destroy()
    await super.destroy()
  }

  override storeRetained(
    message: Message | { topic: string; payload: Uint8Array },
    expiresAtMs?: number,
  ): void {
    this.#changes.touched(message.topic)
    super.storeRetained(message, expiresAtMs)
  }

  protected override retainedExpired(topic: string): void {
    this.#changes.touched(topic)
    super.retainedExpired(topic)
  }

  addSubscriptions(client: Client, subscriptions: Parameters<Aedes['addSubscriptions']>[1]) {
    return this.#opened.addSubscriptions(client, subscriptions)
  }

  removeSubscriptions(client: Client, topics: string[]) {
    return this.#opened.removeSubscriptions(client, topics)
  }

  subscriptionsByClient(client: Client) {
    return this.#opened.subscriptionsByClient(client)
  }

  subscriptionsByTopic(topic: string) {
    return this.#opened.subscriptionsByTopic(topic)
  }

  cleanSubscriptions(client: Client) {
    return this.#opened.cleanSubscriptions(client)
  }

  countOffline() {
    return this.#opened.countOffline()
  }

  getClientList(topic: string) {
    return this.#opened.getClientList(topic)
  }

  outgoingEnqueue(...args: Parameters<Aedes['outgoingEnqueue']>) {
    return this.#opened.outgoingEnqueue(...args)
  }

  outgoingEnqueueCombi(...args: Parameters<Aedes['outgoingEnqueueCombi']>) {
    return this.#opened.outgoingEnqueueCombi(...args)
  }

  outgoingUpdate(...args: Parameters<Aedes['outgoingUpdate']>) {
    return this.#opened.outgoingUpdate(...args)
  }

  outgoingClearMessageId(...args: Parameters<Aedes['outgoingClearMessageId']>) {
    return this.#opened.outgoingClearMessageId(...args)
  }

  outgoingStream(client: Client): Readable {
    return Readable.from(this.#opened.outgoingStream(client))
  }

  incomingStorePacket(...args: Parameters<Aedes['incomingStorePacket']>) {
    return this.#opened.incomingStorePacket(...args)
  }

  incomingGetPacket(...args: Parameters<Aedes['incomingGetPacket']>) {
    return this.#opened.incomingGetPacket(...args)
  }

  incomingDelPacket(...args: Parameters<Aedes['incomingDelPacket']>) {
    return this.#opened.incomingDelPacket(...args)
  }

  async cleanIncoming({ id }: Client): Promise<void> {
    await forgetIncoming(this.#records.connection, this.#prefix, id)
  }

  get #opened(): RedisPersistence {
    if (this.#aedes === undefined)
      throw new BrokerError('STORAGE_FAILED', `storage ${this.#records.place} is closed`)
    return this.#aedes
  }

  async *#topics(filters: readonly string[]): AsyncGenerator<string> {
    for (const filter of filters) {
      const cursor = this.retained(filter)
      for (let found = await cursor.next(); found !== undefined; found = await cursor.next())
        yield found.topic
    }
  }
}
