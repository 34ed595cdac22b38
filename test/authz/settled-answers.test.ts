import { expect, test } from 'vitest'
import { SettledAnswers } from '../../authz/settled-answers.ts'
import type { Permission } from '../../model/access.ts'
import { clientOf } from '../authn/fixtures.ts'

const PLAIN = { kind: 'publish', qos: 0, retain: false } as const
const RETAINED = { kind: 'publish', qos: 2, retain: true } as const

test('each client is asked for once about each way to publish, until it is forgotten', () => {
  const asked: string[] = []
  const answers = new SettledAnswers(({ clientId }, { qos }): Permission | undefined => {
    asked.push(`${clientId} ${qos}`)
    return qos === 0 ? 'allow' : undefined
  })
  const [a, b] = [clientOf({ clientId: 'a' }), clientOf({ clientId: 'b' })]
  const said = () => [a, b, a].map((client) => [answers.get(client, PLAIN), answers.get(client, RETAINED)])
  const expected = Array.from({ length: 3 }, () => ['allow', undefined])

  expect([said(), said()]).toEqual([expected, expected])
  expect(asked).toEqual(['a 0', 'a 2', 'b 0', 'b 2'])
  answers.forget(a)
  expect(said()).toEqual(expected)
  expect(asked).toEqual(['a 0', 'a 2', 'b 0', 'b 2', 'a 0', 'a 2'])
  answers.clear()
  expect(said()).toEqual(expected)
  expect(asked).toHaveLength(10)
})

test('a failure is no answer', () => {
  const answers = new SettledAnswers(() => {
    throw new Error('broken rule')
  })
  const client = clientOf({})
  expect([answers.get(client, PLAIN), answers.get(client, PLAIN)]).toEqual([undefined, undefined])
})
