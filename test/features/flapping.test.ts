import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { loadConfig } from '../../config/load.ts'
import { rootSchema } from '../../config/schema.ts'
import { Bans } from '../../features/bans/index.ts'
import { FlappingDetector, flappingDetect } from '../../features/flapping.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import type { DisconnectReason } from '../../model/disconnect-reason.ts'
import { silentLogger } from '../../model/log.ts'
import { connect, startHub } from '../broker/support.ts'

const CONFIG = { enable: true, window_time: 60_000, max_count: 3, ban_time: 300_000 }

let hub: Hub
let bans: Bans
let flapping: FlappingDetector

beforeEach(async () => {
  hub = await startHub()
  const verdict = { kind: 'allow', principal: { isSuperuser: false } } as const
  hub.hooks.add('client.authenticate', 'authn', () => ({ stop: verdict }), { priority: 970 })
  vi.useFakeTimers()
  bans = new Bans({ hub, log: silentLogger, configDir: '.', now: Date.now, gateways: ['stomp'] })
  bans.attach(hub.hooks)
  flapping = new FlappingDetector({ bans, now: Date.now })
  flapping.attach(hub.hooks)
  flapping.update(CONFIG)
})

afterEach(async () => {
  flapping.close()
  bans.close()
  vi.useRealTimers()
  await hub.stop()
})

async function comeAndGo(
  times: number,
  {
    reason = 'tcp_closed',
    clientId = 'c',
    info = {},
  }: {
    reason?: DisconnectReason
    clientId?: string
    info?: Partial<ClientInfo>
  } = {},
): Promise<void> {
  for (let i = 0; i < times; i++) {
    const { client } = await connect(hub, clientId, {}, info)
    client.end(reason)
  }
}

test('one disconnect more than allowed, and the client id is banned for a while', async () => {
  await comeAndGo(3)
  expect(bans.size).toBe(0)
  await comeAndGo(1)
  expect(bans.get('clientid', 'c')).toEqual({
    kind: 'clientid',
    who: 'c',
    by: 'flapping detector',
    reason: 'flapping is detected',
    atMs: Date.now(),
    untilMs: Date.now() + 300_000,
  })
  await expect(connect(hub, 'c')).rejects.toThrow('refused: 138')
  await comeAndGo(1, { clientId: 'd' })
})

test('when the ban is over it counts from nothing', async () => {
  await comeAndGo(4)
  vi.advanceTimersByTime(300_000)
  await comeAndGo(3)
  expect(bans.get('clientid', 'c')).toBeUndefined()
  await comeAndGo(1)
  expect(bans.get('clientid', 'c')).toBeDefined()
})

test('a window begins with its first disconnect and ends after its time', async () => {
  await comeAndGo(1)
  vi.advanceTimersByTime(59_999)
  await comeAndGo(2)
  vi.advanceTimersByTime(1)
  await comeAndGo(3)
  expect(bans.size).toBe(0)
  await comeAndGo(1)
  expect(bans.size).toBe(1)
})

test('every client id is counted for itself, in MQTT and gateways together', async () => {
  await comeAndGo(3, { clientId: 'a' })
  await comeAndGo(3, { clientId: 'b' })
  expect(bans.size).toBe(0)
  await comeAndGo(1, { clientId: 'a', info: { key: 'stomp\0a', gateway: 'stomp' } })
  expect(bans.list(1, 10).bans.map(({ who }) => who)).toEqual(['a'])
})

describe('what counts', () => {
  test.each<DisconnectReason>([
    'normal',
    'tcp_closed',
    'keepalive_timeout',
    'protocol_error',
    'not_authorized',
  ])('%s does', async (reason) => {
    await comeAndGo(4, { reason })
    expect(bans.size).toBe(1)
  })

  test.each<DisconnectReason>([
    'kicked',
    'banned',
    'connection_expired',
    'server_shutting_down',
    'internal_error',
  ])('%s does not', async (reason) => {
    await comeAndGo(10, { reason })
    expect(bans.size).toBe(0)
  })

  test.each([true, false])(
    'takeovers do (clean start %s), and the last one to come is not let in',
    async (cleanStart) => {
      const peers = []
      for (let i = 0; i < 5; i++)
        peers.push(await connect(hub, 'c', { cleanStart, expiryIntervalMs: 60_000 }))
      expect(bans.size).toBe(1)
      expect(peers.at(-1)?.receiver.ended).toBe('banned')
      expect(hub.client('c')).toBeUndefined()
      expect(hub.session('c')).toBeUndefined()
    },
  )
})

