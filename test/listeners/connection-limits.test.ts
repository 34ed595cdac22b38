import { expect, test } from 'vitest'
import { AccessRules } from '../../listeners/access-rules.ts'
import { ConnectionGate } from '../../listeners/connection-limits.ts'

const limits = (maxConnections: number, count: number, rules: string[] = []) => ({
  rules: new AccessRules(rules),
  maxConnections,
  maxConnRate: { count, perMs: 1000 },
})

test('a place becomes free when somebody leaves', () => {
  const gate = new ConnectionGate(limits(2, Number.POSITIVE_INFINITY))
  expect(['a', 'b', 'c'].map((host) => gate.admit(host))).toEqual(['admitted', 'admitted', 'limit'])
  gate.left()
  expect(gate.admit('d')).toBe('admitted')
  expect(gate.counters).toMatchObject({ current: 2, accepted: 3, refusedByLimit: 1 })
})

test('the rate lets a burst through, then so many per second', () => {
  let now = 0
  const gate = new ConnectionGate(limits(100, 3), () => now)
  const burst = () => [1, 2, 3, 4].map(() => gate.admit('a')).filter((answer) => answer === 'admitted').length
  expect(burst()).toBe(3)
  now += 340
  expect(burst()).toBe(1)
  now += 60_000
  expect(burst()).toBe(3)
  expect(gate.counters.refusedByRate).toBe(5)
})

test('a refused peer takes nothing from the rate', () => {
  const gate = new ConnectionGate(limits(100, 1, ['deny 10.0.0.1']), () => 0)
  expect([gate.admit('10.0.0.1'), gate.admit('10.0.0.1'), gate.admit('10.0.0.2')]).toEqual([
    'rule',
    'rule',
    'admitted',
  ])
  expect(gate.counters.refusedByRule).toBe(2)
})

test('new limits count at once and drop nobody', () => {
  const gate = new ConnectionGate(limits(10, 100), () => 0)
  gate.admit('a')
  gate.admit('b')
  gate.update(limits(1, 100))
  expect([gate.counters.current, gate.admit('c')]).toEqual([2, 'limit'])
  gate.update(limits(10, Number.POSITIVE_INFINITY))
  expect(gate.admit('c')).toBe('admitted')
})

test('a burst lets more through for once', () => {
  const now = 0
  const maxConnBurst = { count: 2, perMs: 60_000 }
  const gate = new ConnectionGate({ ...limits(100, 1), maxConnBurst }, () => now)
  const answers = [1, 2, 3, 4].map(() => gate.admit('a'))
  expect(answers).toEqual(['admitted', 'admitted', 'admitted', 'rate'])
})
