import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openLdap } from '../../connectors/ldap.ts'
import type { LdapConfig } from '../../connectors/ldap-config.ts'
import { compileDn, compileLdapFilter } from '../../connectors/template.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { requireService, skipNote } from '../support/services.ts'
import { ADMIN_DN, Slapd } from '../support/slapd.ts'
import { connectorContract } from './contract.ts'
import { ALLOWED, contextOf, NASTY, opened, randomTexts, valuesOf } from './support.ts'
import { NO_TLS } from './support-config.ts'

const service = requireService('slapd')
const PEOPLE = 'ou=people,dc=example,dc=org'
const person = (uid: string, more = '') =>
  `dn: uid=${uid},${PEOPLE}\nobjectClass: inetOrgPerson\nuid: ${uid}\ncn: ${uid}\nsn: ${uid}\n${more}\n`
const LDIF = `dn: ${PEOPLE}\nobjectClass: organizationalUnit\nou: people\n\n${person(
  'alice',
  'userPassword: wonderland\njpegPhoto:: /9j/4A==\n',
)}${person('bob', 'userPassword: builder\n')}`
const FILTER = compileLdapFilter('(&(objectClass=inetOrgPerson)(uid=${username}))', ALLOWED)
const DN = compileDn(`uid=\${username},${PEOPLE}`, ALLOWED)

describe.skipIf(service.skip)(`LDAP${skipNote(service)}`, () => {
  let server: Slapd

  beforeAll(async () => {
    server = await Slapd.start(LDIF)
  })

  afterAll(() => server?.stop())

  const configOf = (more: Partial<LdapConfig> = {}): LdapConfig => ({
    server: server.address,
    username: ADMIN_DN,
    password: 'ldap-secret',
    pool_size: 8,
    connect_timeout: 5000,
    request_timeout: 10_000,
    query_timeout: 5000,
    auto_reconnect: true,
    ssl: NO_TLS,
    ...more,
  })
  const search = (filter: string) => ({ baseDn: PEOPLE, filter })

  connectorContract('ldap', {
    backend: () => server,
    secret: 'ldap-secret',
    open: (
      address,
      { timeoutMs = 5000, password = 'ldap-secret', poolSize = 8, reconnects = true },
      context,
    ) =>
      openLdap(
        'password_based:ldap',
        configOf({
          server: address,
          query_timeout: timeoutMs,
          password,
          pool_size: poolSize,
          auto_reconnect: reconnects,
        }),
        context,
      ),
    ask: (connector, signal) => connector.search(search('(uid=alice)'), signal),
  })

  test('entries come with their attributes as bytes', async () => {
    const connector = await opened(openLdap('ldap', configOf(), contextOf()))
    const [alice, ...others] = await connector.search(search('(uid=alice)'))
    expect(others).toEqual([])
    expect(alice?.dn).toBe(`uid=alice,${PEOPLE}`)
    expect(alice?.attributes.get('userpassword')).toEqual([Buffer.from('wonderland')])
    expect(alice?.attributes.get('jpegphoto')).toEqual([Buffer.from('/9j/4A==', 'base64')])
    expect(await connector.search({ baseDn: 'ou=nowhere,dc=example,dc=org', filter: '(uid=*)' })).toEqual([])
    const named = await connector.search({ ...search('(uid=alice)'), attributes: ['cn'] })
    expect([...(named[0]?.attributes.keys() ?? [])]).toEqual(['cn'])
  })

  test('more entries than expected are a failure', async () => {
    const connector = await opened(openLdap('ldap', configOf(), contextOf()))
    expect(await connector.search({ ...search('(uid=*)'), sizeLimit: 2 })).toHaveLength(2)
    await expect(connector.search({ ...search('(uid=*)'), sizeLimit: 1 })).rejects.toThrow(
      'more than 1 entries',
    )
  })

  test('a bind says whether it is the password, and the pool stays who it is', async () => {
    const connector = await opened(openLdap('ldap', configOf({ pool_size: 1 }), contextOf()))
    expect(await connector.bind(`uid=alice,${PEOPLE}`, 'wonderland')).toBe(true)
    expect(await connector.bind(`uid=alice,${PEOPLE}`, 'builder')).toBe(false)
    expect(await connector.bind(`uid=nobody,${PEOPLE}`, 'builder')).toBe(false)
    expect(await connector.bind('not a name', 'builder')).toBe(false)
    expect(await connector.search(search('(uid=bob)'))).toHaveLength(1)
  })

  test('an empty password, or an empty name, is nobody', async () => {
    const connector = await opened(openLdap('ldap', configOf(), contextOf()))
    expect(await connector.bind(`uid=alice,${PEOPLE}`, '')).toBe(false)
    expect(await connector.bind('', 'wonderland')).toBe(false)
  })

  test('an attribute is compared by the directory', async () => {
    const connector = await opened(openLdap('ldap', configOf(), contextOf()))
    const compare = (attribute: string, value: string) =>
      connector.compare(`uid=alice,${PEOPLE}`, attribute, value)
    expect(await compare('cn', 'alice')).toBe(true)
    expect(await compare('cn', 'bob')).toBe(false)
    expect(await compare('mail', 'alice')).toBe(false)
    expect(await connector.compare(`uid=nobody,${PEOPLE}`, 'cn', 'nobody')).toBe(false)
  })

  test('no value changes a filter or a name', async () => {
    const connector = await opened(openLdap('ldap', configOf({ pool_size: 1 }), contextOf()))
    // Directories do not see a difference in blanks around a word, nor in case (RFC 4518 §2.6).
    const texts = [...NASTY, '\0', 'alice\0', ...randomTexts(150, 13)].filter(
      (text) => text.trim() !== 'alice',
    )
    for (const text of texts) {
      const values = valuesOf({ username: text })
      const found = await connector
        .search(search(FILTER.render(values)))
        .catch((error: unknown) => String(error))
      expect([found, JSON.stringify(text)]).toEqual([[], JSON.stringify(text)])
      const byName = await connector
        .search({ baseDn: DN.render(values), filter: '(objectClass=*)', scope: 'base' })
        .catch((error: unknown) => String(error))
      if (typeof byName === 'string') expect(byName, JSON.stringify(text)).toContain('InvalidDNSyntax')
      else expect([byName, JSON.stringify(text)]).toEqual([[], JSON.stringify(text)])
      expect(await connector.bind(DN.render(values), 'wonderland'), JSON.stringify(text)).toBe(false)
    }
    expect(await connector.search(search(FILTER.render(valuesOf({ username: 'bob' }))))).toHaveLength(1)
    expect(await connector.bind(DN.render(valuesOf({ username: 'alice' })), 'wonderland')).toBe(true)
    expect(connector.status.state).toBe('connected')
  })
})

