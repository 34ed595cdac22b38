import { randomUUID } from 'node:crypto'
import { messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import type { RecordWrite } from './record-store.ts'
import type { RedisClient, RedisConnection } from './redis-connection.ts'
import type { RedisRecords, RetainedWatcher } from './redis-records.ts'

/** More changes at a time than this are found by reading everything. */
const MAX_WAITING = 10_000
const CHUNK = 250
const RETRY_MS = 1000
/** A connection that only listens would not notice that it is dead. */
const PING_MS = 10_000

/** The retained messages in memory. */
export interface RetainedMirror {
  /** Takes what is in Redis now; undefined = nothing. It is no change of this node's. */
  mirror(topic: string, record: Buffer | undefined): void
  /** Topics that match one of the filters. */
  topics(filters: readonly string[]): AsyncIterable<string>
  /** Settles when everything this node has changed is in Redis, undefined when it is. */
  unsafe(): Promise<void> | undefined
}

/**
 * Keeps retained messages current between nodes that share a Redis. With each batch a node tells the others the topics
 * that it has changed, and these read them: so it does not matter in which order they hear of it. After a time
 * without connection everything is read.
 */
export class RetainedChanges implements RetainedWatcher {
  readonly #records: RedisRecords
  readonly #mirror: RetainedMirror
  readonly #channel: string
  readonly #log: Logger
  readonly #self = randomUUID()
  #waiting = new Set<string>()
  #isAllWaiting = false
  /** Topics this node changes while others are read: what is read is older. */
  #touched: Set<string> | undefined
  #running: Promise<void> | undefined
  /** First levels that `#` does not match. */
  readonly #hiddenLevels = new Set<string>()
  #state: 'starting' | 'started' | 'stopped' = 'starting'
  #ping: NodeJS.Timeout | undefined
  #retry: NodeJS.Timeout | undefined

  constructor(records: RedisRecords, mirror: RetainedMirror, prefix: string, log: Logger) {
    this.#records = records
    this.#mirror = mirror
    this.#channel = `${prefix}:changes`
    this.#log = log
    records.watchRetained(this)
  }

  /** Changes are heard from now on, and taken from `start` on. */
  async listen(connection: RedisConnection): Promise<void> {
    // A cluster's client listens on a connection of its own, which it moves to another node without telling.
    const client = connection.isCluster ? connection.client : await connection.another()
    client.on('message', (_channel: string, text: string) => this.#heard(text))
    await client.subscribe(this.#channel)
    for (const event of connection.isCluster ? ['ready', '-node', '+node'] : ['ready'])
      client.on(event, () => void this.#again(client))
    if (!connection.isCluster) this.#ping = setInterval(() => void client.ping().catch(() => {}), PING_MS)
  }

  start(): void {
    this.#state = 'started'
    this.#run()
  }

  /** This node changes a topic. */
  touched(topic: string): void {
    this.#touched?.add(topic)
    this.read(topic)
  }

  read(topic: string): void {
    if (topic.startsWith('$')) this.#hiddenLevels.add(topic.split('/', 1)[0] as string)
  }

  newsOf(writes: readonly RecordWrite[]): [channel: string, text: string] | undefined {
    const topics = writes.filter(({ table }) => table === 'retained').map(({ id }) => id)
    return topics.length === 0 ? undefined : [this.#channel, JSON.stringify([this.#self, ...topics])]
  }

  async stop(): Promise<void> {
    this.#state = 'stopped'
    clearInterval(this.#ping)
    clearTimeout(this.#retry)
    await this.#running
  }

  #heard(text: string): void {
    const topics = readNews(text)
    if (topics === undefined || topics[0] === this.#self) return
    if (this.#waiting.size + topics.length > MAX_WAITING) this.#isAllWaiting = true
    else for (const topic of topics.slice(1)) this.#waiting.add(topic)
    this.#run()
  }

  async #again(client: RedisClient): Promise<void> {
    try {
      await client.subscribe(this.#channel)
    } catch {
      return // the connection is lost once more, and will be ready once more
    }
    this.#isAllWaiting = true
    this.#run()
  }

  #run(): void {
    if (this.#state !== 'started' || this.#running !== undefined || this.#retry !== undefined) return
    this.#running = this.#takeChanges().finally(() => {
      this.#running = undefined
    })
  }

  /** Never rejects. */
  async #takeChanges(): Promise<void> {
    while (this.#state === 'started' && (this.#isAllWaiting || this.#waiting.size > 0)) {
      const topics = this.#isAllWaiting ? undefined : [...this.#waiting].slice(0, CHUNK)
      if (topics === undefined) this.#waiting.clear()
      else for (const topic of topics) this.#waiting.delete(topic)
      this.#isAllWaiting = false
      // From now on this node's changes are noted; those before are in Redis when `unsafe` has settled.
      this.#touched = new Set()
      try {
        await this.#mirror.unsafe()
        if (topics === undefined) await this.#takeAll()
        else await this.#take(topics)
      } catch (error) {
        this.#log.debug({ error: messageOf(error) }, 'retained messages of other nodes cannot be read now')
        this.#isAllWaiting = true
        this.#later()
        return
      } finally {
        this.#touched = undefined
      }
    }
  }

  #later(): void {
    if (this.#state !== 'started') return
    this.#retry = setTimeout(() => {
      this.#retry = undefined
      this.#run()
    }, RETRY_MS)
  }

  async #take(topics: readonly string[]): Promise<void> {
    const values = await this.#records.get('retained', topics)
    for (const [i, topic] of topics.entries()) this.#apply(topic, values[i])
  }

  async #takeAll(): Promise<void> {
    const found = new Set<string>()
    for await (const chunk of this.#records.scan('retained')) {
      for (const { id, value } of chunk) {
        found.add(id)
        this.#apply(id, value)
      }
    }
    const filters = ['#', ...[...this.#hiddenLevels].map((level) => `${level}/#`)]
    for await (const topic of this.#mirror.topics(filters)) {
      if (!found.has(topic)) this.#apply(topic, undefined)
    }
  }

  #apply(topic: string, value: Buffer | undefined): void {
    if (this.#touched?.has(topic)) return
    this.read(topic)
    try {
      this.#mirror.mirror(topic, value)
    } catch (error) {
      this.#log.warn({ topic, error: messageOf(error) }, 'a retained message of another node cannot be read')
    }
  }
}

/** @returns who says it, and the topics */
function readNews(text: string): string[] | undefined {
  try {
    const news: unknown = JSON.parse(text)
    return Array.isArray(news) && news.every((part) => typeof part === 'string') ? news : undefined
  } catch {
    return undefined
  }
}
