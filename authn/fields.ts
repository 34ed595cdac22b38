/** Parts of the schemas that several authenticators share. */
import Type, { type TSchema, type TUnsafe } from 'typebox'
import { Duration, Strict, Variant } from '../model/schema.ts'
import type { HashAlgorithm, MacFunction, SaltPosition } from './password-hash.ts'

/** One of a few words. */
const Word = <T extends string>(
  words: readonly T[],
  options: { description: string; default?: T },
): TUnsafe<T> => Type.Unsafe<T>({ type: 'string', enum: [...words], ...options })

/** `mechanism` and `backend` of one authenticator, and what every authenticator has. */
export const authenticatorFields = (mechanism: string, backend: string, timeout = '5s') => ({
  ...mechanismFields(mechanism, timeout),
  backend: Type.Literal(backend, { description: 'Where the users are' }),
})

/** The same for a mechanism that has no backend. */
export const mechanismFields = (mechanism: string, timeout = '5s') => ({
  mechanism: Type.Literal(mechanism, { description: 'How clients prove who they are' }),
  enable: Type.Boolean({ default: true, description: 'Switched off, the authenticator is skipped' }),
  timeout: Duration(timeout, {
    description: 'An answer that takes longer counts as none: the authenticator has failed',
  }),
  on_failure: Word<'ignore' | 'deny'>(['ignore', 'deny'], {
    default: 'ignore',
    description:
      'When it fails the next authenticator is asked, or the client is refused (server unavailable)',
  }),
  precondition: Type.String({
    default: '',
    description:
      "Expression about the client, such as str_eq(listener, 'tcp:default'): where it does not give true, the next authenticator is asked. Empty: always true",
  }),
})

/** The same where the options of a connection say how long one question may take: then `timeout` is only the last resort. */
export const remoteFields = (mechanism: string, backend: string) =>
  authenticatorFields(mechanism, backend, '30s')

/** As written in the config; `hashAlgorithm` reads it. */
export type HashAlgorithmConfig =
  | { name: 'plain' | 'md5' | 'sha' | 'sha256' | 'sha512'; salt_position: SaltPosition }
  | { name: 'bcrypt'; salt_rounds?: number }
  | { name: 'pbkdf2'; mac_fun: MacFunction; iterations: number; dk_length?: number }

const digest = (name: string): TSchema =>
  Strict({
    name: Type.Literal(name),
    salt_position: Word<SaltPosition>(['disable', 'prefix', 'suffix'], {
      default: 'prefix',
      description: 'Where the salt is put before hashing: before the password, after it, or nowhere',
    }),
  })

const bcrypt = Strict({
  name: Type.Literal('bcrypt'),
  salt_rounds: Type.Integer({
    minimum: 5,
    maximum: 10,
    default: 10,
    description: 'Cost of new hashes: one more doubles the time a password check takes',
  }),
})

const pbkdf2 = Strict({
  name: Type.Literal('pbkdf2'),
  mac_fun: Word<MacFunction>(['md4', 'md5', 'ripemd160', 'sha', 'sha224', 'sha256', 'sha384', 'sha512'], {
    description: 'Hash function of the key derivation',
  }),
  iterations: Type.Integer({ minimum: 1, maximum: 10_000_000, description: 'Rounds of the key derivation' }),
  dk_length: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: 1024,
      description: 'Bytes of the derived key; needed with md4, md5 and ripemd160, else the size of the hash',
    }),
  ),
})

export const passwordHashAlgorithm = (defaultValue?: HashAlgorithmConfig): TUnsafe<HashAlgorithmConfig> =>
  Type.Unsafe<HashAlgorithmConfig>({
    ...Variant<HashAlgorithmConfig>('name', [
      ...['plain', 'md5', 'sha', 'sha256', 'sha512'].map(digest),
      bcrypt,
      pbkdf2,
    ]),
    description: 'How passwords are stored',
    ...(defaultValue === undefined ? {} : { default: defaultValue }),
  })

export function hashAlgorithm(config: HashAlgorithmConfig): HashAlgorithm {
  switch (config.name) {
    case 'bcrypt':
      return { name: 'bcrypt', saltRounds: config.salt_rounds ?? 10 }
    case 'pbkdf2':
      return {
        name: 'pbkdf2',
        macFun: config.mac_fun,
        iterations: config.iterations,
        dkLength: config.dk_length,
      }
    default:
      return { name: config.name, saltPosition: config.salt_position }
  }
}
