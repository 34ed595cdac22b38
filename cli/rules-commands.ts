import { type Command, Option } from 'commander'
import type { RuleCounts, RulesOf } from '../authz/built-in-rules.ts'
import type { Subject } from '../authz/built-in-table.ts'
import { type RuleItem, readRuleItem } from '../authz/rule-item.ts'
import { readRulesFile } from '../authz/rules-file.ts'
import { type CliContext, CommandFailed } from './context.ts'
import { Progress } from './progress.ts'
import { type BrokerOptions, withBrokerOptions } from './reach.ts'
import { type Rules, withRules } from './rules.ts'
import { row } from './text.ts'

/** Subjects that are handed over at a time: a bar that moves, and requests that stay small. */
const PORTION = 500

interface SubjectOptions extends BrokerOptions {
  clientid?: string
  username?: string
  all?: boolean
}

interface AddOptions extends SubjectOptions {
  qos?: string
  retain?: string
  ipaddr?: string
  first?: boolean
}

/** `hubbub rules list|add|delete|import` */
export function addRulesCommands(program: Command, context: CliContext): void {
  const rules = program
    .command('rules')
    .description('manage the access rules of the built-in database; a running broker sees changes at once')
  ofSubject(rules.command('list').description('list the rules, in the order in which they are asked'))
    .option('--json', 'one JSON object a line: a subject with its rules')
    .action((options: SubjectOptions & { json?: boolean }) => list(context, options))
    .addHelpText('after', '\nColumns: of, id, number, permission, action, topic, qos, retain')
  ofSubject(rules.command('add <permission> <action> <topic>').description('add a rule behind the others'))
    .option('--first', 'before the others: the first rule that fits decides')
    .option('--qos <list>', 'such as 0,1')
    .addOption(
      new Option('--retain <value>', 'of messages that are published').choices(['true', 'false', 'all']),
    )
    .option('--ipaddr <network>', 'only for clients from there')
    .action((permission: string, action: string, topic: string, options: AddOptions) =>
      add(context, { permission, action, topic }, options),
    )
    .addHelpText('after', ADD_HELP)
  ofSubject(rules.command('delete [number]').description('delete the rules of one, or one of them')).action(
    (number: string | undefined, options: SubjectOptions) => remove(context, number, options),
  )
  withBrokerOptions(rules.command('import <file>').description('add the rules of a CSV or JSON file'))
    .option('--replace', 'rules there are already are replaced; without it whoever has some keeps them')
    .action((file: string, options: BrokerOptions & { replace?: boolean }) =>
      importFile(context, file, options),
    )
    .addHelpText('after', IMPORT_HELP)
}

const ADD_HELP = `
<permission> is allow or deny, <action> publish, subscribe or all.

Examples:
  hubbub rules add --username ann allow publish 'meters/\${clientid}/#'
  hubbub rules add --all deny subscribe 'eq #'`

const IMPORT_HELP = `
A .csv file has the columns permission, action and topic, and if wanted clientid or username (both empty: for all), qos,
retain, ipaddress and conditions: the table mqtt_acl. Other files are JSON as EMQX's API has it:
[{"username":"ann","rules":[{"permission":"allow","action":"publish","topic":"a/#"}]}], clientid in place of
username, neither for all. When there is something wrong with one rule, none is added.`

function ofSubject(command: Command): Command {
  return withBrokerOptions(command)
    .option('--clientid <id>', 'rules of a client id')
    .option('--username <name>', 'rules of a user name')
    .option('--all', 'rules for all')
}

async function list(context: CliContext, options: SubjectOptions & { json?: boolean }): Promise<void> {
  const wanted = subjectOf(options)
  await withRules(context, options, async (rules) => {
    for await (const entry of rules.list()) {
      if (wanted !== undefined && !isSame(wanted, entry.subject)) continue
      context.print(options.json ? `${JSON.stringify(jsonOf(entry))}\n` : rowsOf(entry))
    }
  })
}

async function add(context: CliContext, fields: object, options: AddOptions): Promise<void> {
  const { qos, retain, ipaddr, first = false } = options
  const subject = needSubject(options)
  const rule = readRuleItem({ ...fields, qos, retain, ipaddr })
  await withRules(context, options, async (rules) => {
    await rules.add(subject, rule, first)
    context.print(`added ${rule.permission} ${rule.action} ${rule.topic}\n`)
  })
}

async function remove(context: CliContext, text: string | undefined, options: SubjectOptions): Promise<void> {
  const subject = needSubject(options)
  if (text !== undefined && !/^[1-9]\d{0,8}$/.test(text))
    throw new CommandFailed(`${text} is no number of a rule`)
  const number = text === undefined ? undefined : Number(text)
  await withRules(context, options, async (rules) => {
    if (!(await rules.delete(subject, number))) throw new CommandFailed('there is no such rule')
    context.print('deleted\n')
  })
}

async function importFile(
  context: CliContext,
  file: string,
  options: BrokerOptions & { replace?: boolean },
): Promise<void> {
  const imported = await readRulesFile(file)
  await withRules(context, options, async (rules) => {
    checkSizes(imported, rules)
    const { success, override, skipped } = await importAll(context, rules, imported, options.replace ?? false)
    context.print(`added ${success}, replaced ${override}, left as they were ${skipped}\n`)
  })
}

/** In portions; that none will be refused is known by now. */
async function importAll(
  context: CliContext,
  rules: Rules,
  imported: readonly RulesOf[],
  override: boolean,
): Promise<RuleCounts> {
  const sum: RuleCounts = { total: 0, success: 0, override: 0, skipped: 0 }
  const progress = new Progress(context, 'import')
  for (let from = 0; from < imported.length; from += PORTION) {
    const counts = await rules.import(imported.slice(from, from + PORTION), override)
    for (const name of ['total', 'success', 'override', 'skipped'] as const) sum[name] += counts[name]
    progress.show(sum.total / imported.length, sum.total)
  }
  progress.clear()
  return sum
}

function checkSizes(imported: readonly RulesOf[], { maxRules }: Rules): void {
  for (const { subject, rules } of imported) {
    if (subject.kind !== 'all' && rules.length > maxRules)
      throw new CommandFailed(
        `${subject.kind} ${subject.id} has ${rules.length} rules, max_rules is ${maxRules}`,
      )
  }
}

function subjectOf({ clientid, username, all }: SubjectOptions): Subject | undefined {
  const given = [clientid, username, all].filter((value) => value !== undefined)
  if (given.length > 1) throw new CommandFailed('say one of --clientid, --username and --all')
  if (clientid !== undefined) return { kind: 'clientid', id: clientid }
  if (username !== undefined) return { kind: 'username', id: username }
  return all === true ? { kind: 'all' } : undefined
}

function needSubject(options: SubjectOptions): Subject {
  const subject = subjectOf(options)
  if (subject !== undefined) return subject
  throw new CommandFailed('whose rules? Say --clientid, --username or --all')
}

function isSame(a: Subject, b: Subject): boolean {
  return a.kind === 'all' ? b.kind === 'all' : b.kind === a.kind && b.id === a.id
}

/** What `import` takes. */
function jsonOf({ subject, rules }: RulesOf): object {
  return subject.kind === 'all' ? { rules } : { [subject.kind]: subject.id, rules }
}

function rowsOf({ subject, rules }: RulesOf): string {
  const of = subject.kind === 'all' ? [subject.kind, undefined] : [subject.kind, subject.id]
  return rules
    .map(({ permission, action, topic, qos, retain }: RuleItem, index) =>
      row(...of, index + 1, permission, action, topic, qos.join(','), String(retain)),
    )
    .join('')
}
