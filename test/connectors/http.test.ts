import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openHttp } from '../../connectors/http.ts'
import type { HttpConfig } from '../../connectors/http-config.ts'
import { compileRequest } from '../../connectors/http-template.ts'
import { type Certs, makeCerts } from '../support/certs.ts'
import { type Answer, HttpService } from '../support/http-server.ts'
import { requireService, skipNote } from '../support/services.ts'
import { connectorContract } from './contract.ts'
import { ALLOWED, contextOf, NASTY, opened, randomTexts, valuesOf } from './support.ts'
import { NO_TLS } from './support-config.ts'

const openssl = requireService('openssl')
const GET = { method: 'GET', path: '/auth', headers: {} } as const

let service: HttpService

beforeAll(async () => {
  service = await HttpService.start()
})

afterAll(() => service.stop())

const configOf = (more: Partial<HttpConfig> = {}): HttpConfig => ({
  method: 'post',
  url: `${service.url}/auth`,
  headers: {},
  body: {},
  request_timeout: 5000,
  connect_timeout: 5000,
  pool_size: 8,
  enable_pipelining: 1,
  max_inactive: 10_000,
  auto_reconnect: true,
  ssl: NO_TLS,
  ...more,
})

/** Answers nothing while it is paused. */
let held: (() => void)[] | undefined
const holding = (answer: Answer) => (): Answer | Promise<Answer> => {
  if (held === undefined) return answer
  const waiting = held
  return new Promise((resolve) => waiting.push(() => resolve(answer)))
}

connectorContract('http', {
  backend: () => {
    service.respond = holding({ status: 200, body: '{}' })
    return {
      address: service.url,
      kill: () => service.stop(),
      restart: () => service.restart(),
      pause: () => {
        held = []
      },
      proceed: () => {
        for (const go of held ?? []) go()
        held = undefined
      },
    }
  },
  secret: 'Bearer',
  hasNoLogin: true,
  open: (address, { timeoutMs = 5000, poolSize = 8, reconnects = true }, context) =>
    openHttp(
      'password_based:http',
      configOf({
        url: `${address}/auth`,
        request_timeout: timeoutMs,
        pool_size: poolSize,
        auto_reconnect: reconnects,
      }),
      context,
    ),
  ask: (connector, signal) => connector.request(GET, signal),
})

test('status, kind and text of the answer come as they are, redirects too', async () => {
  const connector = await opened(openHttp('http', configOf(), contextOf()))
  service.respond = () => ({
    status: 200,
    headers: { 'content-type': 'Application/JSON; charset=utf-8' },
    body: '{"a":1}',
  })
  expect(await connector.request(GET)).toEqual({
    status: 200,
    contentType: 'application/json',
    body: '{"a":1}',
  })
  service.respond = () => ({ status: 302, headers: { location: '/elsewhere' } })
  expect(await connector.request(GET)).toEqual({ status: 302, contentType: undefined, body: '' })
  service.respond = () => ({ status: 503, body: 'busy' })
  expect(await connector.request(GET)).toMatchObject({ status: 503 })
  expect(connector.status.state).toBe('connected')
})

test('an answer that is too large is a failure', async () => {
  const connector = await opened(openHttp('http', configOf(), contextOf()))
  service.respond = () => ({ status: 200, body: 'x'.repeat(1024 * 1024 + 1) })
  await expect(connector.request(GET)).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
  service.respond = () => ({ status: 204 })
  expect(await connector.request(GET)).toMatchObject({ status: 204 })
})

test('connections are kept, and requests spread over pool_size of them', async () => {
  service.respond = holding({ status: 204 })
  const connector = await opened(
    openHttp('http', configOf({ pool_size: 3, enable_pipelining: 10 }), contextOf()),
  )
  const before = service.connections
  await Promise.all(Array.from({ length: 30 }, () => connector.request(GET)))
  await Promise.all(Array.from({ length: 30 }, () => connector.request(GET)))
  // One more looked whether somebody is there.
  expect(service.connections - before).toBeLessThanOrEqual(4)
  expect(service.connections - before).toBeGreaterThanOrEqual(3)
})

