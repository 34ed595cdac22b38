import { type Command, Option } from 'commander'
import { readUsersFile, type UserFileType } from '../authn/bootstrap.ts'
import type { UserMechanism } from '../authn/built-in-table.ts'
import { type CliContext, CommandFailed } from './context.ts'
import { askNewPassword, readPassword } from './prompt.ts'
import { type BrokerOptions, placeOf, withBrokerOptions } from './reach.ts'
import { printable, row } from './text.ts'
import type { Users } from './users.ts'

interface StoreOptions extends BrokerOptions {
  chain: string
  mechanism: UserMechanism
  clientid?: boolean
}

interface AddOptions extends StoreOptions {
  password?: string
  passwordStdin?: boolean
  superuser?: boolean
}

interface ImportOptions extends StoreOptions {
  type: UserFileType
  replace?: boolean
}

/** `hubbub users add|list|delete|import` */
export function addUsersCommands(program: Command, context: CliContext): void {
  const users = program
    .command('users')
    .description('manage the users of the built-in database; a running broker sees changes at once')
  withStoreOptions(users.command('add <id>').description('add a user'))
    .option(
      '--password <password>',
      'the password; other users of this machine may see it in the process list',
    )
    .option('--password-stdin', 'read the password from standard input')
    .option('--superuser', 'may publish and subscribe to everything, whatever the access rules say')
    .action((id: string, options: AddOptions) => add(context, id, options))
    .addHelpText('after', ADD_EXAMPLES)
  withStoreOptions(users.command('list').description('list the users')).action((options: StoreOptions) =>
    list(context, options),
  )
  withStoreOptions(users.command('delete <id>').description('delete a user')).action(
    (id: string, options: StoreOptions) => remove(context, id, options),
  )
  withStoreOptions(users.command('import <file>').description('add the users of a CSV or JSON file'))
    .addOption(
      new Option('--type <type>', 'whether the file holds passwords or their hashes')
        .choices(['plain', 'hash'])
        .default('plain'),
    )
    .option('--replace', 'users there are already are replaced; without it they stay as they are')
    .action((file: string, options: ImportOptions) => importFile(context, file, options))
    .addHelpText('after', IMPORT_HELP)
}

const ADD_EXAMPLES = `
Without --password and --password-stdin it asks, and shows nothing of what is typed.

Examples:
  hubbub users add alice
  echo "$PASSWORD" | hubbub users add meter-7 --password-stdin
  hubbub users add admin --superuser`

const IMPORT_HELP = `
The first line of a CSV file is user_id,password,is_superuser, or with --type hash
user_id,password_hash,salt,is_superuser. A .json file is a list of objects with the same names.
All of its users are added, or, when there is something wrong with one, none.`

function withStoreOptions(command: Command): Command {
  return withBrokerOptions(command)
    .option('--chain <name>', 'whose users: mqtt:global, stomp:global, tcp:default, ...', 'mqtt:global')
    .addOption(
      new Option('--mechanism <name>', 'of which built-in database of the chain')
        .choices(['password_based', 'scram'])
        .default('password_based'),
    )
    .option('--clientid', 'users are known by client id (user_id_type: clientid)')
}

async function add(context: CliContext, id: string, options: AddOptions): Promise<void> {
  await withUsers(context, options, async (users) => {
    const password = await passwordOf(context, options)
    if (password === '') throw new CommandFailed('a password must not be empty')
    const added = await users.add({ id, password, isSuperuser: options.superuser ?? false })
    if (!added) throw new CommandFailed(`there is a user ${JSON.stringify(id)} already`)
    context.print(`added ${printable(id)}\n`)
  })
}

async function list(context: CliContext, options: StoreOptions): Promise<void> {
  await withUsers(context, options, async (users) => {
    for await (const { id, isSuperuser } of users.list()) {
      context.print(isSuperuser ? row(id, 'superuser') : row(id))
    }
  })
}

async function remove(context: CliContext, id: string, options: StoreOptions): Promise<void> {
  await withUsers(context, options, async (users) => {
    if (!(await users.delete(id))) throw new CommandFailed(`there is no user ${JSON.stringify(id)}`)
    context.print(`deleted ${printable(id)}\n`)
  })
}

async function importFile(context: CliContext, file: string, options: ImportOptions): Promise<void> {
  const imported = await readUsersFile(file, options.type)
  await withUsers(context, options, async (users) => {
    const { success, override, skipped } = await users.import(imported, options.replace ?? false)
    context.print(`added ${success}, replaced ${override}, left as they were ${skipped}\n`)
  })
}

function passwordOf(context: CliContext, options: AddOptions): string | Promise<string> {
  if (options.password !== undefined) return options.password
  return options.passwordStdin ? readPassword(context) : askNewPassword(context)
}

function withUsers(
  context: CliContext,
  options: StoreOptions,
  work: (users: Users) => Promise<void>,
): Promise<void> {
  const where = {
    ...placeOf(context, options),
    chain: options.chain,
    mechanism: options.mechanism,
    note: (text: string) => context.note(text),
  }
  return context.withUsers(where, (users) => {
    assertIdType(users, options.clientid ?? false)
    return work(users)
  })
}

/** A client id stored as a user name would never match, and nobody would know why. */
function assertIdType(users: Users, clientid: boolean): void {
  if (clientid === (users.idType === 'clientid')) return
  throw new CommandFailed(
    clientid
      ? 'this database knows users by user name: leave --clientid away, or configure user_id_type: clientid'
      : 'this database knows users by client id: say so with --clientid',
  )
}
