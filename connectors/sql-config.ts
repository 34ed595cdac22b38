/** Options of MySQL and PostgreSQL, with EMQX's names. */
import Type, { type Static } from 'typebox'
import { Strict } from '../model/schema.ts'
import { passwordField, poolFields, queryTimeoutField, serverField } from './fields.ts'

const common = {
  database: Type.String({ minLength: 1, description: 'Name of the database' }),
  password: passwordField,
  disable_prepared_statements: Type.Boolean({
    default: false,
    description: 'Do not keep statements in the server; needed behind some poolers',
  }),
  ...poolFields,
  ...queryTimeoutField,
}

export const mysqlFields = {
  server: serverField(3306),
  username: Type.String({ default: 'root', minLength: 1, description: 'User of the database' }),
  ...common,
}

export const postgresqlFields = {
  server: serverField(5432),
  username: Type.String({ minLength: 1, description: 'User of the database' }),
  ...common,
}

const mysql = Strict(mysqlFields)
const postgresql = Strict(postgresqlFields)

export type MysqlConfig = Static<typeof mysql>
export type PostgresqlConfig = Static<typeof postgresql>
