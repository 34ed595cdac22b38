import { join } from 'node:path'
import { type HubbubProcess, startProcess } from '../broker.ts'

/** How often a start may take longer than anything else in a test. */
const START_PATIENCE = 5

/** The built broker, killed and started again with the same port, config and data. */
export class CrashBroker {
  readonly port: number
  readonly #dir: string
  readonly #storage: object
  #process: HubbubProcess | undefined

  /** @param storage - the section of its config */
  constructor(port: number, dir: string, storage: object) {
    this.port = port
    this.#dir = dir
    this.#storage = storage
  }

  /** @returns once it serves; false if it was killed before. @throws if it ended by itself */
  async start(): Promise<boolean> {
    const config = {
      node: { data_dir: join(this.#dir, 'data') },
      storage: this.#storage,
      listeners: { tcp: { default: { bind: `127.0.0.1:${this.port}` } } },
      log: { format: 'json' },
      mqtt: { max_mqueue_len: 1_000_000 },
    }
    const process = startProcess(['start'], {}, config, this.#dir)
    this.#process = process
    for (let patience = START_PATIENCE; ; patience--) {
      try {
        await process.ready()
        return true
      } catch (error) {
        if (process.isRunning && patience > 0) continue // this machine is busy
        if (process.isRunning || (await process.exited) !== null) throw error
        return false
      }
    }
  }

  kill(): void {
    this.#process?.signal('SIGKILL')
  }

  /** As an operator stops it. */
  async stop(): Promise<void> {
    this.#process?.signal('SIGTERM')
    await this.#process?.exited
  }

  /** Resolves when it is gone. @returns what it complained of */
  async ended(): Promise<string[]> {
    await this.#process?.exited
    return this.complaints()
  }

  complaints(): string[] {
    const lines = this.#process?.log.lines ?? []
    return lines.filter(({ level }) => level === 'error').map((line) => JSON.stringify(line))
  }
}
