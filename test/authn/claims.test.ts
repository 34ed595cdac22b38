import { expect, test } from 'vitest'
import { clientAttributes, isTrue, principalOf } from '../../authn/claims.ts'
import { Complaints } from '../../connectors/complaints.ts'
import { loginOf, recordingLog } from './fixtures.ts'

test.each([true, 'true', 1, 2, '1', '7', 1n])('%o makes a superuser', (value) => {
  expect(isTrue(value)).toBe(true)
})

test.each([
  false,
  'false',
  'TRUE',
  'yes',
  0,
  -1,
  0.5,
  1.5,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  '0',
  '-1',
  '1.5',
  ' 1',
  '',
  0n,
  null,
  undefined,
  {},
  [],
  [1],
])('%o does not', (value) => {
  expect(isTrue(value)).toBe(false)
})

test('attributes are texts with names that placeholders can have', () => {
  expect(clientAttributes({ a: '1', 'b-c_D': '', n: 1, o: {}, 'a b': 'x', _a: 'x', '-a': 'x' })).toEqual(
    new Map([
      ['a', '1'],
      ['b-c_D', ''],
    ]),
  )
  for (const value of [undefined, null, 'a', ['a'], 1]) expect(clientAttributes(value)).toEqual(new Map())
})

test('rules that nobody can read are not left out', () => {
  expect(() => principalOf({ acl: [] }, {})).toThrow('acl cannot be read here')
  expect(principalOf({ acl: null, expire_at: null }, {})).toEqual({ isSuperuser: false })
})

test('the same complaint is made once a minute, whoever it is about', () => {
  const { log, lines } = recordingLog()
  const complaints = new Complaints(log)
  for (let i = 0; i < 100; i++) {
    complaints.say('one', loginOf({ client: { clientId: `c${i}` } }), String(i))
    complaints.say('other', loginOf())
  }
  expect(lines).toEqual([
    { level: 'warn', fields: { clientId: 'c0' }, text: 'one: 0' },
    { level: 'warn', fields: { clientId: 'c1' }, text: 'other' },
  ])
})
