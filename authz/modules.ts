import { builtInDatabase } from './built-in-database.ts'
import { fileSource } from './file-source.ts'
import { httpRules } from './http.ts'
import { ldapRules } from './ldap.ts'
import { mongodbRules } from './mongodb.ts'
import { mysqlRules } from './mysql.ts'
import { postgresqlRules } from './postgresql.ts'
import { redisRules } from './redis.ts'
import type { SourceModule } from './source.ts'

/** Every authorization source this build knows. Adding one is a file and a line here. */
export const sourceModules: readonly SourceModule[] = [
  fileSource,
  builtInDatabase,
  mysqlRules,
  postgresqlRules,
  mongodbRules,
  redisRules,
  ldapRules,
  httpRules,
]
