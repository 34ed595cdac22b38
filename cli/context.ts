import type { Readable, Writable } from 'node:stream'
import type { WithUsers } from './users.ts'

/** What the commands touch of the world around them; tests give their own. */
export interface CliContext {
  env: NodeJS.ProcessEnv
  cwd: string
  /** Where package.json and the packaged etc/ are. */
  packageRoot: string
  stdin: Readable & { isTTY?: boolean; setRawMode?(raw: boolean): unknown }
  /** Results. */
  print(text: string): void
  /** Where `print` writes, for what is larger than memory. */
  stdout: Writable
  /** Whether a person sees what is noted, as it is noted. */
  isTerminal: boolean
  /** Everything said to a person: notes, questions, errors. */
  note(text: string): void
  /** Starts the broker (`run` of main.ts). */
  run(options: RunOptions): Promise<{ stop(): Promise<void> }>
  withUsers: WithUsers
}

export interface RunOptions {
  configFile: string | undefined
  env: NodeJS.ProcessEnv
  overrides?: object
}

/** What ends a command with an exit code other than 0 and 2, with the reason for the user. */
export class CommandFailed extends Error {}
