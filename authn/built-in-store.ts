import { type FSWatcher, watch } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { Logger } from '../model/log.ts'
import { readSnapshot, replaceFile, stampOf, withFileLock } from './atomic-file.ts'

export interface StoredUser {
  readonly userId: string
  readonly passwordHash: string
  readonly salt: string
  readonly isSuperuser: boolean
}

/** Users while they are changed, by user id. */
export type UserChanges = Pick<Map<string, StoredUser>, 'get' | 'has' | 'delete'> & {
  set(userId: string, user: StoredUser): unknown
}

/** Where the users of one chain are: see also built-in-table.ts. */
export interface UserStore {
  readonly size: number
  get(userId: string): StoredUser | undefined
  /** In order of adding. */
  all(): IterableIterator<StoredUser>
  /**
   * Changes the users: `apply` gets the latest ones. If it throws, this change is dropped and rejects with the
   * same error.
   * @returns what `apply` returned, once it is safe
   * @throws BrokerError STORAGE_FAILED, BACKEND_TIMEOUT
   */
  change<R>(apply: (users: UserChanges) => R): Promise<R>
  close(): void
}

type Users = Map<string, StoredUser>

interface Change {
  apply: (users: Users) => void
  done: () => void
  failed: (error: unknown) => void
}

const DEBOUNCE_MS = 50
const POLL_MS = 2000 // only where the system cannot watch directories

/**
 * The users of one chain, in memory and in a JSON file. What a change promised is on the
 * disk before it resolves and in memory only then; changes made meanwhile share one write.
 * A file changed by another process is read again; one that cannot be read leaves the
 * users as they were and says so.
 */
export class BuiltInStore implements UserStore {
  readonly path: string
  readonly #log: Logger
  #users: ReadonlyMap<string, StoredUser> = new Map()
  /** Of the file that was read or written last, undefined while there is none. */
  #stamp: string | undefined
  #changes: Change[] = []
  /** Reads and writes go one after the other. */
  #queue: Promise<void> = Promise.resolve()
  #watcher: FSWatcher | undefined
  #poll: NodeJS.Timeout | undefined
  #debounce: NodeJS.Timeout | undefined

  private constructor(path: string, log: Logger) {
    this.path = path
    this.#log = log
  }

  /**
   * @param options.watch - read the file again when another process changes it; default true
   * @throws BrokerError CONFIG_INVALID, naming the file, when it is there but not readable as users
   */
  static async open(path: string, log: Logger, options: { watch?: boolean } = {}): Promise<BuiltInStore> {
    const store = new BuiltInStore(path, log)
    await mkdir(dirname(path), { recursive: true, mode: 0o700 })
    if (options.watch !== false) store.#watch()
    try {
      await store.refresh()
    } catch (error) {
      store.close()
      throw error
    }
    return store
  }

  get size(): number {
    return this.#users.size
  }

  get(userId: string): StoredUser | undefined {
    return this.#users.get(userId)
  }

  /** In order of adding. */
  all(): IterableIterator<StoredUser> {
    return this.#users.values()
  }

