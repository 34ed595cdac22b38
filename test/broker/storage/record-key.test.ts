import { expect, test } from 'vitest'
import { keyRange, parseKey, recordKey } from '../../../broker/storage/record-key.ts'
import type { RecordKind } from '../../../broker/storage/record-store.ts'

/** What could be taken for a separator, an escape or a part of a surrogate pair. */
const PIECES = [
  '',
  '\0',
  '\u0001',
  '\u0002',
  '!',
  '0',
  '1',
  '2',
  'a',
  '\u0001d83d',
  'ä',
  '\uffff',
  '😀',
  '\ud83d',
  '\udc00',
]
const TEXTS = PIECES.flatMap((a) => PIECES.map((b) => a + b))
const UNIQUE = [...new Set(TEXTS)]

const compare = (a: string, b: string) => Buffer.compare(Buffer.from(a), Buffer.from(b))

test('every owner and id has a key of its own, and comes back from it', () => {
  const seen = new Set<string>()
  const wrong: string[] = []
  for (const owner of UNIQUE) {
    for (const id of UNIQUE) {
      const bytes = Buffer.from(recordKey('sessions', owner, id))
      seen.add(bytes.toString('latin1'))
      const back = parseKey(bytes.toString())
      if (back?.table !== 'sessions' || back.owner !== owner || back.id !== id) wrong.push(owner + id)
    }
  }
  expect(wrong).toEqual([])
  expect(seen.size).toBe(UNIQUE.length ** 2)
})

test('keys are in the order of owner and id as UTF-8', () => {
  const wellFormed = UNIQUE.filter((text) => Buffer.from(text).toString() === text).sort(compare)
  const expected = wellFormed.flatMap((owner) => wellFormed.map((id) => recordKey('sessions', owner, id)))
  expect([...expected].sort(compare)).toEqual(expected)
})

test('the records of an owner are not interrupted by those of another', () => {
  const keys = UNIQUE.flatMap((owner) => UNIQUE.map((id) => recordKey('sessions', owner, id))).sort(compare)
  const owners = keys.map((key) => parseKey(key)?.owner)
  const changes = owners.filter((owner, i) => owner !== owners[i - 1])
  expect(changes.length).toBe(UNIQUE.length)
})

test('tables do not overlap', () => {
  const tables: RecordKind[] = ['meta', 'sessions', 'messages', 'retained', 'wills', 'node_wills']
  const others: RecordKind[] = ['delayed', 'bans', 'users', 'rules', 'overrides']
  const all = [...tables, ...others]
  for (const table of all) {
    const { gte, lt } = keyRange(table)
    const inside = all.filter((other) => {
      const key = recordKey(other, '\uffff', '\uffff')
      return compare(key, gte) >= 0 && compare(key, lt) < 0
    })
    expect(inside).toEqual([table])
  }
})

test('what is no key is not taken for one', () => {
  expect(parseKey('')).toBeUndefined()
  expect(parseKey('s without an end')).toBeUndefined()
  expect(parseKey('\u0007a\0b')).toBeUndefined()
})
