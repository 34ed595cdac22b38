/**
 * Password hashes in the stored forms existing user tables have: plain text, salted
 * digests in hex, bcrypt, PBKDF2 in hex. Slow ones never run on the event loop.
 */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'
import bcrypt from '@node-rs/bcrypt'
import type { MaybePromise } from '../model/async.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import type { WorkGate } from './work-gate.ts'

export type SaltPosition = 'disable' | 'prefix' | 'suffix'
export type MacFunction = 'md4' | 'md5' | 'ripemd160' | 'sha' | 'sha224' | 'sha256' | 'sha384' | 'sha512'

export type HashAlgorithm =
  | { name: 'plain' | 'md5' | 'sha' | 'sha256' | 'sha512'; saltPosition: SaltPosition }
  | { name: 'bcrypt'; saltRounds: number }
  | { name: 'pbkdf2'; macFun: MacFunction; iterations: number; dkLength: number | undefined }

export interface StoredPassword {
  readonly hash: string
  /** Used as the bytes of its text; '' for plain, unsalted and bcrypt (which has it in the hash). */
  readonly salt: string
}

/** As found in somebody's table. */
export interface PasswordRecord {
  readonly hash: string
  readonly salt: string | Uint8Array
}

const DIGEST_BYTES = { md5: 16, sha: 20, sha256: 32, sha512: 64 } as const

/** Where `dk_length` may be left out. */
const KEY_BYTES: { readonly [name in MacFunction]?: number } = {
  sha: 20,
  sha224: 28,
  sha256: 32,
  sha384: 48,
  sha512: 64,
}

const BCRYPT = /^\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}$/
const BCRYPT_MAX_BYTES = 72
const SALT_BYTES = 16

const derive = promisify(pbkdf2)

/** Makes and checks the passwords of one authenticator. */
export class PasswordHasher {
  readonly #algorithm: HashAlgorithm
  readonly #gate: WorkGate
  #nobody: StoredPassword = { hash: '', salt: '' }

  private constructor(algorithm: HashAlgorithm, gate: WorkGate) {
    this.#algorithm = algorithm
    this.#gate = gate
  }

  /** @throws BrokerError CONFIG_INVALID when the algorithm cannot be had */
  static async create(algorithm: HashAlgorithm, gate: WorkGate): Promise<PasswordHasher> {
    if (algorithm.name === 'pbkdf2') {
      assertDigest(algorithm.macFun)
      keyBytes(algorithm)
    }
    const hasher = new PasswordHasher(algorithm, gate)
    hasher.#nobody = await hasher.hash(randomBytes(SALT_BYTES).toString('hex'))
    return hasher
  }

  /**
   * For a new user, with a new salt.
   * @throws BrokerError CONFIG_INVALID for a password longer than bcrypt's 72 bytes: it would silently be cut
   */
  hash(password: Uint8Array | string, signal?: AbortSignal): MaybePromise<StoredPassword> {
    const algorithm = this.#algorithm
    const bytes = Buffer.from(password)
    switch (algorithm.name) {
      case 'bcrypt':
        if (bytes.length > BCRYPT_MAX_BYTES) {
          throw new BrokerError('CONFIG_INVALID', `bcrypt takes passwords of up to ${BCRYPT_MAX_BYTES} bytes`)
        }
        return this.#gate.run(
          async () => ({ hash: await bcrypt.hash(bytes, { cost: algorithm.saltRounds }), salt: '' }),
          signal,
        )
      case 'pbkdf2': {
        const salt = randomBytes(SALT_BYTES).toString('hex')
        return this.#gate.run(async () => ({ hash: await deriveHex(algorithm, bytes, salt), salt }), signal)
      }
      case 'plain':
        return { hash: bytes.toString(), salt: '' }
      default: {
        const salt = algorithm.saltPosition === 'disable' ? '' : randomBytes(SALT_BYTES).toString('hex')
        return { hash: digest(algorithm.name, salted(algorithm.saltPosition, bytes, salt)), salt }
      }
    }
  }

  /** False for a hash of another form, too. A salt may also be given as bytes. */
  verify(password: Uint8Array, stored: PasswordRecord, signal?: AbortSignal): MaybePromise<boolean> {
    const algorithm = this.#algorithm
    switch (algorithm.name) {
      case 'bcrypt':
        this.#nobody = withCostOf(stored.hash, this.#nobody)
        return this.#gate.run(() => bcrypt.verify(password, stored.hash), signal)
      case 'pbkdf2':
        return this.#gate.run(
          async () => sameHex(await deriveHex(algorithm, password, stored.salt), stored.hash),
          signal,
        )
      case 'plain':
        return sameText(salted(algorithm.saltPosition, password, stored.salt), Buffer.from(stored.hash))
      default:
        return sameHex(
          digest(algorithm.name, salted(algorithm.saltPosition, password, stored.salt)),
          stored.hash,
        )
    }
  }

  /** Takes as long as `verify` for a user there is, so that nobody learns from the clock who exists. */
  verifyNobody(password: Uint8Array, signal?: AbortSignal): MaybePromise<boolean> {
    return this.verify(password, this.#nobody, signal)
  }

  /** What is wrong with a hash made elsewhere, undefined if it has the form `verify` expects. */
  problemWith(hash: string): string | undefined {
    const algorithm = this.#algorithm
    switch (algorithm.name) {
      case 'plain':
        return hash === '' ? 'must not be empty' : undefined
      case 'bcrypt':
        return BCRYPT.test(hash) ? undefined : 'must be a bcrypt hash such as $2b$10$...'
      case 'pbkdf2':
        return hexProblem(hash, keyBytes(algorithm))
      default:
        return hexProblem(hash, DIGEST_BYTES[algorithm.name])
    }
  }
}

