/** What rules in MySQL and in PostgreSQL have in common. */
import type { SqlConnector } from '../connectors/connector.ts'
import type { SqlTemplate } from '../connectors/sql-template.ts'
import { type FindRules, readRules } from './query-source.ts'

/** Rows in the order of the database; columns by name, others are not looked at. */
export function sqlRules(connector: SqlConnector, query: SqlTemplate): FindRules {
  return async (values) => readRules(connector.id, 'row', await connector.query(query, query.render(values)))
}
