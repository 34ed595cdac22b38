/** Writing MQTT's data types (MQTT 5.0 §1.5) into a buffer that is known to be large enough. Each returns where it ended. */

/** Up to this many characters a loop beats the call into native code. */
const MAX_LOOP_CHARS = 32

/** Bytes a variable byte integer takes, 1 to 4 (§1.5.5). */
export function varintLength(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x20_0000 ? 3 : 4
}

/** Bytes of `text` in UTF-8, without the two for its length. */
export function utf8Length(text: string): number {
  const { length } = text
  if (length > MAX_LOOP_CHARS) return Buffer.byteLength(text)
  for (let i = 0; i < length; i++) if (text.charCodeAt(i) >= 0x80) return Buffer.byteLength(text)
  return length
}

/** [MQTT-1.5.5-1] in its shortest form. */
export function putVarint(buf: Buffer, at: number, value: number): number {
  let rest = value
  while (rest >= 0x80) {
    buf[at++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  buf[at++] = rest
  return at
}

export function putU16(buf: Buffer, at: number, value: number): number {
  buf[at] = value >>> 8
  buf[at + 1] = value & 0xff
  return at + 2
}

export function putU32(buf: Buffer, at: number, value: number): number {
  return buf.writeUInt32BE(value, at)
}

/** @param bytes - `utf8Length(text)`, at most 65535 */
export function putString(buf: Buffer, at: number, text: string, bytes: number): number {
  const from = putU16(buf, at, bytes)
  const isAscii = bytes === text.length
  if (!isAscii) buf.write(text, from, bytes, 'utf8')
  else if (bytes > MAX_LOOP_CHARS) buf.write(text, from, bytes, 'latin1')
  else for (let i = 0; i < bytes; i++) buf[from + i] = text.charCodeAt(i)
  return from + bytes
}

/** @param bytes - at most 65535 of them */
export function putBinary(buf: Buffer, at: number, bytes: Uint8Array): number {
  const from = putU16(buf, at, bytes.length)
  buf.set(bytes, from)
  return from + bytes.length
}
