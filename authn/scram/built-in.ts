/**
 * `scram:built_in_database`: MQTT 5 clients that prove that they have a password without sending it (RFC 5802,
 * RFC 7677). The users are the broker's own, beside those of `password_based:built_in_database`; of a password only
 * what SCRAM needs is kept.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { join } from 'node:path'
import Type from 'typebox'
import type { Login, Verdict } from '../../model/access.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { Strict } from '../../model/schema.ts'
import {
  type Authenticator,
  type AuthenticatorBase,
  type AuthenticatorContext,
  authenticatorId,
  defineAuthenticator,
} from '../authenticator.ts'
import { BuiltInStore, type UserStore } from '../built-in-store.ts'
import { takeOverFile } from '../built-in-table.ts'
import { BuiltInUsers } from '../built-in-users.ts'
import { authenticatorFields } from '../fields.ts'
import type { StoredPassword } from '../password-hash.ts'
import type { WorkGate } from '../work-gate.ts'
import { type Known, NOT_AUTHORIZED, ScramConversation } from './conversation.ts'
import {
  type Credential,
  credentialOf,
  formatCredential,
  KEY_BYTES,
  METHODS,
  parseCredential,
  type ScramHash,
} from './credential.ts'
import { type ClientFirst, parseClientFirst } from './messages.ts'
import { saslPrep } from './saslprep.ts'

const MECHANISM = 'scram'
const BACKEND = 'built_in_database'
const SALT_BYTES = 16
const NONCE_BYTES = 24
/** Chains of gateways have other names; their protocols have no way to ask back. */
const MQTT_CHAINS = /^(?:mqtt:global|(?:tcp|ssl|ws|wss):[^:]+)$/

export interface ScramConfig extends AuthenticatorBase {
  algorithm: ScramHash
  iteration_count: number
}

export const scramBuiltIn = defineAuthenticator<ScramConfig>({
  mechanism: MECHANISM,
  backend: BACKEND,
  schema: Strict(
    {
      ...authenticatorFields(MECHANISM, BACKEND),
      algorithm: Type.Unsafe<ScramHash>({
        type: 'string',
        enum: ['sha256', 'sha512'],
        default: 'sha256',
        description:
          'sha256 is SCRAM-SHA-256, sha512 is SCRAM-SHA-512. Users added under one cannot use the other',
      }),
      iteration_count: Type.Integer({
        minimum: 4096,
        maximum: 10_000_000,
        default: 4096,
        description:
          'Rounds of the key derivation for users that are added: work of the client at each login',
      }),
    },
    {
      description:
        'MQTT 5 clients that prove their password without sending it; users kept by the broker itself',
    },
  ),
  create: (config, context) => ScramDatabase.open(config, context),
})

const IGNORE: Verdict = { kind: 'ignore' }

export class ScramDatabase implements Authenticator {
  readonly id = authenticatorId({ mechanism: MECHANISM, backend: BACKEND })
  /** For CLI and API. */
  readonly users: BuiltInUsers
  readonly #store: UserStore
  readonly #config: ScramConfig
  readonly #log: Logger
  /** Strangers have a salt that stays the same, like everybody else: what their salts are made from. */
  readonly #strangers: Buffer

  private constructor(store: UserStore, config: ScramConfig, { hashing, log, users }: AuthenticatorContext) {
    this.#store = store
    this.#strangers = users?.secret('scram') ?? randomBytes(32)
    this.#config = config
    this.#log = log
    this.users = new BuiltInUsers(store, new ScramHasher(config, hashing), 'username', preparedName)
  }

  /**
   * @param options.watch - false for a program that reads or changes users and ends; default true. Of files only
   * @throws BrokerError CONFIG_INVALID for a gateway's chain and for unusable files; STORAGE_FAILED
   */
  static async open(
    config: ScramConfig,
    context: AuthenticatorContext,
    options: { watch?: boolean } = {},
  ): Promise<ScramDatabase> {
    const { chain } = context
    if (!MQTT_CHAINS.test(chain))
      throw new BrokerError('CONFIG_INVALID', `chain ${chain}: SCRAM is for MQTT clients only`)
    return new ScramDatabase(await openStore(context, options), config, context)
  }

