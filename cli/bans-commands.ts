import type { Command } from 'commander'
import { parseTime } from '../features/bans/time.ts'
import { parseDuration } from '../model/units.ts'
import { type BanList, remoteBans, storedBans } from './bans.ts'
import { type CliContext, CommandFailed } from './context.ts'
import { type BrokerOptions, noteLog, placeOf, reach, withBrokerOptions, withStorage } from './reach.ts'
import { moment, row } from './text.ts'

interface AddOptions extends BrokerOptions {
  by: string
  reason: string
  until?: string
  for?: string
}

/** `hubbub bans list|add|delete` */
export function addBansCommands(program: Command, context: CliContext): void {
  const bans = program.command('bans').description('clients that are not let in')
  withBrokerOptions(bans.command('list').description('list the bans that hold'))
    .option('--json', 'one JSON object a line')
    .action((options: BrokerOptions & { json?: boolean }) => list(context, options))
    .addHelpText('after', '\nColumns: as, who, by, reason, at, until')
  withBrokerOptions(bans.command('add <as> <who>').description('ban a client'))
    .option('--by <name>', 'who bans', 'hubbub command')
    .option('--reason <text>', 'why', '')
    .option('--until <time>', 'such as 2026-01-31T12:00:00Z, or infinity')
    .option('--for <duration>', 'such as 90m, instead of --until')
    .action((as: string, who: string, options: AddOptions) => add(context, as, who, options))
    .addHelpText('after', ADD_HELP)
  withBrokerOptions(bans.command('delete <as> <who>').description('delete a ban')).action(
    (as: string, who: string, options: BrokerOptions) => remove(context, as, who, options),
  )
}

const ADD_HELP = `
<as> is clientid, username, peerhost (an address), clientid_re, username_re (regular expressions) or
peerhost_net (such as 192.0.2.0/24).

Examples:
  hubbub bans add clientid meter-7 --reason "stolen"
  hubbub bans add peerhost_net 192.0.2.0/24 --for 2h`

async function list(context: CliContext, options: BrokerOptions & { json?: boolean }): Promise<void> {
  await withBans(context, options, async (bans) => {
    for await (const ban of bans.list()) {
      const { as, who, by, reason, atMs, untilMs } = ban
      const until = untilMs === undefined ? 'infinity' : moment(untilMs)
      context.print(options.json ? `${JSON.stringify(ban)}\n` : row(as, who, by, reason, moment(atMs), until))
    }
  })
}

async function add(context: CliContext, as: string, who: string, options: AddOptions): Promise<void> {
  const untilMs = untilOf(options)
  await withBans(context, options, async (bans) => {
    const outcome = await bans.add({ as, who, by: options.by, reason: options.reason, untilMs })
    if (outcome === 'exists')
      throw new CommandFailed(`there is a ban of ${as} ${JSON.stringify(who)} already: delete it first`)
    if (outcome === 'past') throw new CommandFailed('that time is over: nobody was banned')
    if (outcome === 'full') throw new CommandFailed('there are banned.max_entries bans already')
    context.print(`banned ${as} ${who}\n`)
  })
}

async function remove(context: CliContext, as: string, who: string, options: BrokerOptions): Promise<void> {
  await withBans(context, options, async (bans) => {
    if (!(await bans.delete(as, who)))
      throw new CommandFailed(`there is no ban of ${as} ${JSON.stringify(who)}`)
    context.print(`deleted ${as} ${who}\n`)
  })
}

/** @returns Unix time in ms, undefined for ever */
function untilOf({ until, for: duration }: AddOptions): number | undefined {
  if (until !== undefined && duration !== undefined) throw new CommandFailed('say --until or --for, not both')
  let ms = until === undefined ? Number.POSITIVE_INFINITY : parseTime(until)
  if (duration !== undefined) ms = Date.now() + parsed(duration)
  return Number.isFinite(ms) ? ms : undefined
}

function parsed(duration: string): number {
  try {
    return parseDuration(duration)
  } catch {
    throw new CommandFailed(`expected a duration such as 90m, found ${JSON.stringify(duration)}`)
  }
}

async function withBans(
  context: CliContext,
  options: BrokerOptions,
  work: (bans: BanList) => Promise<void>,
): Promise<void> {
  const reached = await reach(placeOf(context, options))
  if (reached.client !== undefined) return work(remoteBans(reached.client))
  const log = noteLog(context)
  await withStorage(reached, log, async (durable) =>
    work(await storedBans(durable, reached.config.banned.max_entries, log)),
  )
}
