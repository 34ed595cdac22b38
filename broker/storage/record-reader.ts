/** Reads the fields of a record one after the other, and cannot leave it. Every method throws RangeError at its end. */
export class RecordReader {
  readonly bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  u8(): number {
    return this.bytes.readUInt8(this.at++)
  }

  u16(): number {
    this.at += 2
    return this.bytes.readUInt16BE(this.at - 2)
  }

  u32(): number {
    this.at += 4
    return this.bytes.readUInt32BE(this.at - 4)
  }

  f64(): number {
    this.at += 8
    return this.bytes.readDoubleBE(this.at - 8)
  }

  text(length: number): string {
    const start = this.#skip(length)
    return this.bytes.toString('utf8', start, this.at)
  }

  /** Text whose bytes are only compared, or known to be ASCII: no decoding. */
  latin1(length: number): string {
    const start = this.#skip(length)
    return this.bytes.toString('latin1', start, this.at)
  }

  /** The bytes themselves, not a copy. */
  slice(length: number): Buffer {
    const start = this.#skip(length)
    return this.bytes.subarray(start, this.at)
  }

  #skip(length: number): number {
    const start = this.at
    if (start + length > this.bytes.length) throw new RangeError('record is cut short')
    this.at = start + length
    return start
  }
}

/** Every record begins with the version of its layout. @throws RangeError for one that this build does not know */
export function expectVersion(reader: RecordReader, known: number): void {
  const version = reader.u8()
  if (version !== known) throw new RangeError(`record of version ${version}, known is ${known}`)
}