describe('what is asked', () => {
  const ask = async (more: Partial<HttpConfig>, values: Readonly<Record<string, string>>) => {
    const config = configOf(more)
    const connector = await opened(openHttp('http', config, contextOf()))
    service.respond = () => ({ status: 204 })
    await connector.request(compileRequest(config, ALLOWED).render(valuesOf(values)))
    const asked = service.asked.at(-1)
    if (asked === undefined) throw new Error('nothing was asked')
    return asked
  }
  const body = { username: '${username}', password: '${password}', fixed: 'yes' }

  test('post sends JSON', async () => {
    const asked = await ask(
      { body: { ...body, list: ['${username}', 1], none: null } },
      { username: 'al"ice', password: 'p' },
    )
    expect(asked).toMatchObject({ method: 'POST', path: '/auth' })
    expect(asked.headers).toMatchObject({ 'content-type': 'application/json', accept: 'application/json' })
    expect(JSON.parse(asked.body)).toEqual({
      username: 'al"ice',
      password: 'p',
      fixed: 'yes',
      list: ['al"ice', 1],
      none: null,
    })
  })

  test('or a form, if its content-type says so', async () => {
    const headers = { 'Content-Type': 'application/x-www-form-urlencoded' }
    const asked = await ask({ body, headers }, { username: 'a&b=c', password: 'é +' })
    expect(asked.body).toBe('username=a%26b%3Dc&password=%C3%A9%20%2B&fixed=yes')
  })

  test('get sends it behind the URL', async () => {
    const url = `${service.url}/auth/\${clientid}?zone=\${zone}`
    const asked = await ask(
      { method: 'get', url, body },
      { clientid: 'a/b', username: 'u', password: 'p', zone: 'z&' },
    )
    expect(asked).toMatchObject({ method: 'GET', body: '' })
    expect(asked.path).toBe('/auth/a%2Fb?zone=z%26&username=u&password=p&fixed=yes')
    expect(asked.headers['content-type']).toBeUndefined()
  })

  test('headers hold values as UTF-8', async () => {
    const asked = await ask(
      { headers: { 'X-User': '<${username}>', Connection: 'close' } },
      { username: 'zoë' },
    )
    expect(Buffer.from(String(asked.headers['x-user']), 'latin1').toString()).toBe('<zoë>')
    expect(asked.headers.connection).toBe('keep-alive')
  })

  test('no value changes a request', async () => {
    const url = `${service.url}/users/\${username}/check?name=\${username}`
    const config = configOf({ url, headers: { 'X-User': 'u:${username}' }, body: { name: '${username}' } })
    const connector = await opened(openHttp('http', config, contextOf()))
    const template = compileRequest(config, ALLOWED)
    service.respond = () => ({ status: 204 })
    let refused = 0
    for (const text of [...NASTY, '\0', ...randomTexts(150, 19)]) {
      const values = valuesOf({ username: text })
      if (/(?!\t)\p{Cc}|^\.\.?$/u.test(text)) {
        expect(() => template.render(values), JSON.stringify(text)).toThrow(/would change|line ends/)
        refused++
        continue
      }
      await connector.request(template.render(values))
      const asked = service.asked.at(-1)
      const said = Buffer.from(text).toString()
      const parsed = new URL(asked?.path ?? '', service.url)
      expect(parsed.pathname.split('/').map(decodeURIComponent), JSON.stringify(text)).toEqual([
        '',
        'users',
        said,
        'check',
      ])
      expect([...parsed.searchParams]).toEqual([['name', said]])
      expect(JSON.parse(asked?.body ?? '')).toEqual({ name: said })
      expect(Buffer.from(String(asked?.headers['x-user']), 'latin1').toString()).toBe(`u:${said}`.trimEnd())
    }
    expect(refused).toBeGreaterThan(2)
  })
})

test.each([
  [{ url: 'ftp://a/b' }, 'url is no address'],
  [{ url: 'http://${clientid}.example.org/' }, 'url has a placeholder in its host'],
  [{ url: 'http://user:secret@a/' }, 'url holds a password'],
  [{ url: 'https://a/' }, 'ssl.enable and the scheme of url do not fit'],
] as const)('a config that does not go together is refused: %j', async (more, text) => {
  await expect(openHttp('http', configOf(more), contextOf())).rejects.toThrow(text)
})

test.each([
  [{ method: 'get', headers: { 'content-type': 'application/json' } }, 'get have no content-type'],
  [{ headers: { 'content-type': 'text/plain' } }, 'content-type is neither'],
  [{ headers: { 'x y': '1' } }, 'no valid name'],
  [{ method: 'get', body: { a: { b: 'c' } } }, 'body.a is not a text'],
] as const)('a request that cannot be made is refused: %j', (more, text) => {
  expect(() => compileRequest(configOf(more), ALLOWED)).toThrow(text)
})

describe.skipIf(openssl.skip)(`HTTPS${skipNote(openssl)}`, () => {
  let certs: Certs
  let secure: HttpService

  beforeAll(async () => {
    certs = makeCerts()
    secure = await HttpService.start({ certs })
  })

  afterAll(() => secure?.stop())

  test('the certificate must be of a known authority and of the host', async () => {
    const config = (ssl: object) =>
      configOf({ url: `${secure.url}/`, ssl: { ...NO_TLS, enable: true, cacertfile: certs.ca, ...ssl } })
    const connector = await opened(openHttp('http', config({}), contextOf()))
    expect(await connector.request(GET)).toMatchObject({ status: 204 })
    const relaxed = await opened(
      openHttp('http', config({ cacertfile: certs.strangerCert, verify: 'verify_none' }), contextOf()),
    )
    expect(await relaxed.request(GET)).toMatchObject({ status: 204 })
    for (const wrong of [
      { cacertfile: certs.strangerCert },
      { server_name_indication: 'auth.example.org' },
    ]) {
      const other = await opened(openHttp('http', config(wrong), contextOf()))
      await expect(other.request(GET)).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    }
  })

  test('files that cannot be used are a wrong config, named without their content', async () => {
    const broken = (ssl: object) =>
      openHttp('http', configOf({ url: secure.url, ssl: { ...NO_TLS, enable: true, ...ssl } }), contextOf())
    await expect(broken({ cacertfile: '/nowhere.pem' })).rejects.toThrow(
      'http: ssl.cacertfile: cannot read /nowhere.pem',
    )
    await expect(broken({ cacertfile: import.meta.filename })).rejects.toThrow('is not a PEM file')
    await expect(broken({ certfile: certs.clientCert, keyfile: certs.strangerKey })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
    })
  })
})
