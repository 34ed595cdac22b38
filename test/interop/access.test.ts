/** Who may come in, and what they may do: one answer for every protocol. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { startBroker } from '../support/broker.ts'
import { connectMqtt, refusal, TRANSPORTS, VERSIONS } from './mqtt-peer.ts'
import { connectStomp, stompRefusal } from './stomp-peer.ts'

const USERS = 'user_id,password,is_superuser\nann,ann-secret,false\nroot,root-secret,true\n'
const DATABASE = {
  mechanism: 'password_based',
  backend: 'built_in_database',
  password_hash_algorithm: { name: 'sha256', salt_position: 'suffix' },
  bootstrap_file: 'users.csv',
}
const ANN = { username: 'ann', password: 'ann-secret' }
const ROOT = { username: 'root', password: 'root-secret' }

function headersOf({ username, password }: { username: string; password: string }) {
  return { headers: { login: username, passcode: password } }
}

/** A broker that knows ann and root, in MQTT and in STOMP. */
function startGuarded(changes: object = {}) {
  const dir = temporaryDirectory()
  writeFileSync(join(dir, 'users.csv'), USERS)
  const guard = { authentication: [DATABASE] }
  return startBroker({ ...guard, gateway: { stomp: guard }, ...changes }, dir)
}

const RULES = `
{allow, {username, "ann"}, publish, ["out/\${clientid}/#", "log"]}.
{allow, {username, "ann"}, subscribe, ["in/#", {eq, "all/#"}]}.
{deny, all}.
`

test('users of the built-in database log in over every transport of both protocols', async () => {
  const broker = await startGuarded()
  for (const via of TRANSPORTS) {
    for (const version of VERSIONS) await connectMqtt(broker, { via, version, ...ANN })
    await connectStomp(broker, { via, ...headersOf(ANN) })
  }
  expect(broker.hub.clientCount).toBe(TRANSPORTS.length * (VERSIONS.length + 1))
})

test('a wrong password, an unknown user and nobody at all are refused, in the words of each protocol', async () => {
  const broker = await startGuarded()
  const wrong = { username: 'ann', password: 'guessed' }
  const unknown = { username: 'bob', password: 'ann-secret' }
  for (const version of ['3.1', '3.1.1'] as const) {
    expect(await refusal(broker, { version, ...wrong })).toBe(4)
    expect(await refusal(broker, { version, ...unknown })).toBe(5)
    expect(await refusal(broker, { version })).toBe(5)
  }
  for (const via of TRANSPORTS) {
    expect(await refusal(broker, { via, ...wrong })).toBe(0x86)
    expect(await refusal(broker, { via, ...unknown })).toBe(0x87)
    expect(await refusal(broker, { via })).toBe(0x87)
    expect(await stompRefusal(broker, { via, ...headersOf(wrong) })).toBe(
      'Login Failed: bad_username_or_password',
    )
    expect(await stompRefusal(broker, { via, ...headersOf(unknown) })).toBe('Login Failed: not_authorized')
    expect(await stompRefusal(broker, { via })).toBe('Login Failed: not_authorized')
  }
  expect(broker.hub.clientCount).toBe(0)
})

test('a refused login takes nothing over', async () => {
  const broker = await startGuarded()
  const inside = await connectMqtt(broker, { clientId: 'x', ...ANN })
  await inside.subscribe('t', { qos: 1 })
  expect(await refusal(broker, { clientId: 'x', username: 'ann', password: 'guessed' })).toBe(0x86)
  await inside.publish('t', 'still here', { qos: 1 })
  expect(await inside.payloads(1)).toEqual(['still here'])
})

test('a listener may have authenticators of its own, and may be open to everybody', async () => {
  const bind = '127.0.0.1:0'
  const dir = temporaryDirectory()
  writeFileSync(join(dir, 'users.csv'), USERS)
  writeFileSync(join(dir, 'web.csv'), 'user_id,password,is_superuser\nweb,web-secret,false\n')
  const broker = await startBroker(
    {
      authentication: [DATABASE],
      listeners: {
        ws: { default: { bind, authentication: [{ ...DATABASE, bootstrap_file: 'web.csv' }] } },
        wss: { default: { enable_authn: false } },
      },
    },
    dir,
  )
  const web = { username: 'web', password: 'web-secret' }
  await connectMqtt(broker, { via: 'tcp', ...ANN })
  await connectMqtt(broker, { via: 'ws', ...web })
  await connectMqtt(broker, { via: 'wss' })
  expect(await refusal(broker, { via: 'tcp', ...web })).toBe(0x87)
  expect(await refusal(broker, { via: 'ws', ...ANN })).toBe(0x87)
  await connectStomp(broker) // the global ones are for MQTT
})

for (const version of VERSIONS) {
  test(`MQTT ${version}: what the rules deny is refused and does not happen`, async () => {
    const broker = await startGuarded({
      authorization: { no_match: 'deny', sources: [{ type: 'file', rules: RULES }] },
    })
    const root = await connectMqtt(broker, { ...ROOT })
    expect(await root.subscribe('#', { qos: 2 })).toEqual([2])
    const ann = await connectMqtt(broker, { version, clientId: 'a1', ...ANN })
    const denied = version === '5.0' ? 0x87 : 0x80
    const filters = ['in/x', 'all/#', 'all/x', '#', '$share/g/in/x', '$share/g/out']
    expect(await ann.subscribe(filters, { qos: 1 })).toEqual([1, 1, denied, denied, 1, denied])

    const forbidden = [0, 1, 2].map((qos) => ({ qos: qos as 0 | 1 | 2, retain: true }))
    for (const options of forbidden) {
      const published = ann.publish('out/a2/x', 'forbidden', options)
      if (version === '5.0' && options.qos > 0) await expect(published).rejects.toMatchObject({ code: 0x87 })
      else await published // there is no way to say no: it is taken and dropped
    }
    await ann.publish('out/a1/x', 'allowed', { qos: 1 })
    expect(await root.payloads(1)).toEqual(['allowed'])
    await root.expectSilence()
    expect(broker.hub.kernel.storage.hasRetained('out/a2/x')).toBe(false)
  })
}

