import { isPromise } from '../model/async.ts'
import { BrokerError } from '../model/errors.ts'
import type { ImportedUser } from './bootstrap.ts'
import type { StoredUser, UserStore } from './built-in-store.ts'
import type { PasswordHasher, StoredPassword } from './password-hash.ts'

/** What makes of a password what is kept of it. */
export type UserHasher = Pick<PasswordHasher, 'hash' | 'problemWith'>

export interface UserView {
  readonly userId: string
  readonly isSuperuser: boolean
}

export interface ImportCounts {
  total: number
  /** New users. */
  success: number
  /** There before, replaced. */
  override: number
  /** There before, left as they were. */
  skipped: number
}

const IMPORT_BATCH = 256 // users whose passwords are hashed before the next ones are looked at

/** The users of one chain as CLI and API see them: passwords go in and never come out. */
export class BuiltInUsers {
  /** What a user id is compared with at login. */
  readonly idType: 'username' | 'clientid'
  readonly #store: UserStore
  readonly #hasher: UserHasher
  readonly #idOf: (userId: string) => string

  /** @param idOf - the form in which ids are kept; may throw BrokerError CONFIG_INVALID */
  constructor(
    store: UserStore,
    hasher: UserHasher,
    idType: 'username' | 'clientid',
    idOf: (userId: string) => string = (userId) => userId,
  ) {
    this.#idOf = idOf
    this.idType = idType
    this.#store = store
    this.#hasher = hasher
  }

  /** In order of adding. */
  list(): UserView[] {
    return Array.from(this.#store.all(), viewOf)
  }

  get(userId: string): UserView | undefined {
    const user = this.#store.get(this.#idOf(userId))
    return user === undefined ? undefined : viewOf(user)
  }

  /**
   * @returns undefined if there is such a user already
   * @throws BrokerError CONFIG_INVALID for an empty user id or a password the algorithm does not take
   */
  async add(user: {
    userId: string
    password: string
    isSuperuser?: boolean
  }): Promise<UserView | undefined> {
    if (user.userId === '') throw new BrokerError('CONFIG_INVALID', 'a user needs an id')
    const added = storedUser(
      this.#idOf(user.userId),
      user.isSuperuser ?? false,
      await this.#hasher.hash(user.password),
    )
    return this.#store.change((users) => {
      if (users.has(added.userId)) return undefined
      users.set(added.userId, added)
      return viewOf(added)
    })
  }

  /** Changes what is given. @returns undefined if there is no such user */
  async update(
    id: string,
    changes: { password?: string; isSuperuser?: boolean },
  ): Promise<UserView | undefined> {
    const userId = this.#idOf(id)
    const password = changes.password === undefined ? undefined : await this.#hasher.hash(changes.password)
    return this.#store.change((users) => {
      const user = users.get(userId)
      if (user === undefined) return undefined
      const stored = password ?? { hash: user.passwordHash, salt: user.salt }
      const changed = storedUser(userId, changes.isSuperuser ?? user.isSuperuser, stored)
      users.set(userId, changed)
      return viewOf(changed)
    })
  }

  /** @returns whether there was one */
  delete(userId: string): Promise<boolean> {
    return this.#store.change((users) => users.delete(this.#idOf(userId)))
  }

  /**
   * Takes over users from a file: all of them or, when one has a hash of the wrong form, none.
   * @param options.override - replace users there are already; false leaves them alone
   * @throws BrokerError CONFIG_INVALID naming the place in the file
   */
  async import(imported: readonly ImportedUser[], options: { override: boolean }): Promise<ImportCounts> {
    const wanted = options.override
      ? imported
      : imported.filter(({ userId }) => this.#store.get(this.#idOf(userId)) === undefined)
    const users = await this.#hashAll(wanted)
    const counts = {
      total: imported.length,
      success: 0,
      override: 0,
      skipped: imported.length - users.length,
    }
    if (users.length === 0) return counts
    await this.#store.change((existing) => {
      for (const user of users) {
        const isThere = existing.has(user.userId)
        if (isThere && !options.override) counts.skipped++
        else {
          existing.set(user.userId, user)
          counts[isThere ? 'override' : 'success']++
        }
      }
    })
    return counts
  }

  async #hashAll(imported: readonly ImportedUser[]): Promise<StoredUser[]> {
    const users: StoredUser[] = []
    for (let i = 0; i < imported.length; i += IMPORT_BATCH) {
      const batch = imported.slice(i, i + IMPORT_BATCH)
      users.push(...(await Promise.all(batch.map((user) => this.#stored(user)))))
    }
    return users
  }

  async #stored({ userId: id, isSuperuser, secret, where }: ImportedUser): Promise<StoredUser> {
    const userId = this.#idOf(id)
    if (secret.kind === 'hash') {
      const problem = this.#hasher.problemWith(secret.hash)
      if (problem !== undefined) throw new BrokerError('CONFIG_INVALID', `${where}: password_hash ${problem}`)
      return storedUser(userId, isSuperuser, secret)
    }
    const password = this.#hasher.hash(secret.password)
    return storedUser(userId, isSuperuser, isPromise(password) ? await password : password)
  }
}

function storedUser(userId: string, isSuperuser: boolean, password: StoredPassword): StoredUser {
  return { userId, passwordHash: password.hash, salt: password.salt, isSuperuser }
}

function viewOf({ userId, isSuperuser }: StoredUser): UserView {
  return { userId, isSuperuser }
}
