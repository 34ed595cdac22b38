/** Redis servers for tests, each in a temporary folder on a free port, stopped with the test or the file. */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { freePort } from './free-port.ts'
import { within } from './inbox.ts'
import { pauseProcess } from './pausing.ts'

const LOOPBACK = '127.0.0.1'

export interface RedisServerOptions {
  /** As `--name value` of redis-server; `port` is chosen if it is not here. */
  settings?: Record<string, string>
  /** Starts it as a sentinel. */
  isSentinel?: boolean
}

/** One redis-server. */
export class RedisServer {
  readonly port: number
  readonly directory: string
  readonly #arguments: readonly string[]
  #process: ChildProcess | undefined

  private constructor(port: number, directory: string, args: readonly string[]) {
    this.port = port
    this.directory = directory
    this.#arguments = args
  }

  /** Appends what it is told to a file, so that it knows it after a restart. */
  static async start({ settings = {}, isSentinel = false }: RedisServerOptions = {}): Promise<RedisServer> {
    const port = Number(settings['tls-port'] ?? settings.port ?? (await freePort()))
    const directory = await mkdtemp(join(tmpdir(), 'redis-'))
    const all = { port: String(port), bind: LOOPBACK, dir: directory, save: '', ...settings }
    const file = join(directory, 'redis.conf')
    await writeFile(file, configOf(isSentinel ? all : { appendonly: 'yes', ...all }))
    const server = new RedisServer(port, directory, isSentinel ? [file, '--sentinel'] : [file])
    await server.restart()
    return server
  }

  get address(): string {
    return `${LOOPBACK}:${this.port}`
  }

  /** Starts it again after `kill`, with what it has kept. */
  async restart(): Promise<void> {
    const child = spawn('redis-server', this.#arguments, { stdio: ['ignore', 'pipe', 'inherit'] })
    this.#process = child
    let said = ''
    const ready = new Promise<void>((resolve, reject) => {
      child.stdout.on('data', (bytes: Buffer) => {
        said += bytes.toString()
        if (/Ready to accept connections|Sentinel ID is/.test(said)) resolve()
      })
      child.once('error', reject)
      child.once('exit', () => reject(new Error(`redis-server ended:\n${said}`)))
    })
    ready.catch(() => {})
    await within(ready, 'redis-server')
  }

  /** As a crash does. */
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
    await rm(this.directory, { recursive: true, force: true })
  }

  /** What redis-cli answers. */
  async ask(...command: string[]): Promise<string> {
    return await cli('-p', String(this.port), ...command)
  }
}

/** Three masters that share the keys. */
export async function startRedisCluster(): Promise<RedisServer[]> {
  const servers: RedisServer[] = []
  try {
    for (let n = 0; n < 3; n++) servers.push(await startClusterNode())
    await cli('--cluster', 'create', ...servers.map(({ address }) => address), '--cluster-yes')
    // Each of them finds out by itself that all keys are served.
    for (const server of servers) while (!(await server.ask('cluster', 'info')).includes('cluster_state:ok'));
    return servers
  } catch (error) {
    await Promise.all(servers.map((server) => server.stop()))
    throw error
  }
}

async function startClusterNode(): Promise<RedisServer> {
  const settings = {
    'cluster-enabled': 'yes',
    'cluster-node-timeout': '2000',
    'cluster-port': String(await freePort()),
  }
  return await RedisServer.start({ settings })
}

function configOf(settings: Record<string, string>): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name} ${value === '' ? '""' : value}\n`)
    .join('')
}

async function cli(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)('redis-cli', args)
  return stdout.trim()
}
