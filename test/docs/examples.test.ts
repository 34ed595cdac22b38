/** What docs/ shows as an example is what runs here. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect as connectSocket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { connectAsync } from 'mqtt'
import { Type } from 'typebox'
import { expect, onTestFinished, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { startBroker } from '../../docs/examples/embed.ts'
import { line } from '../../docs/examples/line-gateway.ts'
import { type GatewayConfig, gatewaySchema } from '../../gateways/config.ts'
import { createContext } from '../../gateways/context.ts'
import { GatewayHost } from '../../gateways/host.ts'
import { streamListenerFactory } from '../../gateways/stream-listeners.ts'
import { gatewayListenerDefaults, listenerSchema } from '../../listeners/config.ts'
import { silentLogger } from '../../model/log.ts'
import { connect, publish, startHub, subscription } from '../broker/support.ts'
import { temporaryDirectory } from '../config/sample.ts'

const BIND = '127.0.0.1:0'

/** The example gateway on a real socket in front of a real hub. */
async function startLine(section: object = {}) {
  const hub = await startHub()
  onTestFinished(() => hub.stop())
  const schemas = { tcp: listenerSchema('tcp', gatewayListenerDefaults) }
  const overrides = { listeners: { tcp: { default: { bind: BIND } } }, ...section }
  const schema = gatewaySchema(line, schemas, Type.Object({}))
  const { config } = loadConfig({ schema, file: undefined, env: {}, overrides })
  const context = createContext('line', { connect: hub.connect.bind(hub), log: silentLogger })
  const host = new GatewayHost(line, config as GatewayConfig, context, streamListenerFactory(silentLogger))
  await host.start()
  onTestFinished(() => host.stop(AbortSignal.abort()))
  return { hub, port: host.listener('line:tcp:default')?.address?.()?.port as number }
}

async function dial(port: number) {
  const socket = connectSocket(port, '127.0.0.1')
  onTestFinished(() => void socket.destroy())
  await once(socket, 'connect')
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]()
  return {
    socket,
    next: async () => (await lines.next()).value as string | undefined,
    say: (text: string) => socket.write(`${text}\n`),
  }
}

test('a peer of the example gateway and an MQTT client talk to each other', async () => {
  const { hub, port } = await startLine({ mountpoint: 'line/' })
  const mqtt = await connect(hub, 'dashboard')
  await mqtt.client.subscribe([subscription('#')])
  const peer = await dial(port)
  peer.say('LOGIN meter-7 secret')
  expect(await peer.next()).toBe('OK')
  peer.say('SUB orders/+')
  expect(await peer.next()).toBe('OK')
  await publish(mqtt, 'line/orders/1', 'two\nlines')
  expect(await peer.next()).toBe('MSG orders/1 two lines')
  peer.say('PUB power 12.5 kW')
  expect(await peer.next()).toBe('OK')
  expect(mqtt.receiver.texts).toEqual(['line/orders/1=two\nlines', 'line/power=12.5 kW'])
  expect(hub.client('line\0meter-7')?.info).toMatchObject({ protocol: 'line', username: 'meter-7' })
})

test.each([
  ['PUB before LOGIN', 'PUB a b', 'ERR LOGIN comes first'],
  ['an unknown verb', 'LOGIN a b\nHELP', 'ERR only PUB and SUB are known'],
  ['a wildcard in a topic', 'LOGIN a b\nPUB a/# b', 'ERR not a topic'],
  ['too much', `LOGIN a b\n${'x'.repeat(9000)}`, 'ERR a line is longer than 8192 bytes'],
])('the example gateway ends a peer that says %s', async (_, text, error) => {
  const peer = await dial((await startLine()).port)
  peer.say(text)
  const heard = [await peer.next(), await peer.next()].filter((said) => said !== 'OK' && said !== undefined)
  expect(heard).toEqual([error])
  await once(peer.socket, 'close')
})

test('the example gateway tells a peer that the broker ends it', async () => {
  const { hub, port } = await startLine()
  const peer = await dial(port)
  peer.say('LOGIN meter-7 secret')
  await peer.next()
  hub.kick('line\0meter-7')
  expect(await peer.next()).toBe('BYE kicked')
})

test('a broker inside a program runs the functions attached to its hooks', async () => {
  const broker = await startBroker({
    node: { data_dir: temporaryDirectory() },
    listeners: { tcp: { default: { bind: BIND } } },
    log: { level: 'error' },
  })
  onTestFinished(() => broker.stop())
  const address = broker.mqtt.listeners.get('tcp:default')?.address()
  const first = await connectAsync(`mqtt://127.0.0.1:${address?.port}`, { clientId: 'one' })
  onTestFinished(() => first.endAsync(true))
  const heard: string[] = []
  first.on('message', (topic, payload) => heard.push(`${topic}=${payload.toString()}`))
  await first.subscribeAsync(['news', 'secret/#', 'end'])
  const second = await connectAsync(`mqtt://127.0.0.1:${address?.port}`, { clientId: 'two' })
  onTestFinished(() => second.endAsync(true))
  await second.publishAsync('secret/plan', 'x', { qos: 1 })
  await second.publishAsync('end', 'x', { qos: 1 })
  await expect.poll(() => heard).toEqual(['news=hello two', 'end=x'])
})

test('the examples in the texts are the files that were run', () => {
  const docs = join(import.meta.dirname, '..', '..', 'docs')
  const read = (file: string) => readFileSync(join(docs, file), 'utf8')
  for (const [text, file] of [
    ['hooks.md', 'examples/embed.ts'],
    ['write-a-gateway.md', 'examples/line-gateway.ts'],
  ] as const) {
    const blocks = [...read(text).matchAll(/```ts\n(.*?)```/gs)].map(([, code = '']) => code.trim())
    expect(blocks.length, text).toBeGreaterThan(0)
    for (const block of blocks) expect(read(file), text).toContain(block)
  }
})
