import { createWriteStream, existsSync } from 'node:fs'
import { mkdtemp, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { pipeline } from 'node:stream/promises'
import type { Command } from 'commander'
import {
  checkDataFile,
  DATA_TABLES,
  type DataCounts,
  type DataTable,
  exportData,
  importData,
} from '../broker/storage/data-file.ts'
import { BrokerError } from '../model/errors.ts'
import { type CliContext, CommandFailed } from './context.ts'
import { Progress } from './progress.ts'
import {
  type BrokerOptions,
  noteLog,
  placeOf,
  type Reached,
  reach,
  withBrokerOptions,
  withStorage,
} from './reach.ts'

const OWNER_ONLY = 0o600

/** `hubbub data export|import` */
export function addDataCommands(program: Command, context: CliContext): void {
  const data = program
    .command('data')
    .description('copy everything that outlives the broker, to and from a file')
  withBrokerOptions(data.command('export <file>').description('write it to a file; - is standard output'))
    .option('--force', 'replace a file that is there')
    .action((file: string, options: BrokerOptions & { force?: boolean }) => exportTo(context, file, options))
    .addHelpText('after', EXPORT_HELP)
  withBrokerOptions(
    data
      .command('import <file>')
      .description('read such a file, while the broker does not run; - is standard input'),
  )
    .option('--replace', 'delete everything first; without it, what is there already stays')
    .action((file: string, options: BrokerOptions & { replace?: boolean }) =>
      importFrom(context, file, options),
    )
    .addHelpText('after', IMPORT_HELP)
}

const EXPORT_HELP = `
Sessions with their subscriptions and messages, retained messages, wills, delayed messages, bans, users, rules and
changed options, as lines of JSON, also while the broker runs. The file holds hashes of passwords and all messages
in the clear: only you may read it, and that should stay so.`

const IMPORT_HELP = `
The whole file is checked before anything is changed. A session that is there already stays as it is, with its
subscriptions and messages; so does every user, ban, retained message and so on. With --replace the storage holds
afterwards what the file holds, and nothing else.

From one storage to another:
  hubbub data export backup.jsonl --config with-level.yaml
  hubbub data import backup.jsonl --config with-redis.yaml`

async function exportTo(
  context: CliContext,
  file: string,
  options: BrokerOptions & { force?: boolean },
): Promise<void> {
  const path = file === '-' ? undefined : resolve(context.cwd, file)
  if (path !== undefined && existsSync(path) && options.force !== true)
    throw new CommandFailed(`${file} is there already: --force replaces it`)
  const reached = await reach(placeOf(context, options))
  const counts: DataCounts = new Map()
  const write = (pieces: AsyncIterable<string>) => {
    const counted = counting(pieces, counts, new Progress(context, 'exporting'))
    return path === undefined ? pipeline(counted, context.stdout, { end: false }) : writeFile(path, counted)
  }
  const { client, config } = reached
  if (client !== undefined) await write(client.export())
  else {
    await withStorage(reached, noteLog(context), ({ records }) =>
      write(exportData(records, config.node.name)),
    )
  }
  context.note(`exported ${describe(counts)}\n`)
  context.note('it holds hashes of passwords and messages in the clear: keep it to yourself\n')
}

/** Under another name until it is whole. */
async function writeFile(path: string, pieces: AsyncIterable<string>): Promise<void> {
  const part = `${path}.part`
  await rm(part, { force: true })
  try {
    await pipeline(pieces, createWriteStream(part, { flags: 'wx', mode: OWNER_ONLY, flush: true }))
    await rename(part, path)
  } catch (error) {
    await rm(part, { force: true })
    throw error instanceof BrokerError ? error : new CommandFailed(`cannot write ${path}: ${String(error)}`)
  }
}

async function* counting(
  pieces: AsyncIterable<string>,
  counts: DataCounts,
  progress: Progress,
): AsyncGenerator<string> {
  let total = 0
  let tables = 0
  let rest = ''
  let last = ''
  try {
    for await (const piece of pieces) {
      const lines = (rest + piece).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        last = line
        const table = /^\{"table":"(\w+)"/.exec(line)?.[1] as DataTable | undefined
        if (table === undefined) continue
        total++
        counts.set(table, (counts.get(table) ?? 0) + 1)
        tables = DATA_TABLES.indexOf(table)
      }
      progress.show(tables / DATA_TABLES.length, total)
      yield piece
    }
  } finally {
    progress.clear()
  }
  if (!last.startsWith('{"end"')) throw new CommandFailed('the broker has ended in the middle of it')
}

async function importFrom(
  context: CliContext,
  file: string,
  options: BrokerOptions & { replace?: boolean },
): Promise<void> {
  const reached = await reach(placeOf(context, options))
  if (reached.client !== undefined) {
    throw new CommandFailed(
      'the broker is running: stop it first. What it has in memory would be mixed with what is imported',
    )
  }
  if (file === '-')
    return withSpooled(context, reached, (path) => importFile(context, path, reached, options))
  return importFile(context, resolve(context.cwd, file), reached, options)
}

async function importFile(
  context: CliContext,
  path: string,
  reached: Reached,
  { replace = false }: { replace?: boolean },
): Promise<void> {
  const found = await readable(() => checkDataFile(path))
  const total = sum(found)
  const progress = new Progress(context, 'importing')
  const { written, skipped } = await withStorage(reached, noteLog(context), ({ records }) =>
    // Each record is looked at twice.
    importData(records, path, { replace, progress: (done) => progress.show(done / 2 / total, done >> 1) }),
  )
  progress.clear()
  context.print(`imported ${describe(written)}\n`)
  if (skipped.size > 0) context.print(`left as they were: ${describe(skipped)}\n`)
}

/** Standard input in a file, as it is read more than once. */
async function withSpooled(
  context: CliContext,
  { dataDir }: Reached,
  work: (path: string) => Promise<void>,
): Promise<void> {
  const directory = await mkdtemp(join(dirname(dataDir), '.hubbub-import-'))
  const path = join(directory, 'data.jsonl')
  try {
    await pipeline(context.stdin, createWriteStream(path, { flags: 'wx', mode: OWNER_ONLY }))
    await work(path)
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function readable<T>(read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof BrokerError) throw error
    throw new CommandFailed(`cannot read the file: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function describe(counts: DataCounts): string {
  if (counts.size === 0) return 'nothing'
  const each = [...counts].map(([table, count]) => `${table} ${count}`)
  const total = sum(counts)
  return `${total} ${total === 1 ? 'record' : 'records'} (${each.join(', ')})`
}

function sum(counts: DataCounts): number {
  return [...counts.values()].reduce((total, count) => total + count, 0)
}
