import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { withBuiltInUsers } from '../../cli/users-store.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import { Hubbub } from '../../main.ts'
import { createLog } from '../../observability/log.ts'
import { FakeContext } from '../cli/run-cli.ts'
import { LogBook } from '../support/log-book.ts'

export const CHAIN = [
  {
    mechanism: 'password_based',
    backend: 'built_in_database',
    password_hash_algorithm: { name: 'sha256', salt_position: 'suffix' },
  },
]

/** A directory with a config, the command, and the broker that both are about. */
export class Place {
  readonly dir: string
  readonly dataDir: string
  readonly log = new LogBook()
  readonly #overrides: object

  constructor(changes: object = {}, dir = new FakeContext().cwd) {
    this.dir = dir
    this.dataDir = join(dir, 'data')
    this.#overrides = {
      node: { data_dir: this.dataDir, shutdown_timeout: '2s' },
      listeners: { tcp: { default: { bind: '127.0.0.1:0' } } },
      authentication: CHAIN,
      // Its retained messages would be counted.
      sys_topics: { sys_msg_interval: 'disabled', sys_heartbeat_interval: 'disabled' },
      ...changes,
    }
  }

  /** Runs a broker until the test ends, or it is stopped. */
  async start(): Promise<Hubbub> {
    const { config } = loadConfig({
      schema: configSchema(),
      file: undefined,
      env: {},
      overrides: this.#overrides,
    })
    const stream = { write: (line: string) => this.log.write(line) }
    const broker = await Hubbub.start(config, this.dir, createLog({ level: 'info', format: 'json', stream }))
    onTestFinished(() => broker.stop())
    return broker
  }

  /** Runs a command. `stdout` holds what an export writes to `-`. */
  async hubbub(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    return this.run(new FakeContext(), ...args)
  }

  async run(cli: FakeContext, ...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const context = Object.assign(cli, { withUsers: withBuiltInUsers, cwd: this.dir })
    // Environment variables are a layer of the config.
    context.env.HUBBUB_CONFIG = await this.#configFile()
    const pieces: Buffer[] = []
    context.stdout.on('data', (piece: Buffer) => pieces.push(piece))
    const code = await context.hubbub(...args)
    return { code, stdout: context.printed + Buffer.concat(pieces).toString(), stderr: context.noted }
  }

  async #configFile(): Promise<string> {
    const file = join(this.dir, 'hubbub.yaml')
    await writeFile(file, JSON.stringify(this.#overrides))
    return file
  }
}
