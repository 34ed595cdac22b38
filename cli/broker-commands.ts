import type { Command } from 'commander'
import type { BrokerStatus, ClientDetails, ClientEntry } from '../control/client/protocol.ts'
import type { BackendReport } from '../model/explanation.ts'
import { formatDuration } from '../model/units.ts'
import { type CliContext, CommandFailed } from './context.ts'
import { type BrokerOptions, reachRunning, withBrokerOptions } from './reach.ts'
import { aligned, moment, printable, row } from './text.ts'

interface Listing extends BrokerOptions {
  json?: boolean
}

interface OfGateway extends BrokerOptions {
  gateway?: string
}

const GATEWAY = ['--gateway <name>', 'a client of this gateway; without it, of MQTT'] as const

/** `hubbub status`, `hubbub clients list|show|kick`: of a broker that runs. */
export function addBrokerCommands(program: Command, context: CliContext): void {
  withBrokerOptions(program.command('status').description('tell how the broker that runs is doing'))
    .option('--json', 'as JSON, with all statistics')
    .action((options: Listing) => status(context, options))
  const clients = program.command('clients').description('the clients that are connected now')
  withBrokerOptions(clients.command('list').description('list them'))
    .option('--json', 'one JSON object a line, with the statistics of each')
    .action((options: Listing) => list(context, options))
    .addHelpText('after', '\nColumns: client id, user name, protocol, address, listener, connected at')
  withBrokerOptions(clients.command('show <clientid>').description('tell about one, with its statistics'))
    .option(...GATEWAY)
    .option('--json', 'as JSON')
    .action((clientId: string, options: OfGateway & Listing) => show(context, clientId, options))
  withBrokerOptions(clients.command('kick <clientid>').description('end a connection and its session'))
    .option(...GATEWAY)
    .action((clientId: string, options: OfGateway) => kick(context, clientId, options))
}

async function status(context: CliContext, options: Listing): Promise<void> {
  const client = await reachRunning(context, options)
  context.print(options.json ? `${JSON.stringify(client.status, undefined, 2)}\n` : describe(client.status))
}

const STATISTICS = [
  ['clients', 'live_connections'],
  ['sessions', 'sessions'],
  ['subscriptions', 'subscriptions'],
  ['retained', 'retained'],
  ['delayed', 'delayed'],
] as const

function describe({
  version,
  node,
  pid,
  uptimeMs,
  storage,
  stats,
  listeners,
  backends,
}: BrokerStatus): string {
  const uptime = formatDuration(Math.floor(uptimeMs / 1000) * 1000)
  const counts = STATISTICS.map(([name, stat]) => {
    const [count = 0, max = 0] = [stats[`${stat}.count`], stats[`${stat}.max`]]
    return [name, `${count} (most: ${max})`] as const
  })
  const about = aligned([
    ['node', node],
    ['version', version],
    ['running for', `${uptime} (process ${pid})`],
    ['storage', storage ?? 'memory'],
    ...counts,
  ])
  const bound = aligned(
    listeners.map(({ id, address, connections }) => {
      const clients = connections === undefined ? '' : ` (${connections} connections)`
      return [`  ${id}`, `${address ?? 'not bound'}${clients}`] as const
    }),
  )
  const access = backends.length === 0 ? '' : `access\n${backends.map(describeBackend).join('')}`
  return `${about}listeners\n${bound}${access}`
}

/** `  mqtt:global password_based:http  connected, asked 12: 10 yes, 1 no, 1 no opinion; 12 calls, 0 failed, 1.3 ms` */
function describeBackend({ kind, chain, id, state, lastError, answers, calls }: BackendReport): string {
  const name = kind === 'source' ? `source ${id}` : `${chain} ${id}`
  const { total, allow, deny, none } = answers
  const facts = [
    ...(state === undefined ? [] : [state]),
    `asked ${total}: ${allow} yes, ${deny} no, ${none} no opinion`,
    ...(calls === undefined ? [] : [describeCalls(calls)]),
    ...(lastError === undefined ? [] : [lastError]),
  ]
  return `  ${printable(name)}  ${printable(facts.join('; '))}\n`
}

function describeCalls({ total, failed, waiting, latencyMs }: NonNullable<BackendReport['calls']>): string {
  const queue = waiting === 0 ? '' : `, ${waiting} waiting`
  return `${total} calls, ${failed} failed, ${latencyMs.toFixed(1)} ms${queue}`
}

async function list(context: CliContext, options: Listing): Promise<void> {
  const client = await reachRunning(context, options)
  for await (const entry of client.list('clients.list', {})) {
    context.print(options.json ? `${JSON.stringify(entry)}\n` : rowOf(entry))
  }
}

function rowOf({ clientId, username, protocol, peer, listener, connectedAtMs }: ClientEntry): string {
  return row(clientId, username, protocol, peer, listener, moment(connectedAtMs))
}

async function show(
  context: CliContext,
  clientId: string,
  { gateway, json, ...options }: OfGateway & Listing,
): Promise<void> {
  const broker = await reachRunning(context, options)
  const { client } = await broker.call('clients.show', { clientId, gateway })
  if (client === undefined)
    throw new CommandFailed(`there is no client ${JSON.stringify(clientId)}${placeOf(gateway)}`)
  context.print(json ? `${JSON.stringify(client, undefined, 2)}\n` : describeClient(client))
}

function describeClient(client: ClientDetails): string {
  const { keepAliveSeconds, sessionExpiryMs, loginEndsAtMs, stats } = client
  const about = aligned([
    ['client id', client.clientId],
    ['user name', client.username ?? '-'],
    ['protocol', client.protocol],
    ['address', client.peer],
    ['listener', client.listener],
    ['zone', client.zone],
    ['mountpoint', client.mountpoint === '' ? '-' : client.mountpoint],
    ['connected at', moment(client.connectedAtMs)],
    ['keep alive', keepAliveSeconds === 0 ? 'none' : `${keepAliveSeconds}s`],
    ['clean start', yesOrNo(client.cleanStart)],
    ['session kept for', sessionExpiryMs === undefined ? 'ever' : formatDuration(sessionExpiryMs)],
    ['login ends', loginEndsAtMs === undefined ? 'never' : moment(loginEndsAtMs)],
    ['superuser', yesOrNo(client.isSuperuser)],
  ])
  if (stats === undefined) return `${about}no statistics: its gateway has enable_stats: false\n`
  const counts = Object.entries(stats).map(([name, count]) => [`  ${name}`, count] as const)
  return `${about}statistics\n${aligned(counts)}`
}

function yesOrNo(value: boolean): string {
  return value ? 'yes' : 'no'
}

async function kick(
  context: CliContext,
  clientId: string,
  { gateway, ...options }: OfGateway,
): Promise<void> {
  const client = await reachRunning(context, options)
  const { kicked } = await client.call('clients.kick', { clientId, gateway })
  if (!kicked)
    throw new CommandFailed(`there is no client or session ${JSON.stringify(clientId)}${placeOf(gateway)}`)
  context.print(`kicked ${clientId}\n`)
}

/** Where a client was looked for. */
function placeOf(gateway: string | undefined): string {
  return gateway === undefined ? ' of MQTT; clients of gateways are found with --gateway' : ` of ${gateway}`
}
