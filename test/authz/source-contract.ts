/** What holds for every authorization source, whatever keeps its rules. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import Type from 'typebox'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { AuthzChain } from '../../authz/chain.ts'
import { authorization } from '../../authz/config.ts'
import { sourceModules } from '../../authz/modules.ts'
import type { Source, SourceAnswer, SourceBase, SourceContext } from '../../authz/source.ts'
import { loadConfig } from '../../config/load.ts'
import type { Action } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { clientOf, type LogLine, recordingLog } from '../authn/fixtures.ts'
import { freePort } from '../support/free-port.ts'

export interface ContractRule {
  readonly permission: 'allow' | 'deny'
  readonly action: 'publish' | 'subscribe' | 'all'
  readonly topic: string
  readonly qos?: number[]
  readonly retain?: boolean
}

const allow = (action: ContractRule['action'], topic: string, more: Partial<ContractRule> = {}) =>
  ({ permission: 'allow', action, topic, ...more }) as const

const TRICKY_NAME = `o'br(ie)n "*" \\ $where, ou=x`

/** What a source has to know, by user name, in this order. Sources that only allow leave `deny` out. */
export const RULES: readonly { readonly username: string; readonly rules: readonly ContractRule[] }[] = [
  {
    username: 'ann',
    rules: [
      { permission: 'deny', action: 'publish', topic: 'no/#' },
      allow('all', 'no/+'),
      allow('all', 't/${clientid}/#'),
      allow('publish', 'own/${username}'),
      allow('publish', 'cert/${cert_common_name}'),
      allow('subscribe', 'eq lit/#'),
      allow('publish', 'once', { qos: [1] }),
      allow('publish', 'kept', { retain: true }),
      allow('subscribe', 'wide/+'),
      allow('subscribe', 'sub/a/#'),
      allow('subscribe', 'low', { qos: [0, 1] }),
    ],
  },
  { username: TRICKY_NAME, rules: [allow('publish', 'tricky')] },
  { username: 'victim', rules: [allow('all', '#')] },
]

/** Names that are to be nothing but text: each would like to have the rules of `victim`. */
const TRICKS = [
  `x' OR '1'='1`,
  `x" OR "1"="1`,
  `x'; DROP TABLE mqtt_acl; --`,
  `victim'--`,
  'victim\\',
  '*',
  'vict*',
  'victi_',
  '%',
  'victim)(objectClass=*',
  '*)(uid=victim',
  'victim,ou=other',
  '{"$ne":null}',
  '{"$where":"true"}',
  '$where',
  'victim\r\nHGETALL mqtt_acl:victim',
  'x mqtt_acl:victim',
  '${username}',
  '../victim',
  'x&username=victim',
  'x","username":"victim',
  'victim\u0000',
  '%76ictim',
  '#',
  '+',
]

export interface SourceBed {
  /** As an operator writes it: type, and where `RULES` are. */
  readonly config: Record<string, unknown>
  readonly context?: Partial<SourceContext>
  /** It knows no deny. */
  readonly onlyAllows?: boolean
  /** What to change for a backend at another address; undefined if it has none. */
  readonly elsewhere?: (address: string) => object
  /** Never in a text. */
  readonly secrets: readonly string[]
  stop(): Promise<void>
}

type Client = Partial<ClientInfo>

export const publish = (qos: 0 | 1 | 2 = 0, retain = false): Action => ({ kind: 'publish', qos, retain })
export const subscribe = (qos: 0 | 1 | 2 = 0): Action => ({ kind: 'subscribe', qos })

/**
 * The contract. Needs `RULES` in the backend.
 * @param start - called once for all tests
 */
