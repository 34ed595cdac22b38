/** `password_based:mongodb`: users in a collection of MongoDB. */
import Type from 'typebox'
import type { MongoConnector } from '../connectors/connector.ts'
import { compileFilter } from '../connectors/filter-template.ts'
import { openMongo } from '../connectors/mongodb.ts'
import { type MongoConfig, mongodbFields } from '../connectors/mongodb-config.ts'
import { BrokerError } from '../model/errors.ts'
import { Strict } from '../model/schema.ts'
import { type AuthenticatorBase, authenticatorId, defineAuthenticator } from './authenticator.ts'
import { type HashAlgorithmConfig, passwordHashAlgorithm, remoteFields } from './fields.ts'
import { PasswordCheck } from './password-check.ts'
import { type FindUser, PasswordDatabase } from './password-database.ts'
import { authnTemplates } from './template-rules.ts'

const MECHANISM = 'password_based'
const BACKEND = 'mongodb'

export interface MongodbUsersConfig extends AuthenticatorBase, MongoConfig {
  collection: string
  filter: Record<string, unknown>
  password_hash_field: string
  salt_field: string
  is_superuser_field: string
  clientid_override_field: string
  password_hash_algorithm: HashAlgorithmConfig
}

const nameOfField = (name: string, description: string) =>
  Type.String({ default: name, minLength: 1, description })

export const mongodbUsers = defineAuthenticator<MongodbUsersConfig>({
  mechanism: MECHANISM,
  backend: BACKEND,
  schema: Strict(
    {
      ...remoteFields(MECHANISM, BACKEND),
      ...mongodbFields,
      collection: Type.String({ minLength: 1, description: 'Where the users are' }),
      filter: Type.Record(Type.String({ minLength: 1 }), Type.Unknown(), {
        default: {},
        description: 'What the document of a user looks like, with placeholders as values',
      }),
      password_hash_field: nameOfField('password_hash', 'Field with the hash of the password'),
      salt_field: nameOfField('salt', 'Field with its salt; need not be there'),
      is_superuser_field: nameOfField('is_superuser', 'Field that makes superusers; need not be there'),
      clientid_override_field: nameOfField(
        'clientid_override',
        'Field with the client id that the client gets; need not be there',
      ),
      password_hash_algorithm: passwordHashAlgorithm({ name: 'sha256', salt_position: 'prefix' }),
    },
    { description: 'Users in a collection of MongoDB' },
  ),
  async create(config, context) {
    const check = await PasswordCheck.create(config.password_hash_algorithm, context)
    const id = authenticatorId(config)
    const filter = compileFilter(config.filter, authnTemplates(context.log))
    const connector = await openMongo(id, config, context)
    return new PasswordDatabase(connector, check, usersIn(connector, config, filter))
  },
})

function usersIn(
  connector: MongoConnector,
  config: MongodbUsersConfig,
  filter: ReturnType<typeof compileFilter>,
): FindUser {
  return async (values, signal) => {
    const [user] = await connector.find(config.collection, filter.render(values), { limit: 1 }, signal)
    if (user === undefined) return undefined
    const hash = user[config.password_hash_field]
    if (typeof hash !== 'string') {
      throw new BrokerError(
        'BACKEND_FAILED',
        `${connector.id}: a document has no ${config.password_hash_field} (password_hash_field)`,
      )
    }
    return {
      hash,
      salt: user[config.salt_field],
      isSuperuser: user[config.is_superuser_field],
      clientIdOverride: user[config.clientid_override_field],
    }
  }
}
