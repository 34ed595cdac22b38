import { within } from './inbox.ts'

/** One event of the broker's JSON log. */
export interface LogLine {
  level: string
  msg: string
  listener?: string
  address?: unknown
  [field: string]: unknown
}

/** The broker's log as a test reads it: what was said, and where the listeners are. */
export class LogBook {
  readonly lines: LogLine[] = []
  readonly #watchers = new Set<{ look(line: LogLine): void; fail(error: Error): void }>()
  #rest = ''
  #isClosed = false

  /** Takes a piece of the log; it may end in the middle of a line. */
  write(text: string): void {
    const texts = (this.#rest + text).split('\n')
    this.#rest = texts.pop() ?? ''
    for (const one of texts) if (one.startsWith('{')) this.#add(JSON.parse(one) as LogLine)
  }

  /** Nothing more will be said. @param error - what whoever still waits is told */
  close(error: Error): void {
    this.#isClosed = true
    for (const watcher of this.#watchers) watcher.fail(error)
  }

  /** The first event whose message begins with one of these, with these fields, from `from` on; waits for it. */
  until(msg: string | readonly string[], fields: object = {}, from = 0): Promise<LogLine> {
    const fits = (line: LogLine) =>
      [msg].flat().some((start) => line.msg.startsWith(start)) && hasFields(line, fields)
    const found = this.lines.slice(from).find(fits)
    if (found !== undefined) return Promise.resolve(found)
    if (this.#isClosed) return Promise.reject(new Error(`the log ended without: ${String(msg)}`))
    const said = new Promise<LogLine>((resolve, reject) => {
      const watcher = {
        look: (line: LogLine) => {
          if (!fits(line)) return
          this.#watchers.delete(watcher)
          resolve(line)
        },
        fail: reject,
      }
      this.#watchers.add(watcher)
    })
    return within(said, `the log to say: ${String(msg)} ${JSON.stringify(fields)}`)
  }

  /** Where a listener was bound last. */
  addressOf(listener: string): { host: string; port: number } | undefined {
    const line = this.lines.findLast((one) => one.msg === 'listening' && one.listener === listener)
    return line?.address as { host: string; port: number } | undefined
  }

  /** @throws if the listener is not bound */
  portOf(listener: string): number {
    const address = this.addressOf(listener)
    if (address === undefined) throw new Error(`${listener} is not listening`)
    return address.port
  }

  #add(line: LogLine): void {
    this.lines.push(line)
    for (const watcher of this.#watchers) watcher.look(line)
  }
}

function hasFields(line: LogLine, fields: object): boolean {
  return Object.entries(fields).every(([name, value]) => line[name] === value)
}
