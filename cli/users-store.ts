import type { AuthenticatorContext } from '../authn/authenticator.ts'
import { BuiltInDatabase, type BuiltInDatabaseConfig } from '../authn/built-in-database.ts'
import { type UserMechanism, UserTable } from '../authn/built-in-table.ts'
import type { BuiltInUsers } from '../authn/built-in-users.ts'
import { MQTT_CHAIN } from '../authn/chains.ts'
import { type AuthenticationConfig, type AuthenticatorConfig, authenticatorList } from '../authn/config.ts'
import { type ScramConfig, ScramDatabase } from '../authn/scram/built-in.ts'
import { WorkGate } from '../authn/work-gate.ts'
import { valueAt } from '../config/path.ts'
import type { ControlClient } from '../control/client/client.ts'
import { BrokerError } from '../model/errors.ts'
import { noteLog, type Reached, reach, withStorage } from './reach.ts'
import type { Users, UsersOptions } from './users.ts'

/** The built-in database of a chain: of the broker that runs, or as the config describes it. */
export async function withBuiltInUsers<T>(
  options: UsersOptions,
  work: (users: Users) => Promise<T>,
): Promise<T> {
  const reached = await reach(options)
  if (reached.client !== undefined) return work(await remoteUsers(reached.client, options))
  const database = databaseOf(reached.config, options)
  if (reached.config.storage.type === 'memory')
    return withDatabase(reached, database, options, undefined, work)
  const log = noteLog(options)
  return withStorage(reached, log, async (durable) =>
    withDatabase(reached, database, options, await UserTable.load(durable, log), work),
  )
}

async function remoteUsers(client: ControlClient, { chain, mechanism }: UsersOptions): Promise<Users> {
  const of = { chain, mechanism }
  const { idType } = await client.call('users.about', of)
  return {
    idType,
    async add({ id, password, isSuperuser }) {
      const params = { ...of, userId: id, password, isSuperuser }
      return (await client.call('users.add', params)).added
    },
    async *list() {
      for await (const { userId, isSuperuser } of client.list('users.list', of)) {
        yield { id: userId, isSuperuser }
      }
    },
    delete: async (id) => (await client.call('users.delete', { ...of, userId: id })).deleted,
    import: (users, override) => client.call('users.import', { ...of, users, override }),
  }
}

/** @param table - the users in the storage; undefined: in a file */
async function withDatabase<T>(
  { dataDir, configDir }: Reached,
  database: AuthenticatorConfig,
  options: UsersOptions,
  table: UserTable | undefined,
  work: (users: Users) => Promise<T>,
): Promise<T> {
  const context = {
    log: noteLog(options),
    dataDir,
    configDir,
    chain: options.chain,
    users: table,
    hashing: new WorkGate(),
  }
  const opened = await openDatabase(database, context)
  try {
    return await work(localUsers(opened.users))
  } finally {
    opened.close()
  }
}

/** Of the mechanism that was asked for. */
function openDatabase(
  database: AuthenticatorConfig,
  context: AuthenticatorContext,
): Promise<BuiltInDatabase | ScramDatabase> {
  if (database.mechanism === 'scram')
    return ScramDatabase.open(database as ScramConfig, context, { watch: false })
  // Not its bootstrap file: bringing users in from there is the broker's business.
  const { bootstrap_file: _, ...config } = database as BuiltInDatabaseConfig
  return BuiltInDatabase.open(config, context, { watch: false })
}

function localUsers(users: BuiltInUsers): Users {
  return {
    idType: users.idType,
    add: async ({ id, password, isSuperuser }) =>
      (await users.add({ userId: id, password, isSuperuser })) !== undefined,
    async *list() {
      for (const { userId, isSuperuser } of users.list()) yield { id: userId, isSuperuser }
    },
    delete: (id) => users.delete(id),
    import: (imported, override) => users.import(imported, { override }),
  }
}

const EXAMPLES = {
  password_based:
    '{ mechanism: password_based, backend: built_in_database, password_hash_algorithm: { name: bcrypt } }',
  scram: '{ mechanism: scram, backend: built_in_database }',
} as const satisfies Record<UserMechanism, string>

function databaseOf(config: unknown, options: UsersOptions): AuthenticatorConfig {
  const path = pathOf(options.chain)
  const authentication = valueAt(config, path) as AuthenticationConfig | undefined
  const found = authenticatorList(authentication).find(
    ({ mechanism, backend }) => mechanism === options.mechanism && backend === 'built_in_database',
  )
  if (found !== undefined) return found
  throw new BrokerError(
    'CONFIG_INVALID',
    `no built-in database is configured at ${path.join('.')}: add ${EXAMPLES[options.mechanism]}`,
  )
}

/** `mqtt:global`, `stomp:global`, `tcp:default`, `stomp:tcp:default`: where the config has their authentication. */
function pathOf(chain: string): string[] {
  if (chain === MQTT_CHAIN) return ['authentication']
  const parts = chain.split(':')
  const last = parts.pop() ?? ''
  if (parts.length === 1 && last === 'global') return ['gateway', ...parts, 'authentication']
  const type = parts.pop() ?? ''
  return [...(parts.length === 0 ? [] : ['gateway', ...parts]), 'listeners', type, last, 'authentication']
}
