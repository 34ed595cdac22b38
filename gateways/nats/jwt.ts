/**
 * User JWTs (NATS JWT v2): `header.payload.signature`, signed with Ed25519 NKeys.
 *
 *     user, signed by its account or one of the account's signing keys
 *       account, known from `resolver_preload`, signed by its operator
 *         operator, one of `trusted_operators`
 */
import { AccessRules } from '../../listeners/access-rules.ts'
import { decodeBase64, isSignedBy, readNkey } from './nkey.ts'
import { type PermissionList, Permissions } from './permissions.ts'

export interface JwtTrust {
  /** Canonical NKeys. */
  readonly operators: ReadonlySet<string>
  /** Account JWTs by the account's canonical NKey. */
  readonly accounts: ReadonlyMap<string, string>
}

/** Where a user comes from. */
export interface JwtOrigin {
  readonly host: string
  readonly isWebSocket: boolean
}

export type JwtAnswer =
  | {
      kind: 'valid'
      user: string
      expiresAtMs: number | undefined
      permissions: Permissions | undefined
      /** Who has the JWT need not show that it has the key as well. */
      isBearer: boolean
    }
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
const PERMISSIONS = ['pub', 'sub', 'publish', 'subscribe'] as const

export function checkUserJwt(jwt: string, trust: JwtTrust, nowMs: number, origin: JwtOrigin): JwtAnswer {
  try {
    return checked(jwt, trust, nowMs / 1000, origin)
  } catch (error) {
    if (error instanceof Refusal) return { kind: 'refused', reason: error.message }
    throw error
  }
}

function checked(jwt: string, trust: JwtTrust, nowSeconds: number, origin: JwtOrigin): JwtAnswer {
  const user = readToken(jwt)
  const subject = readNkey(user.subject, 'user')
  if (subject.kind === 'bad') throw new Refusal('invalid_jwt_subject')
  const nats = sectionOf(user.claims, 'nats')
  const issuedFor = textOf(nats, 'issuer_account') ?? textOf(user.claims, 'issuer_account') ?? user.issuer
  const accountKey = issuedFor.toUpperCase()
  const account = accountOf(accountKey, trust, nowSeconds)
  const ofAccount = sectionOf(account.claims, 'nats')
  const template = user.issuer === accountKey ? undefined : templateOf(user, ofAccount)
  const own = template ?? nats
  requireSignature(user, user.issuer, 'account')
  const expiresAt = numberOf(user.claims, 'exp')
  if (expiresAt !== undefined && nowSeconds >= expiresAt) throw new Refusal('jwt_expired')
  const notBefore = numberOf(user.claims, 'nbf')
  if (notBefore !== undefined && nowSeconds < notBefore) throw new Refusal('jwt_not_before')
  if (isRevoked(user, ofAccount)) throw new Refusal('jwt_revoked')
  refuseElsewhere(own, origin)
  const isBearer = own.bearer_token === true
  if (isBearer && sectionOf(ofAccount, 'limits').disallow_bearer === true)
    throw new Refusal('jwt_bearer_not_allowed')
  return {
    kind: 'valid',
    user: subject.text,
    expiresAtMs: expiresAt === undefined ? undefined : expiresAt * 1000,
    permissions: permissionsOf(template ?? user.claims, own, ofAccount),
    isBearer,
  }
}

/**
 * What the account says of all users that the signing key of this one signs, who may say nothing of it themselves.
 * @returns undefined if nothing: the key may sign what it likes
 * @throws Refusal if that is no signing key of the account
 */
function templateOf({ issuer, claims }: Token, ofAccount: Claims): Claims | undefined {
  for (const key of listOf(ofAccount, 'signing_keys')) {
    if (typeof key === 'string' && key.toUpperCase() === issuer) return undefined
    if (!isSection(key) || textOf(key, 'key')?.toUpperCase() !== issuer) continue
    const template = sectionOf(key, 'template')
    const ownWishes = [sectionOf(claims, 'nats'), sectionOf(claims, 'permissions')]
    if (key.kind !== 'user_scope' || ownWishes.some(isPermitting)) throw new Refusal('jwt_scope_violated')
    // `{{name()}}` and the like.
    if (JSON.stringify(template).includes('{{')) throw new Refusal('jwt_template_not_supported')
    return template
  }
  throw new Refusal('jwt_untrusted_signing_key')
}

