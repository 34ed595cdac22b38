import { expect, test } from 'vitest'
import { type Migration, openFormat } from '../../../broker/storage/record-format.ts'
import { recordKey } from '../../../broker/storage/record-key.ts'
import { silentLogger } from '../../../model/log.ts'
import { FakeRecords } from './support.ts'

const versionOf = ({ records }: FakeRecords) => records.get(recordKey('meta', '', 'format'))?.value.toString()

/** Appends the version to the only ban. */
function migration(from: number): Migration {
  return {
    from,
    async migrate(records) {
      for await (const [record] of records.scan('bans')) {
        if (record === undefined) continue
        const value = Buffer.from(`${record.value.toString()} from ${from}`)
        await records.commit([{ ...record, key: recordKey('bans', '', record.id), value }])
      }
    },
  }
}

test('a new store is marked with the version, and opens again', async () => {
  const records = new FakeRecords()
  await openFormat(records, silentLogger)
  expect(versionOf(records)).toBe('{"format":"hubbub","version":1}')
  await openFormat(records, silentLogger)
  expect(records.commits.length).toBe(1)
})

test.each([
  ['{"format":"hubbub","version":2}', /storage memory is version 2, a newer one: this build reads version 1/],
  ['{"format":"other","version":1}', /'other' 1/],
  ['garbage', /reads version 1 of its own format/],
])(
  'what was written by a newer build or something else is refused and left alone: %s',
  async (mark, message) => {
    const records = new FakeRecords()
    records.set('meta', '', 'format', mark)
    await expect(openFormat(records, silentLogger)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(message),
    })
    expect(records.commits).toEqual([])
  },
)

test('records without a mark are somebody else’s, unless the mark was lost with other things', async () => {
  const records = new FakeRecords()
  records.set('bans', '', 'a', 'x')
  await expect(openFormat(records, silentLogger)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  records.wasRepaired = true
  await openFormat(records, silentLogger)
  expect(versionOf(records)).toContain('"version":1')
})

test('an older store is brought on, one version after the other', async () => {
  const records = new FakeRecords()
  records.set('meta', '', 'format', '{"format":"hubbub","version":1}')
  records.set('bans', '', 'a', 'x')
  await openFormat(records, silentLogger, 3, [migration(2), migration(1)])
  expect(versionOf(records)).toContain('"version":3')
  expect(records.records.get(recordKey('bans', '', 'a'))?.value.toString()).toBe('x from 1 from 2')
})

test('an interrupted migration goes on from where it was', async () => {
  const records = new FakeRecords()
  records.set('meta', '', 'format', '{"format":"hubbub","version":1}')
  records.set('bans', '', 'a', 'x')
  const fails: Migration = { from: 2, migrate: () => Promise.reject(new Error('killed')) }
  await expect(openFormat(records, silentLogger, 3, [migration(1), fails])).rejects.toThrow('killed')
  expect(versionOf(records)).toContain('"version":2')
  await openFormat(records, silentLogger, 3, [migration(1), migration(2)])
  expect(records.records.get(recordKey('bans', '', 'a'))?.value.toString()).toBe('x from 1 from 2')
})

test('a version that is too old to be migrated is refused', async () => {
  const records = new FakeRecords()
  records.set('meta', '', 'format', '{"format":"hubbub","version":1}')
  await expect(openFormat(records, silentLogger, 3, [migration(2)])).rejects.toMatchObject({
    message: expect.stringContaining('version 1, which is too old'),
  })
})
