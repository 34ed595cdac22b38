import { expect, test } from 'vitest'
import { AccessRules, plainHost } from '../../listeners/access-rules.ts'
import { BrokerError } from '../../model/errors.ts'

test.each([
  { rules: [], host: '10.0.0.1', allowed: true },
  { rules: ['allow all'], host: '10.0.0.1', allowed: true },
  { rules: ['deny all'], host: '10.0.0.1', allowed: false },
  { rules: ['deny 10.0.0.0/8'], host: '10.255.0.1', allowed: false },
  { rules: ['deny 10.0.0.0/8'], host: '11.0.0.1', allowed: true },
  { rules: ['allow 192.168.1.7', 'deny all'], host: '192.168.1.7', allowed: true },
  { rules: ['allow 192.168.1.7', 'deny all'], host: '192.168.1.8', allowed: false },
  { rules: ['deny 10.0.0.1', 'allow 10.0.0.0/8', 'deny all'], host: '10.0.0.1', allowed: false },
  { rules: ['allow 10.0.0.0/8, deny all'], host: '11.0.0.1', allowed: false },
  { rules: ['deny 10.0.0.0/8'], host: '::ffff:10.0.0.1', allowed: false },
  { rules: ['deny ::ffff:10.0.0.0/104'], host: '10.0.0.1', allowed: false },
  { rules: ['deny 2001:db8::/32'], host: '2001:db8::1', allowed: false },
  { rules: ['deny 2001:db8::/32'], host: '2001:db9::1', allowed: true },
  { rules: ['deny ::/0'], host: '10.0.0.1', allowed: true },
  { rules: ['deny 0.0.0.0/0'], host: '::1', allowed: true },
  { rules: ['deny 0.0.0.0/0'], host: '1.2.3.4', allowed: false },
])('$rules lets $host in: $allowed', ({ rules, host, allowed }) => {
  expect(new AccessRules(rules).allows(host)).toBe(allowed)
})

test.each([
  'permit all',
  'deny',
  'deny 10.0.0.0/33',
  'deny 10.0.0',
  'deny 10.0.0.0/8/8',
  'deny ::1/129',
  'deny x',
  'allow all now',
])('the rule "%s" is refused with its text', (rule) => {
  const parse = () => new AccessRules(['allow 1.1.1.1', rule])
  expect(parse).toThrow(BrokerError)
  expect(parse).toThrow(`"${rule}"`)
})

test('an IPv4 peer of a dual-stack socket is written as IPv4', () => {
  expect(['::ffff:1.2.3.4', '::1', '1.2.3.4'].map(plainHost)).toEqual(['1.2.3.4', '::1', '1.2.3.4'])
})