export function sourceContract(name: string, start: () => Promise<SourceBed>, isSkipped = false) {
  describe.skipIf(isSkipped)(`${name}: what holds for every source`, () => {
    let bed: SourceBed
    let source: Source
    let lines: LogLine[]
    beforeAll(async () => {
      bed = await start()
      const recorded = recordingLog()
      lines = recorded.lines
      source = await build(bed.config, { ...bed.context, log: recorded.log })
    })
    afterAll(async () => {
      await source?.close()
      await bed?.stop()
    })
    const ask = (action: Action, topic: string, client: Client = {}) =>
      askOf(source, clientOf(client), action, topic)

    test('what a rule allows is allowed, about the rest there is no opinion', async () => {
      expect(await ask(publish(), 'own/ann')).toBe('allow')
      expect(await ask(subscribe(), 'own/ann')).toBe('ignore')
      expect(await ask(publish(), 'own/bob')).toBe('ignore')
      expect(await ask(publish(), 'own/ann', { username: 'stranger' })).toBe('ignore')
      expect(await ask(publish(), 'own/ann', { username: undefined })).toBe('ignore')
    })

    test('the first rule that fits decides', async () => {
      if (bed.onlyAllows) return
      expect(await ask(publish(), 'no/x')).toBe('deny')
      expect(await ask(subscribe(), 'no/x')).toBe('allow')
    })

    test('placeholders stand for the client, and for nothing else', async () => {
      expect(await ask(publish(), 't/c1/x')).toBe('allow')
      expect(await ask(subscribe(), 't/c1/#')).toBe('allow')
      expect(await ask(publish(), 't/c2/x')).toBe('ignore')
      expect(await ask(publish(), 't/c2/x', { clientId: 'c2' })).toBe('allow')
      for (const clientId of ['#', '+', 'a/b', '']) {
        for (const topic of ['t/a/b/x', 't/c1/x', 't//x', 't/+/x', `t/${clientId}/x`]) {
          expect(await ask(publish(), topic, { clientId }), `${clientId} to ${topic}`).toBe('ignore')
        }
        for (const filter of ['t/#', 't/+/#', 't/a/b/#', '#', `t/${clientId}`]) {
          expect(await ask(subscribe(), filter, { clientId }), `${clientId} to ${filter}`).toBe('ignore')
        }
      }
    })

    test('a rule with a value that a client lacks is not about it', async () => {
      expect(await ask(publish(), 'cert/')).toBe('ignore')
      expect(await ask(publish(), 'cert/${cert_common_name}')).toBe('ignore')
      const certificate = { subject: 'CN=m7', commonName: 'm7', raw: new Uint8Array() }
      expect(await ask(publish(), 'cert/m7', { certificate })).toBe('allow')
    })

    test('eq is about the text itself', async () => {
      expect(await ask(subscribe(), 'lit/#')).toBe('allow')
      for (const filter of ['lit/a', 'lit/+', 'eq lit/#'])
        expect(await ask(subscribe(), filter)).toBe('ignore')
    })

    test('rules may be about QoS and retain', async () => {
      expect(await ask(publish(1), 'once')).toBe('allow')
      expect(await ask(publish(0), 'once')).toBe('ignore')
      expect(await ask(publish(2), 'once')).toBe('ignore')
      expect(await ask(publish(0, true), 'kept')).toBe('allow')
      expect(await ask(publish(0, false), 'kept')).toBe('ignore')
      expect(await ask(subscribe(1), 'low')).toBe('allow')
      expect(await ask(subscribe(2), 'low')).toBe('ignore')
    })

    test('a filter wider than what is allowed is not allowed', async () => {
      for (const filter of ['sub/a', 'sub/a/#', 'sub/a/+', 'sub/a/b/#', 'wide/+', 'wide/x'])
        expect(await ask(subscribe(), filter), filter).toBe('allow')
      for (const filter of ['sub/#', 'sub/+', 'sub/+/#', '#', '+/#', 'wide/#', 'wide/+/#', '$SYS/#'])
        expect(await ask(subscribe(), filter), filter).toBe('ignore')
    })

    test('what a client calls itself is text and nothing else', async () => {
      expect(await ask(publish(), 'anything', { username: 'victim' })).toBe('allow')
      expect(await ask(publish(), 'tricky', { username: TRICKY_NAME })).toBe('allow')
      expect(await ask(publish(), 'anything', { username: TRICKY_NAME })).toBe('ignore')
      for (const trick of TRICKS) {
        expect(await outcome(ask(publish(), 'anything', { username: trick })), trick).not.toBe('allow')
        expect(await outcome(ask(publish(), 'anything', { clientId: trick })), trick).not.toBe('allow')
        expect(await outcome(ask(publish(), trick)), trick).not.toBe('allow')
      }
      expect(await ask(publish(), 'anything', { username: 'victim' })).toBe('allow')
    })

    test('a superuser is allowed everything and the source is not asked', async () => {
      const chain = chainOf([source])
      const client = clientOf({ isSuperuser: true })
      expect(await chain.authorize(START, client, publish(), 'no/x')).toEqual({
        stop: { result: 'allow', from: 'superuser' },
      })
      expect(chain.links[0]?.counters.total).toBe(0)
    })

    test('in a chain it decides, counts, and is asked about what is inside $share and $delayed', async () => {
      const chain = chainOf([source])
      const decide = (action: Action, topic: string) => chain.authorize(START, clientOf(), action, topic)
      const allowed = { stop: { result: 'allow', from: source.type } }
      expect(await decide(subscribe(), '$share/g/sub/a/#')).toEqual(allowed)
      expect(await decide(publish(), '$delayed/5/own/ann')).toEqual(allowed)
      expect(await decide(subscribe(), '$share/g/sub/#')).toEqual({ ok: { result: 'deny', from: 'default' } })
      expect(chain.links[0]?.counters).toMatchObject({ total: 3, allow: 2, nomatch: 1, ignore: 0 })
    })

    test('it says that it is connected, and counts what it asked', async () => {
      if (bed.elsewhere === undefined) return
      await ask(publish(), 'own/ann')
      expect(source.status).toEqual({ state: 'connected', lastError: undefined })
      expect(source.calls).toMatchObject({ inflight: 0, waiting: 0 })
      expect(source.calls?.success).toBeGreaterThan(0)
    })

    test('one that is not there is passed over and never a yes, and no secret is told', async () => {
      if (bed.elsewhere === undefined) return
      const log = recordingLog()
      const away = await build(
        { ...bed.config, ...bed.elsewhere(`127.0.0.1:${await freePort()}`) },
        { log: log.log },
      )
      onTestFinished(() => away.close())
      const decide = (chain: AuthzChain) => chain.authorize(START, clientOf(), publish(), 'own/ann')
      expect(await decide(chainOf([away]))).toEqual({ ok: { result: 'deny', from: 'source_failed' } })
      expect(await decide(chainOf([away], { ignoreBackendFailures: true, noMatch: 'allow' }))).toEqual({
        ok: { result: 'allow', from: 'default' },
      })
      const chain = chainOf([away, source], {}, log.log)
      expect(await decide(chain)).toEqual({ stop: { result: 'allow', from: source.type } })
      expect(chain.links[0]?.counters).toMatchObject({ total: 1, ignore: 1 })
      expect(log.lines.some(({ level, text }) => level === 'warn' && text.includes(away.type))).toBe(true)
      expectNoSecrets(log.lines, bed)
    })

    test('one that is slow fails in time', async () => {
      if (bed.elsewhere === undefined) return
      const timeouts = { connect_timeout: '500ms', ...timeoutOf(bed.config) }
      const log = recordingLog()
      const silent = await build(
        { ...bed.config, ...timeouts, ...bed.elsewhere(await silentPort()) },
        { log: log.log },
      )
      onTestFinished(() => silent.close())
      const startedAtMs = performance.now()
      const asked = askOf(silent, clientOf(), publish(), 'own/ann')
      await expect(asked).rejects.toMatchObject({ code: expect.stringMatching(/^BACKEND_/) })
      expect(performance.now() - startedAtMs).toBeLessThan(3000)
      expectNoSecrets(log.lines, bed)
    })

    test('closed twice', async () => {
      const other = await build(bed.config, bed.context)
      await other.close()
      await other.close()
      if (bed.elsewhere === undefined) return
      const asked = askOf(other, clientOf(), publish(), 'own/ann')
      await expect(asked).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    })

    test('the log holds no secret', () => expectNoSecrets(lines, bed))
  })
}

