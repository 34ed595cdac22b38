/**
 * User JWTs (NATS JWT v2): `header.payload.signature`, signed with Ed25519 NKeys.
 *
 *     user, signed by its account or one of the account's signing keys
 *       account, known from `resolver_preload`, signed by its operator
 *         operator, one of `trusted_operators`
 */

import { decodeBase64, isSignedBy, readNkey } from './nkey.ts'
import { type PermissionList, Permissions } from './permissions.ts'

export interface JwtTrust {
  /** Canonical NKeys. */
  readonly operators: ReadonlySet<string>
  /** Account JWTs by the account's canonical NKey. */
  readonly accounts: ReadonlyMap<string, string>
}

export type JwtAnswer =
  | { kind: 'valid'; user: string; expiresAtMs: number | undefined; permissions: Permissions | undefined }
  | { kind: 'refused'; reason: string }

/** Claims of either kind, as far as they are looked at. */
type Claims = Readonly<Record<string, unknown>>

interface Token {
  readonly claims: Claims
  /** NKey of who it says has signed it. */
  readonly issuer: string
  readonly subject: string
  readonly signed: Buffer
  readonly signature: Buffer
}

/** Ends the check: `message` is the reason. */
class Refusal extends Error {}

const MAX_PATTERNS = 1000

export function checkUserJwt(jwt: string, trust: JwtTrust, nowMs: number): JwtAnswer {
  try {
    return checked(jwt, trust, nowMs / 1000)
  } catch (error) {
    if (error instanceof Refusal) return { kind: 'refused', reason: error.message }
    throw error
  }
}

function checked(jwt: string, trust: JwtTrust, nowSeconds: number): JwtAnswer {
  const user = readToken(jwt)
  const subject = readNkey(user.subject, 'user')
  if (subject.kind === 'bad') throw new Refusal('invalid_jwt_subject')
  const nats = sectionOf(user.claims, 'nats')
  const accountKey = textOf(nats, 'issuer_account') ?? textOf(user.claims, 'issuer_account') ?? user.issuer
  const account = accountOf(accountKey, trust, nowSeconds)
  const signingKeys = listOf(sectionOf(account.claims, 'nats'), 'signing_keys').map(keyText)
  if (user.issuer !== accountKey && !signingKeys.includes(user.issuer))
    throw new Refusal('jwt_untrusted_signing_key')
  requireSignature(user, user.issuer, 'account')
  const expiresAt = numberOf(user.claims, 'exp')
  if (expiresAt !== undefined && nowSeconds >= expiresAt) throw new Refusal('jwt_expired')
  const notBefore = numberOf(user.claims, 'nbf')
  if (notBefore !== undefined && nowSeconds < notBefore) throw new Refusal('jwt_not_before')
  return {
    kind: 'valid',
    user: subject.text,
    expiresAtMs: expiresAt === undefined ? undefined : expiresAt * 1000,
    permissions: permissionsOf(user.claims),
  }
}

function accountOf(key: string, trust: JwtTrust, nowSeconds: number): Token {
  const jwt = trust.accounts.get(key)
  if (jwt === undefined) throw new Refusal('jwt_account_not_found')
  const account = readToken(jwt)
  if (account.subject !== key) throw new Refusal('invalid_jwt_account')
  if (!trust.operators.has(account.issuer)) throw new Refusal('jwt_untrusted_operator')
  requireSignature(account, account.issuer, 'operator')
  const expiresAt = numberOf(account.claims, 'exp')
  if (expiresAt !== undefined && nowSeconds >= expiresAt) throw new Refusal('jwt_expired')
  return account
}

function readToken(jwt: string): Token {
  const parts = jwt.split('.')
  const [head = '', body = '', tail = ''] = parts
  if (parts.length !== 3) throw new Refusal('invalid_jwt_format')
  const header = readJson(head, 'invalid_jwt_header')
  if (textOf(header, 'alg')?.toLowerCase() !== 'ed25519-nkey') throw new Refusal('invalid_jwt_alg')
  const claims = readJson(body, 'invalid_jwt_claims')
  const signature = decodeBase64(tail)
  if (signature === undefined) throw new Refusal('invalid_jwt_base64')
  const issuer = textOf(claims, 'iss')?.toUpperCase()
  const subject = textOf(claims, 'sub')?.toUpperCase()
  if (issuer === undefined) throw new Refusal('invalid_jwt_issuer')
  if (subject === undefined) throw new Refusal('invalid_jwt_subject')
  return { claims, issuer, subject, signed: Buffer.from(`${head}.${body}`), signature }
}

function requireSignature(token: Token, issuer: string, kind: 'account' | 'operator'): void {
  const key = readNkey(issuer, kind)
  if (key.kind === 'bad') throw new Refusal('invalid_jwt_issuer')
  if (!isSignedBy(key.key, token.signed, token.signature)) throw new Refusal('invalid_jwt_signature')
}

function readJson(base64: string, problem: string): Claims {
  const bytes = decodeBase64(base64)
  if (bytes === undefined) throw new Refusal('invalid_jwt_base64')
  let value: unknown
  try {
    value = JSON.parse(bytes.toString())
  } catch {
    throw new Refusal(problem)
  }
  if (!isSection(value)) throw new Refusal(problem)
  return value
}

/** Those of the `nats` section; only where it has none, those beside it. */
function permissionsOf(claims: Claims): Permissions | undefined {
  const nats = sectionOf(claims, 'nats')
  const own = ['pub', 'sub', 'publish', 'subscribe'].some((name) => isSection(nats[name]))
  const from = own ? nats : sectionOf(claims, 'permissions')
  const publish = permissionList(from, 'pub', 'publish')
  const subscribe = permissionList(from, 'sub', 'subscribe')
  const count = [publish, subscribe].flatMap(({ allow, deny }) => [...allow, ...deny]).length
  if (count > MAX_PATTERNS) throw new Refusal('invalid_jwt_claims')
  return count === 0 ? undefined : new Permissions(publish, subscribe)
}

function permissionList(from: Claims, short: string, long: string): PermissionList {
  const section = isSection(from[short]) ? sectionOf(from, short) : sectionOf(from, long)
  return { allow: patternsOf(section, 'allow'), deny: patternsOf(section, 'deny') }
}

/** What is no list of texts must not pass for an empty one, which would allow everything. */
function patternsOf(section: Claims, name: string): string[] {
  const list = section[name]
  if (list === undefined || list === null) return []
  if (!Array.isArray(list) || !list.every((one) => typeof one === 'string'))
    throw new Refusal('invalid_jwt_claims')
  return list
}

function keyText(value: unknown): string {
  // A scoped key is an object around the key; what its template says is not evaluated, so it is not trusted either.
  return typeof value === 'string' ? value.toUpperCase() : ''
}

function sectionOf(claims: Claims, name: string): Claims {
  const value = claims[name]
  return isSection(value) ? value : {}
}

function listOf(claims: Claims, name: string): readonly unknown[] {
  const value = claims[name]
  return Array.isArray(value) ? value : []
}

function textOf(claims: Claims, name: string): string | undefined {
  const value = claims[name]
  return typeof value === 'string' && value !== '' ? value : undefined
}

function numberOf(claims: Claims, name: string): number | undefined {
  const value = claims[name]
  if (value === undefined || value === null) return undefined
  if (typeof value !== 'number' || !Number.isFinite(value)) throw new Refusal('invalid_jwt_claims')
  // Issuers write 0 for "never".
  return value === 0 ? undefined : value
}

function isSection(value: unknown): value is Claims {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
