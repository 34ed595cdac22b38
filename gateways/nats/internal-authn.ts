/**
 * The ways of NATS to say who one is: a token, a signature with an NKey, a JWT with one. Methods are asked in
 * order. One whose credential is not in CONNECT is passed over as long as somebody comes after it; a wrong one ends it.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import bcrypt from '@node-rs/bcrypt'
import { isPromise, type MaybePromise } from '../../model/async.ts'
import { BrokerError } from '../../model/errors.ts'
import type { InternalAuthnConfig } from './config.ts'
import type { ConnectPacket } from './info.ts'
import { checkUserJwt, type JwtOrigin, type JwtTrust } from './jwt.ts'
import { decodeBase64, isSignedBy, type NkeyKind, readNkey } from './nkey.ts'
import type { Permissions } from './permissions.ts'

export type InternalVerdict =
  | {
      kind: 'vouched'
      username: string
      permissions: Permissions | undefined
      expiresAtMs: number | undefined
    }
  | { kind: 'refused'; reason: string }
  /** No method had anything to go by: the gateway's authenticators decide. */
  | { kind: 'unasked' }

/** What a login is judged by. */
export interface Evidence {
  readonly packet: ConnectPacket
  readonly nonce: string | undefined
  readonly nowMs: number
  readonly origin: JwtOrigin
}

interface Method {
  /** Named when nobody is left to ask. */
  readonly missing: string
  /** @returns undefined if its credential is not there */
  check(evidence: Evidence): MaybePromise<InternalVerdict> | undefined
}

export class InternalAuthn {
  /** Whether INFO has to bring a nonce. */
  readonly signs: boolean
  readonly #methods: readonly Method[]

  /** @throws BrokerError CONFIG_INVALID, naming the entry */
  constructor(config: readonly InternalAuthnConfig[]) {
    this.#methods = config.map((entry, index) => methodOf(entry, `internal_authn[${index}]`))
    this.signs = config.some(({ type }) => type !== 'token')
  }

  get isEmpty(): boolean {
    return this.#methods.length === 0
  }

  /** @param hasMore - authenticators come after these methods */
  check(evidence: Evidence, hasMore: boolean): MaybePromise<InternalVerdict> {
    for (const method of this.#methods) {
      const verdict = method.check(evidence)
      if (verdict !== undefined) return verdict
    }
    const last = this.#methods.at(-1)
    return last === undefined || hasMore
      ? { kind: 'unasked' }
      : { kind: 'refused', reason: this.#methods.length === 1 ? last.missing : 'not_authorized' }
  }
}

function methodOf(config: InternalAuthnConfig, where: string): Method {
  switch (config.type) {
    case 'token':
      return tokenMethod(config.token)
    case 'nkey':
      return nkeyMethod(readKeys(config.nkeys, 'user', `${where}: nkeys`))
    case 'jwt':
      return jwtMethod({
        operators: readKeys(config.trusted_operators, 'operator', `${where}: trusted_operators`),
        accounts: readAccounts(config.resolver.resolver_preload, `${where}: resolver.resolver_preload`),
      })
  }
}

function tokenMethod(token: string): Method {
  const isHash = /^\$2[aby]\$/.test(token)
  return {
    missing: 'token_required',
    check({ packet }) {
      const given = packet.text('auth_token')
      if (given === undefined) return undefined
      const matches = isHash ? isHashed(given, token) : isEqual(given, token)
      return isPromise(matches) ? matches.then(tokenVerdict) : tokenVerdict(matches)
    },
  }
}

function tokenVerdict(matches: boolean): InternalVerdict {
  return matches ? vouchFor('token') : refuse('invalid_token')
}

/** A hash that bcrypt cannot read matches nothing. */
function isHashed(given: string, hash: string): Promise<boolean> {
  return bcrypt.verify(given, hash).catch(() => false)
}

function isEqual(a: string, b: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(a), digest(b))
}

function nkeyMethod(known: ReadonlySet<string>): Method {
  return {
    missing: 'nkey_required',
    check({ packet, nonce }) {
      const given = packet.text('nkey')
      // With a JWT the key belongs to it.
      if (given === undefined || packet.text('jwt') !== undefined) return undefined
      const key = readNkey(given, 'user')
      if (key.kind === 'bad') return refuse(key.problem)
      if (!known.has(key.text)) return refuse('invalid_nkey')
      const problem = signatureProblem(packet, nonce, key.key)
      return problem === undefined ? vouchFor(key.text) : refuse(problem)
    },
  }
}

function jwtMethod(trust: JwtTrust): Method {
  return {
    missing: 'jwt_required',
    check({ packet, nonce, nowMs, origin }) {
      const jwt = packet.text('jwt')
      if (jwt === undefined) return undefined
      const answer = checkUserJwt(jwt, trust, nowMs, origin)
      if (answer.kind === 'refused') return answer
      const { user, permissions, expiresAtMs, isBearer } = answer
      if (!isBearer && packet.text('sig') === undefined) return refuse('jwt_sig_required')
      const given = packet.text('nkey')
      if (given !== undefined && given.toUpperCase() !== user) return refuse('jwt_nkey_mismatch')
      const key = readNkey(user, 'user')
      const problem =
        key.kind === 'bad' ? key.problem : isBearer ? undefined : signatureProblem(packet, nonce, key.key)
      return problem === undefined
        ? { kind: 'vouched', username: user, permissions, expiresAtMs }
        : refuse(problem)
    },
  }
}

/** Why `sig` is not the signature of our nonce by `key`. */
function signatureProblem(
  packet: ConnectPacket,
  nonce: string | undefined,
  key: Uint8Array,
): string | undefined {
  const signature = packet.text('sig')
  if (signature === undefined) return 'nkey_sig_required'
  if (nonce === undefined) return 'nkey_nonce_unavailable'
  const bytes = decodeBase64(signature)
  if (bytes === undefined) return 'invalid_nkey_sig_format'
  return isSignedBy(key, Buffer.from(nonce), bytes) ? undefined : 'invalid_nkey_sig'
}

function vouchFor(username: string): InternalVerdict {
  return { kind: 'vouched', username, permissions: undefined, expiresAtMs: undefined }
}

function refuse(reason: string): InternalVerdict {
  return { kind: 'refused', reason }
}

function readKeys(texts: readonly string[], kind: NkeyKind, where: string): Set<string> {
  return new Set(texts.map((text, index) => canonical(text, kind, `${where}[${index}]`)))
}

function readAccounts(
  entries: readonly { pubkey: string; jwt: string }[],
  where: string,
): Map<string, string> {
  return new Map(
    entries.map(({ pubkey, jwt }, index) => [canonical(pubkey, 'account', `${where}[${index}].pubkey`), jwt]),
  )
}

function canonical(text: string, kind: NkeyKind, where: string): string {
  const key = readNkey(text, kind)
  if (key.kind === 'key') return key.text
  throw new BrokerError('CONFIG_INVALID', `${where}: "${text}" is no NKey of kind ${kind}: ${key.problem}`)
}
