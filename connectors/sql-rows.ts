import { BrokerError } from '../model/errors.ts'

/** Of one answer: who asks about one client has no use for more. */
export const MAX_ROWS = 10_000

export function tooManyRows(): BrokerError {
  return new BrokerError('BACKEND_FAILED', `a statement was answered with more than ${MAX_ROWS} rows`)
}
