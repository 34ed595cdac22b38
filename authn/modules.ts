import type { AuthenticatorModule } from './authenticator.ts'
import { builtInDatabase } from './built-in-database.ts'
import { cinfo } from './cinfo.ts'
import { httpService } from './http.ts'
import { jwtTokens } from './jwt/jwt.ts'
import { ldapUsers } from './ldap.ts'
import { mongodbUsers } from './mongodb.ts'
import { mysqlUsers } from './mysql.ts'
import { postgresqlUsers } from './postgresql.ts'
import { redisUsers } from './redis.ts'
import { scramBuiltIn } from './scram/built-in.ts'

/** Every authenticator this build knows. Adding one is a file and a line here. */
export const authenticatorModules: readonly AuthenticatorModule[] = [
  builtInDatabase,
  mysqlUsers,
  postgresqlUsers,
  mongodbUsers,
  redisUsers,
  ldapUsers,
  httpService,
  jwtTokens,
  scramBuiltIn,
  cinfo,
]
