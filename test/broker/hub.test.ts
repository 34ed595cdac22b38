/** Logins, sessions and wills: spec of the session lifecycle and of wills, case by case. */
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Will } from '../../broker/broker.ts'
import type { Hub } from '../../broker/hub.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import {
  clientInfo,
  connect,
  HUB_OPTIONS,
  publish,
  RecordingReceiver,
  startHub,
  subscription,
} from './support.ts'

let hub: Hub
const KEPT = { cleanStart: false, expiryIntervalMs: 60_000 }

beforeEach(async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  hub = await startHub()
})
afterEach(async () => {
  await hub.stop()
  vi.useRealTimers()
})

/** A login that may be refused, without `start`. */
async function login(clientId: string, options = KEPT, signal?: AbortSignal) {
  const receiver = new RecordingReceiver()
  const one = { client: clientInfo(clientId), password: undefined, enableAuthn: true } as const
  const wanted = { receiveMaximum: 10, ...options }
  const answer = await hub.connect(signal === undefined ? one : { ...one, signal }, wanted, receiver)
  return { answer, receiver }
}

describe('connecting', () => {
  // [MQTT-3.1.2-6]
  test('without hooks everybody is let in, and counted', async () => {
    const { answer } = await login('c')
    expect(answer).toMatchObject({ kind: 'connected', sessionPresent: false, properties: {} })
    expect([hub.clientCount, hub.sessionCount, hub.client('c')?.info.clientId]).toEqual([1, 1, 'c'])
  })

  // [MQTT-3.1.4-2]
  test.each([
    ['deny', { kind: 'deny', reason: ReasonCode.BadUserNameOrPassword }, ReasonCode.BadUserNameOrPassword],
    ['no opinion', { kind: 'ignore' }, ReasonCode.NotAuthorized],
  ] as const)('an authenticator says %s: refused, and nothing is left', async (_, verdict, reason) => {
    hub.hooks.add('client.authenticate', 'test', () => ({ ok: verdict }))
    expect((await login('c')).answer).toMatchObject({ kind: 'refused', reason })
    expect([hub.clientCount, hub.sessionCount]).toEqual([0, 0])
  })

  test('what authentication knows becomes part of the client', async () => {
    const principal = {
      isSuperuser: true,
      attributes: new Map([['site', 'berlin']]),
      acl: [],
      expiresAtMs: Date.now() + 1000,
    }
    hub.hooks.add('client.authenticate', 'test', () => ({ stop: { kind: 'allow', principal } }))
    const { client } = await connect(hub, 'c', {}, { attributes: new Map([['old', '1']]) })
    expect(client.info).toMatchObject({ isSuperuser: true, acl: [], authExpiresAtMs: principal.expiresAtMs })
    expect(Object.fromEntries(client.info.attributes)).toEqual({ old: '1', site: 'berlin' })
  })

  test('a refused login leaves the one who is connected alone', async () => {
    const old = await connect(hub, 'c', KEPT)
    hub.hooks.add('client.connect', 'test', () => ({ stop: { refused: ReasonCode.Banned } }))
    expect((await login('c')).answer).toMatchObject({ kind: 'refused', reason: ReasonCode.Banned })
    expect(old.receiver.ended).toBeUndefined()
    expect(hub.client('c')).toBe(old.client)
  })

  test('so does one who has left meanwhile', async () => {
    const old = await connect(hub, 'c', KEPT)
    const { answer } = await login('c', KEPT, AbortSignal.abort())
    expect(answer.kind).toBe('refused')
    expect(hub.client('c')).toBe(old.client)
  })

  test('max_sessions counts kept ones, and lets those come back who have one', async () => {
    hub.update({ ...HUB_OPTIONS, maxSessions: 2 })
    const kept = await connect(hub, 'kept', KEPT)
    kept.client.close('tcp_closed')
    await connect(hub, 'here')
    expect((await login('new')).answer).toMatchObject({ kind: 'refused', reason: ReasonCode.QuotaExceeded })
    expect((await connect(hub, 'kept', KEPT)).sessionPresent).toBe(true)
    expect((await connect(hub, 'kept', { cleanStart: true })).sessionPresent).toBe(false)
    expect(hub.sessionCount).toBe(2)
  })

  test('keys that name properties of objects are keys like any other', async () => {
    for (const key of ['__proto__', 'constructor', 'toString']) {
      expect(hub.client(key)).toBeUndefined()
      const { client } = await connect(hub, key)
      expect(hub.client(key)).toBe(client)
    }
    expect([hub.kick('__proto__'), hub.kick('__proto__'), hub.clientCount]).toEqual([true, false, 2])
  })
})

