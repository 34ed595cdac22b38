import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import type { Verdict } from '../../model/access.ts'
import { makeCerts } from '../support/certs.ts'
import { type Answer, HttpService } from '../support/http-server.ts'
import { requireService, skipNote } from '../support/services.ts'
import { askOf, authenticatorContract, build, PASSWORD, readConfig, USERS } from './authenticator-contract.ts'
import { ALLOW, IGNORE, NOT_AUTHORIZED, recordingLog, WRONG_PASSWORD } from './fixtures.ts'

const openssl = requireService('openssl')
const BODY = { username: '${username}', password: '${password}', clientid: '${clientid}' }
const JSON_ANSWER = { 'content-type': 'application/json' }
const FORM_ANSWER = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' }

const json = (value: unknown): Answer => ({ headers: JSON_ANSWER, body: JSON.stringify(value) })
const form = (fields: Record<string, string>): Answer => ({
  headers: FORM_ANSWER,
  body: new URLSearchParams(fields).toString(),
})

/** What a service that knows the contract's users says. */
function answerTo(username: string | null, password: string | null): Record<string, string> {
  const user = USERS.find(({ name }) => name === username)
  if (user === undefined) return { result: 'ignore' }
  return { result: password === PASSWORD ? 'allow' : 'deny', is_superuser: String(user.isSuperuser) }
}

async function contractBed(changes: object, respond: HttpService['respond']) {
  const service = await HttpService.start()
  service.respond = respond
  return {
    config: {
      mechanism: 'password_based',
      backend: 'http',
      method: 'post',
      url: `${service.url}/auth`,
      headers: { authorization: 'Bearer service-secret' },
      body: BODY,
      ...changes,
      ...('query' in changes ? { url: `${service.url}/auth${String(changes.query)}`, query: undefined } : {}),
    },
    nowhere: (address: string) => ({ url: `http://${address}/auth` }),
    slow: (address: string) => ({ url: `http://${address}/auth` }),
    secrets: ['service-secret'],
    wrongPassword: 0x87 as const,
    isAskedWithoutPassword: true,
    stop: () => service.stop(),
  }
}

authenticatorContract('password_based:http, POST of JSON', () =>
  contractBed({}, ({ body }) => {
    const { username, password } = JSON.parse(body) as Record<string, string>
    return json(answerTo(username ?? null, password ?? null))
  }),
)

authenticatorContract('password_based:http, POST of a form', () =>
  contractBed({ headers: { 'Content-Type': 'application/x-www-form-urlencoded' } }, ({ body }) => {
    const asked = new URLSearchParams(body)
    return form(answerTo(asked.get('username'), asked.get('password')))
  }),
)

authenticatorContract('password_based:http, GET', () =>
  contractBed({ method: 'get' }, ({ path }) => {
    const asked = new URL(path, 'http://x').searchParams
    return json(answerTo(asked.get('username'), asked.get('password')))
  }),
)

