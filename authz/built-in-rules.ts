import { BrokerError } from '../model/errors.ts'
import type { RuleTable, Subject } from './built-in-table.ts'
import { type RuleItem, readRuleItems } from './rule-item.ts'

/** The rules of one subject, in their order. */
export interface RulesOf {
  readonly subject: Subject
  readonly rules: readonly RuleItem[]
}

export interface RuleCounts {
  total: number
  /** Subjects that had no rules. */
  success: number
  /** Had some, replaced. */
  override: number
  /** Had some, left as they were. */
  skipped: number
}

export interface BuiltInRulesOptions {
  /** Rules per client or user. */
  readonly maxRules: () => number
  /** Called when rules have changed: what was remembered of them is old. */
  readonly onChange?: () => void
}

/** Rules of the built-in database, as command and API see them. What a change promises is safe when it resolves. */
export class BuiltInRules {
  readonly #table: RuleTable
  readonly #options: BuiltInRulesOptions

  constructor(table: RuleTable, options: BuiltInRulesOptions) {
    this.#table = table
    this.#options = options
  }

  get maxRules(): number {
    return this.#options.maxRules()
  }

  /** Those of clients, of users, and for all. */
  *list(): Generator<RulesOf> {
    for (const { subject, items } of this.#table) yield { subject, rules: items }
  }

  /** Undefined if there are none. */
  get(subject: Subject): readonly RuleItem[] | undefined {
    return this.#table.get(subject)?.items
  }

  /**
   * Replaces the rules of a subject. None of them takes it away.
   * @throws BrokerError CONFIG_INVALID for too many and for what is no rule, STORAGE_FAILED
   */
  async set(subject: Subject, rules: readonly RuleItem[]): Promise<void> {
    this.#table.set(subject, this.#checked(subject, rules))
    await this.#changed()
  }

  /**
   * Puts a rule behind the others of the subject, or before them.
   * @throws BrokerError CONFIG_INVALID for one too many, STORAGE_FAILED
   */
  async add(subject: Subject, rule: RuleItem, isFirst = false): Promise<void> {
    const before = this.get(subject) ?? []
    await this.set(subject, isFirst ? [rule, ...before] : [...before, rule])
  }

  /**
   * Takes away all rules of a subject, or one of them.
   * @param number - of the rule, from 1
   * @returns whether there was something to take away
   */
  async delete(subject: Subject, number?: number): Promise<boolean> {
    const rules = this.get(subject)
    if (rules === undefined || (number !== undefined && rules[number - 1] === undefined)) return false
    const left = number === undefined ? [] : rules.toSpliced(number - 1, 1)
    this.#table.set(subject, left)
    await this.#changed()
    return true
  }

  /** Takes everything away. */
  async clear(): Promise<void> {
    for (const { subject } of this.#table) this.#table.set(subject, [])
    await this.#changed()
  }

  /**
   * Takes over the rules of many subjects: all of them or, when one has too many, none.
   * @param options.override - replace those that subjects have; false leaves these subjects alone
   * @throws BrokerError CONFIG_INVALID, STORAGE_FAILED
   */
  async import(imported: readonly RulesOf[], options: { override: boolean }): Promise<RuleCounts> {
    const checked = imported.map(({ subject, rules }) => ({ subject, rules: this.#checked(subject, rules) }))
    const counts = { total: imported.length, success: 0, override: 0, skipped: 0 }
    for (const { subject, rules } of checked) {
      const isThere = this.get(subject) !== undefined
      if (isThere && !options.override) counts.skipped++
      else {
        this.#table.set(subject, rules)
        counts[isThere ? 'override' : 'success']++
      }
    }
    await this.#changed()
    return counts
  }

  /** They may come from outside. */
  #checked(subject: Subject, rules: readonly RuleItem[]): RuleItem[] {
    const items = readRuleItems(rules)
    if (subject.kind === 'all') return items
    if (subject.id === '') throw new BrokerError('CONFIG_INVALID', `rules need a ${subject.kind}`)
    if (items.length <= this.maxRules) return items
    throw new BrokerError(
      'CONFIG_INVALID',
      `${subject.kind} ${JSON.stringify(subject.id)} has ${rules.length} rules, max_rules is ${this.maxRules}`,
    )
  }

  async #changed(): Promise<void> {
    this.#options.onChange?.()
    await this.#table.safe()
  }
}
