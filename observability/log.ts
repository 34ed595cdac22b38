import { type DestinationStream, destination, type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino'
import type { Logger } from '../model/log.ts'
import { plainFields, REDACTED_PATHS } from './log-fields.ts'
import { textLines } from './log-text.ts'

const RANK = { debug: 0, info: 1, warn: 2, error: 3 } as const

export type LogLevel = keyof typeof RANK

export interface LogOptions {
  level: LogLevel
  format: 'text' | 'json'
  /** Appended to; undefined = standard output. */
  file?: string | undefined
  /** Instead of both. */
  stream?: DestinationStream
}

/** The process's log: what every room writes to, and what only the process does with it. */
export interface Log extends Logger {
  /** From now on, for this log and all its children. */
  setLevel(level: LogLevel): void
  /** Opens the file anew, after something has renamed it. Does nothing without a file. */
  reopen(): void
}

/**
 * One line per event, written before the call returns, so that a crash loses none.
 * Values under keys such as `password` are never written; errors carry their stack only
 * when they are a bug.
 * @throws if the file cannot be opened
 */
export function createLog(options: LogOptions): Log {
  const { file } = options
  const own =
    options.stream === undefined ? destination({ dest: file ?? 1, mkdir: true, sync: true }) : undefined
  const stream = options.stream ?? own ?? process.stdout
  const colours = own !== undefined && file === undefined && process.stdout.isTTY
  const threshold = { rank: RANK[options.level] }
  return {
    ...wrap(openPino(options.format === 'json' ? stream : textLines(stream, colours)), threshold),
    setLevel(level) {
      threshold.rank = RANK[level]
    },
    reopen() {
      if (file !== undefined) own?.reopen(file)
    },
  }
}

function openPino(stream: DestinationStream): PinoLogger {
  const options = {
    level: 'debug',
    base: null,
    timestamp: stdTimeFunctions.isoTime,
    redact: { paths: REDACTED_PATHS, censor: '******' },
    formatters: {
      level: (label: string) => ({ level: label }),
      log: plainFields,
      bindings: plainFields,
    },
    serializers: { err: (text: unknown) => text }, // pino's own would always add the stack
  }
  return pino(options, stream)
}

/** A pino child keeps the level it was born with; ours all look at the same threshold. */
function wrap(log: PinoLogger, threshold: { rank: number }): Logger {
  return {
    debug(fields, message) {
      if (threshold.rank <= RANK.debug) log.debug(fields, message)
    },
    info(fields, message) {
      if (threshold.rank <= RANK.info) log.info(fields, message)
    },
    warn(fields, message) {
      if (threshold.rank <= RANK.warn) log.warn(fields, message)
    },
    error(fields, message) {
      log.error(fields, message)
    },
    child: (fields) => wrap(log.child(fields), threshold),
  }
}