test('the session and the will of a client that flaps go with it', async () => {
  const wills: string[] = []
  hub.hooks.add('message.publish', 'test', (message) => {
    if (typeof message !== 'string') wills.push(Buffer.from(message.payload).toString())
    return undefined
  })
  for (let i = 1; i <= 4; i++) {
    const payload = Buffer.from(`will ${i}`)
    const will = {
      topic: 't',
      payload,
      qos: 0,
      retain: false,
      delaySeconds: 0,
      properties: undefined,
    } as const
    const { client } = await connect(hub, 'c', { will, expiryIntervalMs: 60_000 })
    client.close('tcp_closed')
  }
  expect(hub.session('c')).toBeUndefined()
  expect(wills).toEqual(['will 1', 'will 2', 'will 3'])
})

test('switched off, nothing is attached and what was counted is forgotten', async () => {
  await comeAndGo(3)
  flapping.update({ ...CONFIG, enable: false })
  expect(hub.hooks.has('client.disconnected')).toBe(false)
  flapping.update(CONFIG)
  await comeAndGo(3)
  expect(bans.size).toBe(0)
  flapping.update({ ...CONFIG, max_count: 4 })
  await comeAndGo(1)
  expect(bans.size).toBe(0)
  flapping.close()
  expect(hub.hooks.has('client.disconnected')).toBe(false)
})

test('clients with ever new ids do not fill the memory: the one quiet longest is forgotten', () => {
  const id = (i: number) => `${i}`.padEnd(60_000, '-')
  const add = vi.spyOn(bans, 'add')
  const leave = (clientId: string) =>
    hub.hooks.run('client.disconnected', { clientId } as unknown as ClientInfo, 'tcp_closed')
  for (let i = 0; i < 3; i++) for (const one of ['first', id(0)]) leave(one)
  for (let i = 1; i <= 200; i++) {
    leave(id(i))
    if (i % 100 === 0) leave('first')
  }
  expect(add.mock.calls.map(([request]) => request.who)).toEqual(['first'])
  leave(id(0))
  expect(add).toHaveBeenCalledTimes(1)
})

test('an infinite ban lasts', async () => {
  flapping.update({ ...CONFIG, ban_time: Number.POSITIVE_INFINITY })
  await comeAndGo(4)
  expect(bans.get('clientid', 'c')?.untilMs).toBe(Number.POSITIVE_INFINITY)
})

test.each(['window_time', 'ban_time'] as const)('a %s of 0 is refused while it is switched on', (option) => {
  expect(() => flapping.update({ ...CONFIG, [option]: 0 })).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: `flapping_detect.${option} must be more than 0`,
    }),
  )
  flapping.update({ ...CONFIG, enable: false, [option]: 0 })
})

test('without options it is off', () => {
  const schema = rootSchema({ flapping_detect: flappingDetect })
  const { config } = loadConfig({ schema, file: undefined, env: {} })
  expect(config.flapping_detect).toEqual({ ...CONFIG, enable: false, max_count: 15 })
})

test('a zone may have options of its own, and may be the only one that counts', async () => {
  flapping.update(
    { ...CONFIG, enable: false },
    { noisy: { flapping_detect: { enable: true, max_count: 1 } } },
  )
  for (const zone of ['noisy', 'default']) await comeAndGo(2, { clientId: zone, info: { zone } })
  expect(bans.get('clientid', 'noisy')).toBeDefined()
  expect(bans.get('clientid', 'default')).toBeUndefined()
  const broken = { noisy: { flapping_detect: { enable: true, ban_time: 0 } } }
  expect(() => flapping.update(CONFIG, broken)).toThrow(
    'zones.noisy.flapping_detect.ban_time must be more than 0',
  )
})
