#!/usr/bin/env node
/** The `hubbub` command. The only file here that does something when it is loaded. */
import { packageRoot } from '../model/packaged.ts'
import type { CliContext } from './context.ts'
import { runCommand } from './program.ts'
import { openBuiltInUsers } from './users-store.ts'

const context: CliContext = {
  env: process.env,
  cwd: process.cwd(),
  packageRoot: packageRoot(import.meta.dirname),
  stdin: process.stdin,
  print: (text) => void process.stdout.write(text),
  note: (text) => void process.stderr.write(text),
  run: async (options) => {
    const { run } = await import('../main.ts') // only `start` needs the broker in memory
    return run(options)
  },
  openUsers: openBuiltInUsers,
}

const code = await runCommand(process.argv.slice(2), context)
if (code !== 0) process.exit(code) // on 0 the broker may be running
