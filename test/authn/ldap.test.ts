import { createHash } from 'node:crypto'
import { createServer, type Server } from 'node:net'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { isLdapPassword, readLdapPassword } from '../../authn/ldap-password.ts'
import type { Verdict } from '../../model/access.ts'
import { requireService, skipNote } from '../support/services.ts'
import { ADMIN_DN, Slapd } from '../support/slapd.ts'
import { askOf, authenticatorContract, build, PASSWORD, readConfig, USERS } from './authenticator-contract.ts'
import { ALLOW, IGNORE, NOT_AUTHORIZED, recordingLog, WRONG_PASSWORD } from './fixtures.ts'

const slapd = requireService('slapd')
const PEOPLE = 'ou=people,dc=example,dc=org'
const OID = '1.3.6.1.4.1.11.2.53.2.2.3.1.2.3'

const text = (number: number, name: string) =>
  `attributetype ( ${OID}.${number} NAME '${name}' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )`
const bool = (number: number, name: string) =>
  `attributetype ( ${OID}.${number} NAME '${name}' EQUALITY booleanMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.7 SINGLE-VALUE )`
const SCHEMA = `${bool(1, 'isEnabled')}
${bool(2, 'isSuperuser')}
${text(3, 'mqttPublishTopic')}
${text(4, 'mqttSubscriptionTopic')}
${text(5, 'mqttPubSubTopic')}
${text(6, 'mqttAclRule')}
${text(7, 'mqttAclTtl')}
objectclass ( ${OID}.9 NAME 'mqttUser' AUXILIARY MAY ( isEnabled $ isSuperuser $ mqttPublishTopic $ mqttSubscriptionTopic $ mqttPubSubTopic $ mqttAclRule $ mqttAclTtl ) )`

const hashed = (label: string, digest: string, salt = '') =>
  `{${label}}${Buffer.concat([createHash(digest).update(PASSWORD).update(salt).digest(), Buffer.from(salt)]).toString('base64')}`

const base64 = (value: string) => Buffer.from(value).toString('base64')

/** Values in base64, so that nothing in them means something to LDIF. */
function person(name: string, attributes: Record<string, string | string[]> = {}, under = PEOPLE): string {
  const dn = `uid=${name.replaceAll(/[\\",+<>;=]/g, '\\$&')},${under}`
  const all = {
    objectClass: ['account', 'simpleSecurityObject', 'mqttUser'],
    uid: name,
    userPassword: hashed('SSHA', 'sha1', 'salt'),
    ...attributes,
  }
  const lines = Object.entries(all).flatMap(([key, values]) =>
    [values].flat().map((value) => `${key}:: ${base64(value)}`),
  )
  return [`dn:: ${base64(dn)}`, ...lines, ''].join('\n')
}

const people = [
  `dn: ${PEOPLE}\nobjectClass: organizationalUnit\nou: people\n`,
  ...USERS.map(({ name, isSuperuser }) => person(name, isSuperuser ? { isSuperuser: 'TRUE' } : {})),
  person('off', { isEnabled: 'FALSE' }),
  person('on', { isEnabled: 'TRUE', isSuperuser: 'FALSE' }),
  ...['md5', 'sha', 'sha256', 'sha384', 'sha512'].map((name) =>
    person(`with-${name}`, { userPassword: hashed(name.toUpperCase(), name === 'sha' ? 'sha1' : name) }),
  ),
  person('with-base64', { userPassword: base64(hashed('sha256', 'sha256')) }),
  person('with-two', { userPassword: [hashed('sha', 'md5'), hashed('ssha', 'sha1', 'x')] }),
  person('with-plain', { userPassword: PASSWORD }),
  person('with-bcrypt', { userPassword: '{CRYPT}$2b$10$nonsense' }),
  person('with-rules', {
    mqttPublishTopic: ['p/${clientid}', 'q/#'],
    mqttSubscriptionTopic: 's/#',
    mqttPubSubTopic: 'both',
    mqttAclRule: ['{"permission":"deny","action":"all","topic":"#"}'],
    mqttAclTtl: '1h',
  }),
  person('with-bad-rules', { mqttAclRule: '{"permission":' }),
  person('with-bad-ttl', { mqttAclTtl: 'soon' }),
].join('\n')

const base = { mechanism: 'password_based', backend: 'ldap', username: ADMIN_DN, password: 'ldap-secret' }
const entryOf = { base_dn: `uid=\${username},${PEOPLE}` }
const searched = { base_dn: PEOPLE, filter: '(&(objectClass=mqttUser)(uid=${username}))' }
const METHODS = [
  ['hash, by DN', { ...entryOf }],
  ['hash, by search', { ...searched, method: { type: 'hash' } }],
  ['bind, by DN', { ...entryOf, method: { type: 'bind' } }],
  ['bind, by search', { ...searched, method: { type: 'bind', bind_password: '${password}' } }],
] as const

