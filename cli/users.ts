/** The users of one chain's built-in database, as the commands need them. */
export interface Users {
  /** What `id` is compared with at login. */
  readonly idType: 'username' | 'clientid'
  /** False if there is such a user already. */
  add(user: { id: string; password: string; isSuperuser: boolean }): Promise<boolean>
  list(): Promise<{ id: string; isSuperuser: boolean }[]>
  /** False if there is no such user. */
  delete(id: string): Promise<boolean>
  close(): Promise<void>
}

export interface UsersOptions {
  /** The config file that says how passwords are kept. */
  configFile: string | undefined
  env: NodeJS.ProcessEnv
  overrides: object
  /** `mqtt:global`, `stomp:global`, `tcp:default`. */
  chain: string
}

/** @throws BrokerError CONFIG_INVALID */
export type OpenUsers = (options: UsersOptions) => Promise<Users>
