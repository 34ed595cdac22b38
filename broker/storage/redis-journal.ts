/**
 * A batch as one value: it is put into a Redis Cluster before its records are, which are in as many slots as there are
 * sessions. Whoever finds it after a crash writes all of it again; doing so twice changes nothing.
 *
 *     u8   version
 *     then for each record
 *     u32  length, key
 *     u32  length + 1, value             0: it is deleted
 */
import { parseKey } from './record-key.ts'
import { expectVersion, RecordReader } from './record-reader.ts'
import type { RecordWrite } from './record-store.ts'

const VERSION = 1

export function encodeJournal(writes: readonly RecordWrite[]): Buffer {
  const parts: Uint8Array[] = [Buffer.of(VERSION)]
  for (const { key, value } of writes) {
    const keyBytes = Buffer.from(key)
    const head = Buffer.allocUnsafe(8 + keyBytes.length)
    const at = head.writeUInt32BE(keyBytes.length)
    head.set(keyBytes, at)
    head.writeUInt32BE(value === undefined ? 0 : value.length + 1, at + keyBytes.length)
    parts.push(head)
    if (value !== undefined) parts.push(value)
  }
  return Buffer.concat(parts)
}

/** @throws RangeError for what `encodeJournal` has not made */
export function decodeJournal(bytes: Buffer): RecordWrite[] {
  const reader = new RecordReader(bytes)
  expectVersion(reader, VERSION)
  const writes: RecordWrite[] = []
  while (reader.at < bytes.length) {
    const key = reader.text(reader.u32())
    const place = parseKey(key)
    if (place === undefined) throw new RangeError('journal with a key of an unknown kind')
    const length = reader.u32()
    writes.push({ key, ...place, value: length === 0 ? undefined : reader.slice(length - 1) })
  }
  return writes
}
