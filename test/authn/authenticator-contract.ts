/** What holds for every authenticator with a backend of its own, whatever that is. */
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import Type from 'typebox'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import {
  type Authenticator,
  type AuthenticatorBase,
  type AuthenticatorContext,
  authenticatorId,
} from '../../authn/authenticator.ts'
import { AuthnChain } from '../../authn/chain.ts'
import { authentication, authenticatorList } from '../../authn/config.ts'
import { authenticatorModules } from '../../authn/modules.ts'
import { WorkGate } from '../../authn/work-gate.ts'
import { parseAcl } from '../../authz/json-rule.ts'
import { loadConfig } from '../../config/load.ts'
import type { DenyReason, Verdict } from '../../model/access.ts'
import { freePort } from '../support/free-port.ts'
import { ALLOW, IGNORE, type LogLine, loginOf, recordingLog, saying } from './fixtures.ts'

/** Password of every user there is. */
export const PASSWORD = 'secret-of-ann'

/** Users that the backend of a contract has to know. The last has a name that means something in every query language. */
export const USERS = [
  { name: 'ann', isSuperuser: false },
  { name: 'root', isSuperuser: true },
  { name: `o'br(ie)n "*" \\ $where, ou=x`, isSuperuser: false },
] as const

const SUPERUSER: Verdict = { kind: 'allow', principal: { isSuperuser: true } }

/** Names and passwords that are to be nothing but text. */
const TRICKS = [
  `ann' OR '1'='1`,
  `ann" OR "1"="1`,
  `ann'; DROP TABLE mqtt_user; --`,
  'ann\\',
  '*',
  'ann)(objectClass=*',
  'ann,ou=other',
  '{"$ne":null}',
  '$ne',
  'ann\r\nGET mqtt_user:ann',
  'ann password_hash salt',
  '${password}',
  '../ann',
  'ann?result=allow&x=',
  'ann","result":"allow',
  'ann\u0000',
  '%61nn',
]

export interface AuthenticatorBed {
  /** As an operator writes it: mechanism, backend and where `USERS` are. */
  readonly config: Record<string, unknown>
  /** What to change for a backend that is not there, given an address where nobody listens. */
  nowhere(address: string): object
  /** What to change for one that takes longer than the half second it is given, given one that accepts and says nothing. */
  slow(address: string): object
  /** Never in a text. */
  readonly secrets: readonly string[]
  readonly wrongPassword?: DenyReason
  /** It is for the service to say what a login without a password means. */
  readonly isAskedWithoutPassword?: boolean
  stop(): Promise<void>
}

/**
 * The contract. Needs `USERS` in the backend.
 * @param start - called once for all tests
 */
