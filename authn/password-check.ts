/** What a backend that keeps passwords makes of a login, once it has looked the user up. */
import { Complaints } from '../connectors/complaints.ts'
import type { Login, Verdict } from '../model/access.ts'
import { andThen, type MaybePromise } from '../model/async.ts'
import { messageOf } from '../model/errors.ts'
import { ReasonCode } from '../model/reason-codes.ts'
import type { AuthenticatorContext } from './authenticator.ts'
import { clientIdOverride, isTrue } from './claims.ts'
import { type HashAlgorithmConfig, hashAlgorithm } from './fields.ts'
import { PasswordHasher } from './password-hash.ts'

/** Values as a driver gives them; undefined where there is no such field, null where it is empty. */
export interface FoundUser {
  readonly hash: unknown
  readonly salt: unknown
  readonly isSuperuser: unknown
  /** Undefined, null, empty: it keeps its own. */
  readonly clientIdOverride?: unknown
}

const IGNORE: Verdict = { kind: 'ignore' }
const NOT_AUTHORIZED: Verdict = { kind: 'deny', reason: ReasonCode.NotAuthorized }
const WRONG_PASSWORD: Verdict = { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword }

/** A login that a password can decide. */
export type PasswordLogin = Login & { readonly password: Uint8Array }

/** Others are not for backends that keep passwords: they have no opinion. */
export function hasPassword(login: Login): login is PasswordLogin {
  return login.authMethod === undefined && login.password !== undefined
}

export class PasswordCheck {
  readonly #hasher: PasswordHasher
  readonly #hasOwnSalt: boolean
  readonly #complaints: Complaints

  private constructor(hasher: PasswordHasher, hasOwnSalt: boolean, complaints: Complaints) {
    this.#hasher = hasher
    this.#hasOwnSalt = hasOwnSalt
    this.#complaints = complaints
  }

  /** @throws BrokerError CONFIG_INVALID when the algorithm cannot be had */
  static async create(
    config: HashAlgorithmConfig,
    { hashing, log }: AuthenticatorContext,
  ): Promise<PasswordCheck> {
    const hasher = await PasswordHasher.create(hashAlgorithm(config), hashing)
    return new PasswordCheck(hasher, config.name === 'bcrypt', new Complaints(log))
  }

  /**
   * Takes as long for a user that is not there as for one that is.
   * @param user - undefined: the backend does not know it
   * @see authn.md section 4, row contract
   */
  judge(user: FoundUser | undefined, login: PasswordLogin, signal: AbortSignal): MaybePromise<Verdict> {
    const { password } = login
    if (user === undefined) return this.#pretend(password, signal, IGNORE)
    const hash = textOf(user.hash)
    const salt = this.#hasOwnSalt || user.salt === undefined ? '' : bytesOf(user.salt)
    if (hash === undefined) {
      this.#complaints.say('a user has no password_hash and no password', login)
      return this.#pretend(password, signal, NOT_AUTHORIZED)
    }
    if (salt === undefined) {
      this.#complaints.say('the salt of a user is no text', login)
      return this.#pretend(password, signal, NOT_AUTHORIZED)
    }
    const problem = this.#hasher.problemWith(hash)
    if (problem !== undefined) {
      this.#complaints.say('the stored password of a user cannot be used', login, problem)
      return this.#pretend(password, signal, WRONG_PASSWORD)
    }
    return andThen(this.#hasher.verify(password, { hash, salt }, signal), (fits) =>
      fits ? this.#allow(user, login) : WRONG_PASSWORD,
    )
  }

  #allow({ isSuperuser, clientIdOverride: override }: FoundUser, login: PasswordLogin): Verdict {
    try {
      const clientId = clientIdOverride(override)
      const principal = { isSuperuser: isTrue(isSuperuser), ...(clientId === undefined ? {} : { clientId }) }
      return { kind: 'allow', principal }
    } catch (error) {
      this.#complaints.say('what a backend says of a user cannot be used', login, messageOf(error))
      return NOT_AUTHORIZED
    }
  }

  #pretend(password: Uint8Array, signal: AbortSignal, verdict: Verdict): MaybePromise<Verdict> {
    return andThen(this.#hasher.verifyNobody(password, signal), () => verdict)
  }
}

/** Drivers give columns of binary text as bytes. */
function textOf(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  return value instanceof Uint8Array ? Buffer.from(value).toString() : undefined
}

/** A salt need not be text. */
function bytesOf(value: unknown): string | Uint8Array | undefined {
  return typeof value === 'string' || value instanceof Uint8Array ? value : undefined
}
