/**
 * Hubbub beside every other broker that is here, from a load generator in a process of its own: `npm run bench`, and
 * `npm run bench -- --help` for what can be chosen. Brokers take turns, so that what else the machine does
 * meets all of them; what is compared is CPU per delivery.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { join } from 'node:path'
import { findBrokers, makeCertificate } from './compare/brokers.mjs'
import { drawChart } from './compare/chart.mjs'
import { measure } from './compare/measure.mjs'
import { readOptions } from './compare/options.mjs'
import { printScenario, status, summarize } from './compare/report.mjs'
import { needsOf, portNameOf, SCENARIOS } from './compare/scenarios.mjs'
import { checkTargets } from './compare/targets.mjs'

const RESULTS = join(import.meta.dirname, 'results')
const SECONDS = 3

/** One scenario: every broker that can do it, round after round. */
async function run(scenario, brokers, options, cert) {
  const able = brokers.filter(({ supports }) => needsOf(scenario).every((need) => supports.includes(need)))
  const results = able.map(({ name }) => ({ name, rounds: [], failed: undefined, running: undefined }))
  const rounds = Math.min(options.rounds, scenario.rounds ?? options.rounds)
  const spec = { ...scenario.spec, seconds: options.seconds ?? scenario.spec.seconds ?? SECONDS }
  for (let round = 0; round < rounds; round++) {
    for (const [i, broker] of able.entries()) {
      const result = results[i]
      status(`${scenario.id}, round ${round + 1} of ${rounds}, ${broker.name}`)
      try {
        result.running ??= await broker.start({
          cert,
          access: scenario.access,
          inflight: options.inflight,
          watchesDelays: scenario.watchesDelays === true,
        })
        result.rounds.push(await measure(result.running, result.running.ports[portNameOf(scenario)], spec))
        if (scenario.isFresh) await stop(result)
      } catch (error) {
        result.failed = error.message
        await stop(result)
      }
    }
  }
  await Promise.all(results.map(stop))
  status('')
  return results.map(({ name, rounds: taken, failed }) => ({
    name,
    rounds: taken,
    failed,
    figures: taken.length > 0 ? summarize(taken) : undefined,
  }))
}

async function stop(result) {
  const { running } = result
  result.running = undefined
  await running?.stop()
}

function groupOf({ scenario, results }) {
  const bars = results.flatMap(({ name, figures }) =>
    figures?.cpuUs === undefined ? [] : [{ label: name, ...figures.cpuUs }],
  )
  return { title: scenario.name, bars }
}

function writeResults(all, targets, options) {
  mkdirSync(RESULTS, { recursive: true })
  const heading = 'CPU of the broker for each delivery, median and spread'
  const groups = all.map(groupOf).filter(({ bars }) => bars.length > 0)
  for (const one of all) {
    const group = groupOf(one)
    if (group.bars.length > 0)
      writeFileSync(join(RESULTS, `${one.scenario.id}.svg`), drawChart(heading, [group]))
  }
  if (options.summary) writeFileSync(join(RESULTS, 'summary.svg'), drawChart(heading, groups))
  const machine = { node: process.version, cpus: cpus().length, model: cpus()[0]?.model, load: loadavg()[0] }
  const scenarios = all.map(({ scenario, results }) => ({ ...scenario, results }))
  const file = options.json ?? join(RESULTS, 'figures.json')
  writeFileSync(file, `${JSON.stringify({ machine, scenarios, targets }, null, 2)}\n`)
  console.log(`\nwritten to ${file} and ${RESULTS}`)
}

async function main() {
  process.setMaxListeners(0) // each broker and each directory is cleared up at the exit
  process.once('SIGINT', () => process.exit(130))
  const options = readOptions(process.argv.slice(2))
  if (options.help) return console.log(options.helpText)
  if (options.list) return console.log(SCENARIOS.map(({ id, name }) => `${id.padEnd(20)}${name}`).join('\n'))
  const isWanted = ({ id }) =>
    options.scenarios.length === 0 || options.scenarios.some((start) => id.startsWith(start))
  const scenarios = SCENARIOS.filter(isWanted)
  const brokers = findBrokers(options).filter(
    ({ name }) => options.brokers.length === 0 || options.brokers.includes(name),
  )
  if (scenarios.length === 0 || brokers.length === 0) throw new Error('nothing to do: see --list and --help')
  const needsCert = scenarios.some((scenario) => needsOf(scenario).includes('tls'))
  const cert = needsCert ? makeCertificate() : undefined
  console.log(`${brokers.map(({ name }) => name).join(', ')}; load average ${loadavg()[0].toFixed(1)}`)
  const all = []
  for (const scenario of scenarios) {
    const results = await run(scenario, brokers, options, cert)
    all.push({ scenario, results })
    printScenario(scenario, results)
  }
  const figure = (id, broker, name) =>
    all.find(({ scenario }) => scenario.id === id)?.results.find((result) => result.name === broker)
      ?.figures?.[name]?.median
  const targets = checkTargets(figure)
  if (targets.length > 0) console.log('')
  for (const { holds, text } of targets) console.log(`${holds ? 'holds ' : 'MISSED'}  ${text}`)
  writeResults(all, targets, options)
  process.exit(targets.every(({ holds }) => holds) ? 0 : 1)
}

main().catch((error) => {
  console.error(error.message)
  process.exit(2)
})
