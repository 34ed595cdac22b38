/** Real brokers for tests: in this process, or as the `hubbub` command in one of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { inject, onTestFinished } from 'vitest'
import type { Hub } from '../../broker/hub.ts'
import { loadConfig } from '../../config/load.ts'
import { configSchema } from '../../config/schema.ts'
import type { HookBus } from '../../hooks/bus.ts'
import type { RunPoint, RunPoints } from '../../hooks/hookpoints.ts'
import { Hubbub } from '../../main.ts'
import type { ClientInfo } from '../../model/client-info.ts'
import { createLog } from '../../observability/log.ts'
import { temporaryDirectory } from '../config/sample.ts'
import type { Certs } from './certs.ts'
import { within } from './inbox.ts'
import { LogBook } from './log-book.ts'
import './build.ts'

/** Where a broker listens, on 127.0.0.1. */
export interface Ports {
  mqttPort: number
  tlsPort: number
  wsPort: number
  wssPort: number
  stompPort: number
  stompTlsPort: number
  stompWsPort: number
  stompWssPort: number
}

export interface TestBroker extends Ports {
  hub: Hub
  hooks: HookBus
  log: LogBook
  /** For data and config: its own, gone after the test. */
  dir: string
  stop(): Promise<void>
}

const LOOPBACK = { bind: '127.0.0.1:0' }

/**
 * A whole broker in this process: MQTT and STOMP over TCP, TLS, WebSocket and secure WebSocket on
 * free ports. Stops with the test.
 * @param changes - to its config, in the spelling of the file
 * @param dir - where `changes` find their files
 */
export async function startBroker(changes: object = {}, dir = temporaryDirectory()): Promise<TestBroker> {
  const overrides = merge(baseConfig(dir), changes)
  const { config } = loadConfig({ schema: configSchema(), file: undefined, env: {}, overrides })
  const log = new LogBook()
  const stream = { write: (line: string) => log.write(line) }
  const broker = await Hubbub.start(
    config,
    dir,
    createLog({ level: config.log.level, format: 'json', stream }),
  )
  onTestFinished(() => broker.stop())
  return { hub: broker.hub, hooks: broker.hooks, log, dir, stop: () => broker.stop(), ...portsOf(log) }
}

/** Points that are told a client first. */
type ClientPoint = Exclude<RunPoint, 'message.dropped'>

/** The first time from now on that a hook point is run for a client. */
export function hookRun(broker: TestBroker, point: ClientPoint, clientId: string): Promise<void> {
  const name = `test ${clientId}`
  const run = new Promise<void>((resolve) => {
    broker.hooks.put(point, name, (...args: RunPoints[ClientPoint]) => {
      const client: ClientInfo = args[0]
      if (client.clientId !== clientId) return
      broker.hooks.del(point, name)
      resolve()
    })
  })
  return within(run, `${point} of ${clientId}`)
}

/** TLS options of a listener, with the certificate that clients of these tests trust. */
export function tlsOptions(certs: Certs = inject('certs')): object {
  return { ssl_options: { certfile: certs.serverCert, keyfile: certs.serverKey } }
}

/** Listeners of every kind on free ports, and a data directory of its own. */
export function baseConfig(dir: string): Record<string, unknown> {
  const secure = { ...LOOPBACK, ...tlsOptions() }
  const listeners = {
    tcp: { default: LOOPBACK },
    ssl: { default: secure },
    ws: { default: LOOPBACK },
    wss: { default: secure },
  }
  return {
    node: { data_dir: join(dir, 'data'), shutdown_timeout: '5s' },
    listeners,
    gateway: { stomp: { listeners } },
  }
}

/** Sections are merged, everything else is replaced. */
export function merge(base: Record<string, unknown>, changes: object): Record<string, unknown> {
  const merged = { ...base }
  for (const [key, value] of Object.entries(changes) as [string, unknown][]) {
    const old = merged[key]
    merged[key] = isSection(old) && isSection(value) ? merge(old, value) : value
  }
  return merged
}

/** The ports of the listeners that `baseConfig` has; -1 where one is not bound. */
export function portsOf(log: LogBook): Ports {
  const port = (listener: string) => log.addressOf(listener)?.port ?? -1
  return {
    mqttPort: port('tcp:default'),
    tlsPort: port('ssl:default'),
    wsPort: port('ws:default'),
    wssPort: port('wss:default'),
    stompPort: port('stomp:tcp:default'),
    stompTlsPort: port('stomp:ssl:default'),
    stompWsPort: port('stomp:ws:default'),
    stompWssPort: port('stomp:wss:default'),
  }
}

const PROGRAM = join(import.meta.dirname, '..', '..', 'dist', 'cli', 'hubbub.js')
/** On two busy cores a start may take its time. */
const EXIT_PATIENCE_MS = 10_000

/** The built `hubbub` command, running. */
export class HubbubProcess {
  /** Its working directory. */
  readonly dir: string
  readonly configFile: string
  readonly log = new LogBook()
  /** Exit code; null if a signal ended it. */
  readonly exited: Promise<number | null>
  stdout = ''
  stderr = ''
  readonly #child: ChildProcess

  constructor(
    args: readonly string[],
    env: NodeJS.ProcessEnv,
    config: object | string | undefined,
    dir: string,
  ) {
    this.dir = dir
    this.configFile = join(dir, 'hubbub.yaml')
    if (config !== undefined) this.writeConfig(config)
    const withConfig = config === undefined ? [] : ['--config', this.configFile]
    this.#child = spawn(process.execPath, [PROGRAM, ...args, ...withConfig], {
      cwd: dir,
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.stdout += text
      this.log.write(text)
    })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.exited = new Promise((resolve) => {
      this.#child.on('close', (code) => {
        this.log.close(new Error(`hubbub ended with ${code}: ${this.stderr}`))
        resolve(code)
      })
    })
  }

  get isRunning(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null
  }

  /** JSON is YAML. */
  writeConfig(config: object | string): void {
    writeFileSync(this.configFile, typeof config === 'string' ? config : JSON.stringify(config, null, 2))
  }

  signal(signal: 'SIGTERM' | 'SIGINT' | 'SIGHUP' | 'SIGKILL'): void {
    this.#child.kill(signal)
  }

  /** Resolves once it serves. @throws with what it said on standard error if it ends instead */
  async ready(): Promise<Ports> {
    await this.log.until('ready')
    return portsOf(this.log)
  }

  /** Waits for its end. */
  exit(): Promise<number | null> {
    return within(this.exited, `the end of hubbub, which said: ${this.stderr}`, EXIT_PATIENCE_MS)
  }

  /** SIGHUP, and what the log says about it. */
  async reload(): Promise<string> {
    const from = this.log.lines.length
    this.signal('SIGHUP')
    return (await this.log.until(['configuration reloaded', 'configuration not reloaded'], {}, from)).msg
  }
}

/**
 * Starts the built command; it is killed when the test ends.
 * @param config - written to a file that it is given with --config
 */
export function startProcess(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  config?: object | string,
  dir = temporaryDirectory(),
): HubbubProcess {
  const hubbub = new HubbubProcess(args, env, config, dir)
  onTestFinished(async () => {
    if (hubbub.isRunning) hubbub.signal('SIGKILL')
    await hubbub.exited
  })
  return hubbub
}

/** Runs a command of the program to its end. */
export async function runHubbub(
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  config?: object | string,
  dir?: string,
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const hubbub = startProcess(args, env, config, dir)
  const code = await hubbub.exit()
  return { code, stdout: hubbub.stdout, stderr: hubbub.stderr }
}

function isSection(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
