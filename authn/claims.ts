/** What a backend's answer or a token says about a client beyond yes: the same fields in the same spellings everywhere. */
import type { Complaints } from '../connectors/complaints.ts'
import type { Login, Principal, Rule, Verdict } from '../model/access.ts'
import { BrokerError, messageOf } from '../model/errors.ts'
import { ReasonCode } from '../model/reason-codes.ts'

export type Claims = Readonly<Record<string, unknown>>

/** How claims are read. `AuthenticatorContext` fits as it is. */
export interface ClaimsReader {
  readonly readAcl?: ((value: unknown) => readonly Rule[]) | undefined
  readonly now?: (() => number) | undefined
}

const ATTRIBUTE_NAME = /^[A-Za-z0-9]+[A-Za-z0-9-_]*$/
/** As many as CONNECT can carry. */
const MAX_CLIENT_ID_BYTES = 65_535
/** In the year 5138. Who says more has meant milliseconds. */
const MAX_UNIX_SECONDS = 99_999_999_999

/**
 * `is_superuser`, `client_attrs`, `expire_at` (Unix seconds), `acl`, `clientid_override` and `zone_override`.
 * @throws BrokerError BACKEND_FAILED saying which of them is unusable: such a client must not be let in
 * @see authn.md 2.2
 */
export function principalOf(claims: Claims, reader: ClaimsReader): Principal {
  const attributes = clientAttributes(claims.client_attrs)
  const expiresAtMs = expiryOf(claims.expire_at, reader)
  const acl = aclOf(claims.acl, reader)
  const clientId = clientIdOverride(claims.clientid_override)
  const zone = claims.zone_override
  return {
    isSuperuser: isTrue(claims.is_superuser),
    ...(attributes.size === 0 ? {} : { attributes }),
    ...(expiresAtMs === undefined ? {} : { expiresAtMs }),
    ...(acl === undefined ? {} : { acl }),
    ...(clientId === undefined ? {} : { clientId }),
    ...(typeof zone === 'string' && zone !== '' ? { zone } : {}),
  }
}

/**
 * The client id that a backend gives a client; undefined if it gives none: left out, null or empty.
 * @throws BrokerError BACKEND_FAILED for one that no client could have
 */
export function clientIdOverride(value: unknown): string | undefined {
  if (value === undefined || value === null) return undefined
  const clientId = value instanceof Uint8Array ? Buffer.from(value).toString() : value
  if (clientId === '') return undefined
  const isValid =
    typeof clientId === 'string' &&
    !clientId.includes('\0') &&
    !/\p{Cs}/u.test(clientId) &&
    Buffer.byteLength(clientId) <= MAX_CLIENT_ID_BYTES
  if (!isValid) throw unusable('clientid_override is not a client id')
  return clientId
}

/** A yes with these claims; a no if one of them cannot be used, as nobody knows what it was to forbid. */
export function letIn(claims: Claims, reader: ClaimsReader, complaints: Complaints, login: Login): Verdict {
  try {
    return { kind: 'allow', principal: principalOf(claims, reader) }
  } catch (error) {
    complaints.say('what the backend says of a client cannot be used', login, messageOf(error))
    return { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword }
  }
}

/** `true`, `"true"`, and numbers from 1 on, also as text. Everything else is no. */
export function isTrue(value: unknown): boolean {
  switch (typeof value) {
    case 'boolean':
      return value
    case 'number':
      return Number.isInteger(value) && value >= 1
    case 'bigint':
      return value >= 1n
    case 'string':
      return value === 'true' || (/^\d+$/.test(value) && Number(value) >= 1)
    default:
      return false
  }
}

/** Texts with usable names; everything else in it is left out. */
export function clientAttributes(value: unknown): ReadonlyMap<string, string> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return new Map()
  const pairs = Object.entries(value).filter(
    (pair): pair is [string, string] => typeof pair[1] === 'string' && ATTRIBUTE_NAME.test(pair[0]),
  )
  return new Map(pairs)
}

function expiryOf(value: unknown, { now = Date.now }: ClaimsReader): number | undefined {
  if (value === undefined || value === null) return undefined
  if (!Number.isInteger(value) || (value as number) > MAX_UNIX_SECONDS) {
    throw unusable('expire_at is not a time in Unix seconds')
  }
  const expiresAtMs = (value as number) * 1000
  if (expiresAtMs <= now()) throw unusable('expire_at has passed')
  return expiresAtMs
}

function aclOf(value: unknown, { readAcl }: ClaimsReader): readonly Rule[] | undefined {
  if (value === undefined || value === null) return undefined
  if (readAcl === undefined) throw unusable('acl cannot be read here')
  try {
    return readAcl(value)
  } catch (error) {
    throw unusable(`acl: ${messageOf(error)}`)
  }
}

function unusable(why: string): BrokerError {
  return new BrokerError('BACKEND_FAILED', why)
}
