/** `jwt`: clients that bring a token which somebody we trust has signed. */
import { readFileSync } from 'node:fs'
import type { Login, Verdict } from '../../model/access.ts'
import { isPromise, type MaybePromise } from '../../model/async.ts'
import { configPath } from '../../model/config-path.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import type { Logger } from '../../model/log.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { type Authenticator, type AuthenticatorContext, defineAuthenticator } from '../authenticator.ts'
import { ClaimChecks } from './checks.ts'
import { type JwtConfig, jwtSchema } from './config.ts'
import { KeySet } from './key-set.ts'
import { publicKey, secretKey, type VerifyKey } from './keys.ts'
import { headerOf, type Payload, payloadOf, type TokenHeader } from './token.ts'

const MECHANISM = 'jwt'

export const jwtTokens = defineAuthenticator<JwtConfig>({
  mechanism: MECHANISM,
  schema: jwtSchema,
  create: async (config, context) => new JwtAuthenticator(config, context, await keysOf(config, context)),
})

const IGNORE: Verdict = { kind: 'ignore' }
const REFUSED: Verdict = { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword }
/** Has been signed by none of the keys. */
const STRANGE = Symbol('strange')

class JwtAuthenticator implements Authenticator {
  readonly id = MECHANISM
  readonly #config: JwtConfig
  readonly #keys: KeySet | VerifyKey
  readonly #checks: ClaimChecks
  readonly #log: Logger

  constructor(config: JwtConfig, context: AuthenticatorContext, keys: KeySet | VerifyKey) {
    this.#config = config
    this.#keys = keys
    this.#log = context.log
    this.#checks = new ClaimChecks(config, context, (placeholder) =>
      context.log.warn({ placeholder }, 'a placeholder is not known here and is taken as it is written'),
    )
  }

  get status() {
    return this.#keys instanceof KeySet ? this.#keys.connector.status : undefined
  }

  get calls() {
    return this.#keys instanceof KeySet ? this.#keys.connector.counters : undefined
  }

  authenticate(login: Login): MaybePromise<Verdict> {
    if (login.authMethod !== undefined) return IGNORE
    const token = this.#tokenOf(login)
    if (token === undefined) return this.#config.on_missing_jwt === 'deny' ? REFUSED : IGNORE
    const header = headerOf(token)
    if (header === undefined) return this.#notOurs(login, 'it is no signed token')
    const payload = this.#verify(token, header)
    return isPromise(payload)
      ? payload.then((found) => this.#judge(login, found))
      : this.#judge(login, payload)
  }

  async close(): Promise<void> {
    if (this.#keys instanceof KeySet) await this.#keys.close()
  }

  #tokenOf({ client, password }: Login): string | undefined {
    const token =
      this.#config.from === 'username'
        ? client.username
        : password && Buffer.from(password).toString('latin1')
    return token === '' ? undefined : token
  }

  #verify(token: string, header: TokenHeader): MaybePromise<Payload | typeof STRANGE> {
    if (!(this.#keys instanceof KeySet)) return payloadOf(token, header, this.#keys) ?? STRANGE
    const keys = this.#keys.keys()
    if (isPromise(keys)) return keys.then((fetched) => tryKeys(token, header, fetched))
    const payload = tryKeys(token, header, keys)
    return payload === STRANGE && isUnknown(header, keys)
      ? this.#tryNewer(token, header, this.#keys)
      : payload
  }

  async #tryNewer(token: string, header: TokenHeader, keySet: KeySet): Promise<Payload | typeof STRANGE> {
    const newer = await keySet.newerKeys()
    return newer === undefined ? STRANGE : tryKeys(token, header, newer)
  }

  #judge(login: Login, payload: Payload | typeof STRANGE): Verdict {
    if (payload === STRANGE) return this.#notOurs(login, 'none of the keys has signed it')
    const judged = this.#checks.judge(payload, login)
    if ('principal' in judged) return { kind: 'allow', principal: judged.principal }
    this.#say(login, `token refused: ${judged.problem}`)
    return REFUSED
  }

  /** It may be a password that another authenticator knows. */
  #notOurs(login: Login, why: string): Verdict {
    this.#say(login, `token not looked at: ${why}`)
    return IGNORE
  }

  /** Neither the token nor, as it may be the token, the user name. */
  #say({ client }: Login, text: string): void {
    this.#log.debug({ clientid: client.clientId, peer: client.peerHost }, text)
  }
}

/** The key it names first; the others too, as what a key has signed is good whatever the key is called. */
function tryKeys(token: string, header: TokenHeader, keys: readonly VerifyKey[]): Payload | typeof STRANGE {
  const named = header.keyId === undefined ? [] : keys.filter(({ id }) => id === header.keyId)
  for (const key of named.length > 0 ? named : keys) {
    const payload = payloadOf(token, header, key)
    if (payload !== undefined) return payload
  }
  return STRANGE
}

/** It may be of a key that there was not yet when the keys were fetched. */
function isUnknown({ keyId }: TokenHeader, keys: readonly VerifyKey[]): boolean {
  return !keys.some(({ id }) => id !== undefined && id === keyId)
}

/** @throws BrokerError CONFIG_INVALID naming the option */
async function keysOf(config: JwtConfig, context: AuthenticatorContext): Promise<KeySet | VerifyKey> {
  const { use_jwks: usesUrl, algorithm, endpoint, secret, public_key: key } = config
  if (usesUrl) {
    const id = `chain ${context.chain}: ${MECHANISM}`
    return KeySet.open(id, needed(endpoint, 'endpoint', 'use_jwks: true'), config, context)
  }
  if (algorithm === 'hmac-based')
    return secretKey(needed(secret, 'secret', algorithm), config.secret_base64_encoded)
  if (algorithm === 'public-key')
    return publicKey(readPem(needed(key, 'public_key', algorithm), context.configDir))
  throw new BrokerError('CONFIG_INVALID', 'jwt: needs algorithm: hmac-based or public-key, or use_jwks: true')
}

function needed(value: string | undefined, option: string, by: string): string {
  if (value !== undefined) return value
  throw new BrokerError('CONFIG_INVALID', `jwt: ${by} needs ${option}`)
}

function readPem(value: string, configDir: string): string {
  if (value.includes('-----BEGIN ')) return value
  const path = configPath(configDir, value)
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `jwt: public_key: cannot read ${path}: ${messageOf(error)}`)
  }
}
