/**
 * Users in the broker's storage, under `<mechanism> <chain> <user id>`; chains hold no spaces. The rest is JSON:
 *
 *     password_hash, salt, is_superuser
 *     at   Unix time in ms at which the user was added; different for each, so that they stay in their order
 *
 * Under `secret <purpose>` are random bytes.
 */
import { randomBytes } from 'node:crypto'
import { rename } from 'node:fs/promises'
import type { DurableStore, RecordTable } from '../broker/storage/storage.ts'
import type { Logger } from '../model/log.ts'
import { readStoredUsers, type StoredUser, type UserChanges, type UserStore } from './built-in-store.ts'

/** What it needs of a storage. */
export type UserStorage = Pick<DurableStore, 'table' | 'unsafe'>

interface Entry {
  readonly user: StoredUser
  readonly atMs: number
}

/** Whose users there are: those of one have nothing to do with those of another. */
export type UserMechanism = 'password_based' | 'scram'

const SECRET = 'secret '

/** The users of all chains. Chains that are not configured now keep theirs. */
export class UserTable {
  readonly #storage: UserStorage
  readonly #records: RecordTable
  readonly #log: Logger
  /** By what their keys begin with. */
  readonly #chains = new Map<string, ChainUsers>()
  readonly #secrets = new Map<string, Buffer>()

  private constructor(storage: UserStorage, log: Logger) {
    this.#storage = storage
    this.#records = storage.table('users')
    this.#log = log
  }

  /** @param storage - open, and nobody has read its users yet */
  static async load(storage: UserStorage, log: Logger): Promise<UserTable> {
    const table = new UserTable(storage, log)
    for await (const [key, value] of table.#records.load()) table.#read(key, value)
    for (const users of table.#chains.values()) users.sort()
    return table
  }

  chain(name: string, mechanism: UserMechanism = 'password_based'): ChainUsers {
    const prefix = `${mechanism} ${name} `
    let users = this.#chains.get(prefix)
    if (users === undefined) {
      users = new ChainUsers(prefix, this.#storage, this.#records)
      this.#chains.set(prefix, users)
    }
    return users
  }

  /** 32 random bytes that stay the same for as long as the storage does. @param purpose - a word */
  secret(purpose: string): Buffer {
    let secret = this.#secrets.get(purpose)
    if (secret === undefined) {
      secret = randomBytes(32)
      this.#secrets.set(purpose, secret)
      this.#records.put(SECRET + purpose, secret)
    }
    return secret
  }

  #read(key: string, value: Uint8Array): void {
    if (key.startsWith(SECRET)) return void this.#secrets.set(key.slice(SECRET.length), Buffer.from(value))
    const [, mechanism, chain = '', userId = ''] = /^(password_based|scram) (\S+) (.*)$/s.exec(key) ?? []
    if (mechanism === undefined) return // of another mechanism
    const entry = entryOf(userId, value)
    if (entry === undefined) this.#log.warn({ user: key }, 'a stored user cannot be read, it cannot log in')
    else this.chain(chain, mechanism as UserMechanism).put(entry)
  }
}

/** The users of one chain: in memory at once, and a change resolves when it is safe. */
export class ChainUsers implements UserStore {
  readonly #prefix: string
  readonly #storage: UserStorage
  readonly #records: RecordTable
  #users = new Map<string, Entry>()
  #latestMs = 0

  constructor(prefix: string, storage: UserStorage, records: RecordTable) {
    this.#prefix = prefix
    this.#storage = storage
    this.#records = records
  }

  get size(): number {
    return this.#users.size
  }

  get(userId: string): StoredUser | undefined {
    return this.#users.get(userId)?.user
  }

  *all(): Generator<StoredUser> {
    for (const { user } of this.#users.values()) yield user
  }

  async change<R>(apply: (users: UserChanges) => R): Promise<R> {
    const changed = new Map<string, StoredUser | undefined>()
    const get = (id: string) => (changed.has(id) ? changed.get(id) : this.get(id))
    const result = apply({
      get,
      has: (id) => get(id) !== undefined,
      set: (id, user) => changed.set(id, user),
      delete: (id) => {
        const had = get(id) !== undefined
        if (had) changed.set(id, undefined)
        return had
      },
    })
    for (const [id, user] of changed) this.#take(id, user)
    await this.#storage.unsafe
    return result
  }

  /** The storage is closed by whoever has opened it. */
  close(): void {}

  /** As it was stored. */
  put(entry: Entry): void {
    this.#users.set(entry.user.userId, entry)
    this.#latestMs = Math.max(this.#latestMs, entry.atMs)
  }

  /** In the order of adding, after many were put. */
  sort(): void {
    this.#users = new Map([...this.#users].sort(([, a], [, b]) => a.atMs - b.atMs))
  }

  #take(userId: string, user: StoredUser | undefined): void {
    if (user === undefined) {
      this.#users.delete(userId)
      this.#records.delete(this.#prefix + userId)
      return
    }
    const atMs = this.#users.get(userId)?.atMs ?? Math.max(Date.now(), this.#latestMs + 1)
    this.put({ user, atMs })
    const { passwordHash, salt, isSuperuser } = user
    const record = { password_hash: passwordHash, salt, is_superuser: isSuperuser, at: atMs }
    this.#records.put(this.#prefix + userId, Buffer.from(JSON.stringify(record)))
  }
}

/**
 * Takes over the file in which earlier versions, and brokers without a storage, keep the users of a chain. Users that
 * are there already stay as they are. The file is renamed, so this happens once.
 * @throws BrokerError CONFIG_INVALID for a file that is not readable as users, STORAGE_FAILED
 */
export async function takeOverFile(path: string, store: UserStore, log: Logger): Promise<void> {
  const found = await readStoredUsers(path)
  if (found === undefined) return
  const added = await store.change((users) => {
    const missing = [...found.values()].filter(({ userId }) => !users.has(userId))
    for (const user of missing) users.set(user.userId, user)
    return missing.length
  })
  const renamed = `${path}.imported`
  await rename(path, renamed)
  log.info({ file: path, added, renamed }, 'users of a file are kept in the storage from now on')
}

function entryOf(userId: string, value: Uint8Array): Entry | undefined {
  try {
    const fields = JSON.parse(Buffer.from(value).toString()) as Record<string, unknown>
    const { password_hash: passwordHash, salt, is_superuser: isSuperuser, at: atMs } = fields
    if (typeof passwordHash !== 'string' || typeof salt !== 'string') return undefined
    if (typeof isSuperuser !== 'boolean' || typeof atMs !== 'number') return undefined
    return { user: { userId, passwordHash, salt, isSuperuser }, atMs }
  } catch {
    return undefined
  }
}
