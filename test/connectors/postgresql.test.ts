import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openPostgresql } from '../../connectors/postgresql.ts'
import type { PostgresqlConfig } from '../../connectors/sql-config.ts'
import { compileSql } from '../../connectors/sql-template.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { Postgres } from '../support/postgres.ts'
import { requireService, skipNote } from '../support/services.ts'
import { connectorContract } from './contract.ts'
import { ALLOWED, contextOf, NASTY, opened, randomTexts, valuesOf } from './support.ts'
import { NO_TLS } from './support-config.ts'

const service = requireService('pg_ctlcluster')

describe.skipIf(service.skip)(`PostgreSQL${skipNote(service)}`, () => {
  let server: Postgres
  let certs: Certs

  beforeAll(async () => {
    certs = makeCerts()
    server = await Postgres.start({ certs })
    await server.admin(
      'CREATE TABLE mqtt_user (username text, password_hash varchar(100), is_superuser boolean)',
      "INSERT INTO mqtt_user VALUES ('alice', 'hash-a', true), ('bob', 'hash-b', false)",
    )
  })

  afterAll(() => server?.stop())

  const configOf = (more: Partial<PostgresqlConfig> = {}): PostgresqlConfig => ({
    server: server.address,
    database: 'postgres',
    username: 'postgres',
    password: 'postgres-secret',
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
    'postgresql',
    ALLOWED,
  )
  const ECHO = compileSql('SELECT ${username}::text AS echoed', 'postgresql', ALLOWED)

  connectorContract('postgresql', {
    backend: () => server,
    secret: 'postgres-secret',
    open: (
      address,
      { timeoutMs = 5000, password = 'postgres-secret', poolSize = 8, reconnects = true },
      context,
    ) =>
      openPostgresql(
        'password_based:postgresql',
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
    const connector = await opened(openPostgresql('postgresql', configOf(), contextOf()))
    expect(await connector.query(SELECT, ['alice'])).toEqual([
      { password_hash: 'hash-a', is_superuser: true },
    ])
    expect(await connector.query(SELECT, ['nobody'])).toEqual([])
  })

  test.each([
    ['prepared', false],
    ['not prepared', true],
  ])('no value changes a statement (%s)', async (_, isOff) => {
    const config = configOf({ disable_prepared_statements: isOff, pool_size: 1 })
    const connector = await opened(openPostgresql('postgresql', config, contextOf()))
    for (const text of [...NASTY, ...randomTexts(150, 7)]) {
      const values = SELECT.render(valuesOf({ username: text }))
      expect(await connector.query(SELECT, values), JSON.stringify(text)).toEqual([])
      const echoed = (await connector.query(ECHO, [text]))[0]?.echoed
      expect(echoed, JSON.stringify(text)).toBe(Buffer.from(text).toString())
    }
    // The database has no such character; it is no reason to think it lost.
    await expect(connector.query(SELECT, ['alice\0'])).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    expect(await connector.query(SELECT, ['bob'])).toHaveLength(1)
    expect(connector.status.state).toBe('connected')
  })

  test('a wrong statement fails without the value, and its connection stays', async () => {
    const wrong = compileSql('SELECT no_such_function(${password})', 'postgresql', ALLOWED)
    const which = compileSql('SELECT pg_backend_pid() AS id', 'postgresql', ALLOWED)
    for (const isOff of [true, false]) {
      const connector = await opened(
        openPostgresql(
          'postgresql',
          configOf({ disable_prepared_statements: isOff, pool_size: 1 }),
          contextOf(),
        ),
      )
      const ids = new Set<unknown>()
      for (let i = 0; i < 10; i++) {
        const error: unknown = await connector.query(wrong, ['swordfish']).catch((reason: unknown) => reason)
        expect(error).toMatchObject({ code: 'BACKEND_FAILED' })
        expect(String(error)).toContain('postgresql failed: ')
        expect(String(error)).not.toContain('swordfish')
        expect(connector.status.state).toBe('connected')
        ids.add((await connector.query(which, []))[0]?.id)
      }
      // The look whether the server is there, which goes on at the start, may have opened another one.
      expect(ids.size).toBeLessThanOrEqual(2)
    }
  })

  test('an answer with too many rows is a failure', async () => {
    const connector = await opened(openPostgresql('postgresql', configOf(), contextOf()))
    const many = compileSql('SELECT generate_series(1, 20000)', 'postgresql', ALLOWED)
    await expect(connector.query(many, [])).rejects.toThrow('more than 10000 rows')
    expect(await connector.query(SELECT, ['alice'])).toHaveLength(1)
  })

  test('over TLS the certificate must be of a known authority and of the host', async () => {
    const ssl = { ...NO_TLS, enable: true, cacertfile: certs.ca }
    const secure = compileSql(
      'SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()',
      'postgresql',
      ALLOWED,
    )
    const connector = await opened(openPostgresql('postgresql', configOf({ ssl }), contextOf()))
    expect((await connector.query(secure, []))[0]?.version).toBe('TLSv1.3')
    const wrong = [
      { ...ssl, cacertfile: certs.strangerCert },
      { ...ssl, server_name_indication: 'db.example.org' },
    ]
    for (const one of wrong) {
      const other = await opened(openPostgresql('postgresql', configOf({ ssl: one }), contextOf()))
      await expect(other.query(secure, [])).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    }
  })

  test('without time limits it works too', async () => {
    const never = Number.POSITIVE_INFINITY
    const config = configOf({ connect_timeout: never, query_timeout: never })
    const connector = await opened(openPostgresql('postgresql', config, contextOf()))
    expect(await connector.query(SELECT, ['alice'])).toHaveLength(1)
  })

  test('a wrong address is a wrong config', async () => {
    await expect(
      openPostgresql('postgresql', configOf({ server: 'root:secret@db' }), contextOf()),
    ).rejects.toThrow('postgresql: server: is not host:port')
  })
})