  authenticate(login: Login): Verdict {
    if (login.authMethod !== METHODS[this.#config.algorithm]) return IGNORE
    const refused = (why: string) => this.#refused(login, why)
    let first: ClientFirst
    try {
      first = parseClientFirst(login.authData)
    } catch (error) {
      refused(messageOf(error))
      return NOT_AUTHORIZED
    }
    const nonce = randomBytes(NONCE_BYTES).toString('base64')
    const exchange = new ScramConversation(first, this.#find(first.username), nonce, refused)
    return { kind: 'continue', data: exchange.challenge, exchange }
  }

  close(): void {
    this.#store.close()
  }

  #find(sent: string): Known {
    const username = saslPrep(sent)
    const user = username === undefined ? undefined : this.#store.get(username)
    const credential = user === undefined ? undefined : parseCredential(user.passwordHash)
    if (user === undefined || credential?.hash !== this.#config.algorithm)
      return { credential: this.#strange(username ?? sent), principal: undefined }
    return { credential, principal: { isSuperuser: user.isSuperuser, username: user.userId } }
  }

  #strange(name: string): Credential {
    const { algorithm: hash, iteration_count: iterations } = this.#config
    const bytes = (purpose: string) => createHmac(hash, this.#strangers).update(`${purpose} ${name}`).digest()
    const salt = bytes('salt').subarray(0, SALT_BYTES)
    return { hash, iterations, salt, storedKey: bytes('stored'), serverKey: bytes('server') }
  }

  #refused({ client }: Login, why: string): void {
    const { clientId, peerHost } = client
    this.#log.debug({ clientid: clientId, peer: peerHost }, `login refused: ${why}`)
  }
}

/** Makes of passwords what is kept of them. */
class ScramHasher {
  readonly #config: ScramConfig
  readonly #gate: WorkGate

  constructor(config: ScramConfig, gate: WorkGate) {
    this.#config = config
    this.#gate = gate
  }

  /** @throws BrokerError CONFIG_INVALID for a password that SASLprep does not allow */
  hash(password: Uint8Array | string): Promise<StoredPassword> {
    const prepared = saslPrep(typeof password === 'string' ? password : Buffer.from(password).toString())
    if (prepared === undefined)
      throw new BrokerError(
        'CONFIG_INVALID',
        'the password is empty or holds characters that SCRAM does not allow',
      )
    const { algorithm: hash, iteration_count: iterations } = this.#config
    const salt = randomBytes(SALT_BYTES)
    return this.#gate.run(async () => {
      const credential = await credentialOf(prepared, { hash, iterations, salt })
      return { hash: formatCredential(credential), salt: '' }
    })
  }

  /** What is wrong with a hash that somebody else made. */
  problemWith(text: string): string | undefined {
    const { algorithm } = this.#config
    if (parseCredential(text)?.hash === algorithm) return undefined
    const bytes = KEY_BYTES[algorithm]
    return `is not ${METHODS[algorithm]}$iterations:salt$stored key:server key, in base64 with keys of ${bytes} bytes`
  }
}

/** @throws BrokerError CONFIG_INVALID */
function preparedName(name: string): string {
  const prepared = saslPrep(name)
  if (prepared !== undefined) return prepared
  throw new BrokerError(
    'CONFIG_INVALID',
    'the user name is empty or holds characters that SCRAM does not allow',
  )
}

async function openStore(context: AuthenticatorContext, options: { watch?: boolean }): Promise<UserStore> {
  const { users, chain, dataDir, log } = context
  const file = join(dataDir, 'authn', `${chain.replaceAll(':', '.')}.scram.json`)
  if (users === undefined) return BuiltInStore.open(file, log, options)
  const store = users.chain(chain, MECHANISM)
  await takeOverFile(file, store, log)
  return store
}