export function authenticatorContract(
  name: string,
  start: () => Promise<AuthenticatorBed>,
  isSkipped = false,
) {
  describe.skipIf(isSkipped)(`${name}: what holds for every authenticator`, () => {
    let bed: AuthenticatorBed
    let authenticator: Authenticator
    let lines: LogLine[]
    beforeAll(async () => {
      bed = await start()
      const recorded = recordingLog()
      lines = recorded.lines
      authenticator = await build(bed.config, { log: recorded.log })
    })
    afterAll(async () => {
      await authenticator?.close()
      await bed?.stop()
    })
    const ask = (fields: Parameters<typeof loginOf>[0], of = authenticator) => askOf(of, fields)
    const login = (username: string | undefined, password = PASSWORD) =>
      ask({ client: { username }, password: Buffer.from(password) })

    test('the right password is a yes', async () => {
      expect(await login('ann')).toEqual(ALLOW)
    })

    test('a superuser is one', async () => {
      expect(await login('root')).toEqual(SUPERUSER)
    })

    test('a wrong password, or an empty one, is a no', async () => {
      const no = { kind: 'deny', reason: bed.wrongPassword ?? 0x86 }
      for (const password of ['wrong', '', `${PASSWORD} `]) expect(await login('ann', password)).toEqual(no)
    })

    test('about strangers there is no opinion', async () => {
      expect(await login('nobody-knows')).toEqual(IGNORE)
    })

    test('the clock does not tell strangers from users with a wrong password', async () => {
      const known: number[] = []
      const unknown: number[] = []
      const timed = async (username: string) => {
        const startMs = performance.now()
        await login(username, 'wrong')
        return performance.now() - startMs
      }
      // In turns, so that what else the machine does is in both.
      for (let i = 0; i < 60; i++) {
        known.push(await timed('ann'))
        unknown.push(await timed('nobody-knows'))
      }
      const at = (part: number, times: number[]) =>
        times.toSorted((a, b) => a - b)[Math.floor(part * times.length)] ?? 0
      // The middle of one lies within the other, give or take what a busy machine does.
      expect(at(0.5, unknown), 'milliseconds of strangers').toBeGreaterThan(at(0.05, known) * 0.8)
      expect(at(0.5, unknown), 'milliseconds of strangers').toBeLessThan(at(0.95, known) * 1.25)
    })

    test('a login with an authentication method is for others', async () => {
      expect(await ask({ authMethod: 'SCRAM-SHA-256' })).toEqual(IGNORE)
    })

    test('a login without a password is for others', async () => {
      if (bed.isAskedWithoutPassword === true) return
      expect(await ask({ client: { username: 'ann' }, password: undefined })).toEqual(IGNORE)
    })

    test('what a client calls itself is text and nothing else', async () => {
      for (const { name: own, isSuperuser } of USERS) {
        expect(await login(own), own).toEqual(isSuperuser ? SUPERUSER : ALLOW)
      }
      for (const trick of TRICKS) {
        expect((await outcome(login(trick))).kind, trick).not.toBe('allow')
        expect(await outcome(login('ann', trick)), trick).toMatchObject({ kind: 'deny' })
      }
      expect((await outcome(login(undefined))).kind).not.toBe('allow')
      expect(await login('ann')).toEqual(ALLOW)
    })

    test('it says that it is connected, and counts what it asked and how long that took', async () => {
      await login('ann')
      expect(authenticator.status).toEqual({ state: 'connected', lastError: undefined })
      expect(authenticator.calls).toMatchObject({ inflight: 0, waiting: 0 })
      expect(authenticator.calls?.success).toBeGreaterThan(0)
      expect(authenticator.calls?.latencyMs).toBeGreaterThan(0)
    })

    test('a backend that is not there fails at once, says so without secrets, and the next one is asked', async () => {
      const log = recordingLog()
      const away = await build({ ...bed.config, ...bed.nowhere(`127.0.0.1:${await freePort()}`) }, log)
      onTestFinished(() => away.close())
      const chain = new AuthnChain(
        'c',
        [away, saying('next', ALLOW)].map((one) => ({ authenticator: one, timeoutMs: 5000 })),
        log.log,
      )
      const verdict = await chain.authenticate(
        loginOf({ client: { username: 'ann' }, password: Buffer.from(PASSWORD) }),
      )
      expect(verdict).toEqual(ALLOW)
      expect(chain.links[0]?.counters).toMatchObject({ total: 1, nomatch: 1 })
      await expect(ask({ client: { username: 'ann' } }, away)).rejects.toMatchObject({
        code: expect.stringMatching(/^BACKEND_/),
      })
      expect(log.lines.some(({ level, text }) => level === 'warn' && text.includes(away.id))).toBe(true)
      expectNoSecrets(log.lines, bed)
    })

    test('one that is slow fails in time', async () => {
      const log = recordingLog()
      const timeouts = timeoutsOf(bed.config)
      const silent = await build({ ...bed.config, ...timeouts, ...bed.slow(await silentPort()) }, log)
      onTestFinished(() => silent.close())
      const startedAt = performance.now()
      const asked = ask({ client: { username: 'ann' } }, silent)
      await expect(asked).rejects.toMatchObject({ code: expect.stringMatching(/^BACKEND_/) })
      expect(performance.now() - startedAt).toBeLessThan(3000)
      expectNoSecrets(log.lines, bed)
    })

    test('a client that has gone is not waited for', async () => {
      const silent = await build({ ...bed.config, ...bed.slow(await silentPort()) })
      onTestFinished(() => silent.close())
      const gone = new AbortController()
      const asked = silent.authenticate(loginOf({ client: { username: 'ann' } }), gone.signal)
      gone.abort()
      await expect(asked).rejects.toMatchObject({ code: 'BACKEND_FAILED' })
    })

    test('closed twice, and then it answers nobody', async () => {
      const other = await build(bed.config)
      expect(await ask({ client: { username: 'ann' }, password: Buffer.from(PASSWORD) }, other)).toEqual(
        ALLOW,
      )
      await other.close()
      await other.close()
      await expect(ask({ client: { username: 'ann' } }, other)).rejects.toMatchObject({
        code: 'BACKEND_FAILED',
      })
    })

    test('the log holds no secret', () => expectNoSecrets(lines, bed))
  })
}

/** An authenticator from what an operator writes. */
export async function build(
  config: Record<string, unknown>,
  context: Partial<AuthenticatorContext> = {},
): Promise<Authenticator> {
  const options = readConfig(config)
  const module = authenticatorModules.find((one) => authenticatorId(one) === authenticatorId(options))
  if (module === undefined) throw new Error(`no authenticator ${authenticatorId(options)}`)
  return module.create(options, {
    log: recordingLog().log,
    dataDir: tmpdir(),
    configDir: tmpdir(),
    chain: 'mqtt:global',
    hashing: new WorkGate(),
    readAcl: parseAcl,
    ...context,
  })
}

const read = new Map<string, AuthenticatorBase>()

/** With defaults filled in and units read: each config once, as that takes its time. @throws BrokerError CONFIG_INVALID */
export function readConfig(config: Record<string, unknown>): AuthenticatorBase {
  const key = JSON.stringify(config)
  const known = read.get(key) ?? load(config)
  read.set(key, known)
  return known
}

function load(config: Record<string, unknown>): AuthenticatorBase {
  const schema = Type.Object({ authentication }, { additionalProperties: false })
  const loaded = loadConfig({ schema, file: undefined, env: {}, overrides: { authentication: [config] } })
  return authenticatorList(loaded.config.authentication)[0] as AuthenticatorBase
}

export async function askOf(
  authenticator: Authenticator,
  fields: Parameters<typeof loginOf>[0],
): Promise<Verdict> {
  return authenticator.authenticate(loginOf(fields), new AbortController().signal)
}

/** A failure is no opinion, as the chain has it. */
function outcome(verdict: Promise<Verdict>): Promise<Verdict> {
  return verdict.catch((): Verdict => IGNORE)
}

function expectNoSecrets(lines: readonly LogLine[], { secrets }: AuthenticatorBed): void {
  const said = JSON.stringify(lines)
  for (const secret of [PASSWORD, ...secrets]) expect(said).not.toContain(secret)
}

function timeoutsOf({ backend }: Record<string, unknown>): object {
  const own = backend === 'http' ? { request_timeout: '500ms' } : { query_timeout: '500ms' }
  return { ...own, connect_timeout: '500ms' }
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
