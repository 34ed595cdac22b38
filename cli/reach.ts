/** The broker that a command is about: the one that runs, or what one that does not run has left in its storage. */
import { stat } from 'node:fs/promises'
import { hostname } from 'node:os'
import { dirname, resolve } from 'node:path'
import type { Command } from 'commander'
import type { Config } from '../assemble.ts'
import { createStorage } from '../broker/storage/config.ts'
import type { DurableStore } from '../broker/storage/storage.ts'
import { loadConfig } from '../config/load.ts'
import { configSchema } from '../config/schema.ts'
import { ControlClient } from '../control/client/client.ts'
import type { Logger } from '../model/log.ts'
import { type CliContext, CommandFailed } from './context.ts'
import { findConfig } from './find-config.ts'

/** Options of every command that is about a broker. */
export interface BrokerOptions {
  config?: string
  dataDir?: string
}

export interface Reached {
  readonly config: Config
  /** Absolute. */
  readonly dataDir: string
  /** Where relative paths in the config start. */
  readonly configDir: string
  /** Undefined: it does not run. */
  readonly client: ControlClient | undefined
}

/** Where a broker is described, in the words of `loadConfig`. */
export interface BrokerPlace {
  /** The config file it is, or would be, started with. */
  configFile: string | undefined
  env: NodeJS.ProcessEnv
  overrides: object
}

export function withBrokerOptions(command: Command): Command {
  return command
    .option('-c, --config <file>', 'config file of the broker')
    .option('--data-dir <dir>', 'data directory, instead of node.data_dir')
}

export function placeOf(context: CliContext, options: BrokerOptions): BrokerPlace {
  return {
    configFile: findConfig(context, options.config).file,
    env: context.env,
    overrides: options.dataDir === undefined ? {} : { node: { data_dir: options.dataDir } },
  }
}

/** @throws BrokerError for a config with problems, and for a broker that cannot be asked */
export async function reach({ configFile: file, env, overrides }: BrokerPlace): Promise<Reached> {
  const { config } = loadConfig({ schema: configSchema(), file, env, overrides })
  const dataDir = resolve(config.node.data_dir)
  const configDir = file === undefined ? process.cwd() : dirname(resolve(file))
  return { config, dataDir, configDir, client: await ControlClient.connect(dataDir) }
}

/** @throws CommandFailed if it does not run */
export async function reachRunning(context: CliContext, options: BrokerOptions): Promise<ControlClient> {
  const { client, dataDir } = await reach(placeOf(context, options))
  if (client !== undefined) return client
  throw new CommandFailed(`no broker is running with the data directory ${dataDir}`)
}

/**
 * Works on the storage of a broker that does not run, and closes it.
 * @param work - what it has changed is safe when this resolves
 * @throws CommandFailed where nothing is kept; BrokerError STORAGE_FAILED while a broker uses it
 */
export async function withStorage<T>(
  { config, dataDir, configDir }: Reached,
  log: Logger,
  work: (durable: DurableStore) => Promise<T>,
): Promise<T> {
  if (config.storage.type === 'level') await assertOwner(dataDir)
  const storage = createStorage(config.storage, dataDir, log, configDir)
  try {
    // Not the broker's own name: it would be let in beside it.
    await storage.open(`hubbub-command@${hostname()}:${process.pid}`)
    if (storage.durable === undefined)
      throw new CommandFailed('storage.type is memory: nothing is kept while the broker does not run')
    await storage.durable.unsafe // what opening has found to be over
    const result = await work(storage.durable)
    await storage.durable.unsafe
    return result
  } finally {
    await storage.destroy()
  }
}

/** What root makes, or LevelDB in its name, the broker could not open any more. */
async function assertOwner(dataDir: string): Promise<void> {
  if (process.getuid?.() !== 0) return
  const owner = (await stat(dataDir).catch(() => undefined))?.uid ?? 0
  if (owner === 0) return
  throw new CommandFailed(
    `${dataDir} belongs to the user with the id ${owner}: run this command as that user, such as with sudo -u`,
  )
}

/** Only what a person should know: that a storage was damaged, say. */
export function noteLog(context: Pick<CliContext, 'note'>): Logger {
  const say = (fields: object, message: string) => {
    const details = Object.entries(fields).map(([name, value]) => `${name}=${describe(value)}`)
    context.note(`${[message, ...details].join(' ')}\n`)
  }
  const log: Logger = { debug() {}, info() {}, warn: say, error: say, child: () => log }
  return log
}

function describe(value: unknown): string {
  if (value instanceof Error) return value.message
  return typeof value === 'string' ? value : JSON.stringify(value)
}
