import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { Authn } from '../../authn/index.ts'
import type { Will } from '../../broker/broker.ts'
import type { Hub } from '../../broker/hub.ts'
import { loadConfig } from '../../config/load.ts'
import { rootSchema } from '../../config/schema.ts'
import { type BannedConfig, banned } from '../../features/bans/config.ts'
import { type BanKind, type BanRequest, Bans, parseTime } from '../../features/bans/index.ts'
import type { Verdict } from '../../model/access.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { silentLogger } from '../../model/log.ts'
import { ReasonCode } from '../../model/reason-codes.ts'
import { connectBytes, mqttContext, RawPeer } from '../broker/mqtt/raw-peer.ts'
import { clientInfo, connect, publish, RecordingReceiver, startHub, subscription } from '../broker/support.ts'

const NOW_MS = Date.parse('2026-01-31T12:00:00Z')
const HOUR_MS = 3_600_000

let hub: Hub
let bans: Bans
let nowMs: number
let configDir: string

beforeEach(async () => {
  nowMs = NOW_MS
  configDir = mkdtempSync(join(tmpdir(), 'bans-'))
  hub = await startHub()
  const authn = await Authn.create({}, { log: silentLogger, dataDir: configDir, configDir })
  authn.attach(hub.hooks)
  bans = new Bans({ hub, log: silentLogger, configDir, now: () => nowMs, gateways: ['stomp', 'coap'] })
  bans.attach(hub.hooks)
})

afterEach(async () => {
  vi.useRealTimers()
  bans.close()
  await hub.stop()
  rmSync(configDir, { recursive: true })
})

function ban(kind: BanKind, who: string, rest: Partial<BanRequest> = {}) {
  return bans.add({ kind, who, ...rest })
}

/** The code a login is answered with. */
async function login(
  clientId: string,
  info: Partial<ClientInfo> = {},
  enableAuthn: boolean | 'quick_deny_anonymous' = true,
): Promise<ReasonCode> {
  const client = clientInfo(clientId, info)
  const options = { cleanStart: true, expiryIntervalMs: 0, receiveMaximum: 10 }
  const answer = await hub.connect(
    { client, password: undefined, enableAuthn },
    options,
    new RecordingReceiver(),
  )
  if (answer.kind === 'refused') return answer.reason
  answer.client.close('normal')
  return ReasonCode.Success
}

function stomp(clientId: string): Partial<ClientInfo> {
  return { key: `stomp\0${clientId}`, gateway: 'stomp', protocol: 'stomp' }
}

function will(payload: string, delaySeconds = 0): Will {
  return {
    topic: 'wills',
    payload: Buffer.from(payload),
    qos: 0,
    retain: false,
    delaySeconds,
    properties: undefined,
  }
}

async function watchWills() {
  const watcher = await connect(hub, 'watcher')
  await watcher.client.subscribe([subscription('wills')])
  return watcher.receiver
}

