/** The load generators of `bench/`, against a whole broker: what they report must be what the broker has seen. */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { hookRun, startBroker } from '../support/broker.ts'
import { within } from '../support/inbox.ts'
import { requireService, skipNote } from '../support/services.ts'

const BENCH = join(import.meta.dirname, '..', '..', 'bench')
const compiler = requireService('cc')

interface Compiled {
  compile: (dir: string) => string
  canMake: (spec: object) => boolean
}
const COMPILED: string = join(BENCH, 'load', 'compiled.mjs')
const { compile, canMake } = (await import(COMPILED)) as Compiled

interface Result {
  seconds: number
  deliveries: number
  published: number
  lost: number
  p50Ms?: number
  p99Ms?: number
}
type Told = { phase?: 'begin' | 'end'; result?: Result; failed?: string }

const WINDOW = 200
const SHORT = { kind: 'flow', version: 4, payloadBytes: 64, window: WINDOW, warmUpMs: 50, seconds: 0.2 }
const PAIR = { ...SHORT, mode: 'pair', publishers: 4, subscribers: 4 }
const FAN_OUT = { ...SHORT, mode: 'fanout', publishers: 1, subscribers: 50 }
const LOADS: { name: string; spec: typeof PAIR & { qos: number }; fan: number }[] = [
  ...[0, 1, 2].flatMap((qos) =>
    [4, 5].map((version) => ({
      name: `pairs of ${version === 4 ? 'MQTT 3.1.1' : 'MQTT 5'} at QoS ${qos}`,
      spec: { ...PAIR, version, qos },
      fan: 1,
    })),
  ),
  { name: 'fan-out', spec: { ...FAN_OUT, qos: 1 }, fan: 50 },
  { name: 'fan-in', spec: { ...SHORT, mode: 'fanin', publishers: 10, subscribers: 1, qos: 0 }, fan: 1 },
  { name: 'a shared group', spec: { ...PAIR, mode: 'share', qos: 1 }, fan: 1 },
  { name: 'beside idle clients', spec: Object.assign({ idle: 100, qos: 0 }, PAIR), fan: 1 },
  ...['wildcard', 'trie'].map((mode) => ({
    name: `wildcards, ${mode}`,
    spec: Object.assign({ mode, topics: 500, subscriptions: 500, qos: 0 }, { ...PAIR, mode }),
    fan: 1,
  })),
  { name: 'large payloads', spec: { ...PAIR, payloadBytes: 15_000, qos: 1 }, fan: 1 },
]

const GENERATORS = [
  { name: 'the compiled generator', note: skipNote(compiler), skip: compiler.skip, isCompiled: true },
  { name: 'the generator in Node', note: '', skip: false, isCompiled: false },
]

