import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { SourceAnswer } from '../../authz/source.ts'
import type { Action } from '../../model/access.ts'
import { clientOf, recordingLog } from '../authn/fixtures.ts'
import { MariaDb } from '../support/mysql.ts'
import { Postgres } from '../support/postgres.ts'
import { requireService, skipNote } from '../support/services.ts'
import {
  askOf,
  build,
  chainOf,
  expectNoSecrets,
  publish,
  RULES,
  readConfig,
  sourceContract,
  subscribe,
} from './source-contract.ts'

const QUERY =
  'SELECT permission, action, topic, qos, retain FROM mqtt_acl WHERE username = ${username} ORDER BY id'

const mariadbd = requireService('mariadbd')
const postgres = requireService('pg_ctlcluster')

/** As EMQX's documentation has it. */
const TABLES = {
  mysql: [
    'USE mqtt',
    `CREATE TABLE mqtt_acl (
      id int(11) unsigned NOT NULL AUTO_INCREMENT PRIMARY KEY,
      ipaddress VARCHAR(60) NOT NULL DEFAULT '',
      username VARCHAR(255) NOT NULL DEFAULT '',
      clientid VARCHAR(255) NOT NULL DEFAULT '',
      action ENUM('publish', 'subscribe', 'all') NOT NULL,
      permission ENUM('allow', 'deny') NOT NULL,
      topic VARCHAR(255) NOT NULL DEFAULT '',
      qos tinyint(1),
      retain tinyint(1))`,
  ],
  postgresql: [
    `CREATE TYPE ACTION AS ENUM('publish', 'subscribe', 'all')`,
    `CREATE TYPE PERMISSION AS ENUM('allow', 'deny')`,
    `CREATE TABLE mqtt_acl (
      id SERIAL PRIMARY KEY,
      ipaddress CHARACTER VARYING(60) NOT NULL DEFAULT '',
      username CHARACTER VARYING(255) NOT NULL DEFAULT '',
      clientid CHARACTER VARYING(255) NOT NULL DEFAULT '',
      action ACTION,
      permission PERMISSION,
      topic CHARACTER VARYING(255) NOT NULL,
      qos smallint,
      retain smallint)`,
  ],
} as const

const dialects = [
  {
    type: 'mysql',
    service: mariadbd,
    start: (): Promise<MariaDb | Postgres> => MariaDb.start(),
    access: { database: 'mqtt', username: 'mqtt', password: 'mysql-secret' },
  },
  {
    type: 'postgresql',
    service: postgres,
    start: (): Promise<MariaDb | Postgres> => Postgres.start(),
    access: { database: 'postgres', username: 'postgres', password: 'postgres-secret' },
  },
] as const

/** One row for each QoS that a rule is about. */
function inserts(type: keyof typeof TABLES): string[] {
  const quoted = (text: string) =>
    `'${text.replaceAll("'", "''").replaceAll('\\', type === 'mysql' ? '\\\\' : '\\')}'`
  return RULES.flatMap(({ username, rules }) =>
    rules.flatMap(({ permission, action, topic, qos, retain }) =>
      (qos ?? ['NULL']).map(
        (one) => `INSERT INTO mqtt_acl (username, permission, action, topic, qos, retain) VALUES
          (${quoted(username)}, '${permission}', '${action}', ${quoted(topic)}, ${one}, ${retain ? 1 : 'NULL'})`,
      ),
    ),
  )
}

