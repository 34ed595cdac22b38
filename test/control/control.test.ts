/** The `hubbub` command and a broker in this process, over the control socket. */
import { chownSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test, vi } from 'vitest'
import { findAddress, socketPath } from '../../control/client/address.ts'
import { ControlClient } from '../../control/client/client.ts'
import { connectBytes } from '../broker/mqtt/raw-peer.ts'
import { FakeContext } from '../cli/run-cli.ts'
import { temporaryDirectory } from '../config/sample.ts'
import { CHAIN, Place } from './support.ts'

// Checking the config is most of what a command costs, and dozens are run here: those that differ in nothing but
// their directory are checked once.
vi.mock('../../config/load.ts', async (original) => {
  const real = await original<typeof import('../../config/load.ts')>()
  const known = new Map<string, { config: { node: object } }>()
  const loadConfig = (options: Parameters<typeof real.loadConfig>[0]) => {
    const { file, overrides } = options
    const text = file === undefined ? JSON.stringify(overrides) : readFileSync(file, 'utf8')
    const { node, ...rest } = JSON.parse(text) as { node: { data_dir: string } }
    const key = JSON.stringify(rest)
    const loaded = known.get(key) ?? (real.loadConfig(options) as { config: { node: object } })
    known.set(key, loaded)
    const config = structuredClone(loaded.config)
    return { ...loaded, config: { ...config, node: { ...config.node, data_dir: node.data_dir } } }
  }
  return { ...real, loadConfig }
})

test('the command changes users of the broker that runs, and of its storage when it does not', async () => {
  const place = new Place()
  expect(await place.hubbub('users', 'add', 'early', '--password', 'x')).toMatchObject({ code: 0 })
  const broker = await place.start()
  expect(await place.hubbub('users', 'add', 'ann', '--password', 'secret', '--superuser')).toMatchObject({
    code: 0,
    stdout: 'added ann\n',
  })
  expect(await place.hubbub('users', 'add', 'ann', '--password', 'other')).toMatchObject({ code: 1 })
  expect((await place.hubbub('users', 'list')).stdout).toBe('early\nann\tsuperuser\n')
  expect(await place.hubbub('users', 'delete', 'early')).toMatchObject({ code: 0 })
  expect(await place.hubbub('users', 'list', '--chain', 'stomp:global')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('no built-in database (password_based) in the chain stomp:global'),
  })
  const file = join(place.dir, 'users.csv')
  writeFileSync(file, 'user_id,password\nann,x\nbob,y\n')
  expect((await place.hubbub('users', 'import', file)).stdout).toBe(
    'added 1, replaced 0, left as they were 1\n',
  )
  await broker.stop()
  expect((await place.hubbub('users', 'list')).stdout).toBe('ann\tsuperuser\nbob\n')
  expect(existsSync(socketPath(place.dataDir))).toBe(false)
})

test('without a storage users are in a file, which the broker and the command share', async () => {
  const place = new Place({ storage: { type: 'memory' } })
  expect(await place.hubbub('users', 'add', 'ann', '--password', 'x')).toMatchObject({ code: 0 })
  const broker = await place.start()
  expect(await place.hubbub('users', 'add', 'bob', '--password', 'x')).toMatchObject({ code: 0 })
  await broker.stop()
  expect((await place.hubbub('users', 'list')).stdout).toBe('ann\nbob\n')
  for (const args of [
    ['bans', 'list'],
    ['data', 'export', 'x.jsonl'],
  ]) {
    expect(await place.hubbub(...args)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('storage.type is memory'),
    })
  }
})

test('status tells how the broker is, and that none is there', async () => {
  const place = new Place()
  expect(await place.hubbub('status')).toMatchObject({
    code: 1,
    stderr: `hubbub: no broker is running with the data directory ${place.dataDir}\n`,
  })
  await place.start()
  const { code, stdout } = await place.hubbub('status')
  expect(code).toBe(0)
  expect(stdout).toMatch(/^node +hubbub@/m)
  expect(stdout).toMatch(/^running for +\S+ \(process \d+\)$/m)
  expect(stdout).toMatch(/^clients +0 \(most: 0\)$/m)
  expect(stdout).toMatch(/^ {2}tcp:default +127\.0\.0\.1:\d+ \(0 connections\)$/m)
  const json = JSON.parse((await place.hubbub('status', '--json')).stdout) as { stats: object; pid: number }
  expect(json.pid).toBe(process.pid)
  expect(json.stats).toHaveProperty(['connections.count'], 0)
})

