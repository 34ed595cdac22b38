/**
 * What is kept of a password for SCRAM, and what can be proved with it (RFC 5802 §3):
 *
 *     SaltedPassword  = PBKDF2(password, salt, iterations)
 *     StoredKey       = H(HMAC(SaltedPassword, "Client Key"))     ServerKey = HMAC(SaltedPassword, "Server Key")
 *     ClientProof     = ClientKey XOR HMAC(StoredKey, AuthMessage)
 *     ServerSignature = HMAC(ServerKey, AuthMessage)
 *
 * Written down it is `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, as in RFC 5803.
 */
import { createHash, createHmac, pbkdf2, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

export type ScramHash = 'sha256' | 'sha512'

/** On the wire and in what is kept. */
export const METHODS: Readonly<Record<ScramHash, string>> = {
  sha256: 'SCRAM-SHA-256',
  sha512: 'SCRAM-SHA-512',
}

export const KEY_BYTES: Readonly<Record<ScramHash, number>> = { sha256: 32, sha512: 64 }

export interface Credential {
  readonly hash: ScramHash
  readonly iterations: number
  readonly salt: Buffer
  readonly storedKey: Buffer
  readonly serverKey: Buffer
}

const derive = promisify(pbkdf2)

/** @param password - after `saslPrep` */
export async function credentialOf(
  password: string,
  { hash, iterations, salt }: Pick<Credential, 'hash' | 'iterations' | 'salt'>,
): Promise<Credential> {
  const salted = await derive(password, salt, iterations, KEY_BYTES[hash], hash)
  const storedKey = createHash(hash)
    .update(hmac(hash, salted, 'Client Key'))
    .digest()
  return { hash, iterations, salt, storedKey, serverKey: hmac(hash, salted, 'Server Key') }
}

/** Whether the proof shows that the client has the password. Takes as long for a wrong one. */
export function isProved({ hash, storedKey }: Credential, authMessage: string, proof: Uint8Array): boolean {
  if (proof.length !== KEY_BYTES[hash]) return false
  const clientKey = hmac(hash, storedKey, authMessage)
  for (const [i, byte] of proof.entries()) clientKey[i] = (clientKey[i] as number) ^ byte
  return timingSafeEqual(createHash(hash).update(clientKey).digest(), storedKey)
}

/** Shows the client that we know its password too. */
export function serverSignature({ hash, serverKey }: Credential, authMessage: string): Buffer {
  return hmac(hash, serverKey, authMessage)
}

export function formatCredential({ hash, iterations, salt, storedKey, serverKey }: Credential): string {
  const [s, stored, server] = [salt, storedKey, serverKey].map((bytes) => bytes.toString('base64'))
  return `${METHODS[hash]}$${iterations}:${s}$${stored}:${server}`
}

const WRITTEN = /^SCRAM-SHA-(256|512)\$([1-9]\d{0,7}):([\w+/]+={0,2})\$([\w+/]+={0,2}):([\w+/]+={0,2})$/

/** @returns undefined for what `formatCredential` has not written */
export function parseCredential(text: string): Credential | undefined {
  const match = WRITTEN.exec(text)
  if (match === null) return undefined
  const [, bits, iterations, ...encoded] = match
  const hash: ScramHash = bits === '256' ? 'sha256' : 'sha512'
  const [salt, storedKey, serverKey] = encoded.map((part) => Buffer.from(part, 'base64'))
  if (salt === undefined || storedKey?.length !== KEY_BYTES[hash] || serverKey?.length !== KEY_BYTES[hash])
    return undefined
  return { hash, iterations: Number(iterations), salt, storedKey, serverKey }
}

function hmac(hash: ScramHash, key: Uint8Array, text: string): Buffer {
  return createHmac(hash, key).update(text).digest()
}
