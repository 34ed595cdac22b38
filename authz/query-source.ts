/** Sources that ask somebody else's database for rules: only how they are asked for differs. */
import type { Connector, ConnectorCounters, ConnectorStatus } from '../connectors/connector.ts'
import { clientValues, type Values } from '../connectors/variables.ts'
import type { Action, Rule } from '../model/access.ts'
import type { ClientInfo } from '../model/client-info.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import { parseJsonRule } from './json-rule.ts'
import { compileRules, firstMatch } from './rule.ts'
import type { Source, SourceAnswer } from './source.ts'

/**
 * Looks up the rules that are about a client, in their order.
 * @throws BrokerError BACKEND_FAILED, BACKEND_TIMEOUT
 */
export type FindRules = (values: Values, client: ClientInfo) => Promise<readonly Rule[]>

export class QuerySource implements Source {
  readonly type: string
  readonly #connector: Connector
  readonly #find: FindRules

  /** @param connector - its id is the type of the source */
  constructor(connector: Connector, find: FindRules) {
    this.type = connector.id
    this.#connector = connector
    this.#find = find
  }

  get status(): ConnectorStatus {
    return this.#connector.status
  }

  get calls(): Readonly<ConnectorCounters> {
    return this.#connector.counters
  }

  async authorize(client: ClientInfo, action: Action, topic: string): Promise<SourceAnswer> {
    const rules = await this.#find(clientValues(client, { action, topic }), client)
    return firstMatch(compileRules(rules), client, action, topic) ?? 'ignore'
  }

  close(): Promise<void> {
    return this.#connector.close()
  }
}

/**
 * Rows or documents as rules. One that is none makes all of them unusable: it may have been meant to deny.
 * @param what - what one is called, for the log
 * @throws BrokerError BACKEND_FAILED naming it by its number
 */
export function readRules(
  id: string,
  what: string,
  rows: readonly Readonly<Record<string, unknown>>[],
): Rule[] {
  return rows.map((row, index) => {
    try {
      return parseJsonRule(plainFields(row))
    } catch (error) {
      throw new BrokerError('BACKEND_FAILED', `${id}: ${what} ${index + 1}: ${messageOf(error)}`)
    }
  })
}

/** Text that a database keeps as bytes, and whole numbers that it gives as bigint. */
export function plainFields(row: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  const fields = Object.entries(row)
  if (!fields.some(([, value]) => Buffer.isBuffer(value) || typeof value === 'bigint')) return row
  return Object.fromEntries(fields.map(([name, value]) => [name, plain(value)]))
}

function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return value.toString()
  return typeof value === 'bigint' ? Number(value) : value
}