test('clients are listed and kicked', async () => {
  const place = new Place({ authentication: [], allow_anonymous: true })
  await place.start()
  const { port } = place.log.addressOf('tcp:default') ?? { port: 0 }
  const peer = connect(port, '127.0.0.1')
  onTestFinished(() => void peer.destroy())
  peer.write(connectBytes(5, 'meter-7'))
  await new Promise((resolve) => peer.once('data', resolve))
  const { stdout } = await place.hubbub('clients', 'list')
  expect(stdout).toMatch(/^meter-7\t-\tMQTT 5(\.0)?\t127\.0\.0\.1:\d+\ttcp:default\t\d{4}-\S+Z\n$/)
  const [line] = (await place.hubbub('clients', 'list', '--json')).stdout.split('\n')
  expect(JSON.parse(line ?? '')).toMatchObject({ clientId: 'meter-7', subscriptions: 0 })
  const closed = new Promise((resolve) => peer.once('close', resolve))
  expect((await place.hubbub('clients', 'kick', 'meter-7')).stdout).toBe('kicked meter-7\n')
  await closed
  expect(await place.hubbub('clients', 'kick', 'meter-7')).toMatchObject({ code: 1 })
  expect(await place.hubbub('clients', 'kick', 'meter-7', '--gateway', 'stomp')).toMatchObject({ code: 1 })
  expect((await place.hubbub('clients', 'list')).stdout).toBe('')
})

test('a client of a gateway that has not said who it is is listed, counted and kicked like others', async () => {
  const listeners = { tcp: { default: { bind: '127.0.0.1:0' } } }
  const place = new Place({ allow_anonymous: true, gateway: { nats: { mountpoint: 'nats/', listeners } } })
  await place.start()
  const { port } = place.log.addressOf('nats:tcp:default') ?? { port: 0 }
  const peer = connect(port, '127.0.0.1')
  onTestFinished(() => void peer.destroy())
  let said = ''
  const answered = new Promise<void>((resolve) => {
    peer.on('data', (chunk) => {
      said += chunk.toString()
      if (said.endsWith('hi\r\n')) resolve()
    })
  })
  peer.write('SUB a.> 1\r\nSUB b q 2\r\nPUB a.b 2\r\nhi\r\n')
  await answered
  const { stdout } = await place.hubbub('clients', 'list', '--json')
  const client = JSON.parse(stdout) as { clientId: string; connectedAtMs: number }
  expect(client).toEqual({
    clientId: expect.stringMatching(/^[0-9a-f]{16}$/),
    gateway: 'nats',
    protocol: 'NATS 1',
    peer: `127.0.0.1:${peer.localPort}`,
    listener: 'nats:tcp:default',
    connectedAtMs: expect.any(Number),
    keepAliveSeconds: 30,
    subscriptions: 2,
    stats: expect.objectContaining({ recv_msg: 1, send_msg: 1, subscriptions_cnt: 2 }),
  })
  const status = JSON.parse((await place.hubbub('status', '--json')).stdout) as {
    stats: object
    gateways: object
  }
  expect(status).toMatchObject({
    stats: { 'connections.count': 1, 'subscriptions.count': 2, 'subscriptions.shared.count': 1 },
    gateways: { nats: { 'packets.pub.received': 1, 'packets.sub.received': 2, 'messages.delivered': 1 } },
  })
  const asMqtt = await place.hubbub('clients', 'kick', client.clientId)
  expect(asMqtt).toMatchObject({ code: 1, stderr: expect.stringContaining('--gateway') })
  const closed = new Promise((resolve) => peer.once('close', resolve))
  expect(await place.hubbub('clients', 'kick', client.clientId, '--gateway', 'nats')).toMatchObject({
    code: 0,
  })
  await closed
  expect(said).toMatch(/-ERR 'Kicked out'\r\n$/)
})

