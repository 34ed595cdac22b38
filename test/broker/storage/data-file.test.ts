import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, test } from 'vitest'
import { checkDataFile, DATA_TABLES, exportData, importData } from '../../../broker/storage/data-file.ts'
import { recordKey } from '../../../broker/storage/record-key.ts'
import type { RecordKind, RecordStore, StoredRecord } from '../../../broker/storage/record-store.ts'
import { temporaryDirectory } from '../../config/sample.ts'
import { FakeRecords } from './support.ts'

type Row = readonly [table: RecordKind, owner: string, id: string, value: string]

/** Of every table, with whatever an id may hold. */
const ROWS: readonly Row[] = [
  ['sessions', 'c1', '0', 'session'],
  ['sessions', 'c1', 'd1', 'delivery'],
  ['sessions', 'stomp\0c2', '0', ''],
  ['messages', '', 'm1', 'message'],
  ['retained', '', 'a/\u2028b\u2029\ud800/"\\', 'retained'],
  ['wills', '', 'c1', 'will'],
  ['node_wills', '', 'c1', 'node will'],
  ['delayed', '', '0000000000000001', 'delayed'],
  ['bans', '', 'clientid x', '{}'],
  ['users', '', 'password_based mqtt:global ann', '{}'],
  ['rules', '', 'r', '{}'],
  ['overrides', '', 'o', '{}'],
]

async function filled(rows: readonly Row[]): Promise<RecordStore> {
  const records = new FakeRecords()
  await records.open()
  await records.commit(
    rows.map(([table, owner, id, value]) => {
      return { key: recordKey(table, owner, id), table, owner, id, value: Buffer.from(value) }
    }),
  )
  return records
}

async function rowsOf(records: RecordStore): Promise<Row[]> {
  const found: StoredRecord[] = []
  for (const table of DATA_TABLES) for await (const chunk of records.scan(table)) found.push(...chunk)
  return found.map(({ table, owner, id, value }) => [table, owner, id, value.toString()])
}

function written(content: string): string {
  const path = join(temporaryDirectory(), 'data.jsonl')
  writeFileSync(path, content)
  return path
}

const exported = async (records: RecordStore) => written(await text(exportData(records, 'n@h')))

test('what was exported comes back as it was', async () => {
  const file = await exported(await filled(ROWS))
  expect([...(await checkDataFile(file)).values()].reduce((a, b) => a + b)).toBe(ROWS.length)
  const target = await filled([])
  const { written: count, skipped } = await importData(target, file, { replace: false })
  expect(await rowsOf(target)).toEqual(await rowsOf(await filled(ROWS)))
  expect(count.get('sessions')).toBe(3)
  expect(skipped.size).toBe(0)
})

test('what is there already stays as it is, sessions as a whole', async () => {
  const file = await exported(await filled(ROWS))
  const target = await filled([
    ['sessions', 'c1', '0', 'mine'],
    ['users', '', 'password_based mqtt:global ann', 'mine'],
    ['bans', '', 'clientid y', 'mine'],
  ])
  const { skipped } = await importData(target, file, { replace: false })
  expect(Object.fromEntries(skipped)).toEqual({ sessions: 2, users: 1 })
  const rows = await rowsOf(target)
  expect(rows.filter(([, owner]) => owner === 'c1')).toEqual([['sessions', 'c1', '0', 'mine']])
  expect(rows.filter(([table]) => table === 'users')).toEqual([
    ['users', '', 'password_based mqtt:global ann', 'mine'],
  ])
  expect(rows.filter(([table]) => table === 'bans')).toHaveLength(2)
})

test('replacing leaves what the file holds, and nothing else', async () => {
  const file = await exported(await filled(ROWS))
  const target = await filled([
    ['sessions', 'c1', 's#', 'mine'],
    ['bans', '', 'clientid y', 'mine'],
  ])
  await importData(target, file, { replace: true })
  expect(await rowsOf(target)).toEqual(await rowsOf(await filled(ROWS)))
})

test('shared messages are written before the sessions that need them', async () => {
  const file = await exported(await filled(ROWS))
  const target = new FakeRecords()
  await importData(target, file, { replace: false })
  expect(target.commits[0]?.map(({ table }) => table)).toEqual(['messages'])
  const session = target.commits[1]?.filter(({ owner }) => owner === 'c1')
  expect(session).toHaveLength(2)
})

const HEADER = '{"format":"hubbub-data","version":1,"records":1,"node":"n@h","at":""}'
const BAN = '{"table":"bans","id":"x","value":""}'

test.each([
  ['', 'line 1: the file is empty'],
  ['user_id,password\n', 'line 1: not an object in JSON'],
  ['{"format":"other"}\n', 'line 1: not a file of "hubbub data export"'],
  ['{"format":"hubbub-data","version":2,"records":1}\n', 'line 1: written as version 2'],
  [`${HEADER}\n${BAN}\n`, 'line 2: the file was cut short'],
  [`${HEADER}\n${BAN}\n{"end":2}\n`, 'line 3: expected 2 records, found 1'],
  [`${HEADER}\n{"end":0}\n${BAN}\n`, 'line 3: nothing may follow'],
  [`${HEADER}\n{"table":"meta","id":"x","value":""}\n`, 'line 2: there is no table "meta"'],
  [`${HEADER}\n{"table":"bans","owner":"x","id":"x","value":""}\n`, 'line 2: records of bans: wrong owner'],
  [`${HEADER}\n{"table":"sessions","id":"x","value":""}\n`, 'line 2: records of sessions: wrong owner'],
  [`${HEADER}\n{"table":"bans","id":1,"value":""}\n`, 'line 2: owner and id must be text'],
  [`${HEADER}\n{"table":"bans","id":"x","value":"a b"}\n`, 'line 2: value must be text in base64'],
  [`${HEADER}\n{"table":"users","id":"x","value":"secr`, 'line 2: not an object in JSON'],
])('%j is refused', async (content, words) => {
  const error: unknown = await checkDataFile(written(content)).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(words) })
  expect(String(error)).not.toContain('secr')
})
