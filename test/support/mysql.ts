/** A MariaDB for tests, in a temporary folder on a free port. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import mysql from 'mysql2/promise'
import type { Certs } from './certs.ts'
import { freePort } from './free-port.ts'
import { pauseProcess } from './pausing.ts'

const run = promisify(execFile)
const LOOPBACK = '127.0.0.1'

/** Its user is `mqtt` with the password `mysql-secret`, its database `mqtt`. */
export class MariaDb {
  readonly port: number
  readonly #directory: string
  readonly #settings: readonly string[]
  #process: ChildProcess | undefined

  private constructor(port: number, directory: string, settings: readonly string[]) {
    this.port = port
    this.#directory = directory
    this.#settings = settings
  }

  /** @param certs - speaks TLS too */
  static async start({ certs }: { certs?: Certs } = {}): Promise<MariaDb> {
    const directory = await mkdtemp(join(tmpdir(), 'mariadb-'))
    // Temporary tables of its own, too: one that starts deletes those of others.
    const settings = ['--user=root', `--datadir=${join(directory, 'db')}`, `--tmpdir=${directory}`]
    await run('mariadb-install-db', [
      '--no-defaults',
      ...settings,
      '--auth-root-authentication-method=normal',
      '--skip-test-db',
    ])
    if (certs !== undefined)
      settings.push(`--ssl-ca=${certs.ca}`, `--ssl-cert=${certs.serverCert}`, `--ssl-key=${certs.serverKey}`)
    const server = new MariaDb(await freePort(), directory, settings)
    await server.restart()
    await server.admin(
      "CREATE USER mqtt@'127.0.0.1' IDENTIFIED BY 'mysql-secret'",
      'CREATE DATABASE mqtt CHARACTER SET utf8mb4',
      "GRANT ALL ON mqtt.* TO mqtt@'127.0.0.1'",
    )
    return server
  }

  get address(): string {
    return `${LOOPBACK}:${this.port}`
  }

  /** Starts it again after `kill`. */
  async restart(): Promise<void> {
    const child = spawn(
      'mariadbd',
      [
        '--no-defaults',
        ...this.#settings,
        `--port=${this.port}`,
        `--bind-address=${LOOPBACK}`,
        `--socket=${this.#socket}`,
        '--innodb-flush-log-at-trx-commit=2',
        '--skip-name-resolve',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` } },
    )
    this.#process = child
    let said = ''
    await new Promise<void>((resolve, reject) => {
      child.stderr.on('data', (bytes: Buffer) => {
        said += bytes.toString()
        if (said.includes('ready for connections')) resolve()
      })
      child.once('exit', () => reject(new Error(`mariadbd ended:\n${said}`)))
      child.once('error', reject)
    })
  }

  /** Statements as root. */
  async admin(...statements: string[]): Promise<void> {
    const connection = await mysql.createConnection({ socketPath: this.#socket, user: 'root' })
    try {
      for (const statement of statements) await connection.query(statement)
    } finally {
      await connection.end()
    }
  }

  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (child === undefined || child.exitCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }

  /** It keeps its connections and answers nothing, until `proceed`. */
  pause(): void {
    pauseProcess(this.#process?.pid)
  }

  proceed(): void {
    this.#process?.kill('SIGCONT')
  }

  async stop(): Promise<void> {
    await this.kill()
    await rm(this.#directory, { recursive: true, force: true })
  }

  get #socket(): string {
    return join(this.#directory, 's')
  }
}