/**
 * Hashes of somebody else's table say themselves what they cost. Nobody's costs what those of the users do that were met
 * last, or the clock would tell who is there.
 */
function withCostOf(hash: string, nobody: StoredPassword): StoredPassword {
  const [, , cost] = hash.split('$')
  if (cost === undefined || cost === nobody.hash.slice(4, 6)) return nobody
  return { ...nobody, hash: nobody.hash.slice(0, 4) + cost + nobody.hash.slice(6) }
}

type Pbkdf2 = Extract<HashAlgorithm, { name: 'pbkdf2' }>

async function deriveHex(
  algorithm: Pbkdf2,
  password: Uint8Array,
  salt: string | Uint8Array,
): Promise<string> {
  const key = await derive(
    password,
    salt,
    algorithm.iterations,
    keyBytes(algorithm),
    digestName(algorithm.macFun),
  )
  return key.toString('hex')
}

function keyBytes(algorithm: Pbkdf2): number {
  const bytes = algorithm.dkLength ?? KEY_BYTES[algorithm.macFun]
  if (bytes === undefined)
    throw new BrokerError('CONFIG_INVALID', `pbkdf2 with ${algorithm.macFun} needs dk_length`)
  return bytes
}

/** Some digests are compiled out of, or disabled in, the cryptography library of a Node build. */
function assertDigest(macFun: MacFunction): void {
  try {
    createHmac(digestName(macFun), 'x')
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `mac_fun ${macFun} is not available here: ${messageOf(error)}`)
  }
}

function digestName(name: string): string {
  return name === 'sha' ? 'sha1' : name
}

function digest(name: keyof typeof DIGEST_BYTES, bytes: Uint8Array): string {
  return createHash(digestName(name)).update(bytes).digest('hex')
}

function salted(position: SaltPosition, password: Uint8Array, salt: string | Uint8Array): Uint8Array {
  if (position === 'disable' || salt.length === 0) return password
  const bytes = Buffer.from(salt)
  return Buffer.concat(position === 'prefix' ? [bytes, password] : [password, bytes])
}

/** Both sides are digested first, so that not even the length of the stored text shows in the time taken. */
function sameText(a: Uint8Array, b: Uint8Array): boolean {
  return timingSafeEqual(createHash('sha256').update(a).digest(), createHash('sha256').update(b).digest())
}

function sameHex(computed: string, stored: string): boolean {
  const a = Buffer.from(computed)
  const b = Buffer.from(stored.toLowerCase())
  return a.length === b.length && timingSafeEqual(a, b)
}

function hexProblem(hash: string, bytes: number): string | undefined {
  return hash.length === bytes * 2 && /^[0-9a-f]*$/i.test(hash)
    ? undefined
    : `must be ${bytes * 2} hex digits`
}
