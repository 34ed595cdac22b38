import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { clientOf, recordingLog } from '../authn/fixtures.ts'
import { requireService, skipNote } from '../support/services.ts'
import { ADMIN_DN, Slapd } from '../support/slapd.ts'
import {
  askOf,
  build,
  chainOf,
  publish,
  RULES,
  readConfig,
  sourceContract,
  subscribe,
} from './source-contract.ts'

const slapd = requireService('slapd')
const PEOPLE = 'ou=people,dc=example,dc=org'
const OID = '1.3.6.1.4.1.11.2.53.2.2.3.1.2.3'
const text = (number: number, name: string) =>
  `attributetype ( ${OID}.${number} NAME '${name}' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )`
const SCHEMA = `${text(3, 'mqttPublishTopic')}
${text(4, 'mqttSubscriptionTopic')}
${text(5, 'mqttPubSubTopic')}
${text(6, 'mqttAclRule')}
objectclass ( ${OID}.9 NAME 'mqttUser' AUXILIARY MAY ( mqttPublishTopic $ mqttSubscriptionTopic $ mqttPubSubTopic $ mqttAclRule ) )`

const base64 = (value: string) => Buffer.from(value).toString('base64')

/** Values in base64, so that nothing in them means something to LDIF. */
function person(name: string, attributes: Record<string, string | string[]>): string {
  const dn = `uid=${name.replaceAll(/[\\",+<>;=]/g, '\\$&')},${PEOPLE}`
  const all = { objectClass: ['account', 'mqttUser'], uid: name, ...attributes }
  const lines = Object.entries(all).flatMap(([key, values]) =>
    [values].flat().map((value) => `${key}:: ${base64(value)}`),
  )
  return [`dn:: ${base64(dn)}`, ...lines, ''].join('\n')
}

const PEOPLE_LDIF = `dn: ${PEOPLE}\nobjectClass: organizationalUnit\nou: people\n`
const BASE = {
  type: 'ldap',
  username: ADMIN_DN,
  password: 'ldap-secret',
  base_dn: PEOPLE,
  filter: '(&(objectClass=mqttUser)(uid=${username}))',
}

sourceContract(
  `ldap${skipNote(slapd)}`,
  async () => {
    const people = RULES.map(({ username, rules }) =>
      person(username, { mqttAclRule: JSON.stringify(rules) }),
    )
    const server = await Slapd.start([PEOPLE_LDIF, ...people].join('\n'), { schema: SCHEMA })
    return {
      config: { ...BASE, server: server.address },
      elsewhere: (address) => ({ server: address }),
      secrets: ['ldap-secret'],
      stop: () => server.stop(),
    }
  },
  slapd.skip,
)

describe.skipIf(slapd.skip)(`what is kept in a directory${skipNote(slapd)}`, () => {
  let server: Slapd
  beforeAll(async () => {
    const people = [
      person('attributes', {
        mqttPublishTopic: ['p/${clientid}', 'eq p/#'],
        mqttSubscriptionTopic: 's/#',
        mqttPubSubTopic: ['b/+', 'd/1'],
        mqttAclRule: [
          '{"permission":"deny","action":"all","topic":"d/#"}',
          '[{"permission":"allow","action":"all","topic":"j"}]',
        ],
      }),
      person('nothing', {}),
      person('no-json', { mqttPublishTopic: 'p', mqttAclRule: '{' }),
      person('no-rule', {
        mqttPublishTopic: 'p',
        mqttAclRule: '{"permission":"forbid","action":"all","topic":"#"}',
      }),
      person('no-topic', { mqttPublishTopic: 'a/#/b' }),
    ]
    server = await Slapd.start([PEOPLE_LDIF, ...people].join('\n'), { schema: SCHEMA })
  })
  afterAll(() => server?.stop())

  async function open(changes: object = {}) {
    const recorded = recordingLog()
    const source = await build({ ...BASE, server: server.address, ...changes }, recorded)
    onTestFinished(() => source.close())
    return { ...recorded, source }
  }

  test('filters of attributes allow, and go before rules in JSON', async () => {
    const { source } = await open()
    const client = clientOf({ username: 'attributes' })
    const ask = async (topic: string) => [
      await askOf(source, client, publish(), topic),
      await askOf(source, client, subscribe(), topic),
    ]
    expect(await ask('p/c1')).toEqual(['allow', 'ignore'])
    expect(await ask('s/1')).toEqual(['ignore', 'allow'])
    expect(await ask('b/1')).toEqual(['allow', 'allow'])
    expect(await ask('d/1')).toEqual(['allow', 'allow'])
    expect(await ask('d/2')).toEqual(['deny', 'deny'])
    expect(await ask('j')).toEqual(['allow', 'allow'])
    expect(await ask('x')).toEqual(['ignore', 'ignore'])
  })

  test('attributes may have other names, and the entry its own DN', async () => {
    const { source } = await open({
      base_dn: `uid=\${username},${PEOPLE}`,
      filter: '(objectClass=*)',
      publish_attribute: 'mqttSubscriptionTopic',
    })
    expect(await askOf(source, clientOf({ username: 'attributes' }), publish(), 's/1')).toBe('allow')
    expect(await askOf(source, clientOf({ username: 'attributes,ou=x' }), publish(), 's/1')).toBe('ignore')
  })

  test('an entry without rules has no opinion', async () => {
    const { source } = await open()
    expect(await askOf(source, clientOf({ username: 'nothing' }), publish(), 'p')).toBe('ignore')
  })

  test.each([
    ['no-json', {}, /JSON/],
    ['no-rule', {}, /permission/],
    ['no-topic', {}, /topic/],
    ['any', { filter: '(objectClass=mqttUser)' }, /more than/],
  ])('%s %j is a failure, and the log says so', async (username, changes, why) => {
    const { source, log, lines } = await open(changes)
    const decided = chainOf([source], {}, log).authorize(
      { result: 'allow', from: 'default' },
      clientOf({ username }),
      publish(),
      'p',
    )
    expect(await decided).toEqual({ ok: { result: 'deny', from: 'source_failed' } })
    expect(lines.find(({ level }) => level === 'warn')?.text).toMatch(why)
  })
})

test('EMQX’s names and defaults', () => {
  const { filter: _, ...config } = { ...BASE, server: 'x' }
  expect(readConfig(config)).toMatchObject({
    filter: '(objectClass=mqttUser)',
    query_timeout: 5000,
    publish_attribute: 'mqttPublishTopic',
    subscribe_attribute: 'mqttSubscriptionTopic',
    all_attribute: 'mqttPubSubTopic',
    acl_rule_attribute: 'mqttAclRule',
  })
})