describe('taking over', () => {
  // [MQTT-3.1.2-4] [MQTT-3.1.2-5] [MQTT-3.1.3-2] [MQTT-3.1.4-3] [MQTT-3.1.4-4] [MQTT-3.2.2-2]
  test.each([
    [false, 'takenover'],
    [true, 'discarded'],
  ] as const)(
    'clean start %s: the old connection has ended before the new one gets anything',
    async (cleanStart, reason) => {
      const order: string[] = []
      const old = await connect(hub, 'c', KEPT)
      await old.client.subscribe([subscription('t', 1)])
      old.receiver.end = (why) => {
        order.push(`old ended: ${why}, table: ${hub.client('c') === undefined}`)
        // a message that comes right now
        void publish(other, 't', 'between', 1)
      }
      const other = await connect(hub, 'other')
      const next = await connect(hub, 'c', { ...KEPT, cleanStart })
      expect(order).toEqual([`old ended: ${reason}, table: true`])
      expect(next.sessionPresent).toBe(!cleanStart)
      expect(old.receiver.texts).toEqual([])
      expect(next.receiver.texts).toEqual(cleanStart ? [] : ['t=between'])
      expect(hub.clientCount).toBe(2)
      old.client.close('tcp_closed') // its socket closes later
      expect(hub.client('c')).toBe(next.client)
    },
  )

  test('keys that differ do not know each other', async () => {
    const mqtt = await connect(hub, 'c')
    const stomp = await connect(hub, 'c', {}, { key: 'stomp\0c', gateway: 'stomp' })
    expect([mqtt.receiver.ended, stomp.receiver.ended]).toEqual([undefined, undefined])
    expect(hub.clientCount).toBe(2)
  })

  test('what was unacknowledged and what came in between goes to the new connection, in order', async () => {
    const old = await connect(hub, 'c', KEPT)
    await old.client.subscribe([subscription('t', 1)])
    const pub = await connect(hub, 'pub')
    for (const payload of ['1', '2']) void publish(pub, 't', payload, 1)
    old.client.acked(1)
    const { answer, receiver } = await login('c')
    for (const payload of ['3', '4']) void publish(pub, 't', payload, 1) // before it is started
    expect(receiver.texts).toEqual([])
    if (answer.kind === 'connected') answer.client.start()
    void publish(pub, 't', '5', 1)
    expect(receiver.texts).toEqual(['t=2', 't=3', 't=4', 't=5'])
    expect(receiver.deliveries.map(({ dup }) => dup)).toEqual([true, false, false, false])
  })

  test('a session that was not to outlive its connection ends by it', async () => {
    const old = await connect(hub, 'c', { cleanStart: false, expiryIntervalMs: 0 })
    await old.client.subscribe([subscription('t')])
    expect((await connect(hub, 'c', KEPT)).sessionPresent).toBe(false)
    expect(hub.kernel.router.route('t').targets).toEqual([])
  })

  test('two that authenticate at the same time: the one whose answer comes last stays', async () => {
    const answers: (() => void)[] = []
    const allow = { stop: { kind: 'allow', principal: { isSuperuser: false } } } as const
    hub.hooks.add(
      'client.authenticate',
      'slow',
      () => new Promise((resolve) => answers.push(() => resolve(allow))),
    )
    const [first, second] = [login('c'), login('c')]
    answers[1]?.()
    const { receiver } = await second
    answers[0]?.()
    await first
    expect(receiver.ended).toBe('takenover')
    expect(hub.clientCount).toBe(1)
  })
})

