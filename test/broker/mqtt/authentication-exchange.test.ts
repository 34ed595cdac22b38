/** Enhanced authentication (MQTT 5.0 §4.12), with a small mechanism made here: who says a word backwards is let in. */
import type { IAuthPacket, Packet } from 'mqtt-packet'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { MAX_CHALLENGES } from '../../../broker/authentication.ts'
import type { Hub } from '../../../broker/hub.ts'
import type { MqttContext } from '../../../broker/mqtt/options.ts'
import type { Exchange, Login, Principal, Verdict } from '../../../model/access.ts'
import { ReasonCode } from '../../../model/reason-codes.ts'
import { clientInfo, connect, RecordingReceiver, startHub } from '../support.ts'
import {
  DISCONNECT,
  mqttContext,
  PINGREQ,
  PROTOCOL,
  publish,
  RawPeer,
  subscribe,
  subscriber,
  text,
  turns,
} from './raw-peer.ts'
import { packet } from './support.ts'

const METHOD = 'MIRROR'
const IDLE_MS = 15_000

/** What it knows about a login is in here and nowhere else. */
class Mirror implements Exchange {
  readonly #words: string[]
  readonly #principal: Principal

  constructor(words: string[], principal: Principal) {
    this.#words = words
    this.#principal = principal
  }

  next(data: Uint8Array | undefined): Verdict {
    const [word = '', ...rest] = this.#words
    const said = Buffer.from(data ?? []).toString()
    if (said !== Array.from(word).toReversed().join(''))
      return { kind: 'deny', reason: ReasonCode.NotAuthorized }
    if (rest.length === 0) return { kind: 'allow', principal: this.#principal, data: Buffer.from('welcome') }
    return mirror(rest, this.#principal)
  }
}

/** Asks for these words, one after the other. */
function mirror(words: string[], principal: Principal): Verdict {
  return { kind: 'continue', data: Buffer.from(words[0] ?? ''), exchange: new Mirror(words, principal) }
}

let hub: Hub
let context: MqttContext
let principal: Principal
let words: string[]
/** One that asks `words`; the others do not know the method. */
function attachMirror(): void {
  hub.hooks.add('client.authenticate', 'mirror', (_, { authMethod }) =>
    authMethod === METHOD ? { stop: mirror(words, principal) } : undefined,
  )
}

/** Has `exchange` answer instead, to a first challenge of "go". */
function attachExchange(next: Exchange['next']): void {
  hub.hooks.add('client.authenticate', 'mirror', () => ({
    stop: { kind: 'continue', data: Buffer.from('go'), exchange: { next } },
  }))
}

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  hub = await startHub()
  context = mqttContext(hub)
  principal = { isSuperuser: false }
  words = ['abc']
})
afterEach(async () => {
  await hub.stop()
  vi.useRealTimers()
})

function u8(value: number): string {
  return value.toString(16).padStart(2, '0')
}

/** Method, and data if there is some, behind their length. */
function authProperties(method: string, data?: string): string {
  const length = 3 + method.length + (data === undefined ? 0 : 3 + data.length)
  return `${u8(length)} 15 ${text(method)} ${data === undefined ? '' : `16 ${text(data)}`}`
}

/** A CONNECT that names a method. `head` is flags and keep alive, `tail` what follows the client id. */
function connectWith(method = METHOD, { head = '02 003c', tail = '', id = 'c' } = {}): Buffer {
  return packet('10', PROTOCOL[5], head, authProperties(method), text(id), tail)
}

function auth(code: '18' | '19', data?: string, method = METHOD): Buffer {
  return packet('f0', code, authProperties(method, data))
}

function peer(): RawPeer {
  return new RawPeer(context)
}

/** One that has said what it had to. */
function letIn(options: Parameters<typeof connectWith>[1] = {}): RawPeer {
  const one = peer().send(connectWith(METHOD, options), auth('18', 'cba'))
  expect(said(one)).toEqual([`auth 0x18 ${METHOD} abc`, `connack 0x00 ${METHOD} welcome`])
  return one
}

/** Packets since the last look: what it is, its code, method and data. */
function said(one: RawPeer): string[] {
  const all = one.packets().map(shortOf)
  return one.isClosed ? [...all, 'closed'] : all
}

