import { PassThrough } from 'node:stream'
import type { CliContext, RunOptions } from '../../cli/context.ts'
import { runCommand } from '../../cli/program.ts'
import type { Users, UsersOptions } from '../../cli/users.ts'
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

  readonly openUsers = async (options: UsersOptions): Promise<Users> => {
    this.opened.push(options)
    return this.users
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

  async list(): Promise<{ id: string; isSuperuser: boolean }[]> {
    return Array.from(this.byId, ([id, { isSuperuser }]) => ({ id, isSuperuser }))
  }

  async delete(id: string): Promise<boolean> {
    return this.byId.delete(id)
  }

  async close(): Promise<void> {
    this.closed++
  }
}
