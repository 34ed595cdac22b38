/**
 * Passwords as directories store them: `{ALG}base64`, where ALG is md5, sha, ssha, sha256, sha384 or sha512 in any case.
 * ssha is 20 bytes of SHA-1 and then the salt. The whole text may be base64 once more, as LDIF writes it after `::`.
 */
import { createHash, timingSafeEqual } from 'node:crypto'

export interface LdapPassword {
  /** As node:crypto calls it. */
  readonly digest: string
  readonly hash: Uint8Array
  readonly salt: Uint8Array
}

const DIGESTS: ReadonlyMap<string, readonly [digest: string, bytes: number]> = new Map([
  ['md5', ['md5', 16]],
  ['sha', ['sha1', 20]],
  ['ssha', ['sha1', 20]],
  ['sha256', ['sha256', 32]],
  ['sha384', ['sha384', 48]],
  ['sha512', ['sha512', 64]],
])
const BASE64 = '[A-Za-z0-9+/]+={0,2}'
const STORED = new RegExp(`^\\{([A-Za-z0-9]+)\\}(${BASE64})$`)
const ENCODED = new RegExp(`^${BASE64}$`)

/** Undefined for what is stored in another way. */
export function readLdapPassword(value: Uint8Array): LdapPassword | undefined {
  const text = Buffer.from(value).toString()
  return (
    readStored(text) ?? (ENCODED.test(text) ? readStored(Buffer.from(text, 'base64').toString()) : undefined)
  )
}

export function isLdapPassword(password: Uint8Array, { digest, hash, salt }: LdapPassword): boolean {
  const computed = createHash(digest).update(password).update(salt).digest()
  return timingSafeEqual(computed, hash)
}

function readStored(text: string): LdapPassword | undefined {
  const [, name = '', encoded = ''] = STORED.exec(text) ?? []
  const known = DIGESTS.get(name.toLowerCase())
  if (known === undefined) return undefined
  const [digest, length] = known
  const bytes = Buffer.from(encoded, 'base64')
  const isSalted = name.toLowerCase() === 'ssha'
  if (isSalted ? bytes.length < length : bytes.length !== length) return undefined
  return { digest, hash: bytes.subarray(0, length), salt: bytes.subarray(length) }
}