function shortOf(one: Packet): string {
  const { reasonCode } = one as IAuthPacket
  const { authenticationMethod, authenticationData } = (one as IAuthPacket).properties ?? {}
  const code = reasonCode === undefined ? '' : `0x${u8(reasonCode)}`
  const payload = one.cmd === 'publish' ? String(one.payload) : ''
  return [one.cmd, code, authenticationMethod, authenticationData?.toString(), payload]
    .filter((part) => part !== undefined && part !== '')
    .join(' ')
}

/** A client of this broker that hears of wills. */
function watchWills(): RawPeer {
  hub.hooks.del('client.authenticate', 'mirror')
  const watcher = subscriber(hub, 'wills')
  attachMirror()
  return watcher
}

/** Will flag, and a will without properties. */
const WITH_WILL = { head: '06 003c', tail: `00 ${text('wills')} ${text('gone')}` }

const EMPTY: (string | Buffer)[] = []

function throwing(): never {
  throw new Error('a bug')
}

describe('before CONNACK', () => {
  beforeEach(attachMirror)

  // [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] [MQTT-3.2.0-1]
  test('who answers the challenge is let in, and every answer names the method', () => {
    const one = peer().send(connectWith())
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc'])
    expect([hub.clientCount, hub.sessionCount]).toEqual([0, 0])
    one.send(auth('18', 'cba'))
    expect(said(one)).toEqual(['connack 0x00 MIRROR welcome'])
    expect(hub.client('c')?.isStarted).toBe(true)
    expect(said(one.send(PINGREQ))).toEqual(['pingresp'])
  })

  test('there may be several challenges', () => {
    words = ['abc', 'de', 'f']
    const one = peer().send(connectWith(), auth('18', 'cba'), auth('18', 'ed'))
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', 'auth 0x18 MIRROR de', 'auth 0x18 MIRROR f'])
    expect(said(one.send(auth('18', 'f')))).toEqual(['connack 0x00 MIRROR welcome'])
  })

  test('but not without end', () => {
    words = Array.from({ length: 100 }, () => 'x')
    const one = peer().send(connectWith())
    for (let i = 0; i < MAX_CHALLENGES; i++) {
      expect(said(one)).toEqual(['auth 0x18 MIRROR x'])
      one.send(auth('18', 'x'))
    }
    expect(said(one)).toEqual(['connack 0x87', 'closed'])
  })

  // [MQTT-4.12.0-5]
  test('a mechanism without challenges is one too', () => {
    hub.hooks.put('client.authenticate', 'mirror', () => ({ stop: { kind: 'allow', principal } }))
    expect(said(peer().send(connectWith('TICKET')))).toEqual(['connack 0x00 TICKET'])
  })

  // [MQTT-4.12.0-4] [MQTT-3.1.4-6]
  test.each([
    ['a wrong answer', auth('18', 'abc')],
    ['no answer in it', auth('18')],
  ])('%s is a no, and nothing after it is processed', (_, answer) => {
    const one = peer().send(connectWith(), answer, subscribe('t'))
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', 'connack 0x87', 'closed'])
    expect([hub.clientCount, hub.sessionCount]).toEqual([0, 0])
  })

  test.each([
    ['throws', throwing],
    ['rejects', () => Promise.reject(new Error('a bug'))],
    ['has no opinion any more', (): Verdict => ({ kind: 'ignore' })],
  ])('an exchange that %s is a no', async (_, next) => {
    hub.hooks.del('client.authenticate', 'mirror')
    attachExchange(next)
    const one = peer().send(connectWith(), auth('18', 'x'))
    await turns()
    expect(said(one)).toEqual(['auth 0x18 MIRROR go', 'connack 0x87', 'closed'])
  })

  // [MQTT-4.12.0-1]
  test.each<[string, Verdict]>([
    ['nobody knows', { kind: 'ignore' }],
    ['nobody is asked about', { kind: 'allow', principal: { isSuperuser: true, isAnonymous: true } }],
  ])('a method that %s is refused and the connection closed', (_, verdict) => {
    hub.hooks.put('client.authenticate', 'mirror', () => ({ ok: verdict }))
    expect(said(peer().send(connectWith(), PINGREQ))).toEqual(['connack 0x8c', 'closed'])
    hub.hooks.del('client.authenticate', 'mirror')
    expect(said(peer().send(connectWith()))).toEqual(['connack 0x8c', 'closed'])
  })

  // [MQTT-3.1.2-30] [MQTT-4.12.0-3] [MQTT-4.12.0-5]
  test.each([
    ['PINGREQ', PINGREQ, '0x82'],
    ['PUBLISH', publish('0', 't', 'x'), '0x82'],
    ['SUBSCRIBE', subscribe('t'), '0x82'],
    ['a second CONNECT', connectWith(), '0x82'],
    ['authenticating again', auth('19', 'cba'), '0x82'],
    ['AUTH with another method', auth('18', 'cba', 'OTHER'), '0x82'],
    ['AUTH without a method', 'f0 02 18 00', '0x82'],
    ['AUTH with Success', 'f0 00', '0x82'],
    ['AUTH cut short', 'f0 03 18 05 15', '0x81'],
  ])('%s instead of an answer is a protocol error', (_, wrong, code) => {
    const one = peer().send(connectWith(), wrong, auth('18', 'cba'))
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', `connack ${code}`, 'closed'])
    expect([hub.clientCount, hub.sessionCount]).toEqual([0, 0])
  })

  // [MQTT-3.1.2-30]
  test('a client may say goodbye instead, and nothing is left of it', () => {
    const watcher = watchWills()
    const one = peer().send(connectWith(METHOD, WITH_WILL), 'e0 01 04')
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', 'closed'])
    expect([hub.client('c'), hub.session('c')]).toEqual([undefined, undefined])
    expect(said(watcher)).toEqual([])
  })

  test('one that does not answer in time, or leaves, leaves nothing', () => {
    const watcher = watchWills()
    const slow = peer().send(connectWith(METHOD, WITH_WILL))
    const gone = peer().send(connectWith(METHOD, WITH_WILL))
    expect(context.newcomers.size).toBe(2) // so a broker that stops knows of them
    gone.transport.close()
    expect(context.newcomers.size).toBe(1)
    vi.advanceTimersByTime(IDLE_MS - 1)
    expect(said(slow)).toEqual(['auth 0x18 MIRROR abc'])
    vi.advanceTimersByTime(1)
    expect(said(slow)).toEqual(['closed'])
    expect(context.newcomers.size).toBe(0)
    expect([hub.client('c'), hub.session('c')]).toEqual([undefined, undefined])
    expect(said(watcher)).toEqual([])
  })

  test('every answer has its own time, and who is in has any', () => {
    words = ['abc', 'de']
    const one = peer().send(connectWith())
    vi.advanceTimersByTime(IDLE_MS - 1)
    one.send(auth('18', 'cba'))
    vi.advanceTimersByTime(IDLE_MS - 1)
    one.send(auth('18', 'ed'))
    vi.advanceTimersByTime(IDLE_MS + 1)
    expect(said(one)).toContain('connack 0x00 MIRROR welcome')
    expect([one.isClosed, context.newcomers.size]).toEqual([false, 0])
  })

  // [MQTT-3.1.4-3]
  test('takes over a session at its end only', () => {
    const old = letIn({ head: '00 003c' })
    const impostor = peer().send(connectWith(), auth('18', 'wrong'))
    expect(said(impostor)).toContain('connack 0x87')
    const next = peer().send(connectWith())
    expect(said(old.send(PINGREQ))).toEqual(['pingresp'])
    next.send(auth('18', 'cba'))
    expect(said(old)).toEqual(['disconnect 0x8e', 'closed'])
    expect(hub.clientCount).toBe(1)
  })

  test('packets wait while the answer is judged; who leaves then is told to the mechanism', async () => {
    hub.hooks.del('client.authenticate', 'mirror')
    const judging: { signal: AbortSignal; say: (verdict: Verdict) => void }[] = []
    attachExchange((_, signal) => new Promise((resolve) => judging.push({ signal, say: resolve })))
    const patient = peer().send(connectWith(), auth('18', 'x'), PINGREQ)
    const gone = peer().send(connectWith(METHOD, { id: 'gone' }), auth('18', 'x'))
    expect([said(patient), said(gone)]).toEqual([['auth 0x18 MIRROR go'], ['auth 0x18 MIRROR go']])
    gone.transport.close()
    expect(judging.map(({ signal }) => signal.aborted)).toEqual([false, true])
    for (const { say } of judging) say({ kind: 'allow', principal })
    await turns()
    expect(said(patient)).toEqual(['connack 0x00 MIRROR', 'pingresp'])
    expect([hub.clientCount, hub.session('gone')]).toEqual([1, undefined])
  })

  test('is told of once, with its verdict', () => {
    const told: unknown[] = []
    hub.hooks.add(
      'client.check_authn_complete',
      'test',
      (client, code, isAnonymous) => void told.push([client.clientId, code, isAnonymous]),
    )
    const one = peer().send(connectWith())
    expect(told).toEqual([])
    one.send(auth('18', 'cba'))
    expect(told).toEqual([['c', 0, false]])
  })

  test('the client is who the mechanism says, whatever its CONNECT does', () => {
    principal = { isSuperuser: false, username: 'ann' }
    letIn({ head: '82 003c', tail: text('admin') })
    expect(hub.client('c')?.info.username).toBe('ann')
  })

  // [MQTT-3.1.2-24]
  test('a challenge that is too large for the client ends it', () => {
    const properties = `0e 15 ${text(METHOD)} 27 00000010` // sixteen bytes
    const one = peer().send(packet('10', PROTOCOL[5], '02 003c', properties, text('c')))
    expect(said(one)).toEqual(['closed'])
  })

  test('a protocol without challenges refuses where one is wanted', async () => {
    const wish = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 10 }
    const login: Login = { client: clientInfo('c'), password: undefined, enableAuthn: true }
    const methodical = { ...login, authMethod: METHOD }
    const answers = [hub.connect(methodical, wish, new RecordingReceiver())]
    hub.hooks.put('client.authenticate', 'mirror', () => ({ stop: mirror(words, principal) }))
    answers.push(hub.connect(login, wish, new RecordingReceiver()))
    expect(await Promise.all(answers)).toMatchObject([
      { kind: 'refused', reason: ReasonCode.BadAuthenticationMethod },
      { kind: 'refused', reason: ReasonCode.NotAuthorized },
    ])
  })
})

