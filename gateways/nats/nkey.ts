/**
 * NKeys: Ed25519 public keys as text. Base32 (RFC 4648, upper case, no padding) of a prefix byte, the 32 bytes
 * of the key, and their CRC-16 (XMODEM), low byte first: 56 characters, the first of which tells the kind.
 */
import { createPublicKey, verify } from 'node:crypto'

export type NkeyKind = 'operator' | 'account' | 'user'

/** Why a text is no NKey, by EMQX's names. */
export type NkeyProblem =
  | 'invalid_base32_char'
  | 'invalid_nkey_size'
  | 'invalid_nkey_crc'
  | 'invalid_nkey_prefix'

export type ReadNkey = { kind: 'key'; text: string; key: Uint8Array } | { kind: 'bad'; problem: NkeyProblem }

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'
const PREFIXES = { operator: 0x70, account: 0x00, user: 0xa0 } as const satisfies Record<NkeyKind, number>
const KEY_BYTES = 32
/** Prefix, key and checksum. */
const WHOLE_BYTES = 1 + KEY_BYTES + 2
const SIGNATURE_BYTES = 64
/** What stands before the 32 bytes of an Ed25519 key in DER (RFC 8410 §4). */
const DER_PREFIX = Buffer.from('302a300506032b6570032100', 'hex')

/** Reads a public NKey of the `kind`, in upper or lower case; `text` of the answer is the canonical one. */
export function readNkey(text: string, kind: NkeyKind): ReadNkey {
  const upper = text.toUpperCase()
  const bytes = decodeBase32(upper)
  if (bytes === undefined) return { kind: 'bad', problem: 'invalid_base32_char' }
  if (bytes.length !== WHOLE_BYTES) return { kind: 'bad', problem: 'invalid_nkey_size' }
  const body = bytes.subarray(0, WHOLE_BYTES - 2)
  if (crc16(body) !== bytes.readUInt16LE(WHOLE_BYTES - 2)) return { kind: 'bad', problem: 'invalid_nkey_crc' }
  if (body[0] !== PREFIXES[kind]) return { kind: 'bad', problem: 'invalid_nkey_prefix' }
  return { kind: 'key', text: upper, key: body.subarray(1) }
}

/** Whether `signature` is that of `data` by the owner of `key`. A key that is no point of the curve has signed nothing. */
export function isSignedBy(key: Uint8Array, data: Uint8Array, signature: Uint8Array): boolean {
  if (key.length !== KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false
  try {
    const publicKey = createPublicKey({ key: Buffer.concat([DER_PREFIX, key]), format: 'der', type: 'spki' })
    return verify(null, data, publicKey, signature)
  } catch {
    return false
  }
}

/** Base64url or plain base64, padded or not; undefined if it is neither. */
export function decodeBase64(text: string): Buffer | undefined {
  return /^[A-Za-z0-9+/_-]*={0,2}$/.test(text) ? Buffer.from(text, 'base64') : undefined
}

function decodeBase32(text: string): Buffer | undefined {
  const bytes = Buffer.alloc(Math.floor((text.length * 5) / 8))
  let at = 0
  let bits = 0
  let value = 0
  for (const char of text) {
    const digit = ALPHABET.indexOf(char)
    if (digit < 0) return undefined
    value = ((value << 5) | digit) & 0xfff
    bits += 5
    if (bits < 8) continue
    bits -= 8
    bytes[at++] = (value >> bits) & 0xff
  }
  return bytes
}

function crc16(bytes: Uint8Array): number {
  let crc = 0
  for (const byte of bytes) {
    crc ^= byte << 8
    for (let bit = 0; bit < 8; bit++) crc = (crc & 0x8000 ? (crc << 1) ^ 0x1021 : crc << 1) & 0xffff
  }
  return crc
}