describe.skipIf(service.skip)(`LDAP over TLS${skipNote(service)}`, () => {
  let certs: Certs
  let server: Slapd

  beforeAll(async () => {
    certs = makeCerts()
    server = await Slapd.start(LDIF, { certs })
  })

  afterAll(() => server?.stop())

  test('the certificate must be of a known authority and of the host', async () => {
    const config = (ssl: object): LdapConfig => ({
      server: server.address,
      username: ADMIN_DN,
      password: 'ldap-secret',
      pool_size: 1,
      connect_timeout: 5000,
      request_timeout: 10_000,
      query_timeout: 5000,
      auto_reconnect: true,
      ssl: { ...NO_TLS, enable: true, cacertfile: certs.ca, ...ssl },
    })
    const connector = await opened(openLdap('ldap', config({}), contextOf()))
    expect(await connector.search({ baseDn: PEOPLE, filter: '(uid=alice)' })).toHaveLength(1)
    expect(await connector.bind(`uid=alice,${PEOPLE}`, 'wonderland')).toBe(true)
    for (const wrong of [
      { cacertfile: certs.strangerCert },
      { server_name_indication: 'ldap.example.org' },
    ]) {
      const other = await opened(openLdap('ldap', config(wrong), contextOf()))
      await expect(other.search({ baseDn: PEOPLE, filter: '(uid=alice)' })).rejects.toMatchObject({
        code: 'BACKEND_FAILED',
      })
      await expect(other.bind(`uid=alice,${PEOPLE}`, 'wonderland')).rejects.toMatchObject({
        code: 'BACKEND_FAILED',
      })
    }
  })
})
