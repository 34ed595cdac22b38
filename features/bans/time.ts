/**
 * Moments as bans are written with them: `2026-01-31T12:00:00+01:00` (RFC 3339), seconds since
 * 1970 (`1769857200`), or `infinity`.
 */
import { BrokerError } from '../../model/errors.ts'

const RFC_3339 =
  /^(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)$/i
const EPOCH_SECONDS = /^\d{1,11}$/

/**
 * @returns Unix time in milliseconds, or `Infinity`
 * @throws BrokerError CONFIG_INVALID
 */
export function parseTime(text: string): number {
  if (text === 'infinity') return Number.POSITIVE_INFINITY
  if (EPOCH_SECONDS.test(text)) return Number(text) * 1000
  const [, year, month, day] = RFC_3339.exec(text) ?? []
  // Date takes February 30 for March 1.
  if (day === undefined || Number(day) > daysIn(Number(year), Number(month))) {
    const found = JSON.stringify(text)
    throw new BrokerError(
      'CONFIG_INVALID',
      `expected a time such as 2026-01-31T12:00:00Z, seconds since 1970, or infinity, found ${found}`,
    )
  }
  return Date.parse(text.toUpperCase())
}

function daysIn(year: number, month: number): number {
  return new Date(Date.UTC(year, month, 0)).getUTCDate()
}