describe.skipIf(slapd.skip)(`directories${skipNote(slapd)}`, () => {
  let server: Slapd
  beforeAll(async () => {
    if (!slapd.skip) server = await Slapd.start(people, { schema: SCHEMA })
  })
  afterAll(() => server?.stop())

  describe.each(METHODS)('%s', (name, method) => {
    authenticatorContract(
      `password_based:ldap, ${name}`,
      async () => ({
        config: { ...base, ...method, server: server.address },
        nowhere: (address) => ({ server: address }),
        slow: (address) => ({ server: address }),
        secrets: ['ldap-secret'],
        stop: async () => {},
      }),
      slapd.skip,
    )
  })

  async function ask(username: string, changes: object = {}, password = PASSWORD) {
    const recorded = recordingLog()
    const config = { ...base, ...entryOf, server: server.address, ...changes }
    const authenticator = await build(config, { log: recorded.log, now: () => 1_000_000_000_000 })
    onTestFinished(() => authenticator.close())
    const verdict = askOf(authenticator, { client: { username }, password: Buffer.from(password) })
    return { ...recorded, verdict }
  }

  test.each<[string, object, Verdict]>([
    ['on', {}, ALLOW],
    ['off', {}, NOT_AUTHORIZED],
    ['off', { method: { type: 'bind' } }, NOT_AUTHORIZED],
    ['root', { method: { type: 'hash', is_superuser_attribute: 'description' } }, ALLOW],
    [
      'ann',
      { method: { type: 'hash', clientid_override_attribute: 'uid' } },
      { kind: 'allow', principal: { isSuperuser: false, clientId: 'ann' } },
    ],
    ...['md5', 'sha', 'sha256', 'sha384', 'sha512', 'base64', 'two'].map(
      (name): [string, object, Verdict] => [`with-${name}`, {}, ALLOW],
    ),
    ['with-plain', {}, WRONG_PASSWORD],
    ['with-bcrypt', {}, WRONG_PASSWORD],
    ['with-plain', { method: { type: 'bind' } }, ALLOW],
    ['ann', { method: { type: 'hash', password_attribute: 'description' } }, NOT_AUTHORIZED],
    ['ann', { filter: '(objectClass=other)' }, IGNORE],
    ['ann', { base_dn: 'uid=${username},ou=elsewhere,dc=example,dc=org' }, IGNORE],
    ['ann', { method: { type: 'bind', bind_password: '${password}x' } }, WRONG_PASSWORD],
  ])('%s with %j', async (username, changes, expected) => {
    const { verdict, lines } = await ask(username, changes)
    expect(await verdict).toEqual(expected)
    expect(JSON.stringify(lines)).not.toMatch(new RegExp(`${PASSWORD}|ldap-secret|nonsense`))
  })

  const RULES = {
    publish_attribute: 'mqttPublishTopic',
    subscribe_attribute: 'mqttSubscriptionTopic',
    all_attribute: 'mqttPubSubTopic',
    acl_rule_attribute: 'mqttAclRule',
    acl_ttl_attribute: 'mqttAclTtl',
  }

  test.each(['hash', 'bind'])('rules of an entry come with it, until they end (%s)', async (type) => {
    const { verdict } = await ask('with-rules', { ...RULES, method: { type } })
    expect(await verdict).toMatchObject({
      kind: 'allow',
      principal: {
        expiresAtMs: 1_000_003_600_000,
        acl: [
          { permission: 'allow', action: 'all', topics: [{ text: 'both' }] },
          { permission: 'allow', action: 'publish', topics: [{ text: 'p/${clientid}' }, { text: 'q/#' }] },
          { permission: 'allow', action: 'subscribe', topics: [{ text: 's/#' }] },
          { permission: 'deny', action: 'all' },
        ],
      },
    })
    expect(await (await ask('with-rules')).verdict).toEqual(ALLOW)
    expect(await (await ask('ann', RULES)).verdict).toEqual(ALLOW)
  })

  test.each([
    ['with-bad-rules', /acl_rule_attribute is no JSON/],
    ['with-bad-ttl', /acl_ttl_attribute is no duration/],
  ])('%s are a no, and the log says why', async (username, why) => {
    const { verdict, lines } = await ask(username, RULES)
    expect(await verdict).toEqual(WRONG_PASSWORD)
    expect(lines).toContainEqual(expect.objectContaining({ level: 'warn', text: expect.stringMatching(why) }))
  })

  test.each([
    ['a filter that fits several entries', { base_dn: PEOPLE, filter: '(objectClass=mqttUser)' }, /./],
    ['a filter that is none', { filter: '(objectClass=' }, /./],
    ['another password of the service account', { password: 'wrong-secret' }, /./],
  ])('%s is a failure, and its text holds no secret', async (_, changes, why) => {
    const { verdict, lines } = await ask('ann', changes)
    const error = await verdict.catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'BACKEND_FAILED', message: expect.stringMatching(why) })
    expect(String(error)).toContain('password_based:ldap')
    expect(`${String(error)}${JSON.stringify(lines)}`).not.toMatch(new RegExp(`${PASSWORD}|wrong-secret`))
  })

  test('a referral is not followed, so there is no loop to be caught in', async () => {
    let visits = 0
    const elsewhere = createServer((socket) => {
      visits++
      socket.destroy()
    })
    await new Promise<void>((resolve) => elsewhere.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void elsewhere.close())
    const referral = `dn: uid=loop,${PEOPLE}\nobjectClass: referral\nobjectClass: extensibleObject\nuid: loop\nref: `
    const address = `ldap://127.0.0.1:${portOf(elsewhere)}/uid=loop,${PEOPLE}\n`
    const own = await Slapd.start([people, referral + address].join('\n'), { schema: SCHEMA })
    onTestFinished(() => own.stop())
    for (const changes of [entryOf, searched, { ...searched, method: { type: 'bind' } }]) {
      const { verdict } = await ask('loop', { ...changes, server: own.address, query_timeout: '2s' })
      expect(await verdict.catch(() => IGNORE), JSON.stringify(changes)).toEqual(IGNORE)
    }
    expect(visits).toBe(0)
    expect(await (await ask('ann', { ...searched, server: own.address })).verdict).toEqual(ALLOW)
  })

  test('a user that is not there costs as many requests as one that is', async () => {
    const authenticator = await build({
      ...base,
      ...entryOf,
      method: { type: 'bind' },
      server: server.address,
    })
    onTestFinished(() => authenticator.close())
    const costs: number[] = []
    for (const username of ['ann', 'nobody']) {
      const before = authenticator.calls?.total ?? 0
      await askOf(authenticator, { client: { username }, password: Buffer.from('wrong') })
      costs.push((authenticator.calls?.total ?? 0) - before)
    }
    expect(costs).toEqual([2, 2])
  })
})

