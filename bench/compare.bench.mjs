/**
 * Hubbub beside every other broker that is here, from a load generator in a process of its own: `npm run bench`, and
 * `npm run bench -- --help` for what can be chosen. Brokers take turns, so that what else the machine does
 * meets all of them; what is compared is CPU per delivery.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { dirname, join } from 'node:path'
import { findBrokers, makeCertificate } from './compare/brokers.mjs'
import { drawChart } from './compare/chart.mjs'
import { findGenerator, generatorOf } from './compare/generator.mjs'
import { measure } from './compare/measure.mjs'
import { readOptions } from './compare/options.mjs'
import { printScenario, status, summarize } from './compare/report.mjs'
import { groupsOf, needsOf, portNameOf, SCENARIOS } from './compare/scenarios.mjs'
import { checkTargets } from './compare/targets.mjs'

const RESULTS = join(import.meta.dirname, 'results')

/** Scenarios that are compared with each other: every broker that can do them, round after round. */
async function run(scenarios, brokers, options) {
  const runs = scenarios.map((scenario) => planOf(scenario, brokers, options))
  for (let round = 0; round < options.rounds; round++) {
    for (const { scenario, spec, rounds, results } of runs.filter((one) => round < one.rounds)) {
      for (const result of results) {
        status(`${scenario.id}, round ${round + 1} of ${rounds}, ${result.broker.name}`)
        await takeRound(result, scenario, spec, options)
      }
    }
  }
  status('')
  return runs.map(({ scenario, results }) => ({ scenario, results: results.map(summaryOf) }))
}

function planOf(scenario, brokers, options) {
  const able = brokers.filter(({ supports }) => needsOf(scenario).every((need) => supports.includes(need)))
  return {
    scenario,
    spec: { ...scenario.spec, seconds: scenario.spec.seconds ?? options.seconds },
    rounds: Math.min(options.rounds, scenario.rounds ?? options.rounds),
    results: able.map((broker) => ({ broker, rounds: [], failed: undefined })),
  }
}

/** In a process of its own: what an engine makes of the same code differs from one to the next. */
async function takeRound(result, scenario, spec, { inflight, cert, program }) {
  const options = { cert, access: scenario.access, inflight, watchesDelays: scenario.watchesDelays === true }
  let running
  try {
    running = await result.broker.start(options)
    result.rounds.push(await measure(running, running.ports[portNameOf(scenario)], spec, program))
  } catch (error) {
    result.failed = error.message
  }
  await running?.stop()
}

function summaryOf({ broker, rounds, failed }) {
  const figures = rounds.length > 0 ? summarize(rounds) : undefined
  return { name: broker.name, rounds, failed, figures }
}

function barsOf({ scenario, results }) {
  const bars = results.flatMap(({ name, figures }) =>
    figures?.cpuUs === undefined ? [] : [{ label: name, ...figures.cpuUs }],
  )
  return { title: scenario.name, bars }
}

/** Figures, and the charts beside them. */
function writeResults(all, targets, options) {
  const file = options.json ?? join(RESULTS, 'figures.json')
  const dir = dirname(file)
  mkdirSync(dir, { recursive: true })
  const heading = 'CPU of the broker for each delivery, median and spread'
  const draw = (name, groups) => writeFileSync(join(dir, `${name}.svg`), drawChart(heading, groups))
  const drawn = all.filter((one) => barsOf(one).bars.length > 0)
  for (const one of drawn) draw(one.scenario.id, [barsOf(one)])
  if (options.summary) draw('summary', drawn.map(barsOf))
  const machine = { node: process.version, cpus: cpus().length, model: cpus()[0]?.model, load: loadavg()[0] }
  const scenarios = all.map(({ scenario, results }) => ({
    ...scenario,
    generator: generatorOf(options.program, scenario.spec),
    results,
  }))
  writeFileSync(file, `${JSON.stringify({ machine, scenarios, targets }, null, 2)}\n`)
  console.log(`\nwritten to ${file}, with charts beside it`)
}

/** Those that were asked for, or all. @throws Error if there is no such thing */
function wanted(what, names, all, is) {
  const unknown = names.find((name) => !all.some((one) => is(one, name)))
  if (unknown !== undefined) throw new Error(`there is no ${what} "${unknown}" here: see --list and --help`)
  return names.length === 0 ? all : all.filter((one) => names.some((name) => is(one, name)))
}

async function main() {
  process.setMaxListeners(0) // each broker and each directory is cleared up at the exit
  process.once('SIGINT', () => process.exit(130))
  const options = readOptions(process.argv.slice(2))
  if (options.help) return console.log(options.helpText)
  if (options.list) return console.log(SCENARIOS.map(({ id, name }) => `${id.padEnd(20)}${name}`).join('\n'))
  const scenarios = wanted('scenario', options.scenarios, SCENARIOS, ({ id }, start) => id.startsWith(start))
  const brokers = wanted(
    'broker',
    options.brokers,
    findBrokers(options),
    ({ name }, one) => name.toLowerCase() === one.toLowerCase(),
  )
  const needsCert = scenarios.some((scenario) => needsOf(scenario).includes('tls'))
  const setting = {
    ...options,
    cert: needsCert ? makeCertificate() : undefined,
    program: findGenerator(options.generator),
  }
  console.log(`${brokers.map(({ name }) => name).join(', ')}; load average ${loadavg()[0].toFixed(1)}`)
  const all = []
  for (const group of groupsOf(scenarios)) {
    const taken = await run(group, brokers, setting)
    all.push(...taken)
    for (const { scenario, results } of taken) printScenario(scenario, results)
  }
  const figure = (id, broker, name) =>
    all.find(({ scenario }) => scenario.id === id)?.results.find((result) => result.name === broker)
      ?.figures?.[name]?.median
  const targets = checkTargets(figure)
  if (targets.length > 0) console.log('')
  for (const { holds, text } of targets) console.log(`${holds ? 'holds ' : 'MISSED'}  ${text}`)
  writeResults(all, targets, setting)
  process.exit(targets.every(({ holds }) => holds) ? 0 : 1)
}

main().catch((error) => {
  console.error(error.message)
  process.exit(2)
})
