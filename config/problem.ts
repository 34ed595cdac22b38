import { BrokerError } from '../model/errors.ts'
import { formatPath, type Path } from './path.ts'

export interface Position {
  line: number
  column: number
}

/** Which layer gave a value, from the weakest to the strongest. */
export type Layer = 'default' | 'file' | 'env' | 'override'

/** Where a value was written. */
export type Origin =
  | { layer: 'file'; file: string; key: Position; value: Position }
  | { layer: 'env'; variable: string }
  | { layer: 'override' }

/** One thing wrong with a configuration, with all an operator needs to mend it. */
export interface Problem {
  /** `etc/hubbub.yaml:12:11`, `HUBBUB__MQTT__MAX_QOS`, `runtime override`, or '' where nothing was written. */
  where: string
  file?: string
  line?: number
  column?: number
  variable?: string
  /** `listeners.tcp.default.bind`; '' when it is about the whole. */
  path: string
  /** What is wrong, what was expected and what was found. Never holds a secret. */
  message: string
  /** The nearest known option, where an unknown one was found. */
  suggestion?: string
}

/** Every problem of a configuration at once. */
export class ConfigError extends BrokerError {
  readonly problems: readonly Problem[]

  constructor(problems: readonly Problem[]) {
    super('CONFIG_INVALID', problems.map(formatProblem).join('\n'))
    this.problems = problems
  }
}

/** One line: `etc/hubbub.yaml:12:11: listeners.tcp.default.bind: expected a port ..., found "abc"`. */
export function formatProblem(problem: Problem): string {
  const parts = [problem.where, problem.path, problem.message].filter((part) => part !== '')
  const hint = problem.suggestion === undefined ? '' : `, did you mean ${problem.suggestion}?`
  return parts.join(': ').replaceAll(/\s*[\r\n]+\s*/g, ' ') + hint
}

/** @param point - what the message is about: an unknown key points at the key, a wrong value at the value */
export function problemAt(
  origin: Origin | undefined,
  path: Path,
  message: string,
  more: { point?: 'key' | 'value'; suggestion?: string | undefined } = {},
): Problem {
  return {
    ...place(origin, more.point ?? 'value'),
    path: formatPath(path),
    message,
    ...(more.suggestion === undefined ? {} : { suggestion: more.suggestion }),
  }
}

/** A value as problems quote it: short, and sections only by kind. */
export function quote(value: unknown): string {
  if (value === null || value === undefined) return 'nothing'
  if (Array.isArray(value)) return 'a list'
  if (typeof value === 'object') return 'a section'
  const text = JSON.stringify(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

function place(
  origin: Origin | undefined,
  point: 'key' | 'value',
): Pick<Problem, 'where' | 'file' | 'line' | 'column' | 'variable'> {
  switch (origin?.layer) {
    case undefined:
      return { where: '' }
    case 'override':
      return { where: 'runtime override' }
    case 'env':
      return { where: origin.variable, variable: origin.variable }
    case 'file': {
      const { line, column } = origin[point]
      return { where: `${origin.file}:${line}:${column}`, file: origin.file, line, column }
    }
  }
}