test('something that is no directory is a failure', async () => {
  const server = createServer((socket) => {
    socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n')
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const timeouts = { query_timeout: '500ms', connect_timeout: '500ms' }
  const authenticator = await build({
    ...base,
    ...entryOf,
    ...timeouts,
    server: `127.0.0.1:${portOf(server)}`,
  })
  onTestFinished(() => authenticator.close())
  await expect(askOf(authenticator, {})).rejects.toMatchObject({ code: expect.stringMatching(/^BACKEND_/) })
})

test.each([
  '',
  '{SSHA}',
  '{sha256}c2hvcnQ=',
  '{sha}',
  'plain',
  '{MD5}!!',
  '{ssha256}AAAA',
  '{__proto__}AAAA',
  'e1NTSEF9',
])('not a password that can be compared: %s', (stored) => {
  expect(readLdapPassword(Buffer.from(stored))).toBeUndefined()
})

test('a password is compared with what was stored', () => {
  const stored = readLdapPassword(Buffer.from(hashed('sSHa', 'sha1', 'any salt')))
  if (stored === undefined) throw new Error('not read')
  expect(isLdapPassword(Buffer.from(PASSWORD), stored)).toBe(true)
  expect(isLdapPassword(Buffer.from('other'), stored)).toBe(false)
})

test('EMQX’s names and defaults', () => {
  const config = { ...base, base_dn: 'uid=${username}', server: 'ldap.example.org' }
  expect(readConfig(config)).toMatchObject({
    filter: '(objectClass=mqttUser)',
    method: {
      type: 'hash',
      password_attribute: 'userPassword',
      is_superuser_attribute: 'isSuperuser',
      clientid_override_attribute: 'clientIdOverride',
    },
  })
  expect(readConfig({ ...config, method: { type: 'bind' } })).toMatchObject({
    method: {
      type: 'bind',
      bind_password: '${password}',
      is_superuser_attribute: 'isSuperuser',
      clientid_override_attribute: 'clientIdOverride',
    },
  })
})

function portOf(server: Server): number {
  const address = server.address()
  return typeof address === 'object' && address !== null ? address.port : 0
}
