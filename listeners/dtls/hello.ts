/**
 * What can be read from datagrams before they are decrypted. A datagram holds records, a record of a handshake
 * holds messages (RFC 6347 4.1, 4.2.2):
 *
 *     record:  type 1 | version 2 | epoch 2 | sequence 6 | length 2 | ...
 *     message: type 1 | length 3 | sequence 2 | fragment offset 3 | fragment length 3 | ...
 */
const RECORD_HEADER = 13
const MESSAGE_HEADER = 12
const HANDSHAKE = 22
const CLIENT_HELLO = 1
const CLIENT_KEY_EXCHANGE = 16
const RANDOM_AT = RECORD_HEADER + MESSAGE_HEADER + 2
const RANDOM_BYTES = 32
/** Longest identity that OpenSSL takes is 256; RSA's encrypted secret, which begins alike, is no shorter. */
const MAX_IDENTITY_BYTES = 255

/**
 * The random number of the ClientHello in the clear that a datagram begins with: repetitions of a hello have
 * the same one, a client that starts anew has another. Undefined for any other datagram.
 */
export function clientRandom(datagram: Buffer): string | undefined {
  if (datagram.length < RANDOM_AT + RANDOM_BYTES || !isClearHandshake(datagram, 0)) return undefined
  if (datagram[RECORD_HEADER] !== CLIENT_HELLO) return undefined
  return datagram.toString('latin1', RANDOM_AT, RANDOM_AT + RANDOM_BYTES)
}

/** The identity in a ClientKeyExchange (RFC 4279 2): sent in the clear, so its key can be fetched before it is needed. */
export function pskIdentity(datagram: Buffer): string | undefined {
  let at = 0
  while (at + RECORD_HEADER <= datagram.length) {
    const end = at + RECORD_HEADER + datagram.readUInt16BE(at + 11)
    if (end > datagram.length) return undefined
    if (isClearHandshake(datagram, at)) {
      const identity = identityInRecord(datagram, at + RECORD_HEADER, end)
      if (identity !== undefined) return identity
    }
    at = end
  }
  return undefined
}

/** The sequence number of the record a datagram begins with. */
export function sequenceOf(datagram: Buffer): number {
  return datagram.length < RECORD_HEADER ? 0 : datagram.readUIntBE(5, 6)
}

/** Adds to the sequence numbers of all records in the clear. Nothing vouches for those, so they may be changed. */
export function renumber(datagram: Buffer, by: number): void {
  let at = 0
  while (at + RECORD_HEADER <= datagram.length) {
    if (datagram.readUInt16BE(at + 3) === 0)
      datagram.writeUIntBE(datagram.readUIntBE(at + 5, 6) + by, at + 5, 6)
    at += RECORD_HEADER + datagram.readUInt16BE(at + 11)
  }
}

function identityInRecord(datagram: Buffer, from: number, end: number): string | undefined {
  let at = from
  while (at + MESSAGE_HEADER <= end) {
    const body = at + MESSAGE_HEADER
    const next = body + datagram.readUIntBE(at + 9, 3)
    if (next > end) return undefined
    const isFirstFragment = datagram.readUIntBE(at + 6, 3) === 0
    if (datagram[at] === CLIENT_KEY_EXCHANGE && isFirstFragment && body + 2 <= next) {
      const length = datagram.readUInt16BE(body)
      if (length > MAX_IDENTITY_BYTES || body + 2 + length > next) return undefined
      return datagram.toString('utf8', body + 2, body + 2 + length)
    }
    at = next
  }
  return undefined
}

function isClearHandshake(datagram: Buffer, at: number): boolean {
  return datagram[at] === HANDSHAKE && datagram.readUInt16BE(at + 3) === 0
}
