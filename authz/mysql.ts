/** `mysql`: rules in a table of MySQL. */
import { openMysql } from '../connectors/mysql.ts'
import { type MysqlConfig, mysqlFields } from '../connectors/sql-config.ts'
import { compileSql } from '../connectors/sql-template.ts'
import { templateRules } from '../connectors/template-rules.ts'
import { AUTHZ_PLACEHOLDERS } from '../connectors/variables.ts'
import { Strict } from '../model/schema.ts'
import { sourceFields, sqlQueryField } from './fields.ts'
import { QuerySource } from './query-source.ts'
import { defineSource, type SourceBase } from './source.ts'
import { sqlRules } from './sql-rules.ts'

const TYPE = 'mysql'

export interface MysqlRulesConfig extends SourceBase, MysqlConfig {
  query: string
}

export const mysqlRules = defineSource<MysqlRulesConfig>({
  type: TYPE,
  schema: Strict(
    { ...sourceFields(TYPE), ...mysqlFields, ...sqlQueryField },
    { description: 'Rules in a table of MySQL' },
  ),
  async create(config, context) {
    const query = compileSql(config.query, TYPE, templateRules(AUTHZ_PLACEHOLDERS, context.log))
    const connector = await openMysql(TYPE, config, context)
    return new QuerySource(connector, sqlRules(connector, query))
  },
})
