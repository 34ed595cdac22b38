/** A full disk, and a Redis that is killed, in the midst of everything: what clients are told, and what is there afterwards. */
import { spawnSync } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { startBroker, type TestBroker } from '../support/broker.ts'
import { StrictClient } from '../support/crash/strict-client.ts'
import { RedisServer } from '../support/redis.ts'
import { requireService, skipNote } from '../support/services.ts'

const redis = requireService('redis-server')
const WINDOW = 10
const QUEUES = { mqtt: { max_mqueue_len: 1_000_000 } }
const PADDING = '.'.repeat(1000)
const patience = { timeout: 60_000 }

test.skipIf(redis.skip)(`Redis is killed under load and comes back${skipNote(redis)}`, patience, async () => {
  const server = await RedisServer.start()
  onTestFinished(() => server.stop())
  const broker = await startBroker({
    ...QUEUES,
    storage: { type: 'redis', redis: { server: server.address } },
  })
  await outage(broker, {
    begin: () => server.kill(),
    end: () => server.restart(),
  })
})

test('the disk is full under load and has room again', patience, async ({ skip }) => {
  const dir = smallDisk()
  if (dir === undefined) return skip('no right to mount a small file system')
  const broker = await startBroker({ ...QUEUES, node: { data_dir: dir }, storage: { type: 'level' } })
  const ballast = join(dir, 'ballast')
  await outage(broker, {
    async begin() {
      // The broker takes some of it meanwhile.
      expect(() => writeFileSync(ballast, Buffer.alloc(64 * 1024 * 1024))).toThrow('ENOSPC')
    },
    end: async () => rmSync(ballast),
  })
})

/** @returns undefined without the right to */
function smallDisk(): string | undefined {
  const dir = temporaryDirectory()
  const { status } = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', dir])
  if (status !== 0) return undefined
  onTestFinished(() => void spawnSync('umount', ['-l', dir]))
  return dir
}

/** The storage fails and is mended while four publishers fill the session of one who is away. */
async function outage(
  { mqttPort, log }: TestBroker,
  { begin, end }: { begin: () => Promise<void>; end: () => Promise<void> },
): Promise<void> {
  const received = new Map<string, number>()
  const complaints: string[] = []
  const keeper = new StrictClient({
    clientId: 'keeper',
    version: 5,
    onMessage: (_, payload) => {
      const name = payload.toString().split(' ', 1)[0] as string
      received.set(name, (received.get(name) ?? 0) + 1)
    },
    onViolation: (what) => complaints.push(what),
  })
  onTestFinished(() => keeper.cut())
  await keeper.connect(mqttPort)
  await keeper.subscribe('load', 2)
  keeper.leave()
  const publishers: Publisher[] = []
  const goOn = () => {
    for (const publisher of publishers) publisher.go(publisher.isGoing)
  }
  for (const version of [4, 5] as const)
    for (const qos of [1, 2] as const) publishers.push(new Publisher(version, qos, goOn))
  onTestFinished(() => {
    for (const { client } of publishers) client.cut()
  })
  await Promise.all(publishers.map(({ client }) => client.connect(mqttPort)))
  for (const publisher of publishers) publisher.go()
  const acked = () => publishers.map((one) => one.acked.length)
  await vi.waitFor(() => expect(Math.min(...acked())).toBeGreaterThan(20), { timeout: 20_000 })

  await begin()
  await log.until('storage cannot be written')
  await vi.waitFor(() => expect(publishers.some(({ refused }) => refused > 0)).toBe(true))
  for (const publisher of publishers) publisher.isGoing = false
  await nothingElseSuffers(mqttPort)
  const before = acked()

  await end()
  await log.until('storage can be written again')
  // Who was refused sends it again, as everybody does who comes back.
  await Promise.all(publishers.map(({ client }) => client.connect(mqttPort)))
  for (const publisher of publishers) publisher.go()
  const hasGoneOn = () => acked().every((count, i) => count > (before[i] as number) + 20)
  await vi.waitFor(() => expect(hasGoneOn()).toBe(true), { timeout: 20_000 })
  for (const publisher of publishers) publisher.isGoing = false
  await vi.waitFor(() => expect(publishers.every(({ client }) => client.unackedCount === 0)).toBe(true))

  await keeper.connect(mqttPort)
  const all = publishers.flatMap((one) => one.acked)
  const missing = () => all.filter((name) => !received.has(name))
  await vi.waitFor(() => expect(missing()).toEqual([]), { timeout: 20_000 })
  // Nobody was told of MQTT 3.1.1 that it failed: at QoS 2 it is there once.
  const copies = [...received].filter(([name, count]) => name.startsWith('p4-2') && count > 1)
  expect(copies).toEqual([])
  expect(complaints).toEqual([])
  const said = (part: string) => log.lines.filter(({ msg }) => String(msg).includes(part)).length
  expect([said('storage cannot be written'), said('storage can be written again')]).toEqual([1, 1])
}

/** Those who want nothing to be kept notice nothing. */
async function nothingElseSuffers(port: number): Promise<void> {
  const got: string[] = []
  const client = new StrictClient({
    clientId: 'passing',
    version: 5,
    clean: true,
    onMessage: (_, payload) => got.push(payload.toString()),
    onViolation: (what) => expect.unreachable(what),
  })
  expect(await client.connect(port)).toBe(true)
  await client.subscribe('plain', 1)
  const acked = vi.fn()
  client.publish('plain', Buffer.from('hello'), 1, false, acked)
  await vi.waitFor(() => expect([got, acked.mock.calls.length]).toEqual([['hello'], 1]))
  client.cut()
}

/** Publishes as fast as it is answered; what is refused waits until it is sent again with the next connection. */
class Publisher {
  readonly client: StrictClient
  readonly acked: string[] = []
  refused = 0
  isGoing = false
  readonly #name: string
  readonly #qos: 1 | 2
  #count = 0

  /** @param onAcked - somebody may have room for the next ones */
  constructor(version: 4 | 5, qos: 1 | 2, onAcked: () => void) {
    this.#name = `p${version}-${qos}`
    this.#qos = qos
    this.client = new StrictClient({
      clientId: this.#name,
      version,
      onAcked,
      onViolation: (what) => {
        if (!/refused with 151/.test(what)) expect.unreachable(what)
        this.refused++
      },
    })
  }

  go(isGoing = true): void {
    this.isGoing = isGoing
    while (this.isGoing && this.client.isOnline && this.client.unackedCount < WINDOW) {
      const name = `${this.#name}:${this.#count++}`
      const payload = Buffer.from(`${name} ${PADDING}`)
      this.client.publish('load', payload, this.#qos, false, () => this.acked.push(name))
    }
  }
}