/** The account has taken back what it issued up to some time, to this user or (`*`) to all. */
function isRevoked(user: Token, ofAccount: Claims): boolean {
  const issuedAt = numberOf(user.claims, 'iat') ?? 0
  return Object.entries(sectionOf(ofAccount, 'revocations')).some(
    ([who, at]) => (who === '*' || who.toUpperCase() === user.subject) && !(Number(at) < issuedAt),
  )
}

/** @throws Refusal where the user may not come from here, or only at times, which are not evaluated */
function refuseElsewhere(nats: Claims, { host, isWebSocket }: JwtOrigin): void {
  const { times, src } = nats
  if (isSaid(times) && !isEmptyList(times)) throw new Refusal('jwt_times_not_supported')
  const ways = textsOf(nats, 'allowed_connection_types')
  if (ways.length > 0 && !ways.some((way) => way.toUpperCase() === (isWebSocket ? 'WEBSOCKET' : 'STANDARD')))
    throw new Refusal('jwt_connection_type_not_allowed')
  // Older issuers write one text with commas.
  const sources = typeof src === 'string' ? src.split(',').filter(Boolean) : textsOf(nats, 'src')
  if (sources.length > 0 && !isFrom(sources, host)) throw new Refusal('jwt_source_not_allowed')
}

function isFrom(sources: readonly string[], host: string): boolean {
  if (!sources.every((source) => /^[\da-f.:]+(\/\d+)?$/i.test(source)))
    throw new Refusal('invalid_jwt_claims')
  try {
    return new AccessRules([...sources.map((source) => `allow ${source}`), 'deny all']).allows(host)
  } catch {
    throw new Refusal('invalid_jwt_claims')
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

/** Its own; only where it has none, those beside them, and then those that its account gives to all. */
function permissionsOf(claims: Claims, own: Claims, ofAccount: Claims): Permissions | undefined {
  const all = [own, sectionOf(claims, 'permissions')]
  const from = all.find(isPermitting) ?? sectionOf(ofAccount, 'default_permissions')
  if ([...all, from].some((one) => PERMISSIONS.some((name) => isSaid(one[name]) && !isSection(one[name]))))
    throw new Refusal('invalid_jwt_claims')
  const publish = permissionList(from, 'pub', 'publish')
  const subscribe = permissionList(from, 'sub', 'subscribe')
  const count = [publish, subscribe].flatMap(({ allow, deny }) => [...allow, ...deny]).length
  if (count > MAX_PATTERNS) throw new Refusal('invalid_jwt_claims')
  return count === 0 ? undefined : new Permissions(publish, subscribe)
}

function isPermitting(section: Claims): boolean {
  return PERMISSIONS.some((name) => isPermission(section[name]))
}

/** Issuers write empty sections and lists where there is nothing to say. */
function isPermission(value: unknown): boolean {
  return isSection(value) && [value.allow, value.deny].some((list) => isSaid(list) && !isEmptyList(list))
}

function isEmptyList(value: unknown): boolean {
  return Array.isArray(value) && value.length === 0
}

function permissionList(from: Claims, short: string, long: string): PermissionList {
  const section = isPermission(from[short]) ? sectionOf(from, short) : sectionOf(from, long)
  return { allow: textsOf(section, 'allow'), deny: textsOf(section, 'deny') }
}

function sectionOf(claims: Claims, name: string): Claims {
  const value = claims[name]
  return isSection(value) ? value : {}
}

function listOf(claims: Claims, name: string): readonly unknown[] {
  const value = claims[name]
  return Array.isArray(value) ? value : []
}

/** What is no list of texts must not pass for an empty one, which would allow everything. */
function textsOf(section: Claims, name: string): string[] {
  const list = section[name]
  if (!isSaid(list)) return []
  if (!Array.isArray(list) || !list.every((one) => typeof one === 'string'))
    throw new Refusal('invalid_jwt_claims')
  return list
}

function isSaid(value: unknown): boolean {
  return value !== undefined && value !== null
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
