/** The `hubbub` command beside a running broker and alone. */
import { readFileSync } from 'node:fs'
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
  const stored = readFileSync(join(dir, 'data', 'authn', 'stomp.global.json'), 'utf8')
  expect(stored).toContain('$2')
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