  /**
   * Changes the users: `apply` gets the latest ones, other processes' changes included.
   * If it throws, this change is dropped and rejects with the same error.
   * @returns what `apply` returned, once it is on the disk
   */
  change<R>(apply: (users: UserChanges) => R): Promise<R> {
    return new Promise((resolve, reject) => {
      let result: R
      this.#changes.push({
        apply: (users) => {
          result = apply(users)
        },
        done: () => resolve(result),
        failed: reject,
      })
      if (this.#changes.length === 1) void this.#enqueue(() => this.#write())
    })
  }

  /** Reads the file if it is another one than before. @throws BrokerError CONFIG_INVALID */
  refresh(): Promise<void> {
    return this.#enqueue(() => this.#read())
  }

  close(): void {
    this.#watcher?.close()
    clearInterval(this.#poll)
    clearTimeout(this.#debounce)
    this.#watcher = this.#poll = this.#debounce = undefined
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const result = this.#queue.then(work)
    this.#queue = result.catch(() => undefined)
    return result
  }

  async #read(): Promise<void> {
    const stamp = await stampOf(this.path)
    if (stamp === this.#stamp) return
    const snapshot = await readSnapshot(this.path)
    if (snapshot === undefined) {
      this.#log.warn({ file: this.path }, 'the file of users has disappeared, keeping the users it had')
    } else {
      this.#users = parseUsersFile(snapshot.text, this.path)
    }
    this.#stamp = snapshot?.stamp
  }

  /** Never rejects: the changes are told. */
  async #write(): Promise<void> {
    let changes: Change[] | undefined
    try {
      await withFileLock(this.path, async () => {
        await this.#read()
        const users = new Map(this.#users)
        changes = this.#takeChanges().filter((change) => applied(change, users))
        this.#stamp = await replaceFile(this.path, formatUsersFile(users))
        this.#users = users
      })
    } catch (error) {
      for (const change of changes ?? this.#takeChanges()) change.failed(error)
      return
    }
    for (const change of changes ?? []) change.done()
  }

  #takeChanges(): Change[] {
    const changes = this.#changes
    this.#changes = []
    return changes
  }

  /** The directory is watched, not the file: a rename puts another file in its place. */
  #watch(): void {
    const name = basename(this.path)
    try {
      this.#watcher = watch(dirname(this.path), { persistent: false }, (_event, changed) => {
        if (changed === null || changed === name) this.#lookSoon()
      })
      this.#watcher.on('error', (error) => this.#pollInstead(error))
    } catch (error) {
      this.#pollInstead(error)
    }
  }

  #pollInstead(error: unknown): void {
    this.#log.warn({ file: this.path }, `cannot watch for changes, looking every 2 s: ${messageOf(error)}`)
    this.#watcher?.close()
    this.#watcher = undefined
    this.#poll ??= setInterval(() => this.#lookSoon(), POLL_MS).unref()
  }

  #lookSoon(): void {
    this.#debounce ??= setTimeout(() => {
      this.#debounce = undefined
      this.refresh().catch((error: unknown) => {
        this.#log.error({ file: this.path }, `keeping the users read before: ${messageOf(error)}`)
      })
    }, DEBOUNCE_MS).unref()
  }
}

/**
 * The users of a file as they are now, undefined if there is none.
 * @throws BrokerError CONFIG_INVALID, naming the file
 */
export async function readStoredUsers(path: string): Promise<ReadonlyMap<string, StoredUser> | undefined> {
  const snapshot = await readSnapshot(path)
  return snapshot === undefined ? undefined : parseUsersFile(snapshot.text, path)
}

function applied(change: Change, users: Users): boolean {
  try {
    change.apply(users)
    return true
  } catch (error) {
    change.failed(error)
    return false
  }
}

function formatUsersFile(users: Users): string {
  const list = Array.from(users.values(), (user) => ({
    user_id: user.userId,
    password_hash: user.passwordHash,
    salt: user.salt,
    is_superuser: user.isSuperuser,
  }))
  return `${JSON.stringify({ version: 1, users: list }, undefined, 1)}\n`
}

function parseUsersFile(text: string, path: string): Users {
  const users: Users = new Map()
  for (const [index, entry] of usersIn(text, path).entries()) {
    const user = userOf(entry)
    if (user === undefined) throw corrupt(path, `user ${index + 1} is not complete`)
    if (users.has(user.userId)) throw corrupt(path, `user ${JSON.stringify(user.userId)} is in it twice`)
    users.set(user.userId, user)
  }
  return users
}

function usersIn(text: string, path: string): unknown[] {
  let content: unknown
  try {
    content = JSON.parse(text)
  } catch (error) {
    // V8 quotes the text it stumbles over, which may hold password hashes.
    throw corrupt(path, `not JSON (${text.length} characters${positionIn(error)})`)
  }
  if (!isRecord(content)) throw corrupt(path, 'not an object')
  if (content.version !== 1) throw corrupt(path, 'made by another version')
  if (!Array.isArray(content.users)) throw corrupt(path, 'has no list of users')
  return content.users
}

function positionIn(error: unknown): string {
  return /at position \d+/.exec(messageOf(error))?.[0].replace(/^/, ', wrong ') ?? ''
}

function userOf(entry: unknown): StoredUser | undefined {
  if (!isRecord(entry)) return undefined
  const { user_id: userId, password_hash: passwordHash, salt, is_superuser: isSuperuser } = entry
  if (typeof userId !== 'string' || typeof passwordHash !== 'string') return undefined
  if (typeof salt !== 'string' || typeof isSuperuser !== 'boolean') return undefined
  return { userId, passwordHash, salt, isSuperuser }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function corrupt(path: string, why: string): BrokerError {
  return new BrokerError('CONFIG_INVALID', `the file of users ${path} cannot be used: ${why}`)
}
