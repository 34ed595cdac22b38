import { isUtf8 } from 'node:buffer'
import { cutShort, malformed } from './mqtt-error.ts'

/**
 * Walks the body of one packet and cannot leave it. Each read names its field, so
 * that an error says what was missing. All integers are big endian (MQTT 5.0 §1.5).
 */
export class Reader {
  readonly buf: Buffer
  at: number
  end: number

  constructor(buf: Buffer, at: number, end: number) {
    this.buf = buf
    this.at = at
    this.end = end
  }

  get left(): number {
    return this.end - this.at
  }

  u8(field: string): number {
    if (this.end - this.at < 1) throw cutShort(field)
    return this.buf[this.at++] as number
  }

  u16(field: string): number {
    if (this.end - this.at < 2) throw cutShort(field)
    const value = this.buf.readUInt16BE(this.at)
    this.at += 2
    return value
  }

  u32(field: string): number {
    if (this.end - this.at < 4) throw cutShort(field)
    const value = this.buf.readUInt32BE(this.at)
    this.at += 4
    return value
  }

  /** Variable byte integer, 0 to 268435455 (§1.5.5). */
  varint(field: string): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.u8(field)
      value |= (byte & 0x7f) << shift
      if (byte >= 0x80) continue
      // [MQTT-1.5.5-1] the shortest form has no empty last byte
      if (byte === 0 && shift > 0) throw malformed(`${field} is not in its shortest form`)
      return value
    }
    throw malformed(`${field} is longer than 4 bytes`)
  }

  /** Bytes behind a two-byte length: a copy, so it may be kept (§1.5.6). */
  binary(field: string): Uint8Array {
    const from = this.#sized(field)
    return new Uint8Array(this.buf.subarray(from, this.at))
  }

  /** UTF-8 text behind a two-byte length (§1.5.4). */
  string(field: string): string {
    const from = this.#sized(field)
    return readUtf8(this.buf, from, this.at, field)
  }

  /** Nothing may follow what was read. */
  done(packet: string): void {
    if (this.at !== this.end) throw malformed(`${packet} has ${this.end - this.at} bytes too many`)
  }

  /** Steps over a length and that many bytes. @returns where these began */
  #sized(field: string): number {
    if (this.end - this.at < 2) throw cutShort(`${field} length`)
    const from = this.at + 2
    const to = from + this.buf.readUInt16BE(this.at)
    if (to > this.end) throw cutShort(field)
    this.at = to
    return from
  }
}

/**
 * Strictly validated text. A byte order mark is kept as U+FEFF [MQTT-1.5.4-3].
 * @throws MqttError FRAME_MALFORMED
 */
export function readUtf8(buf: Buffer, start: number, end: number, field: string): string {
  let bits = 0
  for (let i = start; i < end; i++) {
    const byte = buf[i] as number
    // [MQTT-1.5.4-2] no U+0000
    if (byte === 0) throw malformed(`${field} contains U+0000`)
    bits |= byte
  }
  if (bits < 0x80) return buf.toString('latin1', start, end)
  // [MQTT-1.5.4-1] ill-formed UTF-8, which includes encoded surrogates
  if (!isUtf8(buf.subarray(start, end))) throw malformed(`${field} is not valid UTF-8`)
  return buf.toString('utf8', start, end)
}