test('bans are the same with and without a broker', async () => {
  const place = new Place()
  const ban = ['bans', 'add', 'clientid', 'meter-7', '--reason', 'stolen', '--by', 'ann']
  for (const isRunning of [false, true]) {
    const broker = isRunning ? await place.start() : undefined
    expect(await place.hubbub(...ban, '--until', '2999-01-01T00:00:00Z')).toMatchObject({
      code: 0,
      stdout: 'banned clientid meter-7\n',
    })
    expect(await place.hubbub(...ban)).toMatchObject({ code: 1, stderr: expect.stringContaining('already') })
    const { stdout } = await place.hubbub('bans', 'list')
    expect(stdout).toMatch(/^clientid\tmeter-7\tann\tstolen\t\S+Z\t2999-01-01T00:00:00\.000Z\n$/)
    expect(await place.hubbub('bans', 'delete', 'clientid', 'meter-7')).toMatchObject({ code: 0 })
    expect(await place.hubbub('bans', 'delete', 'clientid', 'meter-7')).toMatchObject({ code: 1 })
    expect(await place.hubbub('bans', 'add', 'peerhost', 'x')).toMatchObject({ code: 2 })
    expect(await place.hubbub('bans', 'add', 'who', 'x')).toMatchObject({ code: 2 })
    expect(await place.hubbub('bans', 'add', 'username', 'x', '--until', '1')).toMatchObject({ code: 1 })
    expect(await place.hubbub('bans', 'add', 'username', 'x', '--for', 'long')).toMatchObject({ code: 1 })
    expect(await place.hubbub('bans', 'add', 'username', 'x', '--for', '2h')).toMatchObject({ code: 0 })
    expect(await place.hubbub('bans', 'delete', 'username', 'x')).toMatchObject({ code: 0 })
    await broker?.stop()
  }
})

test('only its user can reach the socket, and a second broker is refused', async () => {
  const place = new Place({ storage: { type: 'memory' } })
  await place.start()
  expect(statSync(socketPath(place.dataDir)).mode & 0o777).toBe(0o600)
  await expect(place.start()).rejects.toMatchObject({
    code: 'LISTEN_FAILED',
    message: `another broker is running with the data directory ${place.dataDir}`,
  })
  expect(await place.hubbub('status')).toMatchObject({ code: 0 })
})

test('what is in the place of the socket and no socket is left there, and the broker starts', async () => {
  const place = new Place({ storage: { type: 'memory' } })
  mkdirSync(place.dataDir)
  writeFileSync(socketPath(place.dataDir), 'mine')
  await place.start()
  expect(place.log.lines.map(({ msg }) => msg)).toContain(
    'no control socket: the hubbub command cannot reach this broker',
  )
  expect(readFileSync(socketPath(place.dataDir), 'utf8')).toBe('mine')
})

test('a data directory with a long name has its socket elsewhere', async () => {
  const dir = join(temporaryDirectory(), 'd'.repeat(120))
  mkdirSync(dir)
  const place = new Place({}, dir)
  const broker = await place.start()
  const address = findAddress(place.dataDir) ?? ''
  expect(address.length).toBeLessThan(104)
  expect(statSync(address).mode & 0o777).toBe(0o600)
  expect(await place.hubbub('status')).toMatchObject({ code: 0 })
  await broker.stop()
  expect(existsSync(address)).toBe(false)
  expect(findAddress(place.dataDir)).toBeUndefined()
  expect(await place.hubbub('status')).toMatchObject({ code: 1 })
})

test('a broker of another version is not talked to', async () => {
  const dir = temporaryDirectory()
  const other = createServer((_, response) => {
    response.setHeader('hubbub-control', '999').setHeader('hubbub-version', '9.9.9')
    response.end('{}')
  })
  await new Promise<void>((resolve) => other.listen(socketPath(dir), resolve))
  onTestFinished(() => void other.close())
  await expect(ControlClient.connect(dir)).rejects.toMatchObject({
    code: 'BACKEND_FAILED',
    message: expect.stringContaining('the broker that runs is of version 9.9.9'),
  })
})

test('requests that make no sense are refused, and the broker goes on', async () => {
  const place = new Place()
  await place.start()
  const ask = async (path: string, body: string) => {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const options = { socketPath: socketPath(place.dataDir), path, method: 'POST', agent: false }
      request(options, resolve).on('error', reject).end(body)
    })
    return [answer.statusCode, JSON.parse(await text(answer))]
  }
  const refused = (code: string) => [400, expect.objectContaining({ code })]
  expect(await ask('/nothing', '{}')).toEqual(refused('PROTOCOL_VIOLATED'))
  expect(await ask('/toString', '{}')).toEqual(refused('PROTOCOL_VIOLATED'))
  expect(await ask('/status', 'x')).toEqual(refused('PROTOCOL_VIOLATED'))
  expect(await ask('/status', '1')).toEqual(refused('PROTOCOL_VIOLATED'))
  expect(await ask('/users.add', '{}')).toEqual(refused('PROTOCOL_VIOLATED'))
  expect(await ask('/clients.kick', '{}')).toEqual(refused('PROTOCOL_VIOLATED'))
  expect(await ask('/clients.show', '{"clientId":"x","gateway":1}')).toEqual(refused('PROTOCOL_VIOLATED'))
  expect(await place.hubbub('status')).toMatchObject({ code: 0 })
})

