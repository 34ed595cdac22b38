import { type Command, InvalidArgumentError, Option } from 'commander'
import { type AccessTargets, explainAccess } from '../explain-access.ts'
import type {
  AccessQuestion,
  AccessReport,
  ExplainedAction,
  ExplainedPart,
  ExplainedStep,
} from '../model/explanation.ts'
import type { QoS } from '../model/message.ts'
import { withAccess } from './auth-access.ts'
import { type CliContext, CommandFailed } from './context.ts'
import { askPassword, readPassword } from './prompt.ts'
import { type BrokerOptions, placeOf, reach, withBrokerOptions } from './reach.ts'
import { printable } from './text.ts'

interface TestOptions extends BrokerOptions {
  username?: string
  /** False: none is sent. */
  password?: string | false
  passwordStdin?: boolean
  clientid?: string
  listener?: string
  gateway?: string
  peerhost?: string
  publish?: string
  subscribe?: string
  qos: QoS
  retain?: boolean
  json?: boolean
}

/** `hubbub auth test` */
export function addAuthCommands(program: Command, context: CliContext): void {
  const auth = program.command('auth').description('find out who may come in, and do what')
  withBrokerOptions(auth.command('test'))
    .description('tell step by step why a client would be let in or refused; nobody is really logged in')
    .option('-u, --username <name>', 'user name; without it the client has none')
    .option('-P, --password <password>', 'other users of this machine may see it in the process list')
    .option('--no-password', 'the client sends none')
    .option('--password-stdin', 'read the password from standard input')
    .option('--clientid <id>', 'client id; without it one is made up')
    .addOption(new Option('--listener <id>', 'such as tcp:default, stomp:tcp:default').conflicts('gateway'))
    .option('--gateway <name>', 'a client of this gateway; without it, of MQTT')
    .option('--peerhost <address>', 'where the client comes from', '127.0.0.1')
    .addOption(new Option('--publish <topic>', 'whether it may publish to this').conflicts('subscribe'))
    .option('--subscribe <filter>', 'whether it may subscribe to this')
    .option('--qos <qos>', 'of what it publishes or subscribes to', readQos, 0)
    .option('--retain', 'what it publishes is to be retained')
    .option('--json', 'as JSON')
    .addHelpText('after', HELP)
    .action((options: TestOptions) => test(context, options))
}

const HELP = `
A broker that runs is asked, so that its users, bans and connections count; else the chain is
built from the configuration. Backends are really asked; caches, counters and hooks are not.
At a NATS listener a password without user name is the token.
The exit code is 0 if all of it is allowed, else 1.

Examples:
  hubbub auth test --username alice --publish meters/7/power --qos 1
  hubbub auth test --username till-7 --listener stomp:tcp:default --subscribe 'prices/#'
  echo "$PASSWORD" | hubbub auth test --username alice --password-stdin --json`

async function test(context: CliContext, options: TestOptions): Promise<void> {
  const question = { ...questionOf(options), password: await passwordOf(context, options) }
  const report = await ask(context, options, question)
  context.print(options.json ? `${JSON.stringify(report, undefined, 2)}\n` : describe(report))
  if (!report.isAllowed) throw new CommandFailed(verdictOf(report))
}

async function ask(
  context: CliContext,
  options: TestOptions,
  question: AccessQuestion,
): Promise<AccessReport> {
  const reached = await reach(placeOf(context, options))
  if (reached.client !== undefined) return reached.client.call('auth.test', question)
  context.note('note: no broker is running, so this is what the configuration says\n')
  return withAccess(reached, context, (targets: AccessTargets) => explainAccess(question, targets))
}

function questionOf(options: TestOptions): AccessQuestion {
  const { username, clientid: clientId, listener, gateway, peerhost: peerHost } = options
  return { username, clientId, listener, gateway, peerHost, action: actionOf(options) }
}

function actionOf({ publish, subscribe, qos, retain = false }: TestOptions): ExplainedAction | undefined {
  if (publish !== undefined) return { kind: 'publish', topic: publish, qos, retain }
  return subscribe === undefined ? undefined : { kind: 'subscribe', topic: subscribe, qos, retain: false }
}

/** Who has no user name is not asked for a password. */
function passwordOf(
  context: CliContext,
  { username, password, passwordStdin }: TestOptions,
): string | undefined | Promise<string> {
  if (passwordStdin) return readPassword(context)
  if (typeof password === 'string') return password
  return password === false || username === undefined ? undefined : askPassword(context)
}

function readQos(text: string): QoS {
  if (text !== '0' && text !== '1' && text !== '2') throw new InvalidArgumentError('It is 0, 1 or 2.')
  return Number(text) as QoS
}

function describe({ client, login, access, notes }: AccessReport): string {
  const { clientId, username, listener, peerHost, zone, mountpoint } = client
  const facts = [
    `client id ${clientId === '' ? '(none)' : clientId}`,
    `user name ${username ?? '(none)'}`,
    `from ${peerHost}`,
    `at ${listener}`,
    ...(zone === 'default' ? [] : [`zone ${zone}`]),
    ...(mountpoint === '' ? [] : [`mountpoint ${mountpoint}`]),
  ]
  const chain = login.chain === undefined ? '' : ` (chain ${login.chain})`
  const parts = [`${printable(facts.join(', '))}\n`, section(`login${chain}`, login)]
  if (access !== undefined) {
    const { kind, topic, qos, retain } = access.action
    parts.push(section(`${kind} ${topic} at QoS ${qos}${retain ? ', retained' : ''}`, access))
  }
  return [...parts, ...notes.map((note) => `note: ${printable(note)}\n`)].join('')
}

function section(title: string, { steps, result }: ExplainedPart): string {
  const width = Math.max(...steps.map(({ who }) => who.length))
  const lines = steps.map((step) => `  ${line(step, width)}\n`)
  return `${printable(title)}\n${lines.join('')}  => ${printable(result.answer)}\n`
}

/** `password_based:mysql   deny     0.8 ms  bad_user_name_or_password` */
function line({ who, outcome, detail = '', tookMs }: ExplainedStep, width: number): string {
  const took = tookMs === undefined ? '' : `${tookMs.toFixed(1)} ms`
  return printable(`${who.padEnd(width)}  ${outcome.padEnd(7)}  ${took.padStart(9)}  ${detail}`).trimEnd()
}

function verdictOf({ login, access }: AccessReport): string {
  if (!login.result.isAllowed) return `the client is refused: ${login.result.answer}`
  return `the client may not ${access?.action.kind}: ${access?.result.answer}`
}
