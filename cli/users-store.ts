import { dirname } from 'node:path'
import { BuiltInDatabase, type BuiltInDatabaseConfig } from '../authn/built-in-database.ts'
import { MQTT_CHAIN } from '../authn/chains.ts'
import { type AuthenticationConfig, authenticatorList } from '../authn/config.ts'
import { WorkGate } from '../authn/work-gate.ts'
import { loadConfig } from '../config/load.ts'
import { valueAt } from '../config/path.ts'
import { configSchema } from '../config/schema.ts'
import { BrokerError } from '../model/errors.ts'
import { silentLogger } from '../model/log.ts'
import type { Users, UsersOptions } from './users.ts'

/** The built-in database of a chain as the config describes it, without the broker around it. */
export async function openBuiltInUsers(options: UsersOptions): Promise<Users> {
  const config = loadConfig({
    schema: configSchema(),
    file: options.configFile,
    env: options.env,
    overrides: options.overrides,
  }).config
  const database = databaseOf(config, options.chain)
  const { users, close } = await open(database, config.node.data_dir, options)
  return {
    idType: database.user_id_type,
    add: async ({ id, password, isSuperuser }) =>
      (await users.add({ userId: id, password, isSuperuser })) !== undefined,
    list: async () => users.list().map(({ userId, isSuperuser }) => ({ id: userId, isSuperuser })),
    delete: (id) => users.delete(id),
    close,
  }
}

/** Not its bootstrap file: bringing users in from there is the broker's business. */
async function open(database: BuiltInDatabaseConfig, dataDir: string, options: UsersOptions) {
  const { bootstrap_file: _, ...config } = database
  const context = {
    log: silentLogger,
    dataDir,
    configDir: options.configFile === undefined ? process.cwd() : dirname(options.configFile),
    chain: options.chain,
    hashing: new WorkGate(),
  }
  const opened = await BuiltInDatabase.open(config, context, { watch: false })
  return { users: opened.users, close: async () => opened.close() }
}

const EXAMPLE =
  '{ mechanism: password_based, backend: built_in_database, password_hash_algorithm: { name: bcrypt } }'

function databaseOf(config: unknown, chain: string): BuiltInDatabaseConfig {
  const authentication = valueAt(config, pathOf(chain)) as AuthenticationConfig | undefined
  const found = authenticatorList(authentication).find(
    ({ mechanism, backend }) => mechanism === 'password_based' && backend === 'built_in_database',
  )
  if (found !== undefined) return found as BuiltInDatabaseConfig
  throw new BrokerError(
    'CONFIG_INVALID',
    `no built-in database is configured at ${pathOf(chain).join('.')}: add ${EXAMPLE}`,
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
