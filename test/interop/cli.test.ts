/** The `hubbub` command beside a running broker and alone. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { baseConfig, merge, runHubbub, startProcess } from '../support/broker.ts'
import { connectMqtt, refusal } from './mqtt-peer.ts'
import { connectStomp, stompRefusal } from './stomp-peer.ts'

const DATABASE = {
  mechanism: 'password_based',
  backend: 'built_in_database',
  password_hash_algorithm: { name: 'bcrypt', salt_rounds: 5 },
}

test('users that are added and deleted beside a running broker can and cannot log in at once', async () => {
  const dir = temporaryDirectory()
  const guard = { authentication: [DATABASE] }
  const config = merge(baseConfig(dir), { log: { format: 'json' }, ...guard, gateway: { stomp: guard } })
  const ports = await startProcess(['start'], {}, config, dir).ready()
  const users = (...args: string[]) => runHubbub(['users', ...args], {}, config, dir)
  const ann = { username: 'ann', password: 'Sesam öffne dich' }
  expect(await refusal(ports, ann)).toBe(0x87)

  expect(await users('add', 'ann', '--password', ann.password)).toMatchObject({
    code: 0,
    stdout: 'added ann\n',
  })
  await vi.waitFor(() => connectMqtt(ports, ann), { timeout: 5_000 })
  expect(await refusal(ports, { ...ann, password: 'sesame' })).toBe(0x86)
  const headers = { login: 'ann', passcode: ann.password }
  expect(await stompRefusal(ports, { headers })).toContain('Login Failed') // the gateway has users of its own

  const root = ['root', '--superuser', '--password', 'x', '--chain', 'stomp:global']
  expect(await users('add', ...root)).toMatchObject({ code: 0 })
  await vi.waitFor(() => connectStomp(ports, { headers: { login: 'root', passcode: 'x' } }), {
    timeout: 5_000,
  })
  expect((await users('list', '--chain', 'stomp:global')).stdout).toBe('root\tsuperuser\n')
  expect((await users('list')).stdout).toBe('ann\n')
  expect(await users('add', 'ann', '--password', 'y')).toMatchObject({ code: 1 })

  const inside = await connectMqtt(ports, ann)
  expect(await users('delete', 'ann')).toMatchObject({ code: 0, stdout: 'deleted ann\n' })
  await vi.waitFor(async () => expect(await refusal(ports, ann)).toBe(0x87), { timeout: 5_000 })
  await inside.ping()
})

test('after a broker was killed the command works on what it has left, and another one starts', async () => {
  const dir = temporaryDirectory()
  const config = merge(baseConfig(dir), { log: { format: 'json' }, authentication: [DATABASE] })
  const hubbub = (...args: string[]) => runHubbub(args, {}, config, dir)
  const first = startProcess(['start'], {}, config, dir)
  await first.ready()
  expect(await hubbub('users', 'add', 'ann', '--password', 'x')).toMatchObject({ code: 0 })
  first.signal('SIGKILL')
  await first.exited
  expect(existsSync(join(dir, 'data', 'hubbub.sock'))).toBe(true)

  expect(await hubbub('status')).toMatchObject({ code: 1 })
  expect(await hubbub('users', 'list')).toMatchObject({ code: 0, stdout: 'ann\n' })
  const second = startProcess(['start'], {}, config, dir)
  const ports = await second.ready()
  expect(await hubbub('status')).toMatchObject({ code: 0 })
  await connectMqtt(ports, { username: 'ann', password: 'x' })
})

test('sessions, their messages and retained ones move to another broker in a file', async () => {
  const [dir, other] = [temporaryDirectory(), temporaryDirectory()]
  const open = { log: { format: 'json' }, allow_anonymous: true }
  const [config, otherConfig] = [merge(baseConfig(dir), open), merge(baseConfig(other), open)]
  const file = join(dir, 'all.jsonl')
  const from = startProcess(['start'], {}, config, dir)
  const ports = await from.ready()
  const kept = { clientId: 'kept', clean: false, properties: { sessionExpiryInterval: 3600 } }
  const away = await connectMqtt(ports, kept)
  await away.subscribe('a/#', { qos: 1 })
  await away.end()
  const publisher = await connectMqtt(ports)
  await publisher.publish('a/b', 'missed', { qos: 1 })
  await publisher.publish('r', 'retained', { qos: 1, retain: true })
  expect(await runHubbub(['data', 'export', file], {}, config, dir)).toMatchObject({ code: 0 })

  expect(await runHubbub(['data', 'import', file], {}, otherConfig, other)).toMatchObject({ code: 0 })
  const to = await startProcess(['start'], {}, otherConfig, other).ready()
  const back = await connectMqtt(to, kept)
  expect(await back.next()).toMatchObject({ topic: 'a/b', payload: 'missed' })
  await back.subscribe('r', { qos: 1 })
  expect(await back.next()).toMatchObject({ topic: 'r', payload: 'retained' })
})

test('config check says what is wrong and nothing else', async () => {
  const good = await runHubbub(['config', 'check'], {}, { listeners: { tcp: { default: { bind: 1884 } } } })
  expect(good).toMatchObject({ code: 0, stderr: '' })
  expect(good.stdout).toContain('no problems')
  const bad = await runHubbub(['config', 'check'], {}, { mqtt: { max_packet_sise: '1MB' } })
  expect(bad.code).toBe(2)
  expect(bad.stdout).toBe('')
  expect(bad.stderr).toMatch(/hubbub\.yaml:3:5: mqtt\.max_packet_sise: .*did you mean max_packet_size\?/)
})

test('config show prints what is set, from file and environment, without secrets', async () => {
  const listener = {
    bind: 8883,
    ssl_options: { certfile: 'c.pem', keyfile: 'k.pem', password: 'top secret' },
  }
  const config = { listeners: { ssl: { default: listener } } }
  const shown = await runHubbub(['config', 'show'], { HUBBUB__MQTT__MAX_QOS_ALLOWED: '1' }, config)
  expect(shown.code).toBe(0)
  expect(shown.stdout).toContain('max_qos_allowed: 1')
  expect(shown.stdout).toContain('certfile: c.pem')
  expect(shown.stdout).not.toContain('top secret')
  expect(shown.stderr).not.toContain('top secret')
  expect(shown.stdout).not.toContain('max_packet_size')
  expect((await runHubbub(['config', 'show', '--all'], {}, config)).stdout).toContain('max_packet_size')
})

test('config explain tells what an option means and where its value is from', async () => {
  const config = { mqtt: { max_inflight: 64 } }
  const explained = await runHubbub(['config', 'explain', 'mqtt.max_inflight'], {}, config)
  expect(explained.code).toBe(0)
  expect(explained.stdout).toMatch(/default +32\n/)
  expect(explained.stdout).toMatch(/now +64 \(from the config file\)\n/)
  expect((await runHubbub(['config', 'explain', 'mqtt.max_inflite'])).code).not.toBe(0)
})

test('version prints the version of the package, and a wrong command ends with 2', async () => {
  const manifest: unknown = JSON.parse(readFileSync(join(import.meta.dirname, '../../package.json'), 'utf8'))
  const { version } = manifest as { version: string }
  expect(await runHubbub(['version'])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' })
  const wrong = await runHubbub(['stert'])
  expect(wrong.code).toBe(2)
  expect(wrong.stderr).toContain('start')
})
