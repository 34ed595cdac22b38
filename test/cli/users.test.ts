import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { withBuiltInUsers } from '../../cli/users-store.ts'
import { writeConfig } from '../config/sample.ts'
import { FakeContext, FakeInput } from './run-cli.ts'

test('users are added with a password from the command line', async () => {
  const cli = new FakeContext()
  expect(await cli.hubbub('users', 'add', 'alice', '--password', 's3cret', '--superuser')).toBe(0)
  expect(cli.users.byId.get('alice')).toEqual({ password: 's3cret', isSuperuser: true })
  expect(cli.printed).toBe('added alice\n')
  expect(cli.users.closed).toBe(1)
})

test('a password from standard input loses its line end and nothing else', async () => {
  const cli = new FakeContext()
  cli.stdin.end(' pass\nword \n')
  expect(await cli.hubbub('users', 'add', 'alice', '--password-stdin')).toBe(0)
  expect(cli.users.byId.get('alice')?.password).toBe(' pass\nword ')
})

test('on a terminal it asks twice without echo, and the editing keys work', async () => {
  const cli = new FakeContext()
  cli.stdin = new FakeInput(true)
  answer(cli, 'Password: ', 'wrong\u0015s3x\u007fcret\r')
  answer(cli, 'Once more: ', 's3cret\n')
  expect(await cli.hubbub('users', 'add', 'alice')).toBe(0)
  expect(cli.users.byId.get('alice')?.password).toBe('s3cret')
  expect(cli.noted).not.toContain('s3')
  expect(cli.stdin.raw).toBe(false)
})

test('two different passwords, an empty one, Ctrl-C or no terminal add nobody', async () => {
  const different = new FakeContext()
  different.stdin = new FakeInput(true)
  answer(different, 'Password: ', 'one\r')
  answer(different, 'Once more: ', 'two\r')
  const empty = new FakeContext()
  empty.stdin.end('\n')
  const cancelled = new FakeContext()
  cancelled.stdin = new FakeInput(true)
  answer(cancelled, 'Password: ', 'abc\u0003')
  const cases: [FakeContext, string[], string][] = [
    [different, [], 'the two passwords differ'],
    [empty, ['--password-stdin'], 'a password must not be empty'],
    [cancelled, [], 'cancelled'],
    [new FakeContext(), [], 'there is no terminal to ask for the password: use --password-stdin'],
  ]
  for (const [cli, args, words] of cases) {
    expect(await cli.hubbub('users', 'add', 'alice', ...args), words).toBe(1)
    expect(cli.noted).toContain(words)
    expect(cli.users.byId.size).toBe(0)
    expect(cli.users.closed).toBe(1)
  }
})

test('adding somebody twice and deleting nobody fail', async () => {
  const cli = new FakeContext()
  await cli.hubbub('users', 'add', 'alice', '--password', 'a')
  expect(await cli.hubbub('users', 'add', 'alice', '--password', 'b')).toBe(1)
  expect(cli.noted).toContain('there is a user "alice" already')
  expect(await cli.hubbub('users', 'delete', 'bob')).toBe(1)
  expect(cli.noted).toContain('there is no user "bob"')
})

test('users are listed and deleted', async () => {
  const cli = new FakeContext()
  await cli.hubbub('users', 'add', 'alice', '--password', 'a')
  await cli.hubbub('users', 'add', 'root', '--password', 'b', '--superuser')
  cli.printed = ''
  expect(await cli.hubbub('users', 'list')).toBe(0)
  expect(cli.printed).toBe('alice\nroot\tsuperuser\n')
  expect(await cli.hubbub('users', 'delete', 'alice')).toBe(0)
  expect([...cli.users.byId.keys()]).toEqual(['root'])
})

test('client ids and user names are not mistaken for each other', async () => {
  const cli = new FakeContext()
  expect(await cli.hubbub('users', 'add', 'meter-7', '--password', 'a', '--clientid')).toBe(1)
  cli.users.idType = 'clientid'
  expect(await cli.hubbub('users', 'add', 'alice', '--password', 'a')).toBe(1)
  expect(await cli.hubbub('users', 'add', 'meter-7', '--password', 'a', '--clientid')).toBe(0)
  expect([...cli.users.byId.keys()]).toEqual(['meter-7'])
})

test('config file, data directory and chain reach the store', async () => {
  const cli = new FakeContext()
  const chosen = ['-c', '/x.yaml', '--data-dir', '/data', '--chain', 'stomp:global']
  await cli.hubbub('users', 'list', ...chosen)
  expect(cli.opened).toEqual([
    {
      configFile: '/x.yaml',
      env: cli.env,
      overrides: { node: { data_dir: '/data' } },
      chain: 'stomp:global',
      mechanism: 'password_based',
      note: expect.any(Function),
    },
  ])
})

test('users go to the built-in database that the config describes', async () => {
  const cli = new FakeContext()
  const file = writeConfig(`
authentication:
  - mechanism: password_based
    backend: built_in_database
    user_id_type: clientid
    password_hash_algorithm: { name: sha256 }
`)
  const hubbub = Object.assign(cli, { withUsers: withBuiltInUsers })
  const store = ['-c', file, '--data-dir', cli.cwd, '--clientid']
  expect(await hubbub.hubbub('users', 'add', 'meter-7', '--password', 'a', ...store)).toBe(0)
  cli.printed = ''
  expect(await hubbub.hubbub('users', 'list', ...store)).toBe(0)
  expect(cli.printed).toBe('meter-7\n')
})

test('without a built-in database in the config it says what to add', async () => {
  const cli = Object.assign(new FakeContext(), { withUsers: withBuiltInUsers })
  expect(await cli.hubbub('users', 'list', '-c', writeConfig('authentication: []'))).toBe(2)
  expect(cli.noted).toContain(
    'no built-in database is configured at authentication: add { mechanism: password_based',
  )
})

test('users of a file are added, and replaced only when that is wanted', async () => {
  const cli = new FakeContext()
  const file = join(cli.cwd, 'users.csv')
  writeFileSync(file, 'user_id,password,is_superuser\nann,secret,false\nroot,toor,true\n')
  expect(await cli.hubbub('users', 'import', file)).toBe(0)
  expect(await cli.hubbub('users', 'import', file)).toBe(0)
  expect(await cli.hubbub('users', 'import', file, '--replace')).toBe(0)
  expect(cli.printed.split('\n')).toEqual([
    'added 2, replaced 0, left as they were 0',
    'added 0, replaced 0, left as they were 2',
    'added 0, replaced 2, left as they were 0',
    '',
  ])
  expect(await cli.hubbub('users', 'import', file, '--type', 'hash')).toBe(2)
  expect(cli.noted).toContain('users.csv: line 1: the header has no password_hash')
})

test('names that would write on the terminal are shown, not written', async () => {
  const cli = new FakeContext()
  await cli.hubbub('users', 'add', 'a\u001b[2Jb', '--password', 'x')
  cli.printed = ''
  await cli.hubbub('users', 'list')
  expect(cli.printed).toBe('a\\u001b[2Jb\n')
})

/** Types once the question is on the screen, as a person would. */
function answer(cli: FakeContext, question: string, keys: string): void {
  const note = cli.note.bind(cli)
  cli.note = (text) => {
    note(text)
    if (text === question) setImmediate(() => cli.stdin.write(keys))
  }
}
