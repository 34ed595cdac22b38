import { PassThrough } from 'node:stream'
import type { ImportedUser } from '../../authn/bootstrap.ts'
import type { ImportCounts } from '../../authn/built-in-users.ts'
import type { CliContext, RunOptions } from '../../cli/context.ts'
import { runCommand } from '../../cli/program.ts'
import type { Users, UsersOptions, WithUsers } from '../../cli/users.ts'
import { temporaryDirectory } from '../config/sample.ts'

/** A terminal or pipe that `type` writes to. */
export class FakeInput extends PassThrough {
  readonly isTTY: boolean
  raw = false

  constructor(isTTY: boolean) {
    super()
    this.isTTY = isTTY
  }

  setRawMode(raw: boolean): this {
    this.raw = raw
    return this
  }
}

/** A command's world: an empty directory, a clean environment, users in memory. */
export class FakeContext implements CliContext {
  env: NodeJS.ProcessEnv = {}
  readonly cwd = temporaryDirectory()
  packageRoot = process.cwd()
  stdin = new FakeInput(false)
  /** What goes past `print`. */
  readonly stdout = new PassThrough()
  isTerminal = false
  printed = ''
  noted = ''
  readonly runs: RunOptions[] = []
  readonly opened: UsersOptions[] = []
  readonly users = new MemoryUsers()

  print(text: string): void {
    this.printed += text
  }

  note(text: string): void {
    this.noted += text
  }

  async run(options: RunOptions): Promise<{ stop(): Promise<void> }> {
    this.runs.push(options)
    return { stop: () => Promise.resolve() }
  }

  readonly withUsers: WithUsers = async (options, work) => {
    this.opened.push(options)
    try {
      return await work(this.users)
    } finally {
      this.users.closed++
    }
  }

  hubbub(...args: string[]): Promise<0 | 1 | 2> {
    return runCommand(args, this)
  }
}

export class MemoryUsers implements Users {
  idType: 'username' | 'clientid' = 'username'
  readonly byId = new Map<string, { password: string; isSuperuser: boolean }>()
  closed = 0

  async add({ id, ...user }: { id: string; password: string; isSuperuser: boolean }): Promise<boolean> {
    if (this.byId.has(id)) return false
    this.byId.set(id, user)
    return true
  }

  async *list(): AsyncGenerator<{ id: string; isSuperuser: boolean }> {
    for (const [id, { isSuperuser }] of this.byId) yield { id, isSuperuser }
  }

  async delete(id: string): Promise<boolean> {
    return this.byId.delete(id)
  }

  async import(users: readonly ImportedUser[], override: boolean): Promise<ImportCounts> {
    const counts = { total: users.length, success: 0, override: 0, skipped: 0 }
    for (const { userId, isSuperuser, secret } of users) {
      const isThere = this.byId.has(userId)
      counts[isThere ? (override ? 'override' : 'skipped') : 'success']++
      if (isThere && !override) continue
      this.byId.set(userId, {
        password: secret.kind === 'plain' ? secret.password : secret.hash,
        isSuperuser,
      })
    }
    return counts
  }
}