describe.each(dialects)('$type', ({ type, service, start, access }) => {
  let server: MariaDb | Postgres
  const base = () => ({ type, ...access, query: QUERY, server: server.address })
  beforeAll(async () => {
    if (service.skip) return
    server = await start()
    await server.admin(...TABLES[type], ...inserts(type))
  })
  afterAll(() => server?.stop())

  sourceContract(
    `${type}${skipNote(service)}`,
    async () => ({
      config: base(),
      elsewhere: (address) => ({ server: address }),
      secrets: [access.password],
      stop: async () => {},
    }),
    service.skip,
  )

  async function open(query: string) {
    const recorded = recordingLog()
    const source = await build({ ...base(), query }, recorded)
    onTestFinished(() => source.close())
    return { ...recorded, source }
  }

  test.skipIf(service.skip).each<[string, string, Action, SourceAnswer]>([
    [
      'the shortest query of the documentation',
      'SELECT action, permission, topic FROM mqtt_acl WHERE username = ${username}',
      publish(),
      'allow',
    ],
    [
      'the longest',
      "SELECT permission, action, topic, ipaddress, qos, retain FROM mqtt_acl WHERE username = ${username} and (ipaddress = ${peerhost} or ipaddress = '')",
      publish(),
      'allow',
    ],
    ['a placeholder in quotes', QUERY.replace('${username}', "'${username}'"), publish(), 'allow'],
    [
      'another column for the same',
      `SELECT 'allow' AS permission, 'pub' AS action, 'own/ann' AS topic`,
      publish(),
      'allow',
    ],
    [
      'QoS as text',
      `SELECT 'allow' AS permission, 'all' AS action, 'own/ann' AS topic, '0,2' AS qos`,
      publish(1),
      'ignore',
    ],
    [
      'a pattern',
      `SELECT 'deny' AS permission, 'all' AS action, '#' AS topic, '^c' AS clientid_re`,
      subscribe(),
      'deny',
    ],
    [
      'a network',
      `SELECT 'deny' AS permission, 'all' AS action, '#' AS topic, '127.0.0.0/8' AS ipaddr`,
      publish(),
      'deny',
    ],
    [
      'another network',
      `SELECT 'deny' AS permission, 'all' AS action, '#' AS topic, '10.0.0.0/8' AS ipaddr`,
      publish(),
      'ignore',
    ],
  ])('%s', async (_, query, action, answer) => {
    const { source } = await open(query)
    expect(await askOf(source, clientOf(), action, 'own/ann')).toBe(answer)
  })

  test.skipIf(service.skip).each<[string, string, RegExp]>([
    ['a wrong table', 'SELECT permission, action, topic FROM mqtt_alc', /mqtt_alc/],
    ['a wrong column', 'SELECT permision, action, topic FROM mqtt_acl', /permision/],
    ['a column left out', 'SELECT action, topic FROM mqtt_acl', /row 1: permission/],
    [
      'another permission',
      `SELECT 'Allow' AS permission, 'all' AS action, '#' AS topic`,
      /row 1: permission/,
    ],
    ['another action', `SELECT 'allow' AS permission, 'read' AS action, '#' AS topic`, /row 1: action/],
    ['no topic', `SELECT 'allow' AS permission, 'all' AS action, '' AS topic`, /row 1: topic/],
    [
      'a broken topic',
      `SELECT 'allow' AS permission, 'all' AS action, 'a/#/\${clientid}' AS topic`.replace('${', '$'),
      /row 1: topic/,
    ],
    ['another QoS', `SELECT 'allow' AS permission, 'all' AS action, '#' AS topic, 3 AS qos`, /row 1: qos/],
    [
      'another retain',
      `SELECT 'allow' AS permission, 'all' AS action, '#' AS topic, 'yes' AS retain`,
      /row 1: retain/,
    ],
    [
      'one bad row among good ones',
      `SELECT 'allow' AS permission, 'all' AS action, '#' AS topic UNION ALL SELECT 'forbid', 'all', 'x'`,
      /row 2: permission/,
    ],
  ])('%s is a failure, and the log says so without secrets', async (_, query, why) => {
    const { source, log, lines } = await open(query)
    const chain = chainOf([source], { noMatch: 'allow' }, log)
    const decided = chain.authorize({ result: 'allow', from: 'default' }, clientOf(), publish(), 'own/ann')
    expect(await decided).toEqual({ ok: { result: 'deny', from: 'source_failed' } })
    const [line] = lines.filter(({ level }) => level === 'warn')
    expect(line?.text).toMatch(why)
    expect(line?.text).toContain(type)
    expectNoSecrets(lines, { secrets: [access.password] })
  })

  test.skipIf(service.skip)('a statement that cannot be asked stops the start', async () => {
    await expect(open('SELECT 1; SELECT 2')).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
    await expect(open("SELECT * FROM mqtt_acl WHERE topic LIKE '%${username}%'")).rejects.toThrow(/CONCAT/)
  })

  test.skipIf(service.skip)('EMQX’s names and defaults', () => {
    expect(readConfig({ type, server: 'x', database: 'd', username: 'u', query: QUERY })).toMatchObject({
      enable: true,
      precondition: '',
      pool_size: 8,
      query_timeout: 5000,
      auto_reconnect: true,
      ssl: { enable: false },
    })
    expect(() => readConfig({ type, server: 'x', database: 'd', username: 'u' })).toThrow(/query/)
  })
})
