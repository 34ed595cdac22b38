/** What a token whose signature is good must say, and what it makes of its client. */
import { compileText, type Template } from '../../connectors/template.ts'
import { clientValues } from '../../connectors/variables.ts'
import type { Login, Principal, Rule } from '../../model/access.ts'
import { BrokerError, messageOf } from '../../model/errors.ts'
import { type ClaimsReader, principalOf } from '../claims.ts'
import type { JwtConfig, WantedClaims } from './config.ts'
import type { Payload } from './token.ts'

type Wanted = readonly { readonly name: string; readonly value: Template<string> }[]

/** Times are for us to look at, as times. */
const TIMES = ['exp', 'nbf', 'iat']
const NUMERIC_TEXT = /^\d{1,15}(?:\.\d+)?$/

/** Why a token does not do, in words without anything of the token. */
export type Judged = { readonly principal: Principal } | { readonly problem: string }

export class ClaimChecks {
  readonly #wanted: Wanted
  readonly #config: Pick<JwtConfig, 'acl_claim_name' | 'disconnect_after_expire'>
  readonly #reader: ClaimsReader
  readonly #now: () => number

  /**
   * @param onUnknown - told each placeholder that is none
   * @throws BrokerError CONFIG_INVALID
   */
  constructor(config: JwtConfig, reader: ClaimsReader, onUnknown: (placeholder: string) => void) {
    this.#config = config
    this.#reader = reader
    this.#now = reader.now ?? Date.now
    this.#wanted = wantedOf(config.verify_claims, onUnknown)
  }

  judge(payload: Payload, login: Login): Judged {
    const [expiresAt, notBefore] = [secondsOf(payload, 'exp'), secondsOf(payload, 'nbf')]
    if (expiresAt === 'unusable' || notBefore === 'unusable') return { problem: 'exp or nbf is not a time' }
    const now = this.#now()
    if (expiresAt !== undefined && expiresAt * 1000 <= now) return { problem: 'it has expired' }
    if (notBefore !== undefined && notBefore * 1000 > now) return { problem: 'it is not valid yet' }
    const missing = this.#missing(payload, login)
    if (missing !== undefined) return { problem: `claim ${missing} is missing or not as it must be` }
    try {
      return { principal: this.#principal(payload, expiresAt) }
    } catch (error) {
      return { problem: messageOf(error) }
    }
  }

  /** The first claim that is not as it must be. */
  #missing(payload: Payload, { client }: Login): string | undefined {
    if (this.#wanted.length === 0) return undefined
    const values = clientValues(client)
    return this.#wanted.find(({ name, value }) => !fits(claimOf(payload, name), value.render(values), name))
      ?.name
  }

  #principal(payload: Payload, expiresAt: number | undefined): Principal {
    const { acl_claim_name: aclName, disconnect_after_expire: disconnects } = this.#config
    const claims = {
      is_superuser: claimOf(payload, 'is_superuser'),
      client_attrs: claimOf(payload, 'client_attrs'),
      clientid_override: claimOf(payload, 'clientid_override'),
      acl: claimOf(payload, aclName),
    }
    const principal = principalOf(claims, this.#reader)
    if (expiresAt === undefined) return principal
    if (disconnects) return { ...principal, expiresAtMs: expiresAt * 1000 }
    if (principal.acl === undefined) return principal
    return { ...principal, acl: [this.#nothingFrom(expiresAt * 1000), ...principal.acl] }
  }

  /** Who stays after its token has expired may do nothing by its rules (authz.md 3). */
  #nothingFrom(atMs: number): Rule {
    const isOver = { test: () => this.#now() >= atMs }
    return {
      permission: 'deny',
      who: { kind: 'clientid', is: isOver },
      action: 'all',
      topics: [{ kind: 'all' }],
    }
  }
}

function wantedOf(claims: WantedClaims, onUnknown: (placeholder: string) => void): Wanted {
  const list = isList(claims) ? claims : Object.entries(claims).map(([name, value]) => ({ name, value }))
  const time = list.find(({ name }) => TIMES.includes(name))
  if (time !== undefined)
    throw new BrokerError(
      'CONFIG_INVALID',
      `jwt: verify_claims: ${time.name} is always looked at, and not here`,
    )
  const rules = { allowed: ['username', 'clientid'], onUnknown }
  return list.map(({ name, value }) => ({ name, value: compileText(value, rules) }))
}

function isList(claims: WantedClaims): claims is readonly { name: string; value: string }[] {
  return Array.isArray(claims)
}

/** Never what every object has. */
function claimOf(payload: Payload, name: string): unknown {
  return Object.hasOwn(payload, name) ? payload[name] : undefined
}

/** RFC 7519 §4.1.3: a token may be for several audiences. */
function fits(claim: unknown, wanted: string, name: string): boolean {
  if (name === 'aud' && Array.isArray(claim)) return claim.includes(wanted)
  return claim === wanted
}

function secondsOf(payload: Payload, name: string): number | 'unusable' | undefined {
  const claim = claimOf(payload, name)
  if (claim === undefined) return undefined
  const seconds = typeof claim === 'string' && NUMERIC_TEXT.test(claim) ? Number(claim) : claim
  return typeof seconds === 'number' && Number.isFinite(seconds) ? seconds : 'unusable'
}