describe('authenticating again', () => {
  beforeEach(attachMirror)

  // [MQTT-4.12.1-1] [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5]
  test('works with the method of CONNECT, and other packets flow meanwhile', () => {
    const one = letIn()
    expect(said(one.send(auth('19')))).toEqual(['auth 0x18 MIRROR abc'])
    one.send(subscribe('t'), publish('0', 't', 'meanwhile'), PINGREQ)
    expect(said(one)).toEqual(['suback', 'publish meanwhile', 'pingresp'])
    expect(said(one.send(auth('18', 'cba')))).toEqual(['auth 0x00 MIRROR welcome'])
    vi.advanceTimersByTime(IDLE_MS + 1)
    expect(said(one.send(PINGREQ))).toEqual(['pingresp'])
    expect(said(one.send(auth('19'), auth('18', 'cba')))).toEqual([
      'auth 0x18 MIRROR abc',
      'auth 0x00 MIRROR welcome',
    ])
  })

  test('applies the new verdict once it is there', () => {
    principal = { isSuperuser: false, expiresAtMs: Date.now() + 60_000 }
    const one = letIn()
    const { info } = hub.client('c') ?? {}
    const site = new Map([['site', 'berlin']])
    principal = { isSuperuser: true, acl: [], attributes: site, expiresAtMs: Date.now() + 120_000 }
    one.send(auth('19'))
    expect(info).toMatchObject({ isSuperuser: false, acl: undefined })
    one.send(auth('18', 'cba'))
    expect(info).toMatchObject({ isSuperuser: true, acl: [], attributes: site })
    said(one)
    one.send(PINGREQ)
    vi.advanceTimersByTime(60_000)
    expect(said(one.send(PINGREQ))).toEqual(['pingresp', 'pingresp'])
    vi.advanceTimersByTime(60_000)
    expect(said(one)).toEqual(['disconnect 0x87', 'closed'])
  })

  test('takes away what the new verdict does not give', () => {
    principal = { isSuperuser: true, expiresAtMs: Date.now() + 60_000 }
    const one = letIn()
    principal = { isSuperuser: false }
    one.send(auth('19'), auth('18', 'cba'))
    vi.advanceTimersByTime(60_000)
    expect(hub.client('c')?.info).toMatchObject({ isSuperuser: false, authExpiresAtMs: undefined })
  })

  // [MQTT-4.12.1-2]
  test('without success ends the connection, and no will is published', () => {
    const watcher = watchWills()
    const one = letIn(WITH_WILL)
    one.send(auth('19'), auth('18', 'wrong'), PINGREQ)
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', 'disconnect 0x87', 'closed'])
    expect(hub.client('c')).toBeUndefined()
    expect(said(watcher)).toEqual([])
  })

  // [MQTT-4.12.1-2]
  test('ends the connection when no answer comes in time, or the mechanism is gone', () => {
    const one = letIn().send(auth('19'))
    vi.advanceTimersByTime(IDLE_MS)
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', 'disconnect 0x87', 'closed'])
    const other = letIn()
    hub.hooks.del('client.authenticate', 'mirror')
    expect(said(other.send(auth('19')))).toEqual(['disconnect 0x87', 'closed'])
  })

  test('the will of one that leaves in the middle is not published, that of one that has succeeded is', () => {
    const watcher = watchWills()
    const one = letIn(WITH_WILL).send(auth('19'))
    one.transport.close()
    expect(said(watcher)).toEqual([])
    const two = letIn(WITH_WILL).send(auth('19'), auth('18', 'cba'))
    two.transport.close()
    expect(said(watcher)).toEqual(['publish gone'])
  })

  test('makes nobody somebody else', () => {
    principal = { isSuperuser: false, username: 'ann' }
    const one = letIn()
    said(one.send(auth('19'), auth('18', 'cba')))
    principal = { isSuperuser: true, username: 'bob' }
    one.send(auth('19'), auth('18', 'cba'))
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', 'disconnect 0x87', 'closed'])
  })

  // [MQTT-4.12.1-1] [MQTT-4.12.0-3]
  test.each([
    ['with another method', EMPTY, auth('19', undefined, 'OTHER')],
    ['while it is being done', [auth('19')], auth('19')],
    ['with an answer to another method', [auth('19')], auth('18', 'cba', 'OTHER')],
    ['with an answer that nobody asked for', EMPTY, auth('18', 'cba')],
    ['without a method', EMPTY, 'f0 02 19 00'],
  ])('%s is a protocol error', (_, before, wrong) => {
    const one = letIn()
    one.send(...before)
    said(one)
    expect(said(one.send(wrong))).toEqual(['disconnect 0x82', 'closed'])
  })

  // [MQTT-4.12.0-6] [MQTT-4.12.0-7]
  test('is not for who named no method in CONNECT', () => {
    hub.hooks.put('client.authenticate', 'mirror', () => ({ stop: { kind: 'allow', principal } }))
    const one = peer().send(packet('10', PROTOCOL[5], '02 003c 00', text('c')), auth('19'))
    expect(said(one)).toEqual(['connack 0x00', 'disconnect 0x82', 'closed'])
  })

  test('a client that leaves while it is judged is told to the mechanism, and is given nothing', async () => {
    const one = letIn()
    hub.hooks.del('client.authenticate', 'mirror')
    const judging: { signal: AbortSignal; say: (verdict: Verdict) => void }[] = []
    attachExchange((_, signal) => new Promise((resolve) => judging.push({ signal, say: resolve })))
    const { info } = hub.client('c') ?? {}
    one.send(auth('19'), auth('18', 'x'))
    one.transport.close()
    expect(judging[0]?.signal.aborted).toBe(true)
    judging[0]?.say({ kind: 'allow', principal: { isSuperuser: true, expiresAtMs: Date.now() + 1000 } })
    await turns()
    expect(info?.isSuperuser).toBe(false)
    expect(vi.getTimerCount()).toBe(0)
  })

  test('another client with the same id takes over even then', async () => {
    const one = letIn().send(auth('19'))
    hub.hooks.del('client.authenticate', 'mirror')
    await connect(hub, 'c')
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', 'disconnect 0x8e', 'closed'])
  })

  test('a clean goodbye in the middle is one', () => {
    const one = letIn().send(auth('19'), DISCONNECT)
    expect(said(one)).toEqual(['auth 0x18 MIRROR abc', 'closed'])
    expect([hub.client('c'), vi.getTimerCount()]).toEqual([undefined, 0])
  })
})