const START = { result: 'allow', from: 'default' } as const

export function chainOf(
  sources: Source[],
  options: Partial<ConstructorParameters<typeof AuthzChain>[1]> = {},
  log = recordingLog().log,
): AuthzChain {
  const all = { noMatch: 'deny', ignoreBackendFailures: false, ...options } as const
  return new AuthzChain(sources, all, undefined, () => 0, log)
}

/** A source from what an operator writes. */
export async function build(
  config: Record<string, unknown>,
  context: Partial<SourceContext> = {},
): Promise<Source> {
  const read = readConfig(config)
  const module = sourceModules.find(({ type }) => type === read.type)
  if (module === undefined) throw new Error(`no source ${read.type}`)
  return module.create(read, { log: recordingLog().log, configDir: tmpdir(), ...context })
}

const read = new Map<string, SourceBase>()

/** With defaults filled in and units read: each config once, as that takes its time. @throws BrokerError CONFIG_INVALID */
export function readConfig(config: Record<string, unknown>): SourceBase {
  const key = JSON.stringify(config)
  const known = read.get(key) ?? load(config)
  read.set(key, known)
  return known
}

function load(config: Record<string, unknown>): SourceBase {
  const schema = Type.Object({ authorization })
  const overrides = { authorization: { sources: [config] } }
  const { authorization: section } = loadConfig({ schema, file: undefined, env: {}, overrides }).config
  const [source] = section.sources
  if (source === undefined) throw new Error('no source')
  return source
}

export async function askOf(
  source: Source,
  client: ClientInfo,
  action: Action,
  topic: string,
): Promise<SourceAnswer> {
  return source.authorize(client, action, topic)
}

/** A failure is no yes. */
function outcome(answer: Promise<SourceAnswer>): Promise<SourceAnswer> {
  return answer.catch((): SourceAnswer => 'ignore')
}

export function expectNoSecrets(lines: readonly LogLine[], { secrets }: Pick<SourceBed, 'secrets'>): void {
  const said = JSON.stringify(lines)
  for (const secret of secrets) expect(said).not.toContain(secret)
}

function timeoutOf({ type }: Record<string, unknown>): object {
  return type === 'http' ? { request_timeout: '500ms' } : { query_timeout: '500ms' }
}

/** Accepts, and says nothing. Until the end of the test. */
async function silentPort(): Promise<string> {
  const sockets = new Set<Socket>()
  const server = createServer((socket) => void sockets.add(socket.on('error', () => {})))
  const port = await freePort()
  await once(server.listen(port, '127.0.0.1'), 'listening')
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return `127.0.0.1:${port}`
}