describe('who is refused', () => {
  test.each<[BanKind, string, Partial<ClientInfo>, Partial<ClientInfo>]>([
    ['clientid', 'c', {}, { key: 'cc', clientId: 'cc' }],
    ['username', 'ann', { username: 'ann' }, { username: 'anna' }],
    ['peerhost', '10.0.0.7', { peerHost: '10.0.0.7' }, { peerHost: '10.0.0.70' }],
    ['clientid_re', '^c$', {}, { key: 'cc', clientId: 'cc' }],
    ['clientid_re', '(?i)C', {}, { key: 'd', clientId: 'd' }],
    ['username_re', 'nn', { username: 'ann' }, { username: undefined }],
    ['peerhost_net', '10.0.0.0/8', { peerHost: '10.1.2.3' }, { peerHost: '11.1.2.3' }],
    ['peerhost_net', 'fd00::/8', { peerHost: 'fd12::1' }, { peerHost: '10.1.2.3' }],
  ])('%s %s', async (kind, who, one, other) => {
    expect(ban(kind, who)).toMatchObject({ kind: 'added', ban: { kind, who } })
    expect(await login('c', one)).toBe(ReasonCode.Banned)
    expect(await login(other.clientId ?? 'c', other)).toBe(ReasonCode.Success)
    expect(bans.counters.refused).toBe(1)
  })

  test('clients of listeners that do not authenticate too', async () => {
    ban('clientid', 'c')
    expect(await login('c', {}, false)).toBe(ReasonCode.Banned)
    expect(await login('d', {}, false)).toBe(ReasonCode.Success)
  })

  test('clients of every gateway', async () => {
    ban('clientid', 'c')
    expect(await login('c', stomp('c'))).toBe(ReasonCode.Banned)
    expect(await login('d', stomp('d'))).toBe(ReasonCode.Success)
  })

  test.each([
    [5, 'connack 0x8a'],
    [4, 'connack 0x05'],
  ] as const)('MQTT %i clients are told', (version, answer) => {
    ban('clientid', 'c')
    const peer = new RawPeer(mqttContext(hub), version).send(connectBytes(version, 'c'))
    expect(peer.said()).toEqual([answer, 'closed'])
  })

  test('an address is the same in all its forms', async () => {
    expect(ban('peerhost', '2001:DB8:0:0::1')).toMatchObject({ ban: { who: '2001:db8::1' } })
    expect(ban('peerhost', '2001:db8::0001')).toMatchObject({ kind: 'exists' })
    expect(ban('peerhost', '::ffff:10.0.0.7')).toMatchObject({ ban: { who: '10.0.0.7' } })
    expect(await login('a', { peerHost: '2001:db8:0::1' })).toBe(ReasonCode.Banned)
    expect(await login('b', { peerHost: '10.0.0.7' })).toBe(ReasonCode.Banned)
    expect(bans.get('peerhost', '2001:db8:0:0:0:0:0:1')).toBeDefined()
    expect(bans.delete('peerhost', '2001:0db8::1')).toBe(true)
    expect(await login('a', { peerHost: '2001:db8::1' })).toBe(ReasonCode.Success)
  })

  test('nobody any more once the ban is deleted', async () => {
    ban('peerhost_net', '10.0.0.0/8')
    ban('peerhost_net', '11.0.0.0/8')
    expect(await login('c', { peerHost: '10.0.0.1' })).toBe(ReasonCode.Banned)
    expect(bans.delete('peerhost_net', '10.0.0.0/8')).toBe(true)
    expect(bans.delete('peerhost_net', '10.0.0.0/8')).toBe(false)
    expect(await login('c', { peerHost: '10.0.0.1' })).toBe(ReasonCode.Success)
    expect(await login('c', { peerHost: '11.0.0.1' })).toBe(ReasonCode.Banned)
    bans.deleteAll()
    expect(await login('c', { peerHost: '11.0.0.1' })).toBe(ReasonCode.Success)
  })

  test('a client id made for it does not keep a pattern busy', async () => {
    ban('clientid_re', '^(a+)+$')
    const clientId = `${'a'.repeat(1000)}!`
    expect(await login(clientId)).toBe(ReasonCode.Success)
    expect(await login('aaa')).toBe(ReasonCode.Banned)
  })

  test('names like those of object properties are names', async () => {
    expect(bans.isBanned(clientInfo('__proto__'))).toBe(false)
    ban('clientid', 'constructor')
    expect(bans.isBanned(clientInfo('__proto__'))).toBe(false)
    expect(bans.isBanned(clientInfo('constructor'))).toBe(true)
  })
})

describe('what can be banned', () => {
  test.each<[BanKind, string, string]>([
    ['clientid', '', 'clientid "": nobody is named'],
    ['clientid_re', '(', 'clientid_re "(": '],
    ['username_re', '[b-a]', 'username_re "[b-a]": '],
    ['peerhost', '10.1', 'peerhost "10.1": not an IP address'],
    ['peerhost', '10.0.0.0/8', 'not an IP address'],
    ['peerhost_net', '10.0.0.0/33', 'not a CIDR range such as 10.0.0.0/8'],
    ['peerhost_net', 'all', 'not a CIDR range'],
    ['peerhost_net', '10.0.0.0/8,all', 'not a CIDR range'],
    ['peerhost_net', '', 'nobody is named'],
  ])('not %s %j', (kind, who, why) => {
    expect(() => ban(kind, who)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(why) }),
    )
    expect(bans.size).toBe(0)
  })

  test('nobody until a time that is past', () => {
    expect(ban('clientid', 'c', { untilMs: NOW_MS })).toEqual({ kind: 'past' })
    expect(bans.size).toBe(0)
  })

  test('nobody twice: the ban that holds stays, and is shown', () => {
    ban('clientid', 'c', { reason: 'first', untilMs: NOW_MS + 1 })
    expect(ban('clientid', 'c', { reason: 'second' })).toMatchObject({
      kind: 'exists',
      ban: { reason: 'first' },
    })
    expect(ban('username', 'c')).toMatchObject({ kind: 'added' })
    nowMs += 1
    expect(ban('clientid', 'c', { reason: 'third' })).toMatchObject({ kind: 'added' })
    expect(bans.get('clientid', 'c')).toEqual({
      kind: 'clientid',
      who: 'c',
      by: '',
      reason: 'third',
      atMs: NOW_MS + 1,
      untilMs: Number.POSITIVE_INFINITY,
    })
  })

  test('no more than max_entries at a time, not counting those that are over', async () => {
    await bans.update({ max_entries: 2 })
    ban('clientid', 'a')
    ban('clientid', 'b', { untilMs: NOW_MS + HOUR_MS })
    expect(ban('clientid', 'c')).toEqual({ kind: 'full' })
    expect(ban('clientid', 'a')).toMatchObject({ kind: 'exists' })
    nowMs += HOUR_MS
    expect(ban('clientid', 'c')).toMatchObject({ kind: 'added' })
    expect(bans.size).toBe(2)
  })
})

