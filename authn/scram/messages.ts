/**
 * The four messages of SCRAM (RFC 5802 §7), without channel binding:
 *
 *     client-first  = ( "n" / "y" ) "," [ "a=" saslname ] "," "n=" saslname ",r=" nonce [ "," extensions ]
 *     server-first  = "r=" nonce ",s=" base64 ",i=" number
 *     client-final  = "c=" base64 ",r=" nonce [ "," extensions ] ",p=" base64
 *     server-final  = "v=" base64
 *
 * The part of client-first up to the second comma is the GS2 header; client-final repeats it in `c`.
 */
import { BrokerError } from '../../model/errors.ts'

export interface ClientFirst {
  readonly gs2Header: string
  /** Without the GS2 header. */
  readonly bare: string
  /** As it was sent, escapes undone. */
  readonly username: string
  readonly nonce: string
}

export interface ClientFinal {
  /** What `c` holds, decoded. */
  readonly gs2Header: string
  readonly nonce: string
  readonly proof: Buffer
  readonly withoutProof: string
}

/** More than any honest message needs; names and nonces of a kilobyte fit. */
export const MAX_MESSAGE_BYTES = 4096

const FIRST =
  /^((n|y|p=[A-Za-z0-9.-]+),(?:a=([^,]+))?,)((m=[^,]*,)?n=([^,]+),r=([!-+\--~]+)(?:,[A-Za-z]=[^,]+)*)$/
const FINAL = /^(c=([A-Za-z0-9+/=]+),r=([!-+\--~]+)(?:,[A-Za-z]=[^,]+)*),p=([A-Za-z0-9+/=]+)$/
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @throws BrokerError PROTOCOL_VIOLATED for one that is none, or that wants what we have not */
export function parseClientFirst(data: Uint8Array | undefined): ClientFirst {
  const match = FIRST.exec(textOf(data))
  if (match === null) throw wrong('the first message is malformed')
  const [, gs2Header = '', flag, authzid, bare = '', mandatory, saslName = '', nonce = ''] = match
  if (flag !== 'n' && flag !== 'y') throw wrong('it wants channel binding')
  if (mandatory !== undefined) throw wrong('it wants an extension that is not known') // §5.1, m
  const username = nameOf(saslName)
  if (authzid !== undefined && nameOf(authzid) !== username) throw wrong('it wants to be somebody else')
  return { gs2Header, bare, username, nonce }
}

/** @throws BrokerError PROTOCOL_VIOLATED */
export function parseClientFinal(data: Uint8Array | undefined): ClientFinal {
  const match = FINAL.exec(textOf(data))
  if (match === null) throw wrong('the final message is malformed')
  const [, withoutProof = '', binding = '', nonce = '', proof = ''] = match
  return {
    gs2Header: fromBase64(binding).toString('latin1'),
    nonce,
    proof: fromBase64(proof),
    withoutProof,
  }
}

export function serverFirst(nonce: string, salt: Buffer, iterations: number): string {
  return `r=${nonce},s=${salt.toString('base64')},i=${iterations}`
}

export function serverFinal(signature: Buffer): string {
  return `v=${signature.toString('base64')}`
}

function textOf(data: Uint8Array | undefined): string {
  if (data === undefined) throw wrong('there is no message')
  if (data.length > MAX_MESSAGE_BYTES) throw wrong('the message is too long')
  try {
    return UTF8.decode(data)
  } catch {
    throw wrong('the message is not UTF-8')
  }
}

/** §5.1: a comma is written `=2C`, an equals sign `=3D`, and no other `=` is allowed. */
function nameOf(saslName: string): string {
  if (/=(?!2C|3D)/.test(saslName)) throw wrong('the name holds a stray =')
  return saslName.replaceAll('=2C', ',').replaceAll('=3D', '=')
}

function fromBase64(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64')
  if (bytes.toString('base64') !== text) throw wrong('base64 is malformed')
  return bytes
}

function wrong(why: string): BrokerError {
  return new BrokerError('PROTOCOL_VIOLATED', `SCRAM: ${why}`)
}
