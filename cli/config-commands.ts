import type { Command } from 'commander'
import { mqttOptionsOf } from '../assemble.ts'
import { type Explanation, explain } from '../config/explain.ts'
import { loadConfig } from '../config/load.ts'
import { ConfigError } from '../config/problem.ts'
import { formatConfig, redact } from '../config/redact.ts'
import { configSchema } from '../config/schema.ts'
import { describeUnused } from '../config/unused-options.ts'
import { BrokerError } from '../model/errors.ts'
import type { CliContext } from './context.ts'
import { describeFound, findConfig } from './find-config.ts'
import { tlsProblems } from './tls-problems.ts'

interface FileOption {
  config?: string
}

/** `hubbub config check|show|explain` */
export function addConfigCommands(program: Command, context: CliContext): void {
  const config = program.command('config').description('check, show and explain the configuration')
  config
    .command('check')
    .description('say everything that is wrong with the configuration, environment included')
    .option('-c, --config <file>', 'config file')
    .action((options: FileOption) => check(context, options))
  config
    .command('show')
    .description('print the configuration in force, secrets hidden')
    .option('-c, --config <file>', 'config file')
    .option('-a, --all', 'with everything that is at its default')
    .action((options: FileOption & { all?: boolean }) => show(context, options))
  config
    .command('explain')
    .description('tell what an option means, its default, its value and where that comes from')
    .argument('[path]', 'such as listeners.tcp.default.bind; none: the sections there are', '')
    .option('-c, --config <file>', 'config file')
    .action((path: string, options: FileOption) => explainOption(context, path, options))
    .addHelpText('after', '\nExample:\n  hubbub config explain listeners.tcp.default.max_connections')
}

function check(context: CliContext, options: FileOption): void {
  const found = findConfig(context, options.config)
  const { config, unused } = loadConfig({ schema: configSchema(), file: found.file, env: context.env })
  mqttOptionsOf(config) // expressions, which the schema knows as text
  if (unused.length > 0) context.note(`${describeUnused(unused)}\n`)
  const problems = tlsProblems(config, new Date())
  if (problems.length > 0) throw new BrokerError('CONFIG_INVALID', problems.join('\nhubbub: '))
  context.print(`${describeFound(found)}: no problems\n`)
}

function show(context: CliContext, options: FileOption & { all?: boolean }): void {
  const found = findConfig(context, options.config)
  context.note(`${describeFound(found)}\n`)
  const schema = configSchema()
  const { config, sources } = loadConfig({ schema, file: found.file, env: context.env })
  context.print(formatConfig(redact(schema, config), options.all ? undefined : sources))
}

function explainOption(context: CliContext, path: string, options: FileOption): void {
  const found = findConfig(context, options.config)
  context.print(describe(explain(configSchema(), path, loadIfFine(context, found.file))))
}

/** What an option means can be told beside a config with problems; just not what it is set to. */
function loadIfFine(context: CliContext, file: string | undefined) {
  try {
    return loadConfig({ schema: configSchema(), file, env: context.env })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    context.note(
      'the configuration has problems (see hubbub config check), so current values are not shown\n',
    )
    return undefined
  }
}

function describe(about: Explanation): string {
  const lines = [about.path, ...(about.description === '' ? [] : [`  ${about.description}`])]
  if (about.options.length > 0) {
    const width = Math.max(...about.options.map(({ name }) => name.length))
    for (const { name, description, type } of about.options) {
      lines.push(`  ${name.padEnd(width)}  ${description === '' ? type : description}`)
    }
    return `${lines.filter((line) => line !== '').join('\n')}\n`
  }
  const fallback = about.required ? 'none, it must be given' : 'none'
  lines.push(`  takes    ${about.type}`)
  lines.push(`  default  ${about.default === undefined ? fallback : written(about.default)}`)
  if (about.layer !== undefined) lines.push(`  now      ${written(about.value)} (${LAYERS[about.layer]})`)
  lines.push(`  change   ${about.hot ? 'takes effect on reload' : 'takes effect after a restart'}`)
  return `${lines.join('\n')}\n`
}

const LAYERS = {
  default: 'the default',
  file: 'from the config file',
  env: 'from the environment',
  override: 'changed at run time',
} as const

function written(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}
