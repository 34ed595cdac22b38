import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openMysql } from '../../connectors/mysql.ts'
import type { MysqlConfig } from '../../connectors/sql-config.ts'
import { compileSql } from '../../connectors/sql-template.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { MariaDb } from '../support/mysql.ts'
import { requireService, skipNote } from '../support/services.ts'
import { connectorContract } from './contract.ts'
import { ALLOWED, contextOf, NASTY, opened, randomTexts, valuesOf } from './support.ts'
import { NO_TLS } from './support-config.ts'

const service = requireService('mariadbd')

describe.skipIf(service.skip)(`MySQL${skipNote(service)}`, () => {
  let server: MariaDb
  let certs: Certs

  beforeAll(async () => {
    certs = makeCerts()
    server = await MariaDb.start({ certs })
    await server.admin(
      'CREATE TABLE mqtt.mqtt_user (username varchar(100) COLLATE utf8mb4_nopad_bin, password_hash varchar(100), is_superuser tinyint(1))',
      "INSERT INTO mqtt.mqtt_user VALUES ('alice', 'hash-a', 1), ('bob', 'hash-b', 0)",
    )
  })

  afterAll(() => server?.stop())

  const configOf = (more: Partial<MysqlConfig> = {}): MysqlConfig => ({
    server: server.address,
    database: 'mqtt',
    username: 'mqtt',
    password: 'mysql-secret',
    disable_prepared_statements: false,
    pool_size: 8,
    connect_timeout: 5000,
    query_timeout: 5000,
    auto_reconnect: true,
    ssl: NO_TLS,
    ...more,
  })
  const SELECT = compileSql(
    'SELECT password_hash, is_superuser FROM mqtt_user WHERE username = ${username}',
    'mysql',
    ALLOWED,
  )
  const ECHO = compileSql('SELECT ${username} AS echoed', 'mysql', ALLOWED)

  connectorContract('mysql', {
    backend: () => server,
    secret: 'mysql-secret',
    open: (
      address,
      { timeoutMs = 5000, password = 'mysql-secret', poolSize = 8, reconnects = true },
      context,
    ) =>
      openMysql(
        'password_based:mysql',
        configOf({
          server: address,
          query_timeout: timeoutMs,
          password,
          pool_size: poolSize,
          auto_reconnect: reconnects,
        }),
        context,
      ),
    ask: (connector, signal) => connector.query(SELECT, ['alice'], signal),
  })

  test('rows come by the names of their columns', async () => {
    const connector = await opened(openMysql('mysql', configOf(), contextOf()))
    expect(await connector.query(SELECT, ['alice'])).toEqual([{ password_hash: 'hash-a', is_superuser: 1 }])
    expect(await connector.query(SELECT, ['nobody'])).toEqual([])
  })

  test.each([
    ['prepared', {}, ''],
    ['not prepared', { disable_prepared_statements: true }, ''],
    [
      'not prepared, with another sql_mode',
      { disable_prepared_statements: true },
      'NO_BACKSLASH_ESCAPES,ANSI_QUOTES',
    ],
  ] as const)('no value changes a statement (%s)', async (_, options, mode) => {
    if (mode !== '') await server.admin(`SET GLOBAL sql_mode = '${mode}'`)
    const connector = await opened(openMysql('mysql', configOf({ ...options, pool_size: 1 }), contextOf()))
    for (const text of [...NASTY, '\0', "\0' OR 1=1", ...randomTexts(150, 7)]) {
      const values = SELECT.render(valuesOf({ username: text }))
      expect(await connector.query(SELECT, values), JSON.stringify(text)).toEqual([])
      const echoed = (await connector.query(ECHO, [text]))[0]?.echoed
      expect(echoed, JSON.stringify(text)).toBe(Buffer.from(text).toString())
    }
    expect(await connector.query(SELECT, ['bob'])).toHaveLength(1)
    if (mode !== '') await server.admin('SET GLOBAL sql_mode = DEFAULT')
  })

  test('a wrong statement fails without the value, and its connection stays', async () => {
    const wrong = compileSql('SELECT no_such_function(${password})', 'mysql', ALLOWED)
    const which = compileSql('SELECT CONNECTION_ID() AS id', 'mysql', ALLOWED)
    for (const isOff of [true, false]) {
      const connector = await opened(
        openMysql('mysql', configOf({ disable_prepared_statements: isOff, pool_size: 1 }), contextOf()),
      )
      const ids = new Set<unknown>()
      for (let i = 0; i < 10; i++) {
        const error: unknown = await connector.query(wrong, ['swordfish']).catch((reason: unknown) => reason)
        expect(error).toMatchObject({ code: 'BACKEND_FAILED' })
        expect(String(error)).toContain('mysql failed: ER_')
        expect(String(error)).not.toContain('swordfish')
        expect(connector.status.state).toBe('connected')
        ids.add((await connector.query(which, []))[0]?.id)
      }
      // The look whether the server is there, which goes on at the start, may have opened another one.
      expect(ids.size).toBeLessThanOrEqual(2)
    }
  })

  test('an answer with too many rows is a failure', async () => {
    const connector = await opened(openMysql('mysql', configOf(), contextOf()))
    const many = compileSql('SELECT seq FROM mqtt.seq_1_to_20000', 'mysql', ALLOWED)
    await expect(connector.query(many, [])).rejects.toThrow('more than 10000 rows')
    expect(await connector.query(SELECT, ['alice'])).toHaveLength(1)
  })

  test('over TLS the certificate must be of a known authority and of the host', async () => {
    const ssl = { ...NO_TLS, enable: true, cacertfile: certs.ca }
    const secure = compileSql("SHOW STATUS LIKE 'Ssl_version'", 'mysql', ALLOWED)
    const connector = await opened(openMysql('mysql', configOf({ ssl }), contextOf()))
    expect((await connector.query(secure, []))[0]?.Value).toBe('TLSv1.3')
    const wrong = [
      { ...ssl, cacertfile: certs.strangerCert },
      { ...ssl, server_name_indication: 'db.example.org' },
    ]
    for (const one of wrong) {
      const other = await opened(openMysql('mysql', configOf({ ssl: one }), contextOf()))
      await expect(other.query(secure, [])).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    }
  })

  test('without time limits it works too', async () => {
    const never = Number.POSITIVE_INFINITY
    const config = configOf({ connect_timeout: never, query_timeout: never })
    const connector = await opened(openMysql('mysql', config, contextOf()))
    expect(await connector.query(SELECT, ['alice'])).toHaveLength(1)
  })

  test('a wrong address is a wrong config', async () => {
    await expect(openMysql('mysql', configOf({ server: 'root:secret@db' }), contextOf())).rejects.toThrow(
      'mysql: server: is not host:port',
    )
  })
})