test('STOMP: what the rules deny is an ERROR and does not happen', async () => {
  const broker = await startGuarded({
    authorization: {
      sources: [{ type: 'file', rules: '{allow, {username, "ann"}, all, ["ok"]}.\n{deny, all}.' }],
    },
  })
  const root = await connectMqtt(broker, { ...ROOT })
  await root.subscribe('#')
  for (const via of TRANSPORTS) {
    const sender = await connectStomp(broker, { via, ...headersOf(ANN) })
    await sender.send('ok', via)
    sender.library.frame('SEND', { destination: 'forbidden' }, 'x')
    expect(await sender.gone()).toBe('Insufficient permissions for forbidden')
    const listener = await connectStomp(broker, { via, ...headersOf(ANN) })
    await listener.subscribe('ok')
    listener.library.frame('SUBSCRIBE', { destination: '#', id: '1' })
    expect(await listener.gone()).toBe('Insufficient permissions for #')
  }
  expect(await root.payloads(4)).toEqual([...TRANSPORTS])
  await root.expectSilence()
})

test('with deny_action disconnect the client is closed, in both protocols', async () => {
  const broker = await startGuarded({
    authorization: { deny_action: 'disconnect', sources: [{ type: 'file', rules: RULES }] },
  })
  const publisher = await connectMqtt(broker, { clientId: 'a1', ...ANN })
  publisher.client.publish('secret', 'x', { qos: 0 })
  expect((await publisher.gone())?.reasonCode).toBe(0x87)
  const subscriber = await connectMqtt(broker, { clientId: 'a2', version: '3.1.1', ...ANN })
  subscriber.client.subscribe('#', { qos: 0 }, () => {})
  await subscriber.gone()
  const sender = await connectStomp(broker, headersOf(ANN))
  sender.library.frame('SEND', { destination: 'secret' }, 'x')
  expect(await sender.gone()).toBe('Insufficient permissions for secret')
})

test('a superuser may do what the rules deny to everybody, in both protocols', async () => {
  const broker = await startGuarded({ authorization: { sources: [{ type: 'file', rules: '{deny, all}.' }] } })
  const root = await connectMqtt(broker, { ...ROOT })
  expect(await root.subscribe('#', { qos: 1 })).toEqual([1])
  const stomp = await connectStomp(broker, headersOf(ROOT))
  await stomp.subscribe('#')
  await stomp.send('anything', 'from stomp')
  await root.publish('anything', 'from mqtt', { qos: 1 })
  expect(await root.payloads(2)).toEqual(['from stomp', 'from mqtt'])
  expect(await stomp.bodies(2)).toEqual(['from stomp', 'from mqtt'])
})

test('rules are read from acl.conf beside the config, and a will is under them too', async () => {
  const dir = temporaryDirectory()
  writeFileSync(
    join(dir, 'acl.conf'),
    '{deny, {ipaddr, "127.0.0.1"}, publish, ["secret/#"]}.\n{allow, all}.\n',
  )
  const broker = await startBroker({}, dir)
  const watcher = await connectMqtt(broker)
  await watcher.subscribe('#')
  const will = { topic: 'secret/will', payload: Buffer.from('x'), qos: 1 as const, retain: false }
  const client = await connectMqtt(broker, { will })
  await client.publish('secret/x', 'x')
  await client.publish('open', 'y')
  await client.breakOff()
  const other = await connectMqtt(broker, { will: { ...will, topic: 'will' } })
  await other.breakOff()
  expect((await watcher.take(2)).map(({ topic }) => topic)).toEqual(['open', 'will'])
  await watcher.expectSilence()
})

test('without an authenticator listeners are bound to loopback, whatever the config says, and the log tells', async () => {
  const everywhere = { bind: '0.0.0.0:0' }
  const open = { tcp: { default: everywhere }, ws: { default: everywhere } }
  const changes = { listeners: open, gateway: { stomp: { listeners: open } } }
  const careful = await startBroker(changes)
  const ids = ['tcp:default', 'ws:default', 'stomp:tcp:default', 'stomp:ws:default']
  const warnings = careful.log.lines.filter(({ level }) => level === 'warn')
  const warning = JSON.stringify(warnings.filter(({ msg }) => msg.includes('on loopback only')))
  for (const id of ids) {
    expect(careful.log.addressOf(id)?.host, id).toBe('127.0.0.1')
    expect(warning, id).toContain(id)
  }
  await connectMqtt(careful)

  const anonymous = await startBroker({ ...changes, allow_anonymous: true })
  for (const id of ids) expect(anonymous.log.addressOf(id)?.host, id).toBe('0.0.0.0')
  await connectMqtt(anonymous)
  await connectStomp(anonymous)

  const guarded = await startGuarded({ listeners: open })
  expect(guarded.log.addressOf('tcp:default')?.host).toBe('0.0.0.0')
})
