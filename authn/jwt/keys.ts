/**
 * Keys that tokens are verified with. Each knows its algorithms, so a token cannot choose to be verified in another way
 * than its key is meant for (RFC 8725 §3.1): a public key is never a secret, and `none` is no algorithm at all.
 */
import { createPublicKey, createSecretKey, type JsonWebKey, type KeyObject } from 'node:crypto'
import { BrokerError, messageOf } from '../../model/errors.ts'

/** As jsonwebtoken knows them, and EdDSA. */
export type Algorithm = `${'HS' | 'RS' | 'PS' | 'ES'}${'256' | '384' | '512'}` | 'EdDSA'

export interface VerifyKey {
  readonly key: KeyObject
  readonly algorithms: ReadonlySet<string>
  /** `kid` of a JWK. */
  readonly id: string | undefined
}

const HMAC: readonly Algorithm[] = ['HS256', 'HS384', 'HS512']
const RSA_PSS: readonly Algorithm[] = ['PS256', 'PS384', 'PS512']
const RSA: readonly Algorithm[] = ['RS256', 'RS384', 'RS512', ...RSA_PSS]
const MIN_RSA_BITS = 2048 // RFC 7518 §3.3

/** RFC 7518 §3.4: each algorithm has its curve. */
const CURVES: ReadonlyMap<string, Algorithm> = new Map([
  ['prime256v1', 'ES256'],
  ['secp384r1', 'ES384'],
  ['secp521r1', 'ES512'],
])

/** @throws BrokerError CONFIG_INVALID, never with the secret in it */
export function secretKey(secret: string, isBase64: boolean): VerifyKey {
  const bytes = isBase64 ? fromBase64(secret) : Buffer.from(secret)
  if (bytes.length === 0) throw new BrokerError('CONFIG_INVALID', 'jwt: secret must not be empty')
  return { key: createSecretKey(bytes), algorithms: new Set(HMAC), id: undefined }
}

/**
 * @param pem - a public key or a certificate
 * @throws BrokerError CONFIG_INVALID
 */
export function publicKey(pem: string): VerifyKey {
  try {
    const key = createPublicKey(pem)
    return { key, algorithms: new Set(algorithmsOf(key)), id: undefined }
  } catch (error) {
    throw new BrokerError('CONFIG_INVALID', `jwt: public_key: ${messageOf(error)}`)
  }
}

/**
 * One entry of a JSON Web Key Set (RFC 7517 §4).
 * @throws Error that says why it cannot be used, without its content
 */
export function keyOfJwk(jwk: unknown): VerifyKey {
  if (typeof jwk !== 'object' || jwk === null) throw new Error('not an object')
  const { use, key_ops: operations, alg, kid } = jwk as Record<string, unknown>
  if (use !== undefined && use !== 'sig') throw new Error('not for signatures')
  if (Array.isArray(operations) && !operations.includes('verify')) throw new Error('not for verifying')
  // createPublicKey takes no secrets (kty oct), and of a private key its public half.
  const key = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' })
  const algorithms = algorithmsOf(key).filter((algorithm) => alg === undefined || algorithm === alg)
  if (algorithms.length === 0) throw new Error('for another algorithm')
  return { key, algorithms: new Set(algorithms), id: typeof kid === 'string' ? kid : undefined }
}

/** @throws Error for a key that no algorithm takes */
function algorithmsOf({
  asymmetricKeyType: type,
  asymmetricKeyDetails: details,
}: KeyObject): readonly Algorithm[] {
  switch (type) {
    case 'rsa':
    case 'rsa-pss':
      if ((details?.modulusLength ?? 0) < MIN_RSA_BITS)
        throw new Error(`an RSA key needs ${MIN_RSA_BITS} bits at least`)
      return type === 'rsa' ? RSA : RSA_PSS
    case 'ec': {
      const algorithm = CURVES.get(details?.namedCurve ?? '')
      if (algorithm === undefined) throw new Error('its curve is not P-256, P-384 or P-521')
      return [algorithm]
    }
    case 'ed25519':
    case 'ed448':
      return ['EdDSA']
    default:
      throw new Error(`keys of type ${type} sign no tokens`)
  }
}

function fromBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  // Node passes over what is no base64, and another secret would be the result.
  if (/^[A-Za-z0-9+/_-]*={0,2}\s*$/.test(text)) return bytes
  throw new BrokerError('CONFIG_INVALID', 'jwt: secret is not base64, as secret_base64_encoded says')
}
