// biome-ignore-all lint/suspicious/noTemplateCurlyInString: placeholders as operators write them
import { expect, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { formatConfig, redact } from '../../config/redact.ts'
import { configSchema } from '../../config/schema.ts'
import { writeConfig } from '../config/sample.ts'

test('what lets us into somebody else’s backend is not shown with the configuration', () => {
  const schema = configSchema()
  const file = writeConfig(`
authentication:
  - mechanism: password_based
    backend: http
    method: post
    url: 'http://a/auth'
    headers: { authorization: 'Bearer hush-1', x-api-key: hush-2 }
    body: { username: '\${username}' }
    ssl: { password: hush-3 }
  - { mechanism: jwt, use_jwks: true, endpoint: 'http://a/keys', headers: { authorization: hush-4 }, secret: hush-5 }
authorization:
  sources:
    - { type: http, method: get, url: 'http://a/', headers: { authorization: hush-6 } }
    - { type: redis, server: a, cmd: HGETALL a, password: hush-7, sentinel_password: hush-8 }
    - { type: mysql, server: a, database: d, query: SELECT 1, password: hush-9 }
listeners:
  tcp:
    own:
      bind: 1
      authentication:
        - { mechanism: password_based, backend: ldap, server: a, username: cn=a, password: hush-10, base_dn: dc=a }
`)
  const loaded = loadConfig({ schema, file, env: {} })
  const shown = formatConfig(redact(schema, loaded.config), loaded.sources)

  expect(shown).not.toContain('hush')
  expect(shown).toContain('authorization:')
  expect(JSON.stringify(loaded.config)).toContain('Bearer hush-1')
})