describe('what the service answers', () => {
  let service: HttpService
  beforeAll(async () => {
    service = await HttpService.start()
  })
  afterAll(() => service.stop())

  async function ask(answer: Answer, changes: object = {}) {
    service.respond = () => answer
    const { log, lines } = recordingLog()
    const config = {
      mechanism: 'password_based',
      backend: 'http',
      method: 'post',
      url: service.url,
      body: BODY,
    }
    const authenticator = await build({ ...config, ...changes }, { log, now: () => 1_000_000_000_000 })
    onTestFinished(() => authenticator.close())
    const login = { client: { username: 'ann' }, password: Buffer.from(PASSWORD) }
    return { verdict: askOf(authenticator, login), lines }
  }

  const yes = (principal: object): Verdict => ({
    kind: 'allow',
    principal: { isSuperuser: false, ...principal },
  })

  test.each<[string, Answer, Verdict]>([
    ['204 is a yes', { status: 204 }, ALLOW],
    ['allow', json({ result: 'allow' }), ALLOW],
    ['deny', json({ result: 'deny' }), NOT_AUTHORIZED],
    ['deny of a superuser', json({ result: 'deny', is_superuser: true }), NOT_AUTHORIZED],
    ['ignore', json({ result: 'ignore' }), IGNORE],
    ['no result is no opinion', json({ is_superuser: true }), IGNORE],
    ['a superuser', json({ result: 'allow', is_superuser: true }), yes({ isSuperuser: true })],
    ['a superuser as text', json({ result: 'allow', is_superuser: 'true' }), yes({ isSuperuser: true })],
    ['a superuser as number', json({ result: 'allow', is_superuser: 1 }), yes({ isSuperuser: true })],
    ['no superuser', json({ result: 'allow', is_superuser: 'yes' }), ALLOW],
    ['a form', form({ result: 'allow', is_superuser: '1' }), yes({ isSuperuser: true })],
    [
      'a form that ends',
      form({ result: 'allow', expire_at: '1000000001' }),
      yes({ expiresAtMs: 1_000_000_001_000 }),
    ],
    [
      'content types of the JSON family',
      { headers: { 'content-type': 'application/json;charset=UTF-8' }, body: '{"result":"allow"}' },
      ALLOW,
    ],
    [
      'attributes; what is no text or has no name is left out',
      json({ result: 'allow', client_attrs: { role: 'meter', 'a.b': 'x', n: 1, '': 'y', __proto__: 'z' } }),
      yes({ attributes: new Map([['role', 'meter']]) }),
    ],
    [
      'rules',
      json({ result: 'allow', acl: [{ permission: 'deny', action: 'publish', topic: 'a/#' }] }),
      yes({
        acl: [
          {
            permission: 'deny',
            who: { kind: 'all' },
            action: 'publish',
            topics: [{ kind: 'filter', text: 'a/#' }],
          },
        ],
      }),
    ],
    ['an end', json({ result: 'allow', expire_at: 1_000_000_001 }), yes({ expiresAtMs: 1_000_000_001_000 })],
  ])('%s', async (_, answer, verdict) => {
    const { verdict: given, lines } = await ask(answer)
    expect(await given).toEqual(verdict)
    expect(lines.filter(({ level }) => level !== 'debug')).toEqual([])
  })

  test.each<[string, unknown]>([
    ['an end in the past', { expire_at: 999_999_999 }],
    ['an end now', { expire_at: 1_000_000_000 }],
    ['milliseconds', { expire_at: 1_000_000_001_000 }],
    ['an end that is no number', { expire_at: '1000000001' }],
    ['an end between two seconds', { expire_at: 1_000_000_000.5 }],
    ['a bad rule', { acl: [{ permission: 'maybe', action: 'all', topic: '#' }] }],
    ['rules that are none', { acl: 'all' }],
  ])('%s is a no, and the log says why', async (_, claims) => {
    const { verdict, lines } = await ask(json({ result: 'allow', ...(claims as object) }))
    expect(await verdict).toEqual(WRONG_PASSWORD)
    expect(lines).toContainEqual({
      level: 'warn',
      fields: { clientId: 'c1' },
      text: expect.stringMatching(/^what the backend says of a client cannot be used: (expire_at|acl)/),
    })
    expect(JSON.stringify(lines)).not.toContain(PASSWORD)
  })

  test.each<[string, Answer, RegExp]>([
    ['500', { status: 500, ...json({ result: 'allow' }) }, /status 500/],
    ['201', { ...json({ result: 'allow' }), status: 201 }, /status 201/],
    ['a redirect', { status: 302, headers: { location: '/elsewhere' } }, /status 302/],
    [
      'garbage',
      { headers: JSON_ANSWER, body: `{"result":"allow" ${PASSWORD}` },
      /something else than a JSON object/,
    ],
    ['a list', json([{ result: 'allow' }]), /something else than a JSON object/],
    ['nothing', { headers: JSON_ANSWER }, /something else than a JSON object/],
    ['another result', json({ result: PASSWORD }), /a result that is not allow, deny or ignore/],
    ['a result that is no text', json({ result: true }), /a result that is not/],
    ['HTML', { headers: { 'content-type': 'text/html' }, body: '<html>' }, /neither with JSON.*text\/html/],
    ['no content type', { body: '{"result":"allow"}' }, /no content type/],
    [
      'a huge body',
      { headers: JSON_ANSWER, body: `{"result":"allow","x":"${'x'.repeat(1_100_000)}"}` },
      /password_based:http/,
    ],
  ])('%s is a failure that is never a yes', async (_, answer, text) => {
    const { verdict } = await ask(answer)
    const error = await verdict.catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'BACKEND_FAILED', message: expect.stringMatching(text) })
    expect(String(error)).not.toContain(PASSWORD)
  })

  test.each([400, 401, 403, 404, 429])(
    '%i is no opinion, and the log says so once a minute',
    async (status) => {
      const { verdict, lines } = await ask({ ...json({ result: 'allow' }), status })
      expect(await verdict).toEqual(IGNORE)
      expect(lines.filter(({ level }) => level === 'warn')).toEqual([
        {
          level: 'warn',
          fields: { clientId: 'c1' },
          text: `the service refused to answer, which is no opinion: status ${status}`,
        },
      ])
    },
  )

  test('the service may give a client another id and zone', async () => {
    const said = { result: 'allow', clientid_override: 'x', zone_override: 'z' }
    const given = yes({ clientId: 'x', zone: 'z' })
    expect(await (await ask(json(said))).verdict).toEqual(given)
    expect(await (await ask(form(said))).verdict).toEqual(given)
    const nothing = { result: 'allow', clientid_override: '', zone_override: null }
    expect(await (await ask(json(nothing))).verdict).toEqual(ALLOW)
  })

  test('a client id that no client can have is a no', async () => {
    for (const clientid_override of [7, 'a\0b', '\ud800', 'x'.repeat(65_536)]) {
      const { verdict } = await ask(json({ result: 'allow', clientid_override }))
      expect(await verdict).toEqual(WRONG_PASSWORD)
    }
  })

  test('a redirect is not followed', async () => {
    const before = service.asked.length
    await ask({ status: 307, headers: { location: `${service.url}/elsewhere` } }).then(({ verdict }) =>
      verdict.catch(() => {}),
    )
    expect(service.asked.length - before).toBe(1)
  })

  test('a header that a client tries to split is not sent', async () => {
    service.respond = () => ({ status: 204 })
    const config = { mechanism: 'password_based', backend: 'http', method: 'post', url: service.url }
    const authenticator = await build({ ...config, headers: { 'x-user': '${username}' }, body: {} })
    onTestFinished(() => authenticator.close())
    const before = service.asked.length
    const login = { client: { username: 'ann\r\nx-admin: true' } }
    await expect(askOf(authenticator, login)).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    expect(service.asked.length).toBe(before)
  })

  test('a service is asked about clients without a password, and not about other methods', async () => {
    const { verdict } = await ask(json({ result: 'allow' }))
    await verdict
    const config = {
      mechanism: 'password_based',
      backend: 'http',
      method: 'post',
      url: service.url,
      body: BODY,
    }
    const authenticator = await build(config)
    onTestFinished(() => authenticator.close())
    expect(await askOf(authenticator, { password: undefined })).toEqual(ALLOW)
    expect(JSON.parse(service.asked.at(-1)?.body ?? '')).toEqual({
      username: 'ann',
      password: '',
      clientid: 'c1',
    })
    expect(await askOf(authenticator, { authMethod: 'X' })).toEqual(IGNORE)
  })
})

