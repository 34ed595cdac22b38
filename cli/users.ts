import type { ImportedUser } from '../authn/bootstrap.ts'
import type { UserMechanism } from '../authn/built-in-table.ts'
import type { ImportCounts } from '../authn/built-in-users.ts'
import type { BrokerPlace } from './reach.ts'

/** The users of one chain's built-in database, as the commands need them. */
export interface Users {
  /** What `id` is compared with at login. */
  readonly idType: 'username' | 'clientid'
  /** False if there is such a user already. */
  add(user: { id: string; password: string; isSuperuser: boolean }): Promise<boolean>
  list(): AsyncIterable<{ id: string; isSuperuser: boolean }>
  /** False if there is no such user. */
  delete(id: string): Promise<boolean>
  /** All of them or none. */
  import(users: readonly ImportedUser[], override: boolean): Promise<ImportCounts>
}

export interface UsersOptions extends BrokerPlace {
  /** `mqtt:global`, `stomp:global`, `tcp:default`. */
  chain: string
  mechanism: UserMechanism
  /** Told what a person should know. */
  note(text: string): void
}

/**
 * Works on the users of a broker that runs, or else on those in its storage. What was changed is safe when it resolves.
 * @throws BrokerError CONFIG_INVALID, STORAGE_FAILED, BACKEND_FAILED
 */
export type WithUsers = <T>(options: UsersOptions, work: (users: Users) => Promise<T>) => Promise<T>
