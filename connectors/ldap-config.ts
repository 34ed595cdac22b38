/** Options of LDAP, with EMQX's names. */
import Type, { type Static } from 'typebox'
import { Duration, Strict } from '../model/schema.ts'
import { passwordField, poolFields, queryTimeoutField, serverField } from './fields.ts'

export const ldapFields = {
  server: serverField(389),
  username: Type.String({
    minLength: 1,
    description: 'DN of the account that searches, like cn=admin,dc=example,dc=org',
  }),
  password: passwordField,
  request_timeout: Duration('10s', {
    description:
      'One request to the server that takes longer has failed; query_timeout is of all that a client waits for',
  }),
  ...poolFields,
  ...queryTimeoutField,
}

const ldap = Strict(ldapFields)

export type LdapConfig = Static<typeof ldap>
