/** What `password_based` on MySQL and on PostgreSQL have in common. */
import Type from 'typebox'
import type { SqlConnector } from '../connectors/connector.ts'
import type { SqlTemplate } from '../connectors/sql-template.ts'
import { passwordHashAlgorithm } from './fields.ts'
import type { FindUser } from './password-database.ts'

export const sqlUserFields = {
  query: Type.String({
    minLength: 1,
    description:
      'SELECT of password_hash (or password), and if there are such columns salt, is_superuser and clientid_override. Placeholders are bound, never pasted',
  }),
  password_hash_algorithm: passwordHashAlgorithm({ name: 'sha256', salt_position: 'prefix' }),
}

/** The first row counts. Columns by name; others are not looked at. */
export function sqlUsers(connector: SqlConnector, query: SqlTemplate): FindUser {
  return async (values, signal) => {
    const [row] = await connector.query(query, query.render(values), signal)
    if (row === undefined) return undefined
    return {
      hash: row.password_hash ?? row.password,
      salt: row.salt,
      isSuperuser: row.is_superuser,
      clientIdOverride: row.clientid_override,
    }
  }
}
