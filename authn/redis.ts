/** `password_based:redis`: users as hashes of Redis. */
import Type from 'typebox'
import type { RedisConnector, RedisReply } from '../connectors/connector.ts'
import { openRedis } from '../connectors/redis.ts'
import { type RedisConfig, redisFields } from '../connectors/redis-config.ts'
import { compileCommand } from '../connectors/template.ts'
import { BrokerError } from '../model/errors.ts'
import { Strict } from '../model/schema.ts'
import { type AuthenticatorBase, authenticatorId, defineAuthenticator } from './authenticator.ts'
import { type HashAlgorithmConfig, passwordHashAlgorithm, remoteFields } from './fields.ts'
import { PasswordCheck } from './password-check.ts'
import { type FindUser, PasswordDatabase } from './password-database.ts'
import { authnTemplates } from './template-rules.ts'

const MECHANISM = 'password_based'
const BACKEND = 'redis'
const FIELDS = ['password_hash', 'password', 'salt', 'is_superuser', 'clientid_override']

export interface RedisUsersConfig extends AuthenticatorBase, RedisConfig {
  cmd: string
  password_hash_algorithm: HashAlgorithmConfig
}

export const redisUsers = defineAuthenticator<RedisUsersConfig>({
  mechanism: MECHANISM,
  backend: BACKEND,
  schema: Strict(
    {
      ...remoteFields(MECHANISM, BACKEND),
      ...redisFields,
      cmd: Type.String({
        minLength: 1,
        description:
          'HMGET or HGET of password_hash (or password), and if wanted salt, is_superuser and clientid_override, of a key with placeholders',
      }),
      password_hash_algorithm: passwordHashAlgorithm({ name: 'sha256', salt_position: 'prefix' }),
    },
    { description: 'Users as hashes of Redis' },
  ),
  async create(config, context) {
    const id = authenticatorId(config)
    const command = compileCommand(config.cmd, authnTemplates(context.log))
    const fields = fieldsOf(id, command.words)
    const check = await PasswordCheck.create(config.password_hash_algorithm, context)
    const connector = await openRedis(id, config, context)
    return new PasswordDatabase(connector, check, usersIn(connector, command, fields))
  },
})

/** @throws BrokerError CONFIG_INVALID for commands that look no user up */
function fieldsOf(id: string, [name = '', key, ...fields]: readonly string[]): readonly string[] {
  const refuse = (why: string) => new BrokerError('CONFIG_INVALID', `${id}: cmd ${why}`)
  const verb = name.toUpperCase()
  if (verb !== 'HGET' && verb !== 'HMGET') throw refuse('must be HMGET or HGET')
  if (key === undefined || key === '') throw refuse('has no key')
  if (verb === 'HGET' && fields.length !== 1) throw refuse('HGET takes one field')
  const other = fields.find((field) => !FIELDS.includes(field))
  if (other !== undefined) throw refuse(`may ask for ${FIELDS.join(', ')}, not for ${other}`)
  if (!fields.includes('password_hash') && !fields.includes('password')) {
    throw refuse('must ask for password_hash or password')
  }
  return fields
}

function usersIn(
  connector: RedisConnector,
  command: ReturnType<typeof compileCommand>,
  fields: readonly string[],
): FindUser {
  return async (values, signal) => {
    const reply = await connector.command(command.render(values), signal)
    const found = Array.isArray(reply) ? reply : [reply]
    if (found.every((value) => value === null)) return undefined
    // Redis has no empty fields: what is null is not there.
    const field = (name: string): RedisReply | undefined => found[fields.indexOf(name)] ?? undefined
    return {
      hash: field('password_hash') ?? field('password'),
      salt: field('salt'),
      isSuperuser: field('is_superuser'),
      clientIdOverride: field('clientid_override'),
    }
  }
}
