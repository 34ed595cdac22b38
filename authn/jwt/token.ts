/** Signed tokens in compact form (RFC 7515 §3.1): three pieces of base64url, with dots between them. */
import { verify as verifySignature } from 'node:crypto'
import jwt, { type Algorithm } from 'jsonwebtoken'
import type { VerifyKey } from './keys.ts'

/** What a client can send as a password or user name. */
export const MAX_TOKEN_CHARS = 65_535

export interface TokenHeader {
  readonly algorithm: string
  /** `kid` */
  readonly keyId: string | undefined
}

export type Payload = Readonly<Record<string, unknown>>

/** @returns undefined for what is no signed token, or wants to be understood in a way that we do not know */
export function headerOf(token: string): TokenHeader | undefined {
  if (token.length > MAX_TOKEN_CHARS || !/^[\w-]+\.[\w-]+\.[\w-]+$/.test(token)) return undefined
  const header = objectIn(token.slice(0, token.indexOf('.')))
  // RFC 7515 §4.1.11: what is said to be critical must be understood.
  if (header === undefined || typeof header.alg !== 'string' || Object.hasOwn(header, 'crit'))
    return undefined
  return { algorithm: header.alg, keyId: typeof header.kid === 'string' ? header.kid : undefined }
}

/**
 * @param header - of the very token
 * @returns what the token says if the key has signed it and it is an object. Times in it are not looked at
 */
export function payloadOf(
  token: string,
  header: TokenHeader,
  { key, algorithms }: VerifyKey,
): Payload | undefined {
  const { algorithm } = header
  if (!algorithms.has(algorithm)) return undefined
  if (algorithm === 'EdDSA')
    return isSignedByEdwards(token, key) ? objectIn(token.split('.')[1] ?? '') : undefined
  try {
    const payload = jwt.verify(token, key, {
      algorithms: [algorithm as Algorithm],
      ignoreExpiration: true,
      ignoreNotBefore: true,
    })
    return isObject(payload) ? payload : undefined
  } catch {
    return undefined
  }
}

/** RFC 8037 §3.1, which jsonwebtoken does not know. */
function isSignedByEdwards(token: string, key: VerifyKey['key']): boolean {
  const dot = token.lastIndexOf('.')
  return verifySignature(
    null,
    Buffer.from(token.slice(0, dot)),
    key,
    Buffer.from(token.slice(dot + 1), 'base64url'),
  )
}

function objectIn(piece: string): Payload | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(piece, 'base64url').toString())
    return isObject(value) ? value : undefined
  } catch {
    return undefined
  }
}

function isObject(value: unknown): value is Payload {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
