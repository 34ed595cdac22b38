/** `npm run bench` as its users run it, but for a shorter time. */
import { spawn } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { temporaryDirectory } from '../config/sample.ts'
import { within } from '../support/inbox.ts'
import { requireService, skipNote } from '../support/services.ts'

const COMMAND = join(import.meta.dirname, '..', '..', 'bench', 'compare.bench.mjs')
const PATIENCE_MS = 60_000
const compiler = requireService('cc')
const mosquitto = requireService('mosquitto')

interface Figures {
  scenarios: {
    id: string
    generator: string
    results: { name: string; failed?: string; figures?: Record<string, { median: number }> }[]
  }[]
  targets: { holds: boolean; text: string }[]
}

async function bench(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [COMMAND, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGINT'))
  let [stdout, stderr] = ['', '']
  child.stdout.on('data', (chunk) => {
    stdout += chunk
  })
  child.stderr.on('data', (chunk) => {
    stderr += chunk
  })
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve))
  const code = await within(exited, 'the end of the benchmark', PATIENCE_MS)
  return { code, stdout, stderr }
}

test.skipIf(compiler.skip || mosquitto.skip)(
  `brokers take turns under load of both generators${skipNote(compiler)}${skipNote(mosquitto)}`,
  { timeout: PATIENCE_MS },
  async () => {
    const file = join(temporaryDirectory(), 'results', 'figures.json')
    const only = ['--brokers', 'Hubbub,Mosquitto', '--scenario', 'pair-qos1,stomp', '--rounds', '1']
    const { code, stdout, stderr } = await bench(...only, '--seconds', '0.3', '--json', file, '--summary')
    expect(stderr).toBe('')
    const { scenarios, targets } = JSON.parse(readFileSync(file, 'utf8')) as Figures
    const told = scenarios.map(({ id, generator, results }) => [
      id,
      generator,
      results.map(({ name }) => name),
    ])
    expect(told).toEqual([
      ['pair-qos1', 'compiled', ['Hubbub', 'Mosquitto']],
      ['stomp', 'node', ['Hubbub']],
    ])
    for (const { failed, figures } of scenarios.flatMap(({ results }) => results)) {
      expect(failed).toBeUndefined()
      for (const name of ['perSecond', 'cpuUs', 'p50Ms', 'p99Ms', 'rssBytes'])
        expect(figures?.[name]?.median).toBeGreaterThan(0)
      expect(figures?.lost?.median).toBe(0)
    }
    expect(targets.map(({ text }) => text)).toEqual([
      expect.stringMatching(/^pair-qos1: CPU 1\/\d+\.\d of Mosq/),
    ])
    expect(code).toBe(targets.every(({ holds }) => holds) ? 0 : 1)
    expect(stdout).toContain('10 pairs, QoS 1')
    expect(readdirSync(join(file, '..')).toSorted()).toEqual([
      'figures.json',
      'pair-qos1.svg',
      'stomp.svg',
      'summary.svg',
    ])
  },
)

test('what is not there is named', async () => {
  expect(await bench('--scenario', 'pair-qos9')).toEqual({
    code: 2,
    stdout: '',
    stderr: 'there is no scenario "pair-qos9" here: see --list and --help\n',
  })
  expect((await bench('--brokers', 'Nobody')).stderr).toContain('there is no broker "Nobody" here')
  expect((await bench('--generator', 'fast')).stderr).toBe('--generator must be one of compiled, node\n')
})