function start(port: number, spec: object, isCompiled: boolean): ChildProcess {
  const child = fork(join(BENCH, 'load', 'load.mjs'), [], { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const program = isCompiled ? compile(temporaryDirectory()) : undefined
  child.send({ target: { host: '127.0.0.1', port, transport: 'tcp' }, spec, program })
  return child
}

/** @param onPhase - called where the broker's figures would be read */
function finish(child: ChildProcess, onPhase = (_phase: 'begin' | 'end') => {}): Promise<Result> {
  const result = new Promise<Result>((resolve, reject) => {
    child.on('message', (told: Told) => {
      if (told.failed !== undefined) reject(new Error(told.failed))
      if (told.result !== undefined) resolve(told.result)
      if (told.phase === undefined) return
      onPhase(told.phase)
      child.send('go on')
    })
  })
  return within(result, 'the result of the load generator')
}

/** The first time that it tells this; nothing is answered, so it stays there. */
function phase(child: ChildProcess, wanted: 'begin' | 'end'): Promise<void> {
  const told = new Promise<void>((resolve, reject) => {
    child.on('message', ({ phase, failed }: Told) => {
      if (failed !== undefined) reject(new Error(failed))
      if (phase === wanted) resolve()
    })
  })
  return within(told, `the phase ${wanted}`)
}

for (const { name, note, skip, isCompiled } of GENERATORS) {
  const generatorTest = test.skipIf(skip)

  for (const load of LOADS) {
    generatorTest(`${name}: ${load.name}${note}`, async () => {
      const broker = await startBroker()
      const seen: number[] = []
      const child = start(broker.mqttPort, load.spec, isCompiled)
      const result = await finish(child, () => seen.push(broker.hub.metrics.packetsPublishSent))
      expect(canMake(load.spec)).toBe(true)
      expect(result).toMatchObject({ lost: 0, seconds: expect.closeTo(load.spec.seconds, 0) })
      expect(result.deliveries).toBeGreaterThan(0)
      expect(result.p50Ms).toBeGreaterThan(0)
      expect(result.p99Ms).toBeGreaterThanOrEqual(result.p50Ms ?? Number.NaN)
      // What is on its way when the counting begins and ends, and one burst that may fill the last place of the window.
      const slack = 2 * (WINDOW + load.fan)
      expect(Math.abs(result.deliveries - result.published * load.fan)).toBeLessThanOrEqual(slack)
      expect(broker.hub.metrics.packetsPublishSent).toBeGreaterThanOrEqual(result.deliveries)
    })
  }

  generatorTest(
    `${name}: never more on its way than the window, until a second has passed${note}`,
    async () => {
      const broker = await startBroker()
      broker.hooks.add('message.publish', 'test', () => ({ stop: 'drop' }))
      const child = start(broker.mqttPort, { ...FAN_OUT, warmUpMs: 300, qos: 0 }, isCompiled)
      await phase(child, 'begin')
      expect(broker.hub.metrics.packetsPublishReceived).toBe(WINDOW / FAN_OUT.subscribers)
      const result = finish(child)
      child.send('go on')
      expect((await result).lost).toBe(0)
    },
  )

  generatorTest(`${name}: what the broker drops is told as lost${note}`, async () => {
    const broker = await startBroker()
    broker.hooks.add('message.publish', 'test', () => ({ stop: 'drop' }))
    const child = start(broker.mqttPort, { ...PAIR, seconds: 1.5, qos: 0 }, isCompiled)
    const { lost, deliveries } = await finish(child)
    expect(deliveries).toBe(0)
    expect(lost).toBeGreaterThan(0)
    expect(lost % WINDOW).toBe(0)
  })

  generatorTest(`${name}: says why it cannot make the load${note}`, async () => {
    const closed = await startBroker()
    await closed.stop()
    const unheard = start(closed.mqttPort, { ...PAIR, qos: 0 }, isCompiled)
    await expect(finish(unheard)).rejects.toThrow(/ECONNREFUSED|Connection refused/)

    const hashed = { name: 'sha256' }
    const builtIn = {
      mechanism: 'password_based',
      backend: 'built_in_database',
      password_hash_algorithm: hashed,
    }
    const strict = await startBroker({ authentication: [builtIn] })
    const refused = start(strict.mqttPort, { ...PAIR, qos: 0 }, isCompiled)
    await expect(finish(refused)).rejects.toThrow(/refused with [45]/)
  })

  generatorTest(`${name}: ends when the broker does${note}`, async () => {
    const broker = await startBroker()
    const child = start(broker.mqttPort, { ...PAIR, seconds: 60, qos: 0 }, isCompiled)
    const result = finish(child, () => void broker.stop())
    await expect(result).rejects.toThrow(/closed by the broker|ECONNRESET|EPIPE|Connection reset|Broken pipe/)
  })

  generatorTest(`${name}: ends with whoever wanted it${note}`, async () => {
    const broker = await startBroker()
    const child = start(broker.mqttPort, { ...PAIR, seconds: 60, qos: 0 }, isCompiled)
    await phase(child, 'begin')
    const left = hookRun(broker, 'client.disconnected', 'publisher-3')
    child.kill('SIGKILL')
    await left
    expect(broker.hub.kernel.clients['publisher-3']).toBeUndefined()
  })
}

test('all that is not plain MQTT over TCP at full speed is for the generator in Node', () => {
  const spec = { ...PAIR, qos: 0 }
  expect(canMake(spec)).toBe(true)
  for (const other of [{ kind: 'connects' }, { transport: 'tls' }, { protocol: 'stomp' }, { perSecond: 10 }])
    expect(canMake({ ...spec, ...other })).toBe(false)
})

test.skipIf(compiler.skip)(`no compiler has anything to say against it${skipNote(compiler)}`, () => {
  const dir = join(BENCH, 'load', 'compiled')
  const files = readdirSync(dir).filter((name) => name.endsWith('.c'))
  const flags = ['-std=gnu11', '-Wall', '-Wextra', '-Werror', '-fsyntax-only']
  const { status, stderr } = spawnSync('cc', [...flags, ...files], { cwd: dir, encoding: 'utf8' })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
})

test('without a compiler it is said which one was looked for, and what it says is told', () => {
  const { CC } = process.env
  onTestFinished(() => {
    if (CC === undefined) delete process.env.CC
    else process.env.CC = CC
  })
  process.env.CC = 'no-such-compiler'
  expect(() => compile(temporaryDirectory())).toThrow('there is no C compiler "no-such-compiler"')
  process.env.CC = 'false'
  expect(() => compile(temporaryDirectory())).toThrow('false ended with 1')
})