describe('time', () => {
  test.each<[BanKind, string]>([
    ['clientid', 'c'],
    ['clientid_re', 'c'],
    ['username', 'ann'],
    ['username_re', 'ann'],
    ['peerhost', '10.0.0.7'],
    ['peerhost_net', '10.0.0.0/8'],
  ])('a ban by %s is over when its time is, even before it is swept', async (kind, who) => {
    const suspect = { username: 'ann', peerHost: '10.0.0.7' }
    ban(kind, who, { untilMs: NOW_MS + HOUR_MS })
    nowMs += HOUR_MS - 1
    expect(await login('c', suspect)).toBe(ReasonCode.Banned)
    nowMs += 1
    expect(await login('c', suspect)).toBe(ReasonCode.Success)
    expect(bans.get(kind, who)).toBeUndefined()
    expect(bans.list(1, 10).count).toBe(0)
    expect(bans.size).toBe(1)
  })

  test('networks that are over leave the others in force', () => {
    ban('peerhost_net', '10.0.0.0/8', { untilMs: NOW_MS + 1 })
    ban('peerhost_net', '11.0.0.0/8', { untilMs: NOW_MS + 2 })
    const banned = () =>
      ['10.0.0.1', '11.0.0.1'].filter((peerHost) => bans.isBanned(clientInfo('c', { peerHost })))
    expect(banned()).toEqual(['10.0.0.1', '11.0.0.1'])
    nowMs += 1
    expect(banned()).toEqual(['11.0.0.1'])
    nowMs += 1
    expect(banned()).toEqual([])
  })

  test('what is over is swept once a minute, and with the last ban the hooks and the timer go', () => {
    vi.useFakeTimers()
    expect(vi.getTimerCount()).toBe(0)
    ban('clientid', 'c', { untilMs: NOW_MS + HOUR_MS })
    ban('username', 'ann', { untilMs: NOW_MS + 2 * HOUR_MS })
    expect(vi.getTimerCount()).toBe(1)
    expect(hub.hooks.has('message.publish')).toBe(true)
    nowMs += HOUR_MS
    vi.advanceTimersByTime(60_000)
    expect(bans.size).toBe(1)
    nowMs += HOUR_MS
    vi.advanceTimersByTime(60_000)
    expect(bans.size).toBe(0)
    expect(vi.getTimerCount()).toBe(0)
    expect(hub.hooks.has('message.publish')).toBe(false)
    expect(hub.hooks.has('client.connected')).toBe(false)
  })

  test('closing ends the timer and the hooks', () => {
    vi.useFakeTimers()
    ban('clientid', 'c')
    bans.close()
    bans.close()
    expect(vi.getTimerCount()).toBe(0)
    expect(hub.hooks.has('message.publish')).toBe(false)
  })

  test.each([
    ['2026-01-31T12:00:00Z', NOW_MS],
    ['2026-01-31t13:00:00.5+01:00', NOW_MS + 500],
    ['1769860800', NOW_MS],
    ['infinity', Number.POSITIVE_INFINITY],
  ])('%s is a time', (text, ms) => {
    expect(parseTime(text)).toBe(ms)
  })

  test.each([
    '',
    'tomorrow',
    '2026-02-29T12:00:00Z',
    '2026-01-31',
    '2026-01-31T12:00:00',
    '2026-01-31T24:00:00Z',
    '-1',
  ])('%j is none', (text) => {
    expect(() => parseTime(text)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }))
  })
})