test('everything is exported from a broker that runs, and imported while it does not', async () => {
  const place = new Place()
  const broker = await place.start()
  await place.hubbub('users', 'add', 'ann', '--password', 'secret')
  await place.hubbub('bans', 'add', 'clientid', 'x')
  const first = await place.hubbub('data', 'export', 'all.jsonl')
  expect(first.stderr).toBe(
    'exported 2 records (bans 1, users 1)\n' +
      'it holds hashes of passwords and messages in the clear: keep it to yourself\n',
  )
  const file = join(place.dir, 'all.jsonl')
  expect(statSync(file).mode & 0o777).toBe(0o600)
  expect(await place.hubbub('data', 'export', 'all.jsonl')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('all.jsonl is there already'),
  })
  expect(await place.hubbub('data', 'import', 'all.jsonl')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('the broker is running: stop it first'),
  })
  await broker.stop()

  const other = new Place()
  expect(await other.hubbub('users', 'add', 'zoe', '--password', 'x')).toMatchObject({ code: 0 })
  expect(await other.hubbub('data', 'import', file)).toMatchObject({
    code: 0,
    stdout: 'imported 2 records (bans 1, users 1)\n',
  })
  expect((await other.hubbub('users', 'list')).stdout.split('\n').toSorted()).toEqual(['', 'ann', 'zoe'])
  expect((await other.hubbub('data', 'import', file)).stdout).toBe(
    'imported nothing\nleft as they were: 2 records (bans 1, users 1)\n',
  )
  expect(await other.hubbub('data', 'import', file, '--replace')).toMatchObject({ code: 0 })
  const again = await other.hubbub('data', 'export', '-')
  const records = (lines: string) => lines.split('\n').slice(1)
  expect(records(again.stdout)).toEqual(records(readFileSync(file, 'utf8')))

  const piped = new Place()
  const cli = new FakeContext()
  cli.stdin.end(again.stdout)
  expect((await piped.run(cli, 'data', 'import', '-')).stdout).toBe('imported 2 records (bans 1, users 1)\n')
})

test.skipIf(process.getuid?.() !== 0)('root does not touch the storage of another user', async () => {
  const place = new Place()
  mkdirSync(place.dataDir)
  chownSync(place.dataDir, 12_345, 12_345)
  expect(await place.hubbub('users', 'list')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('belongs to the user with the id 12345'),
  })
  expect(readdirSync(place.dataDir)).toEqual([])
})

test('on a terminal a bar tells how far it is', async () => {
  const place = new Place()
  await place.hubbub('bans', 'add', 'clientid', 'x')
  const cli = new FakeContext()
  cli.isTerminal = true
  const { stderr } = await place.run(cli, 'data', 'export', 'all.jsonl')
  const [start, bar, end] = stderr.split('\r')
  expect([start, bar]).toEqual(['', expect.stringMatching(/^exporting \[[# ]{30}\] \d+$/)])
  expect(end).toMatch(/exported 1 record \(bans 1\)\n/)
})

test('users of SCRAM are apart from those with passwords', async () => {
  const place = new Place({
    authentication: [...CHAIN, { mechanism: 'scram', backend: 'built_in_database' }],
  })
  const scram = ['--mechanism', 'scram']
  expect(await place.hubbub('users', 'add', 'ann', '--password', 'x')).toMatchObject({ code: 0 })
  await place.start()
  expect(await place.hubbub('users', 'add', 'bob', '--password', 'x', ...scram)).toMatchObject({ code: 0 })
  expect((await place.hubbub('users', 'list', ...scram)).stdout).toBe('bob\n')
  expect((await place.hubbub('users', 'list')).stdout).toBe('ann\n')
})

test('what is no export changes nothing', async () => {
  const place = new Place()
  writeFileSync(join(place.dir, 'wrong.jsonl'), '{"format":"x"}\n')
  expect(await place.hubbub('data', 'import', 'wrong.jsonl', '--replace')).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('line 1: not a file of "hubbub data export"'),
  })
  expect(await place.hubbub('data', 'import', 'missing.jsonl')).toMatchObject({
    code: 1,
    stderr: expect.stringContaining('cannot read the file'),
  })
  expect(existsSync(place.dataDir)).toBe(false)
})
