import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { parseAcl } from '../../authz/json-rule.ts'
import { compileRules, firstMatch } from '../../authz/rule.ts'
import type { SourceAnswer } from '../../authz/source.ts'
import { clientOf, recordingLog } from '../authn/fixtures.ts'
import { type Answer, HttpService } from '../support/http-server.ts'
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

const BODY = {
  username: '${username}',
  clientid: '${clientid}',
  cn: '${cert_common_name}',
  topic: '${topic}',
  action: '${action}',
  qos: '${qos}',
  retain: '${retain}',
}
const json = (value: unknown): Answer => ({
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify(value),
})
const form = (fields: Record<string, string>): Answer => ({
  headers: { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
  body: new URLSearchParams(fields).toString(),
})

/** What a service that knows the contract's rules says. */
function answerTo(asked: Map<string, string>): string {
  const found = RULES.find(({ username }) => username === asked.get('username'))
  const commonName = asked.get('cn') ?? ''
  const certificate = commonName === '' ? undefined : { subject: '', commonName, raw: new Uint8Array() }
  const client = clientOf({
    username: asked.get('username') ?? '',
    clientId: asked.get('clientid') ?? '',
    certificate,
  })
  const qos = Number(asked.get('qos')) as 0 | 1 | 2
  const action =
    asked.get('action') === 'publish' ? publish(qos, asked.get('retain') === 'true') : subscribe(qos)
  const rules = compileRules(parseAcl(found?.rules ?? []))
  return firstMatch(rules, client, action, asked.get('topic') ?? '') ?? 'ignore'
}

async function contractBed(changes: object, respond: HttpService['respond']) {
  const service = await HttpService.start()
  service.respond = respond
  return {
    config: {
      type: 'http',
      method: 'post',
      url: `${service.url}/acl`,
      headers: { authorization: 'Bearer service-secret' },
      body: BODY,
      ...changes,
    },
    elsewhere: (address: string) => ({ url: `http://${address}/acl` }),
    secrets: ['service-secret'],
    stop: () => service.stop(),
  }
}

sourceContract('http, POST of JSON', () =>
  contractBed({}, ({ body }) =>
    json({ result: answerTo(new Map(Object.entries(JSON.parse(body) as Record<string, string>))) }),
  ),
)

sourceContract('http, POST of a form', () =>
  contractBed({ headers: { 'content-type': 'application/x-www-form-urlencoded' } }, ({ body }) =>
    form({ result: answerTo(new Map(new URLSearchParams(body))) }),
  ),
)

sourceContract('http, GET', () =>
  contractBed({ method: 'get' }, ({ path }) =>
    json({ result: answerTo(new Map(new URL(path, 'http://x').searchParams)) }),
  ),
)

describe('what the service answers', () => {
  let service: HttpService
  beforeAll(async () => {
    service = await HttpService.start()
  })
  afterAll(() => service.stop())

  async function open(answer: Answer, changes: object = {}) {
    service.respond = () => answer
    const recorded = recordingLog()
    const source = await build(
      {
        type: 'http',
        method: 'post',
        url: `${service.url}/a`,
        headers: { x: 'header-secret' },
        body: BODY,
        ...changes,
      },
      recorded,
    )
    onTestFinished(() => source.close())
    return { ...recorded, source }
  }

  test.each<[string, Answer, SourceAnswer]>([
    ['204', { status: 204 }, 'allow'],
    ['allow', json({ result: 'allow' }), 'allow'],
    ['deny', json({ result: 'deny' }), 'deny'],
    ['ignore', json({ result: 'ignore' }), 'ignore'],
    ['a form', form({ result: 'deny' }), 'deny'],
    ['JSON without a content type', { body: '{"result":"deny"}' }, 'deny'],
    ['404', { status: 404 }, 'ignore'],
    ['403 with allow', { ...json({ result: 'allow' }), status: 403 }, 'ignore'],
  ])('%s', async (_, answer, verdict) => {
    const { source, lines } = await open(answer)
    expect(await askOf(source, clientOf(), publish(), 't')).toBe(verdict)
    expect(lines.filter(({ level }) => level === 'warn')).toEqual([])
  })

  test.each<[string, Answer, RegExp]>([
    ['500', { status: 500, body: 'body-secret' }, /500/],
    ['a redirect', { status: 302, headers: { location: '/other' } }, /302/],
    ['201', { ...json({ result: 'allow' }), status: 201 }, /201/],
    ['408', { status: 408 }, /408/],
    ['429', { status: 429 }, /429/],
    ['503 with allow', { ...json({ result: 'allow' }), status: 503 }, /503/],
    ['no result', json({}), /result/],
    ['another result', json({ result: 'Allow' }), /result/],
    ['a result that is no text', json({ result: true }), /result/],
    ['a form without a result', form({ x: 'body-secret' }), /result/],
    ['no JSON', { headers: { 'content-type': 'application/json' }, body: 'allow body-secret' }, /JSON/],
    ['a list', json(['allow']), /JSON/],
    ['nothing', { headers: { 'content-type': 'application/json' } }, /JSON/],
    ['a page', { headers: { 'content-type': 'text/html' }, body: 'result=allow' }, /text\/html/],
  ])('%s is a failure and never a yes, and the log says so without secrets', async (_, answer, why) => {
    const { source, log, lines } = await open(answer)
    const chain = chainOf([source], { noMatch: 'allow' }, log)
    const decided = chain.authorize({ result: 'allow', from: 'default' }, clientOf(), publish(), 't')
    expect(await decided).toEqual({ ok: { result: 'deny', from: 'source_failed' } })
    expect(lines.find(({ level }) => level === 'warn')?.text).toMatch(why)
    expectNoSecrets(lines, { secrets: ['header-secret', 'body-secret'] })
  })

  test('it is asked with what EMQX’s services know', async () => {
    const body = {
      access: '${access}',
      proto: '${proto_name}',
      mount: '${mountpoint}',
      peer: '${peerhost}:${peerport}',
      ...BODY,
    }
    const { source } = await open({ status: 204 }, { body })
    await askOf(source, clientOf({ mountpoint: 'm/' }), publish(1, true), 't/"1"')
    await askOf(source, clientOf(), subscribe(2), 't/#')
    const [first, second] = service.asked.slice(-2).map((asked) => JSON.parse(asked.body) as unknown)
    expect(first).toEqual({
      access: '2',
      proto: 'MQTT',
      mount: 'm/',
      peer: '127.0.0.1:50000',
      username: 'ann',
      clientid: 'c1',
      cn: '',
      topic: 't/"1"',
      action: 'publish',
      qos: '1',
      retain: 'true',
    })
    expect(second).toMatchObject({ access: '1', action: 'subscribe', qos: '2', topic: 't/#' })
  })

  test('a topic in the URL stays one value', async () => {
    const { source } = await open(
      { status: 204 },
      { method: 'get', url: `${service.url}/acl/\${topic}?u=\${username}`, body: {} },
    )
    await askOf(source, clientOf({ username: 'a&u=root' }), publish(), 'a/b?c#d')
    expect(service.asked.at(-1)?.path).toBe('/acl/a%2Fb%3Fc%23d?u=a%26u%3Droot')
  })
})

test('EMQX’s names and defaults', () => {
  expect(readConfig({ type: 'http', method: 'get', url: 'http://127.0.0.1:80/' })).toMatchObject({
    request_timeout: 30_000,
    pool_size: 8,
    enable_pipelining: 100,
  })
})
