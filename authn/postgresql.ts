/** `password_based:postgresql`: users in a table of PostgreSQL. */
import { openPostgresql } from '../connectors/postgresql.ts'
import { type PostgresqlConfig, postgresqlFields } from '../connectors/sql-config.ts'
import { compileSql } from '../connectors/sql-template.ts'
import { Strict } from '../model/schema.ts'
import { type AuthenticatorBase, authenticatorId, defineAuthenticator } from './authenticator.ts'
import { type HashAlgorithmConfig, remoteFields } from './fields.ts'
import { PasswordCheck } from './password-check.ts'
import { PasswordDatabase } from './password-database.ts'
import { sqlUserFields, sqlUsers } from './sql-users.ts'
import { authnTemplates } from './template-rules.ts'

const MECHANISM = 'password_based'
const BACKEND = 'postgresql'

export interface PostgresqlUsersConfig extends AuthenticatorBase, PostgresqlConfig {
  query: string
  password_hash_algorithm: HashAlgorithmConfig
}

export const postgresqlUsers = defineAuthenticator<PostgresqlUsersConfig>({
  mechanism: MECHANISM,
  backend: BACKEND,
  schema: Strict(
    { ...remoteFields(MECHANISM, BACKEND), ...postgresqlFields, ...sqlUserFields },
    { description: 'Users in a table of PostgreSQL' },
  ),
  async create(config, context) {
    const query = compileSql(config.query, BACKEND, authnTemplates(context.log))
    const check = await PasswordCheck.create(config.password_hash_algorithm, context)
    const connector = await openPostgresql(authenticatorId(config), config, context)
    return new PasswordDatabase(connector, check, sqlUsers(connector, query))
  },
})