describe('sessions', () => {
  // [MQTT-3.1.2-23] [MQTT-4.1.0-2] [MQTT-3.1.2-4 (3.1.1)]
  test('outlive their connection for their expiry, with their subscriptions', async () => {
    const one = await connect(hub, 'c', KEPT)
    await one.client.subscribe([subscription('t')])
    one.client.close('tcp_closed')
    vi.advanceTimersByTime(59_999)
    const back = await connect(hub, 'c', KEPT)
    expect(back.sessionPresent).toBe(true)
    void publish(back, 't', 'still subscribed')
    expect(back.receiver.texts).toEqual(['t=still subscribed'])
    vi.advanceTimersByTime(60_000) // the clock stood still while it was connected
    back.client.close('normal')
    vi.advanceTimersByTime(60_000)
    expect([hub.sessionCount, hub.kernel.router.route('t').targets.length]).toEqual([0, 0])
  })

  // [MQTT-3.1.2-6 (3.1.1)]
  test.each<DisconnectReason>(['normal', 'tcp_closed'])('with expiry 0 end with it (%s)', async (reason) => {
    const one = await connect(hub, 'c', { cleanStart: false, expiryIntervalMs: 0 })
    one.client.close(reason)
    expect([hub.sessionCount, hub.clientCount]).toEqual([0, 0])
  })

  test('that never expire stay', async () => {
    const one = await connect(hub, 'c', { cleanStart: false, expiryIntervalMs: Number.POSITIVE_INFINITY })
    one.client.close('tcp_closed')
    vi.advanceTimersByTime(10 * 365 * 86_400_000)
    expect(hub.sessionCount).toBe(1)
  })

  test('go with a kick, connected or not', async () => {
    const here = await connect(hub, 'here', KEPT)
    const away = await connect(hub, 'away', KEPT)
    await away.client.subscribe([subscription('t')])
    away.client.close('tcp_closed')
    expect([hub.kick('here'), hub.kick('away'), hub.kick('nobody')]).toEqual([true, true, false])
    expect(here.receiver.ended).toBe('kicked')
    expect([hub.sessionCount, hub.kernel.router.route('t').targets.length]).toEqual([0, 0])
  })
})

describe('a login that ends', () => {
  const expireIn = (ms: number) => {
    const principal = { isSuperuser: false, expiresAtMs: Date.now() + ms }
    hub.hooks.put('client.authenticate', 'test', () => ({ stop: { kind: 'allow', principal } }))
  }

  test('closes its client at that moment, and the session stays', async () => {
    expireIn(5000)
    const one = await connect(hub, 'c', KEPT)
    vi.advanceTimersByTime(4999)
    expect(one.receiver.ended).toBeUndefined()
    vi.advanceTimersByTime(1)
    expect(one.receiver.ended).toBe('connection_expired')
    expect([hub.clientCount, hub.sessionCount]).toEqual([0, 1])
  })

  test('is over at once when it was so already, and leaves no timer when its client goes before', async () => {
    expireIn(-1)
    const late = await connect(hub, 'late')
    const count = vi.getTimerCount()
    expireIn(5000)
    const one = await connect(hub, 'c')
    one.client.close('normal')
    expect(vi.getTimerCount()).toBe(count)
    vi.advanceTimersByTime(1)
    expect(late.receiver.ended).toBe('connection_expired')
  })
})

describe('mountpoints', () => {
  test('are put before topics and filters, shared ones included, and taken off again', async () => {
    const mounted = await connect(hub, 'mounted', {}, { mountpoint: 'site/' })
    const plain = await connect(hub, 'plain')
    await mounted.client.subscribe([subscription('t'), subscription('$share/g/s')])
    await plain.client.subscribe([subscription('#')])
    void publish(mounted, 't', '1')
    void publish(plain, 'site/s', '2')
    void publish(plain, 't', 'not for it')
    expect(plain.receiver.texts).toEqual(['site/t=1', 'site/s=2', 't=not for it'])
    expect(mounted.receiver.deliveries.map(({ message }) => mounted.client.unmounted(message.topic))).toEqual(
      ['t', 's'],
    )
    expect(await mounted.client.unsubscribe(['t', '$share/g/s'])).toEqual([0, 0])
  })

  test('authorization sees the topic without', async () => {
    const seen: string[] = []
    hub.hooks.add('client.authorize', 'test', (_value, _client, _action, topic) => void seen.push(topic))
    const mounted = await connect(hub, 'mounted', {}, { mountpoint: 'site/' })
    await mounted.client.subscribe([subscription('f')])
    void publish(mounted, 't')
    expect(seen).toEqual(['f', 't'])
  })
})

