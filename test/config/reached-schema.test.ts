import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect, test } from 'vitest'
import { reachedBy } from '../../config/reached-schema.ts'
import { configSchema } from '../../config/schema.ts'
import { asNode } from '../../config/walk.ts'
import { problemsOf, sampleSchema } from './sample.ts'

test('of a config without listeners and authenticators a small part of the schema is left', () => {
  const whole = asNode(configSchema())
  const size = (schema: unknown) => JSON.stringify(schema).length
  expect(size(reachedBy(whole, [{}]))).toBeLessThan(size(whole) / 10)
})

test('variants that are used are left, with what they have in common', () => {
  const jwt = { authentication: [{ mechanism: 'jwt', secret: 'x' }] }
  const items = reachedBy(asNode(sampleSchema), [jwt]).properties?.authentication?.items
  expect(items?.oneOf).toHaveLength(1)
  expect(items?.oneOf?.[0]?.properties?.timeout).toMatchObject({ default: '5s' })
})

test('a variant that does not exist is told with all there are', () => {
  expect(problemsOf('authentication: [{ mechanism: jwt, secret: x }, { mechanism: jwtt }]')).toEqual([
    'hubbub.yaml:1:62: authentication.2.mechanism: expected one of password_based, jwt, found "jwtt", did you mean jwt?',
  ])
})

test('defaults within defaults are filled in', () => {
  const tree = { listeners: { tcp: { a: {} } } }
  const ajv = new Ajv2020({ useDefaults: true, strict: false, discriminator: true })
  ajv.compile(reachedBy(asNode(sampleSchema), [tree]))(tree)
  expect(tree).toMatchObject({
    listeners: { tcp: { a: { bind: 1883, max_connections: 'infinity' } } },
    mqtt: { idle_timeout: '15s', max_qos: 2 },
    authentication: [],
  })
})
