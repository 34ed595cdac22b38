/** The users of the contract as backends store them. */
import { createHash } from 'node:crypto'
import { PASSWORD, USERS } from './authenticator-contract.ts'

export const SALT = 'salt-of-all'

export const HASH = sha256(SALT + PASSWORD)

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}

/** Statements that make EMQX's table `mqtt_user` with the users in it. */
export function userTable(dialect: 'mysql' | 'postgresql'): string[] {
  const isMysql = dialect === 'mysql'
  const columns = isMysql
    ? `id int(11) unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY, username varchar(100) UNIQUE, password_hash varchar(100),
       salt varchar(35), is_superuser tinyint(1) DEFAULT 0, created datetime DEFAULT NULL`
    : `id serial PRIMARY KEY, username text NOT NULL UNIQUE, password_hash text, salt text,
       is_superuser boolean DEFAULT false, created timestamp with time zone DEFAULT NOW()`
  const literal = (text: string) =>
    `'${(isMysql ? text.replaceAll('\\', '\\\\') : text).replaceAll("'", "''")}'`
  return [
    `CREATE TABLE mqtt_user (${columns})`,
    ...USERS.map(
      ({ name, isSuperuser }) =>
        `INSERT INTO mqtt_user (username, password_hash, salt, is_superuser) VALUES (${literal(name)}, '${HASH}', '${SALT}', ${isSuperuser})`,
    ),
  ]
}