describe('a ban of a client id', () => {
  test('ends the client, its session and its namesakes in gateways, and nobody else', async () => {
    const mqtt = await connect(hub, 'c', { expiryIntervalMs: HOUR_MS })
    const gateway = await connect(hub, 'c', {}, stomp('c'))
    const other = await connect(hub, 'other')
    await mqtt.client.subscribe([subscription('t')])
    const ends: string[] = []
    hub.hooks.add('client.disconnected', 'test', (info, reason) => ends.push(`${info.protocol} ${reason}`))

    ban('clientid', 'c')

    expect([mqtt, gateway, other].map(({ receiver }) => receiver.ended)).toEqual([
      'banned',
      'banned',
      undefined,
    ])
    expect(ends).toEqual(['mqtt banned', 'stomp banned'])
    expect(hub.session('c')).toBeUndefined()
    expect(hub.session('stomp\0c')).toBeUndefined()
    expect(hub.sessionCount).toBe(1)
    expect(await publish(other, 't')).toBe(ReasonCode.NoMatchingSubscribers)
    expect(bans.counters.kicked).toBe(2)
  })

  test('ends the session of a client that is away', async () => {
    const away = await connect(hub, 'c', { expiryIntervalMs: HOUR_MS })
    away.client.close('tcp_closed')
    expect(hub.session('c')).toBeDefined()
    ban('clientid', 'c')
    expect(hub.session('c')).toBeUndefined()
  })

  test('publishes no will, neither at once nor one that waits for its delay', async () => {
    const watcher = await watchWills()
    await connect(hub, 'now', { will: will('now') })
    await connect(hub, 'later', { will: will('later', 60), expiryIntervalMs: HOUR_MS })
    const away = await connect(hub, 'away', { will: will('away', 60), expiryIntervalMs: HOUR_MS })
    away.client.close('tcp_closed')
    const free = await connect(hub, 'free', { will: will('free') })

    for (const who of ['now', 'later', 'away']) ban('clientid', who)
    free.client.close('tcp_closed')

    expect(watcher.texts).toEqual(['wills=free'])
    expect(bans.counters.willsDropped).toBe(3)
  })

  test('meets a client whose login others are still thinking about', async () => {
    const watcher = await watchWills()
    let answer: (verdict: { stop: Verdict }) => void = () => {}
    const asked = new Promise<{ stop: Verdict }>((resolve) => (answer = resolve))
    hub.hooks.add('client.authenticate', 'slow', () => asked, { priority: 971 })
    const receiver = new RecordingReceiver()
    const options = { cleanStart: true, expiryIntervalMs: HOUR_MS, receiveMaximum: 10, will: will('slow') }
    const connecting = hub.connect(
      { client: clientInfo('c'), password: undefined, enableAuthn: true },
      options,
      receiver,
    )
    ban('clientid', 'c')
    answer({ stop: { kind: 'allow', principal: { isSuperuser: false } } })
    await connecting
    expect(receiver.ended).toBe('banned')
    expect(hub.client('c')).toBeUndefined()
    expect(hub.session('c')).toBeUndefined()
    expect(watcher.texts).toEqual([])
  })
})

describe('a ban of another kind', () => {
  test.each<[BanKind, string]>([
    ['clientid_re', '^c$'],
    ['username', 'ann'],
    ['peerhost', '10.0.0.7'],
    ['peerhost_net', '10.0.0.0/8'],
  ])('by %s leaves who is in alone, but its will is not published', async (kind, who) => {
    const watcher = await watchWills()
    const info = { username: 'ann', peerHost: '10.0.0.7' }
    const one = await connect(hub, 'c', { will: will('gone') }, info)
    ban(kind, who)
    expect(one.receiver.ended).toBeUndefined()
    expect(await publish(one, 'wills', 'still here')).toBe(ReasonCode.Success)
    one.client.close('keepalive_timeout')
    expect(watcher.texts).toEqual(['wills=still here'])
    expect(bans.isBanned(one.client.info)).toBe(true)
  })
})

