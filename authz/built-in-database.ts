/** `built_in_database`: rules the broker keeps itself, by client id, by user name, and for all. */
import type { Action } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { BrokerError } from '../model/errors.ts'
import { Count, Strict } from '../model/schema.ts'
import { RuleTable, type SubjectRules } from './built-in-table.ts'
import { sourceFields } from './fields.ts'
import { firstMatch } from './rule.ts'
import { defineSource, type Source, type SourceAnswer, type SourceBase } from './source.ts'

export const BUILT_IN = 'built_in_database'
export const DEFAULT_MAX_RULES = 100

export interface BuiltInConfig extends SourceBase {
  max_rules: number
}

export const builtInDatabase = defineSource<BuiltInConfig>({
  type: BUILT_IN,
  schema: Strict(
    {
      ...sourceFields(BUILT_IN),
      max_rules: Count(DEFAULT_MAX_RULES, {
        minimum: 1,
        maximum: 100_000,
        description: 'A client id or user name has as many rules at most',
      }),
    },
    { description: 'Rules kept by the broker itself' },
  ),
  create: async (_, { rules }) => new BuiltInSource(rules ?? new RuleTable()),
})

class BuiltInSource implements Source {
  readonly type = BUILT_IN
  readonly #table: RuleTable

  constructor(table: RuleTable) {
    this.#table = table
  }

  authorize(client: ClientInfo, action: Action, topic: string): SourceAnswer {
    const { clientId, username } = client
    return (
      decide(this.#table.client(clientId), client, action, topic) ??
      (username === undefined ? undefined : decide(this.#table.user(username), client, action, topic)) ??
      decide(this.#table.everybody, client, action, topic) ??
      'ignore'
    )
  }

  /** The table belongs to the broker. */
  close(): void {}
}

function decide(rules: SubjectRules | undefined, client: ClientInfo, action: Action, topic: string) {
  if (rules === undefined) return undefined
  if (rules.compiled !== undefined) return firstMatch(rules.compiled, client, action, topic)
  throw new BrokerError('BACKEND_FAILED', `${BUILT_IN}: stored rules of a client cannot be read`)
}
