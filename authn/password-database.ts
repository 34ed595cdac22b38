/** `password_based` where somebody else's database has the users: only how one is looked up differs. */
import type { Connector, ConnectorCounters, ConnectorStatus } from '../connectors/connector.ts'
import { clientValues, type Values } from '../connectors/variables.ts'
import type { Login, Verdict } from '../model/access.ts'
import type { MaybePromise } from '../model/async.ts'
import type { Authenticator } from './authenticator.ts'
import { type FoundUser, hasPassword, type PasswordCheck, type PasswordLogin } from './password-check.ts'

/**
 * Looks up the user that a login is about.
 * @returns undefined if there is none
 * @throws BrokerError BACKEND_FAILED, BACKEND_TIMEOUT
 */
export type FindUser = (values: Values, signal: AbortSignal) => Promise<FoundUser | undefined>

const IGNORE: Verdict = { kind: 'ignore' }

export class PasswordDatabase implements Authenticator {
  readonly id: string
  readonly #connector: Connector
  readonly #check: PasswordCheck
  readonly #find: FindUser

  constructor(connector: Connector, check: PasswordCheck, find: FindUser) {
    this.id = connector.id
    this.#connector = connector
    this.#check = check
    this.#find = find
  }

  get status(): ConnectorStatus {
    return this.#connector.status
  }

  get calls(): Readonly<ConnectorCounters> {
    return this.#connector.counters
  }

  authenticate(login: Login, signal: AbortSignal): MaybePromise<Verdict> {
    return hasPassword(login) ? this.#decide(login, signal) : IGNORE
  }

  close(): Promise<void> {
    return this.#connector.close()
  }

  async #decide(login: PasswordLogin, signal: AbortSignal): Promise<Verdict> {
    const values = clientValues(login.client, { password: login.password })
    return this.#check.judge(await this.#find(values, signal), login, signal)
  }
}
