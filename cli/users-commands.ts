import type { Command } from 'commander'
import { type CliContext, CommandFailed } from './context.ts'
import { findConfig } from './find-config.ts'
import { askNewPassword, readPassword } from './prompt.ts'
import type { Users } from './users.ts'

interface StoreOptions {
  config?: string
  dataDir?: string
  chain: string
  clientid?: boolean
}

interface AddOptions extends StoreOptions {
  password?: string
  passwordStdin?: boolean
  superuser?: boolean
}

/** `hubbub users add|list|delete` */
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
}

const ADD_EXAMPLES = `
Without --password and --password-stdin it asks, and shows nothing of what is typed.

Examples:
  hubbub users add alice
  echo "$PASSWORD" | hubbub users add meter-7 --password-stdin
  hubbub users add admin --superuser`

function withStoreOptions(command: Command): Command {
  return command
    .option('-c, --config <file>', 'config file, which says how passwords are kept')
    .option('--data-dir <dir>', 'data directory, instead of node.data_dir')
    .option('--chain <name>', 'whose users: mqtt:global, stomp:global, tcp:default, ...', 'mqtt:global')
    .option('--clientid', 'users are known by client id (user_id_type: clientid)')
}

async function add(context: CliContext, id: string, options: AddOptions): Promise<void> {
  await withUsers(context, options, async (users) => {
    const password = await passwordOf(context, options)
    if (password === '') throw new CommandFailed('a password must not be empty')
    const added = await users.add({ id, password, isSuperuser: options.superuser ?? false })
    if (!added) throw new CommandFailed(`there is a user ${JSON.stringify(id)} already`)
    context.print(`added ${id}\n`)
  })
}

async function list(context: CliContext, options: StoreOptions): Promise<void> {
  await withUsers(context, options, async (users) => {
    for (const { id, isSuperuser } of await users.list()) {
      context.print(`${id}${isSuperuser ? '\tsuperuser' : ''}\n`)
    }
  })
}

async function remove(context: CliContext, id: string, options: StoreOptions): Promise<void> {
  await withUsers(context, options, async (users) => {
    if (!(await users.delete(id))) throw new CommandFailed(`there is no user ${JSON.stringify(id)}`)
    context.print(`deleted ${id}\n`)
  })
}

function passwordOf(context: CliContext, options: AddOptions): string | Promise<string> {
  if (options.password !== undefined) return options.password
  return options.passwordStdin ? readPassword(context) : askNewPassword(context)
}

async function withUsers(
  context: CliContext,
  options: StoreOptions,
  work: (users: Users) => Promise<void>,
): Promise<void> {
  const users = await context.openUsers({
    configFile: findConfig(context, options.config).file,
    env: context.env,
    overrides: options.dataDir === undefined ? {} : { node: { data_dir: options.dataDir } },
    chain: options.chain,
  })
  try {
    assertIdType(users, options.clientid ?? false)
    await work(users)
  } finally {
    await users.close()
  }
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
