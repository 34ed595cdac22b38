#!/usr/bin/env node
/** The `hubbub` command. The only file here that does something when it is loaded. */
import { packageRoot } from '../model/packaged.ts'
import type { CliContext } from './context.ts'
import { runCommand } from './program.ts'
import { withBuiltInUsers } from './users-store.ts'

const context: CliContext = {
  env: process.env,
  cwd: process.cwd(),
  packageRoot: packageRoot(import.meta.dirname),
  stdin: process.stdin,
  print: (text) => void process.stdout.write(text),
  stdout: process.stdout,
  isTerminal: process.stderr.isTTY === true,
  note: (text) => void process.stderr.write(text),
  run: async (options) => {
    const { run } = await import('../main.ts') // only `start` needs the broker in memory
    return run(options)
  },
  withUsers: withBuiltInUsers,
}

// `hubbub clients list | head`: nobody reads on, and that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => process.exit(error.code === 'EPIPE' ? 0 : 1))

const code = await runCommand(process.argv.slice(2), context)
if (code !== 0) process.exit(code) // on 0 the broker may be running
