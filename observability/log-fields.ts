import { BrokerError, faultOf } from '../model/errors.ts'

const SECRET_KEYS = [
  'password',
  'passcode',
  'secret',
  'token',
  'password_hash',
  'passwordHash',
  'authorization',
]

/** Where pino looks for secrets: as a field and inside fields, three levels deep. */
export const REDACTED_PATHS: string[] = SECRET_KEYS.flatMap((key) => [key, `*.${key}`, `*.*.${key}`])

/** Fields as a line can hold them: errors and bytes become text. */
export function plainFields(fields: object): Record<string, unknown> {
  const plain: Record<string, unknown> = {}
  for (const [key, value] of Object.entries(fields)) plain[key] = plainValue(value)
  return plain
}

function plainValue(value: unknown): unknown {
  if (value instanceof Error) return describeError(value)
  if (value instanceof Uint8Array) return `<${value.byteLength} bytes>`
  if (typeof value === 'bigint') return value.toString()
  return value
}

const MAX_CAUSES = 5 // an error may be its own cause

/** The stack of a bug; of what others did wrong, what they did. */
function describeError(error: Error): string {
  const lines: string[] = []
  for (let one: unknown = error; one instanceof Error && lines.length < MAX_CAUSES; one = one.cause) {
    lines.push(faultOf(error) === 'bug' ? (one.stack ?? one.message) : shortly(one))
  }
  return lines.join(faultOf(error) === 'bug' ? '\ncaused by: ' : ', caused by: ')
}

function shortly(error: Error): string {
  return error instanceof BrokerError ? `${error.code}: ${error.message}` : error.message
}