describe('stopping', () => {
  test('ends every connection, refuses logins, also those under way, and leaves no timer', async () => {
    const one = await connect(hub, 'c', { ...KEPT, will: will({ delaySeconds: 10 }) })
    const away = await connect(hub, 'away', KEPT)
    away.client.close('tcp_closed')
    let allow = () => {}
    const verdict = { stop: { kind: 'allow', principal: { isSuperuser: false } } } as const
    hub.hooks.add(
      'client.authenticate',
      'slow',
      () => new Promise((resolve) => (allow = () => resolve(verdict))),
    )
    const underWay = login('late')
    await hub.stop()
    allow()
    expect(one.receiver.ended).toBe('server_shutting_down')
    expect((await underWay).answer).toMatchObject({ reason: ReasonCode.ServerShuttingDown })
    expect((await login('later')).answer).toMatchObject({ reason: ReasonCode.ServerShuttingDown })
    expect([hub.clientCount, vi.getTimerCount()]).toEqual([0, 0])
  })
})

function will(changes: Partial<Will> = {}): Will {
  return {
    topic: 'w',
    payload: Buffer.from('gone'),
    qos: 0,
    retain: false,
    delaySeconds: 0,
    properties: undefined,
    ...changes,
  }
}

describe('wills', () => {
  /** Somebody who sees them. */
  async function watch() {
    const watcher = await connect(hub, 'watcher')
    await watcher.client.subscribe([subscription('#')])
    return watcher.receiver
  }

  const leave = async (reason: DisconnectReason, delaySeconds = 0, expiryIntervalMs = 60_000) => {
    const one = await connect(hub, 'c', { cleanStart: false, expiryIntervalMs, will: will({ delaySeconds }) })
    one.client.close(reason)
  }

  test.each<[DisconnectReason, string[]]>([
    ['normal', []],
    ['disconnect_with_will', ['w=gone']],
    ['tcp_closed', ['w=gone']],
    ['keepalive_timeout', ['w=gone']],
    ['protocol_error', ['w=gone']],
    ['connection_expired', ['w=gone']],
    ['server_shutting_down', ['w=gone']],
  ])('%s', async (reason, published) => {
    const watcher = await watch()
    await leave(reason)
    expect(watcher.texts).toEqual(published)
    await leave(reason, 10)
    vi.advanceTimersByTime(9999)
    expect(watcher.texts).toEqual(published)
    vi.advanceTimersByTime(1)
    expect(watcher.texts).toEqual([...published, ...published])
  })

  // [MQTT-3.1.2-8]
  test('a delay that is longer than the session ends with it', async () => {
    const watcher = await watch()
    await leave('tcp_closed', 100, 5000)
    vi.advanceTimersByTime(5000)
    expect(watcher.texts).toEqual(['w=gone'])
    await leave('tcp_closed', 100, 0)
    expect(watcher.texts).toEqual(['w=gone', 'w=gone'])
    vi.advanceTimersByTime(100_000)
    expect(watcher.texts).toHaveLength(2)
  })

  // [MQTT-3.1.3-9]
  test('a client that is back in time takes it back, with its next will in place', async () => {
    const watcher = await watch()
    await leave('tcp_closed', 10)
    vi.advanceTimersByTime(9000)
    const back = await connect(hub, 'c', { ...KEPT, will: will({ payload: Buffer.from('again') }) })
    vi.advanceTimersByTime(60_000)
    expect(watcher.texts).toEqual([])
    back.client.close('tcp_closed')
    expect(watcher.texts).toEqual(['w=again'])
  })

  test('a refused login does not take it back', async () => {
    const watcher = await watch()
    await leave('tcp_closed', 10)
    hub.hooks.add('client.connect', 'test', () => ({ stop: { refused: ReasonCode.Banned } }))
    await login('c')
    vi.advanceTimersByTime(10_000)
    expect(watcher.texts).toEqual(['w=gone'])
  })

  test.each([
    ['takeover', 0, false, KEPT.expiryIntervalMs, ['w=gone']],
    ['takeover', 10, false, KEPT.expiryIntervalMs, []],
    ['takeover of a session that ends by it', 10, false, 0, ['w=gone']],
    ['clean start', 10, true, KEPT.expiryIntervalMs, ['w=gone']],
  ] as const)('%s with a delay of %i s', async (_, delaySeconds, cleanStart, expiryIntervalMs, published) => {
    const watcher = await watch()
    await connect(hub, 'c', { cleanStart: false, expiryIntervalMs, will: will({ delaySeconds }) })
    await connect(hub, 'c', { ...KEPT, cleanStart })
    expect(watcher.texts).toEqual(published)
    vi.advanceTimersByTime(20_000)
    expect(watcher.texts).toEqual(published)
  })

  test.each([
    ['clean start', () => connect(hub, 'c', { cleanStart: true })],
    ['kick', () => hub.kick('c')],
    ['stop', () => hub.stop()],
  ] as const)('one that waits is published by a %s', async (how, end) => {
    if (how === 'stop') hub.hooks.add('message.publish', 'see', (message) => void seen.push(message))
    const seen: unknown[] = []
    const watcher = await watch()
    await leave('tcp_closed', 10)
    await end()
    expect(how === 'stop' ? seen.length : watcher.texts.length).toBe(1)
  })

  test.each(['kicked', 'discarded'] as const)('%s: at once, whatever its delay', async (reason) => {
    const watcher = await watch()
    await leave(reason, 10)
    expect(watcher.texts).toEqual(['w=gone'])
  })

  // [MQTT-3.1.2-7] [MQTT-3.1.2-15]
  test('is the message of its moment: retained, with its properties, its expiry counted from then', async () => {
    const watcher = await watch()
    const properties = { messageExpiryInterval: 5, contentType: 'text/plain' }
    const one = await connect(hub, 'c', {
      ...KEPT,
      will: will({ qos: 1, retain: true, delaySeconds: 10, properties }),
    })
    one.client.close('tcp_closed')
    vi.advanceTimersByTime(10_000)
    expect(watcher.deliveries[0]?.message).toMatchObject({
      retain: true,
      properties,
      timestampMs: Date.now(),
      expiresAtMs: Date.now() + 5000,
    })
    expect(hub.kernel.storage.retainedCount).toBe(1)
  })

  test('goes through the mountpoint, and authorization has its say when it is published', async () => {
    const watcher = await watch()
    let allowed = true
    hub.hooks.add('client.authorize', 'test', (value, _client, action, topic) => {
      expect([action, topic]).toEqual([{ kind: 'publish', qos: 0, retain: false }, 'w'])
      return { ok: { ...value, result: allowed ? 'allow' : 'deny' } }
    })
    for (allowed of [true, false]) {
      const one = await connect(hub, 'c', { ...KEPT, will: will() }, { mountpoint: 'm/' })
      one.client.close('tcp_closed')
    }
    expect(watcher.texts).toEqual(['m/w=gone'])
  })

  test('a hook that would disconnect its publisher does not hit who has come after it', async () => {
    let decide = () => {}
    hub.hooks.add(
      'message.publish',
      'slow',
      () => new Promise((resolve) => (decide = () => resolve({ stop: 'disconnect' }))),
    )
    await leave('tcp_closed')
    const next = await connect(hub, 'c', KEPT)
    decide()
    await vi.advanceTimersByTimeAsync(0)
    expect(next.receiver.ended).toBeUndefined()
  })

  test('a login that was never answered has none', async () => {
    const watcher = await watch()
    const { answer } = await login('c', { ...KEPT, will: will() } as typeof KEPT)
    if (answer.kind === 'connected') answer.client.close('tcp_closed')
    expect(watcher.texts).toEqual([])
  })
})