describe('the list', () => {
  test('comes in pages, by kind and then the oldest first', () => {
    for (const who of ['u1', 'u2']) ban('username', who)
    for (const who of ['c1', 'c2', 'c3']) ban('clientid', who)
    const whoOn = (page: number) => bans.list(page, 2).bans.map(({ who }) => who)
    expect([whoOn(1), whoOn(2), whoOn(3), whoOn(4)]).toEqual([['c1', 'c2'], ['c3', 'u1'], ['u2'], []])
    expect(bans.list(9, 2).count).toBe(5)
  })

  test('can be searched', () => {
    for (const who of ['c1', 'c2', 'd1', 'c3']) ban('clientid', who)
    const page = bans.list(2, 2, ({ who }) => who.startsWith('c'))
    expect(page).toMatchObject({ bans: [{ who: 'c3' }], count: 3 })
  })
})

describe('the bootstrap file', () => {
  function write(text: string): BannedConfig {
    writeFileSync(join(configDir, 'bans.csv'), text)
    return { bootstrap_file: 'bans.csv', max_entries: 10 }
  }

  test('is read with every column, in any order', async () => {
    await bans.update(
      write(
        [
          'as,who,reason,by,until,at',
          'clientid,c,too loud,ann,2026-02-01T00:00:00Z,2026-01-01T00:00:00Z',
          'clientid_re,"^a{1,2}$",,,,',
          'peerhost_net,10.0.0.0/8,,,1769947200,',
          '',
        ].join('\r\n'),
      ),
    )
    expect(bans.list(1, 10).bans).toEqual([
      {
        kind: 'clientid',
        who: 'c',
        reason: 'too loud',
        by: 'ann',
        atMs: Date.parse('2026-01-01T00:00:00Z'),
        untilMs: Date.parse('2026-02-01T00:00:00Z'),
      },
      {
        kind: 'clientid_re',
        who: '^a{1,2}$',
        reason: '',
        by: 'bootstrap_file',
        atMs: NOW_MS,
        untilMs: Number.POSITIVE_INFINITY,
      },
      expect.objectContaining({ kind: 'peerhost_net', untilMs: 1_769_947_200_000 }),
    ])
    await bans.update(write('who,as\nx,username\n'))
    expect(bans.get('username', 'x')).toBeDefined()
  })

  test('adds what is missing when it is read again: what is there stays, what is past is left out', async () => {
    ban('clientid', 'a', { reason: 'by hand' })
    const victim = await connect(hub, 'b')
    await bans.update(
      write(
        'as,who,reason,until\nclientid,a,file,\nclientid,b,one,\nclientid,b,two,\nclientid,c,,2020-01-01T00:00:00Z\n',
      ),
    )
    expect(bans.list(1, 10).bans.map(({ who, reason }) => `${who} ${reason}`)).toEqual(['a by hand', 'b one'])
    expect(victim.receiver.ended).toBe('banned')
  })

  test.each([
    ['', 'line 1: expected the header as,who,reason,by,until,at'],
    ['who,reason\n', 'line 1: the header has no as'],
    ['as,who,because\n', 'line 1: unexpected column "because"'],
    ['as,who,who\n', 'line 1: unexpected column "who"'],
    ['as,who\nclientid,a\nclientid\n', 'line 3: expected 2 fields, found 1'],
    ['as,who\n\nclient,a\n', 'line 3: as: expected one of clientid, username, peerhost, '],
    ['as,who\nclientid,\n', 'line 2: clientid "": nobody is named'],
    ['as,who\nusername_re,(\n', 'line 2: username_re "(": '],
    ['as,who,until\nclientid,a,soon\n', 'line 2: expected a time such as '],
    ['as,who,at\nclientid,a,infinity\n', 'line 2: at must be a time'],
    ['as,who\nclientid,"a\n', 'line 2: a quote is not closed'],
    ['as,who\nclientid,a\nclientid,b\nclientid,c\n', 'line 4: more bans than banned.max_entries (3)'],
  ])('%j is refused with its name and the line, and nothing is changed', async (text, why) => {
    await bans.update({ max_entries: 10 })
    ban('clientid', 'x')
    const config = { ...write(text), max_entries: 3 }
    await expect(bans.update(config)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`${join(configDir, 'bans.csv')}: ${why}`),
    })
    expect(bans.size).toBe(1)
  })

  test('must be there', async () => {
    const path = join(configDir, 'none.csv')
    await expect(bans.update({ bootstrap_file: path, max_entries: 10 })).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining(`cannot read the bans in ${path}: ENOENT`),
    })
  })
})

test('without options there is no file, and the list is bounded', () => {
  const { config } = loadConfig({ schema: rootSchema({ banned }), file: undefined, env: {} })
  expect(config.banned).toEqual({ max_entries: 100_000 })
})
