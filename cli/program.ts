import { Command, CommanderError } from 'commander'
import { ConfigError, formatProblem } from '../config/problem.ts'
import { BrokerError } from '../model/errors.ts'
import { packageVersion } from '../model/packaged.ts'
import { addAuthCommands } from './auth-commands.ts'
import { addBansCommands } from './bans-commands.ts'
import { addBrokerCommands } from './broker-commands.ts'
import { addConfigCommands } from './config-commands.ts'
import { type CliContext, CommandFailed } from './context.ts'
import { addDataCommands } from './data-commands.ts'
import { describeFound, findConfig } from './find-config.ts'
import { addRulesCommands } from './rules-commands.ts'
import { addUsersCommands } from './users-commands.ts'

/**
 * Runs one command.
 * @param args - without node and script
 * @returns the exit code: 0 fine, 1 failure, 2 wrong usage or configuration
 */
export async function runCommand(args: readonly string[], context: CliContext): Promise<0 | 1 | 2> {
  try {
    await createProgram(context).parseAsync(args, { from: 'user' })
    return 0
  } catch (error) {
    return report(error, context)
  }
}

function createProgram(context: CliContext): Command {
  const program = new Command('hubbub')
    .description("One broker for every device's language: MQTT and gateways for other protocols")
    .version(packageVersion(context.packageRoot), '-V, --version', 'print the version')
    .exitOverride()
    .configureOutput({ writeOut: (text) => context.print(text), writeErr: (text) => context.note(text) })
    .showSuggestionAfterError()
    .showHelpAfterError('(hubbub --help tells more)')
    .addHelpText('after', EXAMPLES)
  program
    .command('start')
    .description('run the broker in the foreground; SIGTERM stops it, SIGHUP reloads the configuration')
    .option('-c, --config <file>', 'config file')
    .option('--data-dir <dir>', 'data directory, instead of node.data_dir')
    .action((options: { config?: string; dataDir?: string }) => start(context, options))
  program
    .command('version')
    .description('print the version')
    .action(() => context.print(`${packageVersion(context.packageRoot)}\n`))
  addConfigCommands(program, context)
  addUsersCommands(program, context)
  addAuthCommands(program, context)
  addRulesCommands(program, context)
  addBansCommands(program, context)
  addBrokerCommands(program, context)
  addDataCommands(program, context)
  return program
}

const EXAMPLES = `
Without --config the config file is $HUBBUB_CONFIG, else ./etc/hubbub.yaml, else
/etc/hubbub/hubbub.yaml, else the one shipped with Hubbub. Variables such as
HUBBUB__LISTENERS__TCP__DEFAULT__BIND=1884 go before the file.

Examples:
  hubbub start
  hubbub start --config /etc/hubbub/hubbub.yaml --data-dir /var/lib/hubbub
  hubbub config check
  hubbub config explain mqtt.max_packet_size
  hubbub users add alice
  hubbub status
  hubbub data export backup.jsonl`

async function start(context: CliContext, options: { config?: string; dataDir?: string }): Promise<void> {
  const found = findConfig(context, options.config)
  context.note(`${describeFound(found)}\n`)
  await context.run({
    configFile: found.file,
    env: context.env,
    ...(options.dataDir === undefined ? {} : { overrides: { node: { data_dir: options.dataDir } } }),
  })
}

function report(error: unknown, context: CliContext): 0 | 1 | 2 {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2 // commander has said it
  if (error instanceof ConfigError) {
    for (const problem of error.problems) context.note(`${formatProblem(problem)}\n`)
    return 2
  }
  if (error instanceof BrokerError && error.fault !== 'bug') {
    context.note(`hubbub: ${error.message}\n`)
    return error.code === 'CONFIG_INVALID' ? 2 : 1
  }
  const isExpected = error instanceof CommandFailed
  context.note(`hubbub: ${isExpected ? error.message : stackOf(error)}\n`)
  return 1
}

/** Nobody foresaw it, so where it happened is worth reading. */
function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error)
}
