/** A PostgreSQL for tests, in a temporary folder on a free port. */
import { type ChildProcess, execFile, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFile, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import type { Certs } from './certs.ts'
import { freePort } from './free-port.ts'
import { pauseProcess } from './pausing.ts'

const run = promisify(execFile)
const LOOPBACK = '127.0.0.1'
const VERSIONS = '/usr/lib/postgresql'

/** Its user is `postgres` with the password `postgres-secret`, and so is its database. */
export class Postgres {
  readonly port: number
  readonly #directory: string
  readonly #programs: string
  readonly #settings: readonly string[]
  #process: ChildProcess | undefined

  private constructor(port: number, directory: string, programs: string, settings: readonly string[]) {
    this.port = port
    this.#directory = directory
    this.#programs = programs
    this.#settings = settings
  }

  /** @param certs - speaks TLS too */
  static async start({ certs }: { certs?: Certs } = {}): Promise<Postgres> {
    const directory = await mkdtemp(join(tmpdir(), 'postgres-'))
    const versions = await readdir(VERSIONS)
    const programs = join(VERSIONS, versions.toSorted((a, b) => Number(a) - Number(b)).at(-1) ?? '', 'bin')
    const passwordFile = join(directory, 'pw')
    await writeFile(passwordFile, 'postgres-secret')
    const settings = ['fsync=off', `listen_addresses=${LOOPBACK}`, `unix_socket_directories=${directory}`]
    if (certs !== undefined) {
      await copyFile(certs.serverCert, join(directory, 'cert'))
      await copyFile(certs.serverKey, join(directory, 'key'))
      settings.push(
        'ssl=on',
        `ssl_cert_file=${join(directory, 'cert')}`,
        `ssl_key_file=${join(directory, 'key')}`,
      )
      await run('chmod', ['600', join(directory, 'key')])
    }
    if (isRoot()) await run('chown', ['-R', 'postgres', directory])
    const initdb = ['-D', join(directory, 'db'), '-A', 'scram-sha-256', '-U', 'postgres', '--no-sync']
    await run(join(programs, 'initdb'), [...initdb, '-E', 'UTF8', `--pwfile=${passwordFile}`], someoneElse())
    const server = new Postgres(await freePort(), directory, programs, settings)
    await server.restart()
    return server
  }

  get address(): string {
    return `${LOOPBACK}:${this.port}`
  }

  /** Starts it again after `kill`. */
  async restart(): Promise<void> {
    const settings = this.#settings.flatMap((setting) => ['-c', setting])
    const args = ['-D', join(this.#directory, 'db'), '-p', String(this.port), ...settings]
    const child = spawn(join(this.#programs, 'postgres'), args, {
      ...someoneElse(),
      stdio: ['ignore', 'ignore', 'pipe'],
    })
    this.#process = child
    let said = ''
    await new Promise<void>((resolve, reject) => {
      child.stderr?.on('data', (bytes: Buffer) => {
        said += bytes.toString()
        if (said.includes('ready to accept connections')) resolve()
      })
      child.once('exit', () => reject(new Error(`postgres ended:\n${said}`)))
      child.once('error', reject)
    })
  }

  async admin(...statements: string[]): Promise<void> {
    const client = new pg.Client({
      host: LOOPBACK,
      port: this.port,
      user: 'postgres',
      password: 'postgres-secret',
      database: 'postgres',
    })
    await client.connect()
    try {
      for (const statement of statements) await client.query(statement)
    } finally {
      await client.end()
    }
  }

  /** At once, connections and all. */
  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, 'exit')
    const stop = ['-D', join(this.#directory, 'db'), '-m', 'immediate', 'stop']
    await run(join(this.#programs, 'pg_ctl'), stop, someoneElse())
    await ended
  }

  /** It keeps its connections and answers nothing, until `proceed`. */
  pause(): void {
    for (const pid of this.#processes()) pauseProcess(pid)
  }

  proceed(): void {
    for (const pid of this.#processes()) process.kill(pid, 'SIGCONT')
  }

  async stop(): Promise<void> {
    await this.kill()
    await rm(this.#directory, { recursive: true, force: true })
  }

  /** The server, and the process it has for each connection. */
  #processes(): number[] {
    const server = Number(this.#process?.pid)
    const { stdout } = spawnSync('pgrep', ['-P', String(server)], { encoding: 'utf8' })
    return [
      server,
      ...stdout
        .split('\n')
        .filter((pid) => pid !== '')
        .map(Number),
    ]
  }
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** It refuses to run as root. */
function someoneElse(): { uid?: number; gid?: number } {
  if (!isRoot()) return {}
  const idOf = (kind: string) => Number(execFileSync('id', [kind, 'postgres'], { encoding: 'utf8' }))
  return { uid: idOf('-u'), gid: idOf('-g') }
}
