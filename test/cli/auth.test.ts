import { existsSync, readdirSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import type { AccessReport } from '../../model/explanation.ts'
import { CHAIN, Place } from '../control/support.ts'
import { FakeContext, FakeInput } from './run-cli.ts'

vi.mock('../../config/load.ts', async (original) => {
  const { rememberedConfig } = await import('../control/remembered-config.ts')
  return rememberedConfig(await original<typeof import('../../config/load.ts')>())
})

const LISTENERS = {
  tcp: {
    default: { bind: '127.0.0.1:0' },
    open: { bind: '127.0.0.1:0', enable_authn: false, zone: 'far', mountpoint: 'm/' },
    own: { bind: '127.0.0.1:0', authentication: CHAIN },
  },
}
const CONFIG = {
  listeners: LISTENERS,
  zones: { far: {} },
  gateway: { stomp: { listeners: { tcp: { default: { bind: '127.0.0.1:0' } } } } },
  authorization: { no_match: 'deny', sources: [{ type: 'built_in_database' }] },
}

async function withUser(changes: object = {}): Promise<Place> {
  const place = new Place({ ...CONFIG, ...changes })
  expect(await place.hubbub('users', 'add', 'ann', '--password', 'topsecret')).toMatchObject({ code: 0 })
  expect(await place.hubbub('rules', 'add', '--username', 'ann', 'allow', 'pub', 'ann/#')).toMatchObject({
    code: 0,
  })
  return place
}

const login = (password: string, ...more: string[]) =>
  ['auth', 'test', '--username', 'ann', '--clientid', 'c1', '--password', password, ...more] as const

test.each([false, true])(
  'who is let in and what for is told step by step; a broker runs: %s',
  async (runs) => {
    const place = await withUser()
    if (runs) await place.start()
    const { code, stdout, stderr } = await place.hubbub(
      ...login('topsecret', '--publish', 'ann/x', '--qos', '1'),
    )
    expect(stderr).toBe(runs ? '' : 'note: no broker is running, so this is what the configuration says\n')
    expect(code).toBe(0)
    expect(
      stdout
        .replace(/ +\d+\.\d ms/g, ' N ms')
        .replace(/ +/g, ' ')
        .split('\n'),
    ).toEqual([
      'client id c1, user name ann, from 127.0.0.1, at tcp:default',
      'login (chain mqtt:global)',
      ' bans ignore not banned',
      ' password_based:built_in_database allow N ms',
      ' => CONNACK 0x00 success',
      'publish ann/x at QoS 1',
      ' built_in_database allow N ms',
      ' => PUBACK 0x00 success',
      '',
    ])
  },
)

test.each([false, true])(
  'who is refused is told why, and the exit code says so; a broker runs: %s',
  async (runs) => {
    const place = await withUser()
    if (runs) await place.start()
    const wrong = await place.hubbub(...login('wrongsecret'))
    expect(wrong.code).toBe(1)
    expect(wrong.stdout).toContain('=> CONNACK 0x86 bad_user_name_or_password (MQTT 3: 4)\n')
    expect(wrong.stderr).toContain('hubbub: the client is refused: CONNACK 0x86 bad_user_name_or_password')
    const stranger = await place.hubbub('auth', 'test', '--username', 'bob', '--password', 'x')
    expect(stranger.stdout).toMatch(/built_in_database +ignore .* does not know the client\n/)
    expect(stranger.stdout).toMatch(/mqtt:global +deny +nobody in this chain knows the client\n/)
    const topic = await place.hubbub(...login('topsecret', '--subscribe', 'other/#'))
    expect(topic.code).toBe(1)
    expect(topic.stdout).toMatch(
      /no_match +deny +is deny, and no source has decided\n {2}=> SUBACK 0x87 not_authorized/,
    )
    expect(topic.stderr).toContain('the client may not subscribe: SUBACK 0x87 not_authorized (MQTT 3: 0x80)')
    for (const { stdout, stderr } of [wrong, stranger, topic]) expect(stdout + stderr).not.toContain('secret')
  },
)

test.each([false, true])('the chain is the one of the listener; a broker runs: %s', async (runs) => {
  const place = await withUser()
  if (runs) await place.start()
  const report = async (...args: string[]) => {
    const { stdout } = await place.hubbub(...login('topsecret', '--json', ...args))
    return JSON.parse(stdout) as AccessReport
  }
  expect(await report('--listener', 'tcp:own')).toMatchObject({
    login: { chain: 'tcp:own' },
    isAllowed: false,
  })
  expect(await report('--listener', 'tcp:open', '--peerhost', '10.0.0.7')).toMatchObject({
    client: { zone: 'far', mountpoint: 'm/', peerHost: '10.0.0.7', listener: 'tcp:open' },
    login: { steps: [{ who: 'bans' }, { who: 'enable_authn', outcome: 'allow' }] },
    isAllowed: true,
  })
  for (const args of [
    ['--gateway', 'stomp'],
    ['--listener', 'stomp:tcp:default'],
  ] as const) {
    expect(await report(...args)).toMatchObject({
      client: { gateway: 'stomp', listener: 'stomp:tcp:default' },
      login: { steps: [{}, { who: 'authentication', outcome: 'allow' }], result: { answer: 'success' } },
    })
  }
  const unknown = await place.hubbub(...login('x', '--listener', 'tcp:other'))
  expect(unknown).toMatchObject({ code: 2, stdout: '' })
  expect(unknown.stderr).toMatch(
    /there is no listener "tcp:other"; there are .*tcp:default, tcp:open, tcp:own.*, stomp:tcp:default/,
  )
  expect((await place.hubbub(...login('x', '--gateway', 'other'))).stderr).toContain('there are stomp')
})

test.each([false, true])(
  'the methods of NATS come before the authenticators; a broker runs: %s',
  async (runs) => {
    const nkeys = ['UB4G32YJ2GVZG3KTC3Z7BLIU3PXPJC2Y4QF6SNJUN2XIF3M3E3NDEUCZ']
    const internal_authn = [
      { type: 'nkey', nkeys },
      { type: 'token', token: 'secrettoken' },
    ]
    const bind = '127.0.0.1:0'
    const listeners = {
      tcp: { default: { bind }, free: { bind, enable_authn: false }, asks: { bind, authentication: CHAIN } },
    }
    const place = await withUser({ gateway: { nats: { listeners, internal_authn } } })
    if (runs) await place.start()
    const report = async (...args: string[]) => {
      const { stdout } = await place.hubbub('auth', 'test', '--json', ...args)
      expect(stdout).not.toContain('secrettoken')
      return JSON.parse(stdout) as AccessReport
    }
    const signature = { who: 'internal_authn:nkey', outcome: 'skipped' }
    expect(await report('--listener', 'nats:tcp:default', '--password', 'secrettoken')).toMatchObject({
      client: { username: 'token' },
      login: { steps: [signature, { who: 'internal_authn:token', outcome: 'allow' }, { who: 'bans' }] },
      isAllowed: true,
    })
    expect(await report('--listener', 'nats:tcp:asks', '--password', 'wrong')).toMatchObject({
      login: { steps: [signature, { outcome: 'deny', detail: 'invalid_token' }] },
      isAllowed: false,
    })
    const named = ['--username', 'ann', '--password', 'topsecret']
    expect(await report('--listener', 'nats:tcp:default', ...named)).toMatchObject({
      login: { steps: [signature, { outcome: 'ignore' }, { who: 'internal_authn', outcome: 'deny' }] },
      isAllowed: false,
    })
    expect(await report('--listener', 'nats:tcp:asks', ...named)).toMatchObject({
      login: {
        chain: 'nats:tcp:asks',
        steps: [
          signature,
          { outcome: 'ignore' },
          { who: 'bans' },
          { who: 'password_based:built_in_database' },
          {},
        ],
      },
    })
    expect(await report('--listener', 'nats:tcp:free', ...named)).toMatchObject({ isAllowed: true })
  },
)

test.each([false, true])('bans go first, whatever the listener asks; a broker runs: %s', async (runs) => {
  const place = await withUser()
  if (runs) await place.start()
  expect(await place.hubbub('bans', 'add', 'clientid_re', '^c', '--reason', 'noisy')).toMatchObject({
    code: 0,
  })
  const { code, stdout } = await place.hubbub(...login('topsecret', '--listener', 'tcp:open'))
  expect(code).toBe(1)
  expect(stdout).toMatch(
    /bans +deny +banned by clientid_re \^c \(noisy\)\n {2}=> CONNACK 0x8a banned \(MQTT 3: 5\)/,
  )
})

test('a test leaves no trace: not in counters, not in storage, not among clients', async () => {
  const place = await withUser()
  const broker = await place.start()
  const before = JSON.stringify(broker.hub.metrics)
  await place.hubbub(...login('topsecret', '--publish', 'ann/x'))
  await place.hubbub(...login('wrong'))
  expect(JSON.stringify(broker.hub.metrics)).toBe(before)
  expect(broker.hub.clientCount + broker.hub.sessionCount).toBe(0)
  const status = await place.hubbub('status')
  expect(status.stdout).toMatch(
    /mqtt:global password_based:built_in_database +asked 0: 0 yes, 0 no, 0 no opinion\n/,
  )
  expect(status.stdout).toMatch(/source built_in_database +asked 0: /)
})

test('without a broker nothing is made or changed', async () => {
  const place = new Place({
    ...CONFIG,
    authentication: { ...CHAIN[0], bootstrap_file: 'users.csv' },
  })
  await writeFile(join(place.dir, 'users.csv'), 'user_id,password\nann,topsecret\n')
  expect(await place.hubbub(...login('topsecret'))).toMatchObject({ code: 0 })
  expect(existsSync(place.dataDir)).toBe(false)
  expect(readdirSync(place.dir).sort()).toEqual(['hubbub.yaml', 'users.csv'])
  const kept = await withUser({ authentication: { ...CHAIN[0], bootstrap_file: 'users.csv' } })
  await writeFile(join(kept.dir, 'users.csv'), 'user_id,password\nbob,x\n')
  const bob = ['auth', 'test', '--username', 'bob', '--password', 'x']
  expect(await kept.hubbub(...bob)).toMatchObject({ code: 0 })
  expect((await kept.hubbub('users', 'list')).stdout).toBe('ann\n')
})

test('a backend that fails says so without its secrets, and status shows its state', async () => {
  const server = createServer((_, response) => response.writeHead(500).end('{"result": "allow"}'))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  const service = {
    mechanism: 'password_based',
    backend: 'http',
    method: 'post',
    url: `http://127.0.0.1:${port}/auth?key=backendsecret`,
    headers: { authorization: 'Bearer backendsecret' },
    body: { username: '${username}', password: '${password}' },
  }
  const listeners = { tcp: { default: LISTENERS.tcp.default } }
  const place = new Place({ ...CONFIG, listeners, authentication: [service] })
  await place.start()
  const { code, stdout, stderr } = await place.hubbub(...login('topsecret'))
  expect(code).toBe(1)
  expect(stdout).toMatch(/password_based:http +failed .*status 500/)
  const status = await place.hubbub('status')
  expect(status.stdout).toMatch(
    /mqtt:global password_based:http +connected; asked 0: .*; 1 calls, \d failed, \d+\.\d ms/,
  )
  const json = await place.hubbub('status', '--json')
  expect(JSON.parse(json.stdout)).toMatchObject({
    backends: [
      {
        kind: 'authenticator',
        chain: 'mqtt:global',
        id: 'password_based:http',
        state: 'connected',
        calls: { total: 1 },
      },
      { kind: 'source', id: 'built_in_database' },
    ],
  })
  expect(stdout + stderr + status.stdout + json.stdout).not.toContain('secret')
})

test('the password is asked for, read from standard input, or left out', async () => {
  const place = await withUser()
  await place.start()
  const args = ['auth', 'test', '--username', 'ann']
  const terminal = Object.assign(new FakeContext(), { stdin: new FakeInput(true) })
  terminal.stdin.write('topsecret\r')
  expect(await place.run(terminal, ...args)).toMatchObject({ code: 0, stderr: 'Password: \n' })
  const pipe = new FakeContext()
  pipe.stdin.end('topsecret\n')
  expect(await place.run(pipe, ...args, '--password-stdin')).toMatchObject({ code: 0 })
  expect((await place.hubbub(...args, '--no-password')).stdout).toContain(
    'has no opinion; there was no password',
  )
  expect(await place.hubbub(...args)).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('--password-stdin'),
  })
})

test('what can never be is said at once, and what is reserved is refused', async () => {
  const place = await withUser()
  expect(await place.hubbub(...login('topsecret', '--publish', 'a/#'))).toMatchObject({ code: 2 })
  expect(await place.hubbub(...login('topsecret', '--publish', 'a', '--subscribe', 'b'))).toMatchObject({
    code: 2,
  })
  expect(await place.hubbub(...login('topsecret', '--publish', 'a', '--qos', '3'))).toMatchObject({ code: 2 })
  const reserved = await place.hubbub(...login('topsecret', '--publish', '$SYS/x'))
  expect(reserved).toMatchObject({
    code: 1,
    stdout: expect.stringContaining('nothing at QoS 0: not_authorized'),
  })
  const filter = await place.hubbub(...login('topsecret', '--subscribe', 'a#'))
  expect(filter).toMatchObject({ code: 1, stdout: expect.stringContaining('0x8f topic_filter_invalid') })
})
