/** `password_based:built_in_database`: users the broker keeps itself, in its storage, or without one in a file per chain. */
import { join } from 'node:path'
import Type from 'typebox'
import type { Login, Verdict } from '../model/access.ts'
import { andThen, type MaybePromise } from '../model/async.ts'
import { configPath } from '../model/config-path.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import { Strict } from '../model/schema.ts'
import {
  type Authenticator,
  type AuthenticatorBase,
  type AuthenticatorContext,
  authenticatorId,
  defineAuthenticator,
} from './authenticator.ts'
import { readUsersFile, type UserFileType } from './bootstrap.ts'
import { BuiltInStore, type StoredUser, type UserStore } from './built-in-store.ts'
import { takeOverFile } from './built-in-table.ts'
import { BuiltInUsers } from './built-in-users.ts'
import {
  authenticatorFields,
  type HashAlgorithmConfig,
  hashAlgorithm,
  passwordHashAlgorithm,
} from './fields.ts'
import { PasswordHasher } from './password-hash.ts'

const MECHANISM = 'password_based'
const BACKEND = 'built_in_database'

export interface BuiltInDatabaseConfig extends AuthenticatorBase {
  user_id_type: 'username' | 'clientid'
  password_hash_algorithm: HashAlgorithmConfig
  bootstrap_file?: string
  bootstrap_type: UserFileType
}

const schema = Strict(
  {
    ...authenticatorFields(MECHANISM, BACKEND),
    user_id_type: Type.Unsafe<'username' | 'clientid'>({
      type: 'string',
      enum: ['username', 'clientid'],
      default: 'username',
      description: 'What of a login names the user',
    }),
    password_hash_algorithm: passwordHashAlgorithm(),
    bootstrap_file: Type.Optional(
      Type.String({
        minLength: 1,
        description: 'CSV or JSON file of users added at start; users there are already stay as they are',
      }),
    ),
    bootstrap_type: Type.Unsafe<UserFileType>({
      type: 'string',
      enum: ['plain', 'hash'],
      default: 'plain',
      description: 'Whether that file holds passwords or their hashes',
    }),
  },
  { description: 'Users kept by the broker itself' },
)

export const builtInDatabase = defineAuthenticator<BuiltInDatabaseConfig>({
  mechanism: MECHANISM,
  backend: BACKEND,
  schema,
  create: (config, context) => BuiltInDatabase.open(config, context),
})

const IGNORE: Verdict = { kind: 'ignore' }
const WRONG_PASSWORD: Verdict = { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword }

export class BuiltInDatabase implements Authenticator {
  readonly id = authenticatorId({ mechanism: MECHANISM, backend: BACKEND })
  /** For CLI and API. */
  readonly users: BuiltInUsers
  readonly #store: UserStore
  readonly #hasher: PasswordHasher
  readonly #userIdType: 'username' | 'clientid'

  private constructor(store: UserStore, hasher: PasswordHasher, userIdType: 'username' | 'clientid') {
    this.#store = store
    this.#hasher = hasher
    this.#userIdType = userIdType
    this.users = new BuiltInUsers(store, hasher, userIdType)
  }

  /**
   * @param options.watch - false for a program that reads or changes users and ends; default true. Of files only
   * @throws BrokerError CONFIG_INVALID for unusable files, with their names; STORAGE_FAILED
   */
  static async open(
    config: BuiltInDatabaseConfig,
    context: AuthenticatorContext,
    options: { watch?: boolean } = {},
  ): Promise<BuiltInDatabase> {
    const hasher = await PasswordHasher.create(hashAlgorithm(config.password_hash_algorithm), context.hashing)
    const store = await openStore(context, options)
    const database = new BuiltInDatabase(store, hasher, config.user_id_type)
    try {
      if (config.bootstrap_file !== undefined) await database.#bootstrap(config, context)
    } catch (error) {
      store.close()
      throw error
    }
    return database
  }

  authenticate(login: Login, signal: AbortSignal): MaybePromise<Verdict> {
    const { password } = login
    const userId = this.#userIdType === 'username' ? login.client.username : login.client.clientId
    if (login.authMethod !== undefined || password === undefined || userId === undefined) return IGNORE
    const user = this.#store.get(userId)
    if (user === undefined) return andThen(this.#hasher.verifyNobody(password, signal), () => IGNORE)
    const stored = { hash: user.passwordHash, salt: user.salt }
    return andThen(this.#hasher.verify(password, stored, signal), (fits) =>
      fits ? allow(user) : WRONG_PASSWORD,
    )
  }

  close(): void {
    this.#store.close()
  }

  async #bootstrap(config: BuiltInDatabaseConfig, { configDir, log }: AuthenticatorContext): Promise<void> {
    const path = configPath(configDir, config.bootstrap_file ?? '')
    const users = await readUsersFile(path, config.bootstrap_type)
    const { success, skipped } = await this.users.import(users, { override: false })
    log.info({ file: path, added: success, skipped }, 'users of the bootstrap file are there')
  }
}

async function openStore(context: AuthenticatorContext, options: { watch?: boolean }): Promise<UserStore> {
  const { users, chain, dataDir, log } = context
  const file = usersFile(dataDir, chain)
  if (users === undefined) return BuiltInStore.open(file, log, options)
  const store = users.chain(chain)
  await takeOverFile(file, store, log)
  return store
}

/** `data/authn/tcp.default.json`: chain names hold no dots, and file names on every system no colons. */
export function usersFile(dataDir: string, chain: string): string {
  return join(dataDir, 'authn', `${chain.replaceAll(':', '.')}.json`)
}

function allow(user: StoredUser): Verdict {
  return { kind: 'allow', principal: { isSuperuser: user.isSuperuser } }
}
