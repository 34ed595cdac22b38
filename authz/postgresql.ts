/** `postgresql`: rules in a table of PostgreSQL. */
import { openPostgresql } from '../connectors/postgresql.ts'
import { type PostgresqlConfig, postgresqlFields } from '../connectors/sql-config.ts'
import { compileSql } from '../connectors/sql-template.ts'
import { templateRules } from '../connectors/template-rules.ts'
import { AUTHZ_PLACEHOLDERS } from '../connectors/variables.ts'
import { Strict } from '../model/schema.ts'
import { sourceFields, sqlQueryField } from './fields.ts'
import { QuerySource } from './query-source.ts'
import { defineSource, type SourceBase } from './source.ts'
import { sqlRules } from './sql-rules.ts'

const TYPE = 'postgresql'

export interface PostgresqlRulesConfig extends SourceBase, PostgresqlConfig {
  query: string
}

export const postgresqlRules = defineSource<PostgresqlRulesConfig>({
  type: TYPE,
  schema: Strict(
    { ...sourceFields(TYPE), ...postgresqlFields, ...sqlQueryField },
    { description: 'Rules in a table of PostgreSQL' },
  ),
  async create(config, context) {
    const query = compileSql(config.query, TYPE, templateRules(AUTHZ_PLACEHOLDERS, context.log))
    const connector = await openPostgresql(TYPE, config, context)
    return new QuerySource(connector, sqlRules(connector, query))
  },
})
