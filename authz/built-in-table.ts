/**
 * Rules the broker keeps itself: in memory at once, and in its storage if it has one that does not forget. A record is
 * the JSON list of the rules of one subject, under `clientid <id>`, `username <name>` or `all`.
 */
import type { DurableStore, RecordTable } from '../broker/storage/storage.ts'
import { messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { parseJsonRule } from './json-rule.ts'
import { type CompiledRule, compileRules } from './rule.ts'
import { type RuleItem, readRuleItems } from './rule-item.ts'

/** What it needs of a storage. */
export type RuleStorage = Pick<DurableStore, 'table' | 'unsafe'>

/** Whom rules are about. */
export type Subject =
  | { readonly kind: 'clientid' | 'username'; readonly id: string }
  | { readonly kind: 'all' }

export interface SubjectRules {
  readonly subject: Subject
  readonly items: readonly RuleItem[]
  /** Undefined: the record cannot be read, so nobody knows what they are. */
  readonly compiled: readonly CompiledRule[] | undefined
}

const ALL = 'all'

export class RuleTable {
  readonly #storage: RuleStorage | undefined
  readonly #records: RecordTable | undefined
  readonly #clients = new Map<string, SubjectRules>()
  readonly #users = new Map<string, SubjectRules>()
  #all: SubjectRules | undefined

  /** @param storage - whose rules nobody has read yet; see `load` */
  constructor(storage?: RuleStorage) {
    this.#storage = storage
    this.#records = storage?.table('rules')
  }

  /** @param storage - open, and nobody has read its rules yet */
  static async load(storage: RuleStorage, log: Logger): Promise<RuleTable> {
    const table = new RuleTable(storage)
    for await (const [key, value] of storage.table('rules').load()) table.#read(key, value, log)
    return table
  }

  client(id: string): SubjectRules | undefined {
    return this.#clients.get(id)
  }

  user(name: string): SubjectRules | undefined {
    return this.#users.get(name)
  }

  /** The rules for everybody. */
  get everybody(): SubjectRules | undefined {
    return this.#all
  }

  get(subject: Subject): SubjectRules | undefined {
    return subject.kind === 'all' ? this.#all : this.#mapOf(subject.kind).get(subject.id)
  }

  /** Clients, users, everybody. */
  *[Symbol.iterator](): Generator<SubjectRules> {
    yield* this.#clients.values()
    yield* this.#users.values()
    if (this.#all !== undefined) yield this.#all
  }

  /** Replaces the rules of a subject; none takes it away. Safe with `safe`. */
  set(subject: Subject, items: readonly RuleItem[]): void {
    if (items.length === 0) {
      this.#keep(subject, undefined)
      this.#records?.delete(keyOf(subject))
      return
    }
    this.#keep(subject, { subject, items, compiled: compileRules(items.map(parseJsonRule)) })
    this.#records?.put(keyOf(subject), Buffer.from(JSON.stringify(items)))
  }

  /** Settles when everything that was set is safe. @throws BrokerError STORAGE_FAILED */
  async safe(): Promise<void> {
    await this.#storage?.unsafe
  }

  #read(key: string, value: Uint8Array, log: Logger): void {
    const subject = subjectOf(key)
    if (subject === undefined) return
    try {
      const items = readRuleItems(JSON.parse(Buffer.from(value).toString()))
      this.#keep(subject, { subject, items, compiled: compileRules(items.map(parseJsonRule)) })
    } catch (error) {
      this.#keep(subject, { subject, items: [], compiled: undefined })
      const why = messageOf(error)
      log.warn({ rules: key }, `stored rules cannot be read, and whom they are about is denied: ${why}`)
    }
  }

  #keep(subject: Subject, rules: SubjectRules | undefined): void {
    if (subject.kind === 'all') this.#all = rules
    else if (rules === undefined) this.#mapOf(subject.kind).delete(subject.id)
    else this.#mapOf(subject.kind).set(subject.id, rules)
  }

  #mapOf(kind: 'clientid' | 'username'): Map<string, SubjectRules> {
    return kind === 'clientid' ? this.#clients : this.#users
  }
}

function keyOf(subject: Subject): string {
  return subject.kind === 'all' ? ALL : `${subject.kind} ${subject.id}`
}

function subjectOf(key: string): Subject | undefined {
  if (key === ALL) return { kind: 'all' }
  const [, kind, id = ''] = /^(clientid|username) (.*)$/s.exec(key) ?? []
  return kind === undefined ? undefined : { kind: kind as 'clientid' | 'username', id }
}
