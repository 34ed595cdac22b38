import { SessionDelivery } from '../../../broker/delivery.ts'
import type { SharedGroup } from '../../../broker/routing/shared-groups.ts'
import type { DurableStorage } from '../../../broker/storage/durable-storage.ts'
import { recordKey } from '../../../broker/storage/record-key.ts'
import type {
  RecordKind,
  RecordStore,
  RecordWrite,
  StoredRecord,
} from '../../../broker/storage/record-store.ts'
import type { SessionRecord, StoredClient, StoredSession } from '../../../broker/storage/storage.ts'
import { arrivingClient, type ClientInfo } from '../../../model/client-info.ts'
import type { Logger } from '../../../model/log.ts'
import { Message, type MessageProperties, type QoS } from '../../../model/message.ts'
import type { Subscription } from '../../../model/subscription.ts'

export const NEVER = Number.POSITIVE_INFINITY

/** Records in memory, which can be made to fail. */
export class FakeRecords implements RecordStore {
  readonly place = 'memory'
  wasRepaired = false
  readonly records = new Map<string, StoredRecord>()
  readonly commits: (readonly RecordWrite[])[] = []
  /** What the next commits do: throw it, or wait for it. */
  failure: Error | undefined
  gate: Promise<void> | undefined

  async open(): Promise<void> {}

  async isEmpty(): Promise<boolean> {
    return this.records.size === 0
  }

  async commit(writes: readonly RecordWrite[]): Promise<void> {
    await this.gate
    if (this.failure !== undefined) throw this.failure
    this.commits.push([...writes])
    for (const { key, table, owner, id, value } of writes) {
      if (value === undefined) this.records.delete(key)
      else this.records.set(key, { table, owner, id, value: Buffer.from(value) })
    }
  }

  async *scan(table: RecordKind): AsyncGenerator<readonly StoredRecord[]> {
    const keys = [...this.records.keys()].sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    const found = keys.map((key) => this.records.get(key) as StoredRecord)
    for (const record of found) if (record.table === table) yield [record]
  }

  async close(): Promise<void> {}

  /** Puts a record there, as somebody else would. */
  set(table: RecordKind, owner: string, id: string, value: string | Buffer): void {
    this.records.set(recordKey(table, owner, id), { table, owner, id, value: Buffer.from(value) })
  }

  /** Ids of a table. */
  ids(table: RecordKind): string[] {
    return [...this.records.values()].filter((record) => record.table === table).map(({ id }) => id)
  }
}

/** What log lines of a storage have in them. */
interface Fields {
  [field: string]: unknown
  kept?: unknown
  rejected?: unknown
  changes?: number
  lostBytes?: number
  movedTo?: string
}

/** A log whose lines can be read. */
export class LogLines implements Logger {
  readonly lines: { level: string; fields: Fields; message: string }[] = []
  debug(): void {}

  info(fields: object, message: string): void {
    this.lines.push({ level: 'info', fields: { ...fields }, message })
  }

  warn(fields: object, message: string): void {
    this.lines.push({ level: 'warn', fields: { ...fields }, message })
  }

  error(fields: object, message: string): void {
    this.lines.push({ level: 'error', fields: { ...fields }, message })
  }

  child(): Logger {
    return this
  }

  find(part: string): { level: string; fields: Fields } | undefined {
    return this.lines.find(({ message }) => message.includes(part))
  }
}

export function clientInfo(key: string, more: Partial<ClientInfo> = {}): ClientInfo {
  const origin = {
    listenerId: 'tcp:default',
    peer: { host: '127.0.0.1', port: 4711 },
    local: { port: 1883 },
    certificate: undefined,
  }
  return arrivingClient(origin, {
    key,
    clientId: key,
    username: undefined,
    protocol: 'mqtt',
    protocolName: 'MQTT',
    protocolVersion: '5',
    gateway: undefined,
    keepAliveSeconds: 60,
    cleanStart: false,
    connectedAtMs: 1_700_000_000_000,
    ...more,
  })
}

export function storedClient(key: string, more: Partial<StoredClient> = {}): StoredClient {
  const {
    key: _,
    attributes,
    peerPort,
    localPort,
    certificate,
    acl,
    authExpiresAtMs,
    ...rest
  } = clientInfo(key)
  return { key, ...rest, attributes: [...attributes], ...more }
}

export function sessionRecord(key: string, more: Partial<SessionRecord> = {}): SessionRecord {
  return { client: storedClient(key), expiryIntervalMs: NEVER, disconnectedAtMs: undefined, ...more }
}

export function subscription(filter: string, more: Partial<Subscription> = {}): Subscription {
  return {
    filter,
    qos: 1,
    noLocal: false,
    retainAsPublished: false,
    retainHandling: 0,
    identifier: 0,
    ...more,
  }
}

export function message(
  topic: string,
  payload = topic,
  properties?: MessageProperties,
  publisher?: ClientInfo,
): Message {
  return Message.of(topic, Buffer.from(payload), 1, false, properties, publisher, 1_700_000_000_000)
}

export function delivery(
  of: Message,
  { qos = 1, ids, group }: { qos?: QoS; ids?: number[]; group?: { name: string; filter: string } } = {},
): SessionDelivery {
  return new SessionDelivery(of, qos, false, ids, group as SharedGroup | undefined)
}

/** All sessions by key. */
export async function sessionsOf(storage: DurableStorage): Promise<Map<string, StoredSession>> {
  const sessions = new Map<string, StoredSession>()
  for await (const session of storage.durable.sessions.load())
    sessions.set(session.record.client.key, session)
  return sessions
}

export async function payloadsOf(storage: DurableStorage, key: string): Promise<string[]> {
  const session = (await sessionsOf(storage)).get(key)
  return session?.deliveries.map((kept) => Buffer.from(kept.message.payload).toString()) ?? []
}
