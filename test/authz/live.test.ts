/** Sources as clients of a running broker meet them. */
import { connectAsync, ErrorWithReasonCode, type IClientOptions } from 'mqtt'
import { expect, onTestFinished, test } from 'vitest'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { Hubbub } from '../../main.ts'
import { createLog } from '../../observability/log.ts'
import { temporaryDirectory } from '../config/sample.ts'
import { HttpService } from '../support/http-server.ts'
import { LogBook } from '../support/log-book.ts'

async function serviceThat(allows: (asked: { topic: string; action: string }) => boolean) {
  const service = await HttpService.start()
  onTestFinished(() => service.stop())
  service.respond = ({ body }) => {
    const result = allows(JSON.parse(body) as { topic: string; action: string }) ? 'allow' : 'deny'
    return { headers: { 'content-type': 'application/json' }, body: JSON.stringify({ result }) }
  }
  return service
}

const sourceAt = (url: string) => ({
  type: 'http',
  method: 'post',
  url,
  body: { topic: '${topic}', action: '${action}', clientid: '${clientid}' },
})

async function start(authorization: object) {
  const dir = temporaryDirectory()
  const overridesOf = (section: object) => ({
    node: { data_dir: `${dir}/data`, shutdown_timeout: '2s' },
    storage: { type: 'memory' },
    allow_anonymous: true,
    listeners: { tcp: { default: { bind: '127.0.0.1:0' } } },
    authorization: section,
  })
  const schema = configSchema()
  const overrides = overridesOf(authorization)
  const { config } = loadConfig({ schema, file: undefined, env: {}, overrides })
  const log = new LogBook()
  const stream = { write: (line: string) => log.write(line) }
  const broker = await Hubbub.start(config, dir, createLog({ level: 'info', format: 'json', stream }))
  onTestFinished(() => broker.stop())
  const connect = async (options: IClientOptions = {}) => {
    const url = `mqtt://127.0.0.1:${log.portOf('tcp:default')}`
    const client = await connectAsync(url, { protocolVersion: 5, reconnectPeriod: 0, ...options })
    onTestFinished(async () => {
      await client.endAsync(true)
    })
    return client
  }
  const reload = (section: object) =>
    broker.reload({ configFile: undefined, env: {}, overrides: overridesOf(section) })
  return { connect, reload, log }
}

function reasonOf(work: Promise<unknown>): Promise<number> {
  return work.then(
    () => 0,
    (error: unknown) => (error instanceof ErrorWithReasonCode ? error.code : -1),
  )
}

test('a service decides what a client may publish and subscribe to; what may be published is remembered', async () => {
  const service = await serviceThat(({ topic, action }) => topic.startsWith(action))
  const { connect } = await start({ no_match: 'deny', sources: [sourceAt(service.url)] })
  const client = await connect({ clientId: 'c' })
  expect(await reasonOf(client.publishAsync('publish/a', 'x', { qos: 1 }))).toBeLessThan(0x80)
  expect(await reasonOf(client.publishAsync('publish/a', 'x', { qos: 1 }))).toBeLessThan(0x80)
  expect(await reasonOf(client.publishAsync('other', 'x', { qos: 1 }))).toBe(0x87)
  expect(await reasonOf(client.publishAsync('other', 'x', { qos: 2 }))).toBe(0x87)
  expect(await client.subscribeAsync('$share/g/subscribe/#')).toMatchObject([{ qos: 0 }])
  await expect(client.subscribeAsync('#')).rejects.toThrow(/not authorized/i)
  expect(service.asked.map(({ body }) => (JSON.parse(body) as { topic: string }).topic)).toEqual([
    'publish/a',
    'other',
    'other',
    'subscribe/#',
    '#',
  ])
})

test('with deny_action: disconnect a denied client is let go of', async () => {
  const service = await serviceThat(({ topic }) => topic === 'mine')
  const authorization = { deny_action: 'disconnect', sources: [sourceAt(service.url)] }
  const { connect } = await start(authorization)
  const client = await connect()
  expect(await reasonOf(client.publishAsync('mine', 'x', { qos: 1 }))).toBeLessThan(0x80)
  const left = new Promise<number | undefined>((resolve) =>
    client.once('disconnect', ({ reasonCode }) => resolve(reasonCode)),
  )
  client.publish('other', 'x')
  expect(await left).toBe(0x87)
})

test('a reload changes the source under a connected client, also while it waits for an answer', async () => {
  let release: (() => void) | undefined
  const slow = await HttpService.start()
  onTestFinished(() => slow.stop())
  const asked = new Promise<void>((resolve) => {
    slow.respond = () =>
      new Promise((respond) => {
        release = () => respond({ status: 204 })
        resolve()
      })
  })
  const { connect, reload } = await start({
    no_match: 'deny',
    deny_action: 'disconnect',
    sources: [sourceAt(slow.url)],
  })
  const client = await connect()
  const pending = reasonOf(client.publishAsync('a', 'x', { qos: 1 }))
  await asked
  await reload({ no_match: 'deny', sources: [{ type: 'built_in_database' }] })
  release?.()
  expect(await pending).toBeLessThan(0x80)
  expect(await reasonOf(client.publishAsync('a', 'x', { qos: 1 }))).toBe(0x87)
  expect(client.connected).toBe(true)
})

test('a service that has gone is said once, and is no yes', async () => {
  const service = await serviceThat(() => true)
  const { connect, log } = await start({ no_match: 'allow', sources: [sourceAt(service.url)] })
  const client = await connect()
  expect(await reasonOf(client.publishAsync('a', 'x', { qos: 1 }))).toBeLessThan(0x80)
  await service.stop()
  for (const topic of ['b', 'c', 'd'])
    expect(await reasonOf(client.publishAsync(topic, 'x', { qos: 1 }))).toBe(0x87)
  expect(await reasonOf(client.publishAsync('a', 'x', { qos: 1 }))).toBeLessThan(0x80)
  const said = log.lines.filter(({ msg }) => msg.startsWith('authorization source failed'))
  expect(said).toHaveLength(1)
})

test('reloads while clients publish refuse nobody and lose no connection', async () => {
  const services = [await serviceThat(() => true), await serviceThat(() => true)]
  const sectionOf = (n: number) => ({
    no_match: 'deny',
    deny_action: 'disconnect',
    cache: { enable: false },
    sources: [sourceAt(services[n % 2]?.url ?? '')],
  })
  const { connect, reload } = await start(sectionOf(0))
  const clients = await Promise.all(Array.from({ length: 5 }, () => connect()))
  let isOver = false
  const publishing = clients.map(async (client) => {
    const answers = new Set<number>()
    for (let i = 0; !isOver; i++) answers.add(await reasonOf(client.publishAsync(`t/${i}`, 'x', { qos: 1 })))
    return answers
  })
  for (let n = 1; n <= 8; n++) {
    await reload(sectionOf(n))
    // As many answers as clients: each has met the new source.
    const before = services[n % 2]?.asked.length ?? 0
    await expect
      .poll(() => services[n % 2]?.asked.length, { interval: 5 })
      .toBeGreaterThan(before + clients.length)
  }
  isOver = true

  expect(await Promise.all(publishing)).toEqual(clients.map(() => new Set([0])))
  expect(clients.map(({ connected }) => connected)).toEqual(clients.map(() => true))
})