test('placeholders that are not known are told of and stay as they are', async () => {
  const { log, lines } = recordingLog()
  const authenticator = await build(
    { mechanism: 'password_based', backend: 'http', method: 'get', url: 'http://127.0.0.1:1/${usrname}' },
    { log },
  )
  await authenticator.close()
  expect(lines).toContainEqual(
    expect.objectContaining({ level: 'warn', fields: { placeholder: '${usrname}' } }),
  )
})

test.skipIf(openssl.skip)(
  `a service over HTTPS has to have a certificate of a known authority${skipNote(openssl)}`,
  async () => {
    const certs = makeCerts()
    const service = await HttpService.start({ certs })
    onTestFinished(() => service.stop())
    const config = { mechanism: 'password_based', backend: 'http', method: 'post', url: service.url }
    const known = await build({ ...config, ssl: { enable: true, cacertfile: certs.ca } })
    onTestFinished(() => known.close())
    expect(await askOf(known, {})).toEqual(ALLOW)
    const unknown = await build({ ...config, ssl: { enable: true } })
    onTestFinished(() => unknown.close())
    await expect(askOf(unknown, {})).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    await expect(build(config)).rejects.toMatchObject({ code: 'CONFIG_INVALID' })
  },
)

test('EMQX’s names and defaults', () => {
  const config = { mechanism: 'password_based', backend: 'http', method: 'post', url: 'http://127.0.0.1:80/' }
  expect(readConfig(config)).toMatchObject({
    enable: true,
    request_timeout: 5000,
    connect_timeout: 15_000,
    pool_size: 8,
    enable_pipelining: 100,
    max_inactive: 10_000,
    ssl: { enable: false },
  })
  expect(() => readConfig({ ...config, method: 'put' })).toThrow(/method/)
})
