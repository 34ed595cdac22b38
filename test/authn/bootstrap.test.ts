import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { parseUsers, readUsersFile } from '../../authn/bootstrap.ts'
import { parseCsv } from '../../model/csv.ts'
import { temporaryDir } from './fixtures.ts'

test('CSV: quotes, doubled quotes, commas and line ends in quotes, CRLF, empty fields and lines, a byte order mark', () => {
  const text = '\uFEFFa,b,c\r\n1,"two, ""2""",\n\n"x\ny",,z\nlast,"",""'
  expect(parseCsv(text)).toEqual([
    { line: 1, fields: ['a', 'b', 'c'] },
    { line: 2, fields: ['1', 'two, "2"', ''] },
    { line: 4, fields: ['x\ny', '', 'z'] },
    { line: 6, fields: ['last', '', ''] },
  ])
  expect(parseCsv('')).toEqual([])
  expect(parseCsv('a,')).toEqual([{ line: 1, fields: ['a', ''] }])
  expect(parseCsv('it"s,5" pipe')).toEqual([{ line: 1, fields: ['it"s', '5" pipe'] }])
})

test.each([
  ['a\n"b', 'line 2: a quote is not closed'],
  ['a\n"b"c', 'line 2: expected a comma'],
])('CSV: %j is refused', (text, message) => {
  expect(() => parseCsv(text)).toThrow(message)
})

test('plain users from CSV, columns in any order', () => {
  expect(
    parseUsers('is_superuser,user_id,password\ntrue,ann,"a,b"\nfalse,bob,x\n1,cleo,y\n', 'csv', 'plain'),
  ).toEqual([
    { userId: 'ann', isSuperuser: true, secret: { kind: 'plain', password: 'a,b' }, where: 'line 2' },
    { userId: 'bob', isSuperuser: false, secret: { kind: 'plain', password: 'x' }, where: 'line 3' },
    { userId: 'cleo', isSuperuser: false, secret: { kind: 'plain', password: 'y' }, where: 'line 4' },
  ])
})

test('hashed users from CSV', () => {
  const text = 'user_id,password_hash,salt,is_superuser\nann,abcd,salt,true\nbob,ef01,,false'
  expect(parseUsers(text, 'csv', 'hash').map(({ secret }) => secret)).toEqual([
    { kind: 'hash', hash: 'abcd', salt: 'salt' },
    { kind: 'hash', hash: 'ef01', salt: '' },
  ])
})

test('users from JSON', () => {
  const plain = '[{"user_id":"ann","password":"x","is_superuser":true},{"user_id":"bob","password":"y"}]'
  expect(parseUsers(plain, 'json', 'plain')).toEqual([
    { userId: 'ann', isSuperuser: true, secret: { kind: 'plain', password: 'x' }, where: 'user 1' },
    { userId: 'bob', isSuperuser: false, secret: { kind: 'plain', password: 'y' }, where: 'user 2' },
  ])
  const hash = '[{"user_id":"ann","password_hash":"h","salt":"s","is_superuser":"true","namespace":""}]'
  expect(parseUsers(hash, 'json', 'hash')).toMatchObject([
    { isSuperuser: true, secret: { hash: 'h', salt: 's' } },
  ])
})

test.each([
  ['csv', 'plain', '', 'line 1: expected the header user_id,password,is_superuser'],
  ['csv', 'plain', 'user_id,is_superuser\n', 'line 1: the header has no password'],
  ['csv', 'plain', 'user_id,password,colour\n', 'line 1: unexpected column "colour"'],
  ['csv', 'plain', 'user_id,password,user_id\n', 'line 1: unexpected column "user_id"'],
  ['csv', 'hash', 'user_id,password\n', 'line 1: the header has no password_hash'],
  ['csv', 'plain', 'user_id,password\nann\n', 'line 2: expected 2 fields, found 1'],
  ['csv', 'plain', 'user_id,password\n\nann,b,c\n', 'line 3: expected 2 fields, found 3'],
  ['csv', 'plain', 'user_id,password\n,b\n', 'line 2: user_id is missing or empty'],
  ['csv', 'plain', 'user_id,password\na,\n', 'line 2: password is missing or empty'],
  ['csv', 'plain', 'user_id,password\na,b\nb,c\na,d\n', 'line 4: user "a" was at line 2 already'],
  ['csv', 'plain', 'user_id,password,namespace\na,b,ns\n', 'line 2: namespaces are not supported'],
  ['json', 'plain', '[\n{"user_id": "a",\n]', 'line 3: not JSON'],
  ['json', 'plain', '{}', 'expected a JSON array'],
  ['json', 'plain', '[1]', 'user 1: expected an object'],
  ['json', 'plain', '[{"user_id":"a","password":1}]', 'user 1: password must be text'],
  [
    'json',
    'plain',
    '[{"user_id":"a","password":"b"},{"user_id":"a","password":"b"}]',
    'user 2: user "a" was at user 1',
  ],
  ['json', 'hash', '[{"user_id":"a","password":"b"}]', 'user 1: unexpected field "password"'],
] as const)('refused: %s %s %j', (format, type, text, message) => {
  expect(() => parseUsers(text, format, type)).toThrow(message)
})

test('the format follows the file’s name, errors name the file', async () => {
  const dir = temporaryDir()
  writeFileSync(join(dir, 'u.JSON'), '[{"user_id":"a","password":"b"}]')
  writeFileSync(join(dir, 'u.csv'), 'user_id,password\na')
  expect(await readUsersFile(join(dir, 'u.JSON'), 'plain')).toHaveLength(1)
  await expect(readUsersFile(join(dir, 'u.csv'), 'plain')).rejects.toThrow(`${join(dir, 'u.csv')}: line 2`)
  await expect(readUsersFile(join(dir, 'none.csv'), 'plain')).rejects.toThrow(/none\.csv/)
})
